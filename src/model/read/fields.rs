//! Walks a JSON value with its path, so that whatever is wrong is said with its place.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;
use core::time::Duration;

use crate::errors::{Findings, Place};
use crate::ids::BadId;
use crate::json::{Json, Number, place_of, push_index, push_key};

/// A value with where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<'j> {
    pub(crate) value: &'j Json,
    pub(crate) file: &'j str,
    pub(crate) path: String,
}

impl<'j> At<'j> {
    pub(crate) fn root(value: &'j Json, file: &'j str) -> At<'j> {
        At { value, file, path: String::new() }
    }

    pub(crate) fn place(&self) -> Place {
        place_of(&self.path)
    }

    /// Says that the value is not what it should be.
    pub(crate) fn refuse(
        &self,
        findings: &mut Findings,
        allowed: impl Into<alloc::borrow::Cow<'static, str>>,
    ) {
        findings.error(self.file, self.place(), self.value.describe(), allowed);
    }

    pub(crate) fn warn(&self, findings: &mut Findings, text: impl Into<String>) {
        findings.warn(self.file, self.place(), text);
    }

    pub(crate) fn fields(&self, findings: &mut Findings, allowed: &'static str) -> Option<Fields<'j>> {
        let Json::Object(members) = self.value else {
            self.refuse(findings, allowed);
            return None;
        };
        let taken = alloc::vec![false; members.len()];
        Some(Fields { file: self.file, path: self.path.clone(), members, taken })
    }

    pub(crate) fn items(
        &self,
        findings: &mut Findings,
        most: usize,
        allowed: &'static str,
    ) -> Option<Vec<At<'j>>> {
        let Json::Array(items) = self.value else {
            self.refuse(findings, allowed);
            return None;
        };
        if items.len() > most {
            self.refuse(findings, format!("at most {most} items"));
            return None;
        }
        Some(items.iter().enumerate().map(|(index, value)| self.item(index, value)).collect())
    }

    fn item(&self, index: usize, value: &'j Json) -> At<'j> {
        let mut path = self.path.clone();
        push_index(&mut path, index);
        At { value, file: self.file, path }
    }

    /// A string of at most `most` bytes, without control characters.
    pub(crate) fn text(&self, findings: &mut Findings, most: usize) -> Option<&'j str> {
        match self.value {
            Json::Text(text) if text.len() <= most && !text.chars().any(char::is_control) => Some(text),
            Json::Text(_) => {
                self.refuse(findings, format!("a string of at most {most} bytes without control characters"));
                None
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                self.refuse(findings, "a string");
                None
            }
        }
    }

    pub(crate) fn filled_text(&self, findings: &mut Findings, most: usize) -> Option<&'j str> {
        let text = self.text(findings, most)?;
        if text.is_empty() {
            self.refuse(findings, "a string of at least one character");
            return None;
        }
        Some(text)
    }

    pub(crate) fn texts(&self, findings: &mut Findings, most: usize) -> Option<Box<[Box<str>]>> {
        let items = self.items(findings, most, "an array of strings")?;
        Some(items.iter().filter_map(|item| item.filled_text(findings, 1024)).map(Box::from).collect())
    }

    pub(crate) fn id<T: FromStr<Err = BadId>>(&self, findings: &mut Findings) -> Option<T> {
        let Json::Text(text) = self.value else {
            self.refuse(findings, "a string");
            return None;
        };
        match text.parse() {
            Ok(id) => Some(id),
            Err(bad) => {
                self.refuse(findings, bad.allowed.trim_start_matches("must be "));
                None
            }
        }
    }

    /// One of the words of `table`.
    pub(crate) fn word<T: Copy>(
        &self,
        findings: &mut Findings,
        table: &[(&str, T)],
        allowed: &'static str,
    ) -> Option<T> {
        let found = match self.value {
            Json::Text(text) => table.iter().find(|(word, _)| **word == **text).map(|(_, meaning)| *meaning),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
        };
        if found.is_none() {
            self.refuse(findings, allowed);
        }
        found
    }

    pub(crate) fn bool(&self, findings: &mut Findings) -> Option<bool> {
        if let Json::Bool(value) = self.value {
            return Some(*value);
        }
        self.refuse(findings, "true or false");
        None
    }

    /// A whole number up to `most`.
    pub(crate) fn whole(&self, findings: &mut Findings, most: u64) -> Option<u64> {
        match self.value {
            Json::Number(Number::Whole(value)) if *value <= most => Some(*value),
            Json::Number(_)
            | Json::Null
            | Json::Bool(_)
            | Json::Text(_)
            | Json::Array(_)
            | Json::Object(_) => {
                self.refuse(findings, format!("a whole number from 0 to {most}"));
                None
            }
        }
    }

    /// A number from 0 to `most`, in thousandths, rounded.
    fn thousandths(&self, findings: &mut Findings, most: u32, allowed: &str) -> Option<u64> {
        let value = match self.value {
            Json::Number(Number::Whole(value)) if *value <= u64::from(most) => Some(*value * 1000),
            Json::Number(Number::Fraction(value)) if *value >= 0.0 && *value <= f64::from(most) => {
                #[expect(clippy::cast_possible_truncation, reason = "checked against `most`")]
                #[expect(clippy::cast_sign_loss, reason = "checked to be positive")]
                let thousandths = (*value * 1000.0 + 0.5) as u64;
                Some(thousandths)
            }
            Json::Number(_)
            | Json::Null
            | Json::Bool(_)
            | Json::Text(_)
            | Json::Array(_)
            | Json::Object(_) => None,
        };
        if value.is_none() {
            self.refuse(findings, format!("{allowed} from 0 to {most}"));
        }
        value
    }

    /// Seconds, up to a year, with at most three decimals kept.
    pub(crate) fn seconds(&self, findings: &mut Findings) -> Option<Duration> {
        const YEAR: u32 = 31_536_000;
        self.thousandths(findings, YEAR, "a number of seconds").map(Duration::from_millis)
    }

    /// A factor from 0 to 1000, in thousandths.
    pub(crate) fn factor(&self, findings: &mut Findings) -> Option<u32> {
        self.thousandths(findings, 1000, "a factor").and_then(|value| u32::try_from(value).ok())
    }
}

