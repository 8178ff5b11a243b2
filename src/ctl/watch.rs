//! `goalctl ps -w`: the containers as they are, then each change as it happens.

use crate::cli::Format;
use crate::client::Client;
use crate::device;
use crate::events::{Events, From, Until};
use crate::failed::Failed;
use crate::output::Output;

pub(crate) async fn containers(client: &Client, output: &Output, format: Format) -> Result<(), Failed> {
    let device = device::read(client).await?;
    let mut events = Events::open(client, Some(From::After(device.event)), Until::Forever).await?;
    if !format.json {
        device::table(output, &device.containers)?;
    }
    while let Some(event) = events.next().await? {
        if matches!(event.kind.as_str(), "status" | "goal-met" | "goal-missed" | "gap") {
            let line = if format.json { event.json() } else { event.line(output) };
            output.line(&line)?;
        }
    }
    Ok(())
}
