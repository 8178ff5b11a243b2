//! What survives a power cut, with its format version.
//!
//! One value, saved whole before anything it says is acted on. The store keeps two copies with a generation and a checksum.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, RevisionId};
use crate::progress::Progress;

/// Everything the engine must remember across power cuts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The rollback point: the last revision that was committed. The factory revision until the first commit.
    pub committed: RevisionId,
    /// Whether `committed` ever met all its goals (false only for a factory revision that has not yet).
    pub proven: bool,
    /// The rollback point before this one, whole and pinned.
    pub previous: Option<RevisionId>,
    /// The update under way.
    pub trial: Option<Trial>,
    /// Revisions that failed, with how; they are not tried again by themselves. Bounded to the 32 latest.
    pub failures: BTreeMap<RevisionId, FailureRecord>,
    /// Goals missed outside an update, on the committed revision. Bounded to one per container.
    pub missed: BTreeMap<ContainerName, String>,
    /// Progress documents that were decided and not yet seen written. DONE is written last.
    pub unwritten: BTreeMap<RevisionId, Progress>,
    /// Starts of the agent on `committed` that ended before it settled, running on.
    pub unsettled_starts: u32,
    /// Reboots (or fresh starts) that a backoff policy decided since all goals were last met.
    pub policy_reboots: u32,
    /// Fallbacks to `previous` because the agent kept dying (at most one until something commits).
    pub fell_back: bool,
}

/// An update that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trial {
    /// The revision being tried.
    pub revision: RevisionId,
    /// The revision that a rollback returns to; verified whole before the trial began, and pinned.
    pub fallback: RevisionId,
    /// Whether its commit point is the boot loader's write or `Durable`'s.
    pub kind: TrialKind,
    /// How far it got.
    pub stage: TrialStage,
    /// How often it was interrupted, running on.
    pub interruptions: u32,
}

/// What an update needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialKind {
    /// The changed containers restart.
    Restart,
    /// Everything stops, and the new revision is booted as a try.
    Reboot,
}

/// How far a trial got.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialStage {
    /// Saved, not booted or started yet.
    Begun,
    /// A reboot trial: its one boot has happened.
    Booted,
    /// Decided good; the boot loader, then the progress document, follow.
    Committing,
    /// Decided bad, with how; the fallback is coming back.
    RollingBack(FailureRecord),
}

/// How a revision failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The field's sentence: `Status goal not reached`, …
    pub message: String,
    /// Which container, which step, which errno: a line each.
    pub details: Vec<String>,
    /// How often it was merely interrupted; counted as failed only after three.
    pub interruptions: u32,
    /// Whether it counts as failed (LOCAL_RUN answers 409 unless forced).
    pub final_: bool,
}

impl Durable {
    /// The format this version reads and writes.
    pub const VERSION: u32 = 1;

    /// A device that has just been made, with its factory revision in the store.
    pub fn factory() -> Durable {
        Durable {
            committed: RevisionId::factory(),
            proven: false,
            previous: None,
            trial: None,
            failures: BTreeMap::new(),
            missed: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            unsettled_starts: 0,
            policy_reboots: 0,
            fell_back: false,
        }
    }
}
