//! How an update is going, as the progress document of its revision tells it.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Where an update is. UPDATED, DONE, WONTGO and ERROR are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UpdateStatus {
    /// Stored, not asked to run.
    New,
    /// Waits to be tried again.
    Queued,
    /// Its objects are being fetched.
    Downloading,
    /// Being tried.
    InProgress,
    /// Every goal was met; being watched.
    Testing,
    /// Good, but not a rollback point.
    Updated,
    /// Good, and the rollback point.
    Done,
    /// Refused before it was tried.
    WontGo,
    /// Tried, and rolled back.
    Error,
}

impl UpdateStatus {
    /// 0, 5, 25, 50, 75, and 100 for every final one.
    pub fn percent(self) -> u8 {
        match self {
            UpdateStatus::New => 0,
            UpdateStatus::Queued => 5,
            UpdateStatus::Downloading => 25,
            UpdateStatus::InProgress => 50,
            UpdateStatus::Testing => 75,
            UpdateStatus::Updated | UpdateStatus::Done | UpdateStatus::WontGo | UpdateStatus::Error => 100,
        }
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        self.percent() == 100
    }
}

/// The progress document. [`Progress::to_json`] gives the field's form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// Where the update is.
    pub status: UpdateStatus,
    /// One of the field's sentences (spec'd in `engine/update.rs`), matched by tools.
    #[serde(rename = "status-msg")]
    pub message: String,
    /// How often it was tried again.
    pub retries: u32,
    /// Why, in our own words, a line each: which container missed which goal, which step failed with which errno.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logs: String,
}

/// Why bytes are not a progress document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a progress document: {0}")]
pub struct BadProgress(String);

/// The document as it lies on disk and goes to clients.
#[derive(Serialize, Deserialize)]
struct Document<'a> {
    status: UpdateStatus,
    #[serde(rename = "status-msg", default)]
    message: Cow<'a, str>,
    #[serde(skip_deserializing)]
    progress: u8,
    #[serde(default)]
    retries: u32,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    logs: Cow<'a, str>,
}

/// One line of `logs`.
#[derive(Serialize, Deserialize)]
struct LogLine<'a> {
    msg: Cow<'a, str>,
}

impl Progress {
    /// The most that `logs` is in the document, in bytes.
    pub const LOGS: usize = 4096;
    /// The longest document that is read, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Nothing went wrong so far.
    pub fn new(status: UpdateStatus, message: impl Into<String>) -> Progress {
        Progress { status, message: message.into(), retries: 0, logs: String::new() }
    }

    /// The field's form: `progress` as a number, `logs` as JSON lines in one string of at most [`Progress::LOGS`] bytes.
    pub fn to_json(&self) -> String {
        let document = Document {
            status: self.status,
            message: Cow::Borrowed(&self.message),
            progress: self.status.percent(),
            retries: self.retries,
            logs: Cow::Owned(log_lines(&self.logs)),
        };
        serde_json::to_string(&document).expect("strings and numbers are always JSON")
    }

    /// Reads the field's form, also as others write it. Members that are not known are left out.
    pub fn from_json(bytes: &[u8]) -> Result<Progress, BadProgress> {
        if bytes.len() > Progress::MAX_BYTES {
            return Err(BadProgress(format!("{} bytes, more than {}", bytes.len(), Progress::MAX_BYTES)));
        }
        let document: Document<'_> =
            serde_json::from_slice(bytes).map_err(|error| BadProgress(error.to_string()))?;
        let line = |line| serde_json::from_str(line).map_or(Cow::Borrowed(line), |LogLine { msg }| msg);
        let lines: Vec<_> = document.logs.lines().map(line).collect();
        Ok(Progress {
            status: document.status,
            message: document.message.into_owned(),
            retries: document.retries,
            logs: lines.join("\n"),
        })
    }
}

/// As much of a line as always fits, even if each byte has to be written as `\u0000`.
fn beginning(line: &str) -> &str {
    &line[..line.floor_char_boundary(Progress::LOGS / 7)]
}

/// Each line as a JSON object, as many as fit whole.
fn log_lines(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let line = serde_json::to_string(&LogLine { msg: Cow::Borrowed(beginning(line)) })
            .expect("strings are always JSON");
        if lines.len() + line.len() + 1 > Progress::LOGS {
            break;
        }
        if !lines.is_empty() {
            lines.push('\n');
        }
        lines.push_str(&line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_fields_form() {
        let mut progress = Progress::new(UpdateStatus::Testing, "Awaiting to see if update is stable");
        assert_eq!(
            progress.to_json(),
            r#"{"status":"TESTING","status-msg":"Awaiting to see if update is stable","progress":75,"retries":0}"#
        );
        progress.logs = "app: \"x\"\nweb".into();
        assert!(
            progress.to_json().ends_with(r#","logs":"{\"msg\":\"app: \\\"x\\\"\"}\n{\"msg\":\"web\"}"}"#)
        );
        assert_eq!(Progress::from_json(progress.to_json().as_bytes()).unwrap(), progress);
    }

    #[test]
    fn others_documents_are_read() {
        let text = r#"{"status":"DONE","status-msg":"Factory revision","progress":"100","downloads":{"total":{}},"logs":"plain"}"#;
        let progress = Progress::from_json(text.as_bytes()).unwrap();
        assert_eq!((progress.status, progress.logs.as_str()), (UpdateStatus::Done, "plain"));
        assert!(Progress::from_json(b"{}").is_err());
        assert!(Progress::from_json(&[b' '; 100_000]).is_err());
    }

    #[test]
    fn logs_are_cut_between_lines() {
        let mut progress = Progress::new(UpdateStatus::Error, "Internal error");
        progress.logs = "0123456789\n".repeat(1000);
        let document: serde_json::Value = serde_json::from_str(&progress.to_json()).unwrap();
        let logs = document["logs"].as_str().unwrap();
        assert!(logs.len() <= Progress::LOGS && logs.len() > Progress::LOGS - 30);
        progress.logs = "\u{1}é".repeat(1000);
        assert!(
            (500..Progress::LOGS)
                .contains(&Progress::from_json(progress.to_json().as_bytes()).unwrap().logs.len())
        );
        assert!(logs.lines().all(|line| line == r#"{"msg":"0123456789"}"#));
    }
}
