//! `goalctl logs`: what a container has written, and goes on writing.

use crate::address;
use crate::cli::Logs;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::Output;

pub(crate) async fn print(client: &Client, output: &Output, logs: &Logs) -> Result<(), Failed> {
    let name = address::container(&logs.name)?;
    let mut query = Vec::new();
    if let Some(tail) = logs.tail {
        query.push(format!("tail={tail}"));
    }
    if let Some(since) = &logs.since {
        query.push(format!("since={}", address::escape(since)));
    }
    if logs.follow {
        query.push("follow=1".to_owned());
    }
    let question = if query.is_empty() { "" } else { "?" };
    let mut stream = client.stream(&format!("/logs/{name}{question}{}", query.join("&"))).await?;
    while let Some(piece) = stream.next().await? {
        output.bytes(&piece)?;
    }
    Ok(())
}
