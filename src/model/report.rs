//! What outsiders are told: the device, its groups, its containers, how each effect went, what changed.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::goal::{Status, StatusGoal};
use crate::ids::{ContainerName, Generation, GroupName, RevisionId};
use crate::progress::Progress;
use crate::recovery::{AutoRecovery, RestartPolicy, Role};

/// Why an effect failed: a closed kind for the engine, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What the engine decides on.
    pub kind: FailureKind,
    /// Which step, on which path, with which errno; reads well after "failed to".
    pub detail: Arc<str>,
}

/// What sort of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// May pass by itself.
    Transient,
    /// Will not pass by itself: the revision or its image is wrong.
    Permanent,
    /// No space, no inodes, or a quota.
    NoSpace,
    /// Not permitted, or a read-only disk.
    Denied,
    /// Something named is not there.
    Missing,
    /// Bytes are not what their name or checksum says.
    Corrupt,
    /// Not possible on this device; the detail says what would be needed.
    Unsupported,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// It returned this code.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
    /// Its end was seen, its status went to another (it was not our child).
    Unknown,
}

/// Everything an outsider may know, made new after each step that changed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// The revision that runs, or none before boot was decided and in the mode that only answers.
    pub revision: Option<RevisionId>,
    /// What a rollback would return to.
    pub fallback: RevisionId,
    /// Whether the fallback ever met all its goals.
    pub fallback_proven: bool,
    /// What the device is doing.
    pub phase: Phase,
    /// The status of the whole revision.
    pub status: Option<Status>,
    /// Progress documents that were decided and are not on disk yet.
    pub documents: Vec<(RevisionId, Progress)>,
    /// The update under way, or the last one of this boot.
    pub update: Option<(RevisionId, Progress)>,
    /// In start order.
    pub groups: Vec<GroupReport>,
    /// In key order.
    pub containers: Vec<ContainerReport>,
    /// What an operator should know and no status shows: `signatures: not verified`, warnings of the parser,
    /// goals missed at boot, a disk that cannot be written.
    pub notes: Vec<Arc<str>>,
}

/// What the device is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Boot was not decided yet.
    Booting,
    /// A committed (or factory) revision runs.
    Running,
    /// A new revision is being checked before it is tried.
    Verifying,
    /// A new revision is being tried.
    Trying,
    /// A new revision met every goal and is watched.
    Testing,
    /// The last good revision is being put back.
    RollingBack,
    /// The agent kept dying: it answers, and starts nothing.
    OnlyAnswering,
    /// Everything is being stopped.
    ShuttingDown,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// Its name.
    pub name: GroupName,
    /// READY if every member meets its goal, else the lowest status among those that do not.
    pub status: Status,
    /// The default of its members.
    pub status_goal: StatusGoal,
    /// The default of its members.
    pub restart_policy: RestartPolicy,
    /// The default of its members.
    pub recovery: AutoRecovery,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerReport {
    /// Its name.
    pub name: ContainerName,
    /// The group it starts with.
    pub group: GroupName,
    /// Where it is.
    pub status: Status,
    /// Where it must get to.
    pub status_goal: StatusGoal,
    /// How its goal stands in this walk.
    pub goal: GoalReport,
    /// What an update of it needs.
    pub restart_policy: RestartPolicy,
    /// What it may ask.
    pub role: Role,
    /// When it is tried again.
    pub recovery: AutoRecovery,
    /// How often it was tried again since the count last started.
    pub retries: u32,
    /// Whether it has lived `stable_timeout` since it met its goal.
    pub stable: bool,
    /// Whether it was stopped on request.
    pub user_stopped: bool,
    /// Its life, if it has one now.
    pub generation: Option<Generation>,
    /// Its first process as the host numbers it, from STARTED on.
    pub pid: Option<u32>,
    /// Why it is where it is: the last failure or exit. Empty if nothing went wrong.
    pub reason: Arc<str>,
}

/// How a container's goal stands in this walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GoalReport {
    /// Its deadline does not run yet.
    Waiting,
    /// Its deadline runs.
    Pending,
    /// Met, and still there.
    Met,
    /// Met in this walk, and lost since.
    Lost,
    /// Its deadline passed first.
    Missed,
}

/// Something that happened, for the event stream, the log line and the recorded journal. A step yields them in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A container went from one status to another.
    Status {
        /// Which container.
        container: ContainerName,
        /// Which life, if it has one.
        generation: Option<Generation>,
        /// Where it was.
        from: Status,
        /// Where it is.
        to: Status,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// A container said something.
    Signal {
        /// Which container.
        container: ContainerName,
        /// Which life.
        generation: Generation,
        /// Whether it counted, or why not.
        outcome: Arc<str>,
    },
    /// A container met its goal in this walk.
    GoalMet {
        /// Which container.
        container: ContainerName,
        /// The goal.
        goal: StatusGoal,
        /// From the start of its deadline.
        after: Duration,
    },
    /// A container missed its goal.
    GoalMissed {
        /// Which container.
        container: ContainerName,
        /// The goal.
        goal: StatusGoal,
        /// Its deadline's length.
        deadline: Duration,
    },
    /// An update moved.
    Update {
        /// Which revision.
        revision: RevisionId,
        /// Its progress document from now on.
        progress: Progress,
    },
    /// What the device does changed.
    Phase {
        /// From now on.
        phase: Phase,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// Something odd that changed no status: a late report of a former life, a refused request, a save that failed.
    Note {
        /// For people.
        text: Arc<str>,
    },
}

impl Failure {
    /// A failure of `kind`, with a detail that reads well after "failed to".
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Failure {
        Failure { kind, detail: Arc::from(detail.into()) }
    }
}
