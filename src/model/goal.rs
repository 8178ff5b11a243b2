//! How far a container is on its way, with the place it must get to.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Where a container is.
///
/// ```text
/// INSTALLED -> MOUNTED -> BLOCKED -> STARTING -> STARTED -> READY
///     ^                                  |          |         |
///     |                                  v          v         v
///     +------------------------------ RECOVERING <--+---------+      (ended, waits for its next try)
///                                     STOPPING -> STOPPED            (on request, in an update, at shutdown)
/// ```
///
/// The order of the variants is the order in which the lowest one names a group's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Ended on request, by giving up, or because it was meant to end.
    Stopped,
    /// Asked to end, or being forced to.
    Stopping,
    /// It ended, and waits for its next try.
    Recovering,
    /// Present, whole, nothing mounted.
    Installed,
    /// Its volumes are mounted.
    Mounted,
    /// A container of an earlier group has not met its goal yet.
    Blocked,
    /// Being started.
    Starting,
    /// Its first process has been executed.
    Started,
    /// It said so.
    Ready,
}

impl Status {
    /// As the field writes it, in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Stopped => "STOPPED",
            Status::Stopping => "STOPPING",
            Status::Recovering => "RECOVERING",
            Status::Installed => "INSTALLED",
            Status::Mounted => "MOUNTED",
            Status::Blocked => "BLOCKED",
            Status::Starting => "STARTING",
            Status::Started => "STARTED",
            Status::Ready => "READY",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a container must get to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StatusGoal {
    /// Its volumes are mounted; it starts nothing.
    Mounted,
    /// Its first process has been executed.
    Started,
    /// It said that it is ready.
    Ready,
}

impl StatusGoal {
    /// Whether a container with this goal meets it while it is `status`.
    pub fn is_met_by(self, status: Status) -> bool {
        match self {
            StatusGoal::Mounted => status >= Status::Mounted,
            StatusGoal::Started => status >= Status::Started,
            StatusGoal::Ready => status >= Status::Ready,
        }
    }

    /// As the field writes it, in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusGoal::Mounted => "MOUNTED",
            StatusGoal::Started => "STARTED",
            StatusGoal::Ready => "READY",
        }
    }
}

impl fmt::Display for StatusGoal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
