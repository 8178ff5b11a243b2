//! A state as its keys with their own text: what packages and transactions lay over one another.

use std::collections::{BTreeMap, BTreeSet};

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
        files.map(|(key, value)| {
            let text = value.get();
            let digest = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')?.parse().ok());
            (key.as_str(), digest.map_or(Value::Inline(text), Value::Object))
        })
    }

    /// As a transaction keeps it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        written(self.values())
    }

    /// The state with the package over it: each part that the package has anything of is the package's alone.
    pub(crate) fn with(&self, package: &Keys) -> Vec<u8> {
        let parts: BTreeSet<&str> = package.values.keys().map(|key| part_of(key)).collect();
        let gives_way = |key: &str| parts.iter().any(|part| self.parts.gives_way(&package.parts, part, key));
        let stays = self.values().into_iter().filter(|(key, _)| !gives_way(key));
        written(stays.chain(package.values()).collect())
    }

    /// The state without what the part owns.
    pub(crate) fn without(&self, part: &str) -> Vec<u8> {
        written(self.values().into_iter().filter(|(key, _)| !self.parts.owns(part, key)).collect())
    }

    fn values(&self) -> BTreeMap<&str, &RawValue> {
        self.values.iter().map(|(key, value)| (key.as_str(), &**value)).collect()
    }
}

/// `#spec` first, then sorted.
fn written(mut values: BTreeMap<&str, &RawValue>) -> Vec<u8> {
    let first = values.remove_entry("#spec");
    let mut text = String::from("{");
    for (key, value) in first.into_iter().chain(values) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(key).to_string());
        text.push(':');
        text.push_str(value.get());
    }
    text.push('}');
    text.into_bytes()
}
