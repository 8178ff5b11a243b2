//! `goalctl signal`: what a container says about itself.

use hyper::{Method, StatusCode};

use crate::cli::Signal;
use crate::client::Client;
use crate::failed::Failed;

pub(crate) async fn send(client: &Client, signal: Signal) -> Result<(), Failed> {
    let name = match signal {
        Signal::Ready => "ready",
        Signal::Alive => "alive",
    };
    let body = format!(r#"{{"type":"{name}","payload":""}}"#);
    let answer = client.call(Method::POST, "/signal", body.into_bytes()).await?;
    match answer.expect_success(&format!("signal {name}")) {
        Err(Failed::Refused { status: StatusCode::INTERNAL_SERVER_ERROR, text, .. }) => {
            Err(Failed::Signal { name, text })
        }
        other => other.map(drop),
    }
}
