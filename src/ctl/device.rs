//! The device with its containers: `goalctl ps`, `goalctl status`.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::Format;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::{Cell, Output, Tone, visible};
use crate::show::{Progress, tone, update_tone};

/// GET /status.
#[derive(Debug, Deserialize)]
pub(crate) struct Device {
    /// The latest thing that happened: the event stream goes on from exactly here.
    pub(crate) event: u64,
    revision: Option<String>,
    fallback: String,
    fallback_proven: bool,
    phase: String,
    status: Option<String>,
    update: Option<Update>,
    #[serde(default)]
    notes: Vec<String>,
    pub(crate) containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Update {
    revision: String,
    progress: Progress,
}

/// One container, as GET /status tells it, or (with less) GET /containers of the field's own agents.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Container {
    name: String,
    group: String,
    status: String,
    status_goal: String,
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    retries: u32,
    /// A boolean here, `"true"` or `"false"` there.
    #[serde(default)]
    user_stopped: Value,
    #[serde(default)]
    reason: String,
}

impl Device {
    /// Whether to run this revision is to return from one that is tried once: then there is no update to hear of.
    pub(crate) fn returns_to(&self, revision: &str) -> bool {
        self.fallback == revision && self.revision.as_deref() != Some(revision) && self.phase == "running"
    }
}

pub(crate) async fn read(client: &Client) -> Result<Device, Failed> {
    client.get_json("/status").await
}

pub(crate) async fn ps(client: &Client, output: &Output, format: Format) -> Result<(), Failed> {
    if format.json {
        return output.json(&client.get("/containers").await?);
    }
    let containers = match read(client).await {
        Ok(device) => device.containers,
        // An agent of the field has no /status.
        Err(Failed::Refused { status: StatusCode::BAD_REQUEST, .. }) => {
            client.get_json("/containers").await?
        }
        Err(failed) => return Err(failed),
    };
    table(output, &containers)
}

pub(crate) fn table(output: &Output, containers: &[Container]) -> Result<(), Failed> {
    let rows: Vec<_> = containers.iter().map(row).collect();
    output.table(&["NAME", "GROUP", "STATUS", "GOAL", "PID", "RETRIES", "WHY"], &rows)
}

fn row(container: &Container) -> Vec<Cell> {
    let stopped = container.user_stopped == true || container.user_stopped == "true";
    let why = if stopped && container.reason.is_empty() { "stopped on request" } else { &container.reason };
    vec![
        Cell::plain(&container.name),
        Cell::plain(&container.group),
        Cell::new(tone(&container.status, &container.status_goal), &container.status),
        Cell::plain(&container.status_goal),
        Cell::plain(container.pid.map_or("-".to_owned(), |pid| pid.to_string())),
        Cell::plain(container.retries.to_string()),
        Cell::new(Tone::Quiet, why),
    ]
}

pub(crate) async fn status(client: &Client, output: &Output, format: Format) -> Result<(), Failed> {
    if format.json {
        return output.json(&client.get("/status").await?);
    }
    let device = read(client).await?;
    let field = |name: &str, text: String| output.line(&format!("{name:<10} {text}"));
    let status = device.status.as_deref().unwrap_or("no status yet");
    field("revision", device.revision.as_deref().map_or("none yet".to_owned(), visible))?;
    field("status", output.paint(tone(status, ""), status))?;
    field("phase", visible(&device.phase))?;
    let proven = if device.fallback_proven { "" } else { " (unproven: it never met all its goals)" };
    field("fallback", format!("{}{proven}", visible(&device.fallback)))?;
    if let Some(update) = &device.update {
        let how = output.paint(update_tone(&update.progress.status), &update.progress.status);
        field(
            "update",
            format!("{} {how} {}", visible(&update.revision), visible(&update.progress.message)),
        )?;
        for line in update.progress.reasons() {
            field("", visible(&line))?;
        }
    }
    for note in &device.notes {
        field("note", output.paint(Tone::Busy, &visible(note)))?;
    }
    output.line("")?;
    table(output, &device.containers)
}
