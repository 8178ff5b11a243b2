//! `goalctl diff`: what a working folder changes, key by key, within a document path by path.

use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::author::working::{State, Working};
use crate::bundle::bad;
use crate::cli::Format;
use crate::client::Client;
use crate::failed::Failed;
use crate::folder;
use crate::output::{Output, Tone, visible};
use crate::remote;

/// Of one document; more are counted.
const MOST_PATHS: usize = 20;
const LONGEST_VALUE: usize = 60;

struct Change {
    key: String,
    how: How,
}

enum How {
    New,
    Gone,
    Object,
    /// Path, before, after.
    Document(Vec<(String, Value, Value)>),
}

pub(crate) async fn print(
    client: &Client,
    dir: &Path,
    device: bool,
    output: &Output,
    format: Format,
) -> Result<(), Failed> {
    let working = Working::open(dir)?;
    let before = if device {
        let (state, _) = remote::running(client).await?;
        serde_json::from_slice(&state)
            .map_err(|cause| Failed::BadAnswer { what: "the state".to_owned(), cause: cause.to_string() })?
    } else {
        working.committed()?
    };
    let folder = folder::read(dir)?;
    if let Some(mistake) = folder.mistakes.first() {
        return Err(bad(dir, mistake));
    }
    let after: State = serde_json::from_slice(&folder.state).map_err(|cause| bad(dir, &cause.to_string()))?;
    let changes = changes(&before, &after);
    if format.json {
        let all: Vec<Value> = changes.iter().map(Change::json).collect();
        return output.json(Value::from(all).to_string().as_bytes());
    }
    changes.iter().try_for_each(|change| change.print(output))
}

fn changes(before: &State, after: &State) -> Vec<Change> {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let change = |key: &String| {
        let how = match (before.get(key), after.get(key)) {
            (None, _) => How::New,
            (_, None) => How::Gone,
            (Some(before), Some(after)) => between(before, after)?,
        };
        Some(Change { key: key.clone(), how })
    };
    keys.into_iter().filter_map(change).collect()
}

/// None if they mean the same, however they are written.
fn between(before: &RawValue, after: &RawValue) -> Option<How> {
    let parse = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).unwrap_or_default();
    let (before, after) = (parse(before), parse(after));
    if before == after {
        return None;
    }
    if before.is_string() || after.is_string() {
        return Some(How::Object);
    }
    let mut paths = Vec::new();
    collect(String::new(), &before, &after, &mut paths);
    Some(How::Document(paths))
}

fn collect(path: String, before: &Value, after: &Value, paths: &mut Vec<(String, Value, Value)>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        paths.push((path, before.clone(), after.clone()));
        return;
    };
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        collect(path, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), paths);
    }
}

impl Change {
    fn print(&self, output: &Output) -> Result<(), Failed> {
        let key = visible(&self.key);
        let (tone, mark) = match self.how {
            How::New => (Tone::Good, "+"),
            How::Gone => (Tone::Bad, "-"),
            How::Object | How::Document(_) => (Tone::Busy, "M"),
        };
        output.line(&output.paint(tone, &format!("{mark} {key}")))?;
        let How::Document(paths) = &self.how else { return Ok(()) };
        for (path, before, after) in paths.iter().take(MOST_PATHS) {
            output.line(&format!("    {}: {} -> {}", visible(path), short(before), short(after)))?;
        }
        match paths.len().saturating_sub(MOST_PATHS) {
            0 => Ok(()),
            more => output.line(&format!("    and {more} more")),
        }
    }

    fn json(&self) -> Value {
        let change = match self.how {
            How::New => "new",
            How::Gone => "gone",
            How::Object | How::Document(_) => "changed",
        };
        let mut value = json!({"key": self.key, "change": change});
        if let How::Document(paths) = &self.how {
            let path = |(path, before, after): &(String, Value, Value)| json!({"path": path, "before": before, "after": after});
            value["paths"] = paths.iter().map(path).collect();
        }
        value
    }
}

fn short(value: &Value) -> String {
    if value.is_null() {
        return "nothing".to_owned();
    }
    let text = visible(&value.to_string());
    if text.chars().count() <= LONGEST_VALUE {
        return text;
    }
    let head: String = text.chars().take(LONGEST_VALUE).collect();
    format!("{head}…")
}
