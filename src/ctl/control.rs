//! What an operator orders: start, stop and restart a container, remove what nothing needs.

use hyper::Method;
use serde::Deserialize;

use crate::address;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::Output;

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
