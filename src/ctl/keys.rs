//! A state as its keys with their own text: what packages and transactions lay over one another.

use std::collections::BTreeMap;

use model::ids::Digest;
use model::parts::{Parts, part_of};
use serde_json::value::RawValue;

use crate::failed::Failed;

pub(crate) const EMPTY: &[u8] = br##"{"#spec":"pantavisor-service-system@1"}"##;

/// Keys that are well-formed, each value as it was written: signatures are made over that text.
#[derive(Debug)]
pub(crate) struct Keys {
    values: BTreeMap<String, Box<RawValue>>,
    parts: Parts,
}

/// What is at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Object(Digest),
    /// Its text.
    Inline(&'a str),
}

impl Keys {
    /// `what` is told where it came from: "read base.json".
    pub(crate) fn parse(what: &str, state: &[u8]) -> Result<Keys, Failed> {
        let failed = |cause: String| Failed::Source { what: what.to_owned(), cause };
        let parts = Parts::read(state).map_err(|errors| failed(errors.to_string()))?;
        let values = serde_json::from_slice(state).map_err(|cause| failed(cause.to_string()))?;
        Ok(Keys { values, parts })
    }

    /// All but `#spec`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let files = self.values.iter().filter(|(key, _)| *key != "#spec");
        files.map(|(key, value)| (key.as_str(), value_of(value)))
    }

    /// What is at that key.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'_>> {
        self.values.get(key).map(|value| value_of(value))
    }

    /// As a transaction keeps it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        written(&self.values)
    }

    /// The state with the package over it: each part that the package has anything of is the package's alone.
    pub(crate) fn with(&self, package: &Keys) -> Vec<u8> {
        let mut values = self.values.clone();
        for part in package.values.keys().map(|key| part_of(key)) {
            values.retain(|key, _| !self.parts.gives_way(&package.parts, part, key));
        }
        for (key, value) in &package.values {
            values.insert(key.clone(), value.clone());
        }
        written(&values)
    }

    /// The state without what the part owns.
    pub(crate) fn without(&self, part: &str) -> Vec<u8> {
        let mut values = self.values.clone();
        values.retain(|key, _| !self.parts.owns(part, key));
        written(&values)
    }
}

fn value_of(value: &RawValue) -> Value<'_> {
    let text = value.get();
    let digest = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')?.parse().ok());
    digest.map_or(Value::Inline(text), Value::Object)
}

/// `#spec` first, then sorted.
fn written(values: &BTreeMap<String, Box<RawValue>>) -> Vec<u8> {
    let mut text = String::from("{");
    let mut write = |key: &str, value: &RawValue| {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(key).to_string());
        text.push(':');
        text.push_str(value.get());
    };
    if let Some(spec) = values.get("#spec") {
        write("#spec", spec);
    }
    for (key, value) in values.iter().filter(|(key, _)| *key != "#spec") {
        write(key, value);
    }
    text.push('}');
    text.into_bytes()
}