/// The members of an object, each to be taken by its exact name.
#[derive(Debug)]
pub(crate) struct Fields<'j> {
    file: &'j str,
    path: String,
    members: &'j [(Box<str>, Json)],
    taken: Vec<bool>,
}

impl<'j> Fields<'j> {
    /// The member of that name, if it is there.
    pub(crate) fn take(&mut self, name: &str) -> Option<At<'j>> {
        let index = self.members.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        self.taken[index] = true;
        Some(self.at(index))
    }

    /// The member of that name; an error if it is missing.
    pub(crate) fn demand(
        &mut self,
        name: &str,
        findings: &mut Findings,
        allowed: &'static str,
    ) -> Option<At<'j>> {
        let found = self.take(name);
        if found.is_none() {
            findings.error(self.file, place_of(&self.path_of(name)), "nothing", allowed);
        }
        found
    }

    /// Every member not taken yet, in key order, with its key. Takes them all.
    pub(crate) fn rest(&mut self) -> Vec<(&'j str, At<'j>)> {
        let left: Vec<usize> = (0..self.members.len()).filter(|index| !self.taken[*index]).collect();
        left.into_iter()
            .map(|index| {
                self.taken[index] = true;
                (&*self.members[index].0, self.at(index))
            })
            .collect()
    }

    /// Warns about every member that nobody took.
    pub(crate) fn finish(mut self, findings: &mut Findings) {
        for (_, unknown) in self.rest() {
            unknown.warn(findings, "unknown key, kept and ignored");
        }
    }

    fn at(&self, index: usize) -> At<'j> {
        let (key, value) = &self.members[index];
        At { value, file: self.file, path: self.path_of(key) }
    }

    fn path_of(&self, key: &str) -> String {
        let mut path = self.path.clone();
        push_key(&mut path, key);
        path
    }
}
