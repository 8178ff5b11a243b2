//! `goalctl plan`: what an update would do, asked of the agent without doing it.

use serde_json::Value;

use crate::address;
use crate::cli::Format;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::{Output, Tone, visible};

pub(crate) async fn print(
    client: &Client,
    output: &Output,
    from: &str,
    to: &str,
    format: Format,
) -> Result<(), Failed> {
    let (from, to) = (address::Step::parse(from)?, address::Step::parse(to)?);
    let path = format!("/plan?from={}&to={}", from.as_str(), to.as_str());
    let body = client.get(&path).await?;
    if format.json {
        return output.json(&body);
    }
    let plan: serde_json::Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|cause| Failed::BadAnswer { what: format!("GET {path}"), cause: cause.to_string() })?;
    for (what, value) in &plan {
        let heading = output.paint(Tone::Strong, &format!("{what:<10}"));
        output.line(&format!("{heading}{}", listed(value)))?;
    }
    Ok(())
}

/// A list as words, a text as itself, anything else as JSON.
fn listed(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(listed).collect::<Vec<_>>().join(" "),
        Value::String(text) => visible(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => visible(&value.to_string()),
    }
}
