//! User and device metadata: shown, set, removed.

use std::collections::BTreeMap;
use std::io::Read;

use hyper::Method;
use serde_json::value::RawValue;

use crate::address::escape;
use crate::cli::{Meta, MetaAction, Whose};
use crate::client::Client;
use crate::failed::Failed;
use crate::output::{Cell, Output};

/// As many bytes as the agent takes, and one more for it to refuse.
const LONGEST: u64 = 4097;

pub(crate) async fn carry_out(client: &Client, output: &Output, meta: &Meta) -> Result<(), Failed> {
    let list = match meta.whose {
        Whose::User => "/user-meta",
        Whose::Device => "/device-meta",
    };
    let path = |key: &str| format!("{list}/{}", escape(key).replace('/', "%2F"));
    match &meta.action {
        None | Some(MetaAction::Ls) if meta.json => output.json(&client.get(list).await?),
        None | Some(MetaAction::Ls) => {
            let values: BTreeMap<String, Box<RawValue>> = client.get_json(list).await?;
            let rows = values.iter().map(|(key, value)| vec![Cell::plain(key), Cell::plain(text(value))]);
            output.table(&["KEY", "VALUE"], &rows.collect::<Vec<_>>())
        }
        Some(MetaAction::Get { key }) => {
            let values: BTreeMap<String, Box<RawValue>> = client.get_json(list).await?;
            let value = values.get(key).ok_or_else(|| Failed::Source {
                what: format!("read {list}"),
                cause: format!("there is no key {key:?}"),
            })?;
            if meta.json { output.json(value.get().as_bytes()) } else { output.line(&text(value)) }
        }
        Some(MetaAction::Set { key, value }) => {
            let value = match value.as_str() {
                "-" => standard_input()?,
                value => value.as_bytes().to_vec(),
            };
            let answer = client.call(Method::PUT, &path(key), value).await?;
            answer.expect_success(&format!("set {key}")).map(drop)
        }
        Some(MetaAction::Rm { key }) => {
            let answer = client.call(Method::DELETE, &path(key), Vec::new()).await?;
            answer.expect_success(&format!("remove {key}")).map(drop)
        }
    }
}

fn standard_input() -> Result<Vec<u8>, Failed> {
    let mut value = Vec::new();
    let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut value);
    read.map_err(|cause| Failed::Source {
        what: "read standard input".to_owned(),
        cause: cause.to_string(),
    })?;
    Ok(value)
}

/// A text as it was set; JSON as JSON.
fn text(value: &RawValue) -> String {
    serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned())
}
