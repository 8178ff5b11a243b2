//! Tables of what is: groups, revisions, the progress of one.

use serde::Deserialize;

use crate::address;
use crate::cli::Format;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::{Cell, Output, Tone};

#[derive(Debug, Deserialize)]
struct Group {
    name: String,
    status: String,
    status_goal: String,
    restart_policy: String,
}

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    #[serde(default)]
    date: String,
    #[serde(default)]
    commitmsg: Option<String>,
    #[serde(default)]
    progress: Progress,
}

/// A progress document; a revision that was never posted through the API may have none.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Progress {
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default, rename = "status-msg")]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) progress: u8,
    #[serde(default)]
    pub(crate) logs: String,
}

/// What a status means to somebody who waits for the goal.
pub(crate) fn tone(status: &str, goal: &str) -> Tone {
    match (status, goal) {
        ("READY", _) | ("STARTED", "STARTED" | "MOUNTED") | ("MOUNTED" | "BLOCKED", "MOUNTED") => Tone::Good,
        ("STOPPED" | "STOPPING" | "RECOVERING", _) => Tone::Bad,
        _ => Tone::Busy,
    }
}

pub(crate) async fn groups(client: &Client, output: &Output, format: Format) -> Result<(), Failed> {
    if format.json {
        return output.json(&client.get("/groups").await?);
    }
    let groups: Vec<Group> = client.get_json("/groups").await?;
    let rows: Vec<_> = groups
        .iter()
        .map(|group| {
            vec![
                Cell::plain(&group.name),
                Cell::new(tone(&group.status, &group.status_goal), &group.status),
                Cell::plain(&group.status_goal),
                Cell::plain(&group.restart_policy),
            ]
        })
        .collect();
    output.table(&["NAME", "STATUS", "GOAL", "RESTART POLICY"], &rows)
}

pub(crate) async fn steps(client: &Client, output: &Output, format: Format) -> Result<(), Failed> {
    if format.json {
        return output.json(&client.get("/steps").await?);
    }
    let steps: Vec<Step> = client.get_json("/steps").await?;
    let rows: Vec<_> = steps
        .iter()
        .map(|step| {
            let message = step.commitmsg.as_deref().unwrap_or("");
            vec![
                Cell::plain(&step.name),
                Cell::plain(&step.date),
                Cell::new(update_tone(&step.progress.status), &step.progress.status),
                Cell::plain(&step.progress.message),
                Cell::new(Tone::Quiet, message.lines().next().unwrap_or("")),
            ]
        })
        .collect();
    output.table(&["NAME", "DATE", "UPDATE", "HOW", "MESSAGE"], &rows)
}

pub(crate) fn update_tone(status: &str) -> Tone {
    match status {
        "DONE" | "UPDATED" => Tone::Good,
        "ERROR" | "WONTGO" => Tone::Bad,
        "" | "NEW" => Tone::Plain,
        _ => Tone::Busy,
    }
}

pub(crate) async fn progress(
    client: &Client,
    output: &Output,
    revision: &str,
    format: Format,
) -> Result<(), Failed> {
    let path = format!("/steps/{}/progress", address::Step::parse(revision)?.as_str());
    if format.json {
        return output.json(&client.get(&path).await?);
    }
    let progress: Progress = client.get_json(&path).await?;
    let status = output.paint(update_tone(&progress.status), &progress.status);
    output.line(&format!("{status} {}%  {}", progress.progress, progress.message))?;
    progress.reasons().iter().try_for_each(|line| output.line(&format!("  {}", crate::output::visible(line))))
}

impl Progress {
    /// Why, a line each. A document's `logs` holds a JSON document per line, with its text at `msg`.
    pub(crate) fn reasons(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Line {
            msg: String,
        }
        let lines = self.logs.lines().filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_str(line).map_or_else(|_| line.to_owned(), |Line { msg }| msg))
            .collect()
    }
}
