//! `goalctl plan`: what an update would do, asked of the agent without doing it.

use serde::Deserialize;

use crate::address;
use crate::cli::Format;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::{Output, Tone, visible};

/// GET /plan.
#[derive(Debug, Deserialize)]
struct Plan {
    from: String,
    to: String,
    needs: String,
    reboot_because: Vec<String>,
    stop: Vec<String>,
    start: Vec<String>,
    restart: Vec<String>,
    mount: Vec<String>,
    stay: Vec<String>,
    fetch: Vec<String>,
}

pub(crate) async fn print(
    client: &Client,
    output: &Output,
    from: &str,
    to: &str,
    format: Format,
) -> Result<(), Failed> {
    let (from, to) = (address::Step::parse(from)?, address::Step::parse(to)?);
    let path = format!("/plan?from={}&to={}", from.as_str(), to.as_str());
    if format.json {
        return output.json(&client.get(&path).await?);
    }
    show(output, &client.get_json(&path).await?)
}

fn show(output: &Output, plan: &Plan) -> Result<(), Failed> {
    let needs = output.paint(Tone::Strong, &visible(&plan.needs));
    output.line(&format!("{} -> {}  needs: {needs}", visible(&plan.from), visible(&plan.to)))?;
    for (what, names) in [
        ("because of", &plan.reboot_because),
        ("stop", &plan.stop),
        ("restart", &plan.restart),
        ("start", &plan.start),
        ("mount", &plan.mount),
        ("stay", &plan.stay),
        ("fetch", &plan.fetch),
    ] {
        if !names.is_empty() {
            output.line(&format!("  {what:<10}  {}", visible(&names.join(" "))))?;
        }
    }
    Ok(())
}
