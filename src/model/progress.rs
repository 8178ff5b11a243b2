//! How an update is going, as the progress document of its revision tells it.

use alloc::string::String;

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
