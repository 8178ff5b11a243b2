//! What an operator orders: containers started and stopped, room given back, a new factory revision, the device's end.

use std::io::{self, BufRead, IsTerminal, Write};

use hyper::Method;
use serde::Deserialize;

use crate::address;
use crate::cli::Sure;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::Output;

/// What is to become of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Reboot,
    Off,
}

pub(crate) async fn ask(client: &Client, action: &str, name: &str) -> Result<(), Failed> {
    let name = address::container(name)?;
    let body = format!(r#"{{"action":"{action}"}}"#);
    let answer = client.call(Method::PUT, &format!("/containers/{name}"), body.into_bytes()).await?;
    answer.expect_success(&format!("{action} {name}")).map(drop)
}

#[derive(Debug, Deserialize)]
struct Collected {
    reclaimed: u64,
}

pub(crate) async fn collect(client: &Client, output: &Output) -> Result<(), Failed> {
    let answer = client.call(Method::POST, "/storage/gc", Vec::new()).await?;
    let body = answer.expect_success("remove what nothing needs")?;
    let collected: Collected = serde_json::from_slice(&body).map_err(|cause| Failed::BadAnswer {
        what: "POST /storage/gc".to_owned(),
        cause: cause.to_string(),
    })?;
    output.line(&format!("{} bytes given back", collected.reclaimed))
}

/// POST /commands, which takes it on or says why not.
pub(crate) async fn command(
    client: &Client,
    op: &str,
    payload: &str,
    more: &str,
    what: &str,
) -> Result<(), Failed> {
    let body = format!(r#"{{"op":"{op}","payload":"{payload}"{more}}}"#);
    let answer = client.call(Method::POST, "/commands", body.into_bytes()).await?;
    answer.expect_success(what).map(drop)
}

pub(crate) async fn make_factory(
    client: &Client,
    output: &Output,
    revision: Option<&str>,
) -> Result<(), Failed> {
    let revision = revision.map(address::revision).transpose()?;
    let payload = revision.as_ref().map_or("", |revision| revision.as_str());
    command(client, "MAKE_FACTORY", payload, "", "make the factory revision").await?;
    let of = if payload.is_empty() { "what runs" } else { payload };
    output.line(&format!("the factory revision, 0, is now the same as {of}"))
}

pub(crate) async fn turn(client: &Client, output: &Output, turn: Turn, sure: Sure) -> Result<(), Failed> {
    let (op, verb, then) = match turn {
        Turn::Reboot => ("REBOOT_DEVICE", "reboot", "reboots"),
        Turn::Off => ("POWEROFF_DEVICE", "switch off", "is switched off"),
    };
    if !sure.yes && !is_meant(verb)? {
        return output.line("nothing was done");
    }
    command(client, op, "", "", &format!("{verb} the device")).await?;
    output.line(&format!("every container is stopped in order, then the device {then}"))
}

/// Asks whoever sits at the terminal.
fn is_meant(verb: &str) -> Result<bool, Failed> {
    if !io::stdin().is_terminal() {
        return Err(Failed::Usage {
            text: format!("{verb} the device? There is no terminal to ask on: say --yes"),
        });
    }
    let mut line = String::new();
    let asked = write!(io::stderr(), "{verb} the device? [y/N] ")
        .and_then(|()| io::stdin().lock().read_line(&mut line));
    asked.map_err(|cause| Failed::Source { what: "ask".to_owned(), cause: cause.to_string() })?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
