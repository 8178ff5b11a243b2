//! A JSON reader for hostile input: bounded in size, depth, count; no key twice; the path of whatever is wrong.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::errors::{Findings, Place, quoted};

/// A JSON value. Members of objects are sorted by key, each key there once.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number.
    Number(Number),
    /// A string.
    Text(Box<str>),
    /// An array.
    Array(Box<[Json]>),
    /// An object, sorted by key.
    Object(Box<[(Box<str>, Json)]>),
}

/// A JSON number. One that is whole and fits is never [`Number::Fraction`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Whole, not negative.
    Whole(u64),
    /// Whole, below zero.
    Negative(i64),
    /// Has a fraction, or is too large for the others.
    Fraction(f64),
}

/// How much JSON is read before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of text.
    pub bytes: usize,
    /// Values, counting every member of every array and object.
    pub values: usize,
    /// Arrays and objects within each other.
    pub depth: usize,
}

impl Limits {
    /// For a state.
    pub const STATE: Limits = Limits { bytes: 4 << 20, values: 1 << 17, depth: 32 };
    /// For one file of a state.
    pub const FILE: Limits = Limits { bytes: 1 << 20, values: 1 << 15, depth: 32 };
}

impl Json {
    /// Reads `text`, which is `file`. What is wrong goes to `findings`; `None` if it cannot be read on.
    pub fn read(file: &str, text: &[u8], limits: Limits, findings: &mut Findings) -> Option<Json> {
        if text.len() > limits.bytes {
            let found = format!("{} bytes", text.len());
            findings.error(file, Place::File, found, format!("JSON of at most {} bytes", limits.bytes));
            return None;
        }
        let mut reading = Reading { file, path: String::new(), limits, values: 0, findings };
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let outcome = Reader { reading: &mut reading, depth: 0 }
            .deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value));
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                let place = place_of(&reading.path);
                reading.findings.error(file, place, broken(&error), "one JSON value, well-formed");
                None
            }
        }
    }

    /// What it is, with its value where that is short: for messages.
    pub fn describe(&self) -> String {
        match self {
            Json::Null => "null".to_string(),
            Json::Bool(value) => value.to_string(),
            Json::Number(_) => crate::canonical::write(self),
            Json::Text(text) => quoted(text),
            Json::Array(items) => format!("an array of {}", items.len()),
            Json::Object(members) => format!("an object of {}", members.len()),
        }
    }
}

/// serde_json's sentence, without what it says about its own types.
fn broken(error: &serde_json::Error) -> String {
    error.to_string()
}

pub(crate) fn place_of(path: &str) -> Place {
    if path.is_empty() { Place::File } else { Place::Path(path.into()) }
}

/// Appends a member to a JSON path: `.key`, or `["odd key"]` where it would be ambiguous. The keys of a state are paths
/// themselves; the first member may look like one.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let first = path.is_empty();
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-' | b'#')
            || (first && matches!(byte, b'/' | b'.'))
    };
    if key.is_empty() || key.len() > 128 || !key.bytes().all(plain) {
        path.push_str(&format!("[{}]", quoted(key)));
    } else {
        if !first {
            path.push('.');
        }
        path.push_str(key);
    }
}

pub(crate) fn push_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}

struct Reading<'a> {
    file: &'a str,
    path: String,
    limits: Limits,
    values: usize,
    findings: &'a mut Findings,
}

struct Reader<'r, 'a> {
    reading: &'r mut Reading<'a>,
    depth: usize,
}

impl Reader<'_, '_> {
    fn inside<E: de::Error>(&mut self) -> Result<usize, E> {
        let most = self.reading.limits.depth;
        if self.depth >= most {
            return Err(E::custom(format_args!("more than {most} arrays and objects within each other")));
        }
        Ok(self.depth + 1)
    }

    fn count<E: de::Error>(&mut self) -> Result<(), E> {
        let most = self.reading.limits.values;
        self.reading.values += 1;
        if self.reading.values > most {
            return Err(E::custom(format_args!("more than {most} values")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    type Value = Json;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(mut self) -> Result<Json, E> {
        self.count()?;
        Ok(Json::Null)
    }

    fn visit_bool<E: de::Error>(mut self, value: bool) -> Result<Json, E> {
        self.count()?;
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: de::Error>(mut self, value: u64) -> Result<Json, E> {
        self.count()?;
        Ok(Json::Number(Number::Whole(value)))
    }

    fn visit_i64<E: de::Error>(mut self, value: i64) -> Result<Json, E> {
        self.count()?;
        Ok(Json::Number(u64::try_from(value).map_or(Number::Negative(value), Number::Whole)))
    }

    fn visit_f64<E: de::Error>(mut self, value: f64) -> Result<Json, E> {
        self.count()?;
        Ok(Json::Number(Number::from_f64(value)))
    }

    fn visit_str<E: de::Error>(mut self, value: &str) -> Result<Json, E> {
        self.count()?;
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Json, A::Error> {
        self.count()?;
        let depth = self.inside()?;
        let start = self.reading.path.len();
        let mut read = Vec::new();
        loop {
            push_index(&mut self.reading.path, read.len());
            let Some(item) = items.next_element_seed(Reader { reading: self.reading, depth })? else { break };
            self.reading.path.truncate(start);
            read.push(item);
        }
        self.reading.path.truncate(start);
        Ok(Json::Array(read.into()))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Json, A::Error> {
        self.count()?;
        let depth = self.inside()?;
        let start = self.reading.path.len();
        let mut read: Vec<(Box<str>, Json)> = Vec::new();
        while let Some(key) = members.next_key::<Box<str>>()? {
            push_key(&mut self.reading.path, &key);
            let value = members.next_value_seed(Reader { reading: self.reading, depth })?;
            self.reading.path.truncate(start);
            read.push((key, value));
        }
        // Which of two twins comes first is all the same: both are refused.
        read.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        self.refuse_twins(&read);
        read.dedup_by(|later, first| later.0 == first.0);
        Ok(Json::Object(read.into()))
    }
}

impl Reader<'_, '_> {
    fn refuse_twins(&mut self, sorted: &[(Box<str>, Json)]) {
        for pair in sorted.windows(2) {
            if pair[0].0 == pair[1].0 {
                let mut path = self.reading.path.clone();
                push_key(&mut path, &pair[0].0);
                let found = format!("the key {} more than once in one object", quoted(&pair[0].0));
                self.reading.findings.error(self.reading.file, place_of(&path), found, "each key once");
            }
        }
    }
}

impl Number {
    fn from_f64(value: f64) -> Number {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value % 1.0 != 0.0 || !(-EXACT..=EXACT).contains(&value) {
            return Number::Fraction(value);
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53 of zero")]
        let whole = value as i64;
        u64::try_from(whole).map_or(Number::Negative(whole), Number::Whole)
    }
}
