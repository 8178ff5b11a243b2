//! Where things are in the API: paths made from names that were checked first.

use model::ids::{ContainerName, Digest, RevisionId};

use crate::failed::Failed;

/// A revision on the device, or the one it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Named(RevisionId),
    Current,
}

impl Step {
    pub(crate) fn parse(text: &str) -> Result<Step, Failed> {
        if text == "current" { Ok(Step::Current) } else { revision(text).map(Step::Named) }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Step::Named(revision) => revision.as_str(),
            Step::Current => "current",
        }
    }
}

pub(crate) fn revision(text: &str) -> Result<RevisionId, Failed> {
    text.parse().map_err(|bad: model::ids::BadId| Failed::Usage { text: bad.to_string() })
}

pub(crate) fn container(text: &str) -> Result<ContainerName, Failed> {
    text.parse().map_err(|bad: model::ids::BadId| Failed::Usage { text: bad.to_string() })
}

pub(crate) fn object(digest: &Digest) -> String {
    format!("/objects/{digest}")
}

/// A query's value: everything but the plainest characters as %XX.
pub(crate) fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}
