//! What may be asked of the engine, with every answer it can give.

use alloc::sync::Arc;

use crate::ids::{ContainerName, Generation, RevisionId};
use crate::report::{Failure, Phase};

/// A question that only the engine can answer. Reads (containers, groups, steps, logs) are answered from the published
/// report and the store, and never come here; nor do object uploads, which change nothing that runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// PUT of a step. The shell holds its bytes, staged under the request's id, until the answer.
    Post {
        /// The name it is to get.
        revision: RevisionId,
    },
    /// LOCAL_RUN.
    Run {
        /// Which revision.
        revision: RevisionId,
        /// Even if it failed before.
        force: bool,
    },
    /// TRY_ONCE: it is tried and tested like any other, never committed, and gone with the next boot or request.
    TryOnce {
        /// Which revision.
        revision: RevisionId,
        /// Even if it failed before.
        force: bool,
    },
    /// MAKE_FACTORY.
    MakeFactory {
        /// What becomes the factory revision; what runs, if nothing is named.
        revision: Option<RevisionId>,
    },
    /// PUT of a container.
    Control {
        /// Which container.
        container: ContainerName,
        /// What to do to it.
        control: Control,
    },
    /// POST of a signal. The listener that took it knows who spoke, and in which life.
    Signal {
        /// Who.
        container: ContainerName,
        /// In which life.
        generation: Generation,
        /// What it says.
        signal: Signal,
    },
    /// RUN_GC.
    Collect,
    /// Stop everything in order; the agent then ends (or powers off, or reboots). To end is possible in every phase, and also
    /// where nothing can be saved; everything else waits for the end of an update (`Busy`).
    ShutDown {
        /// What follows.
        then: AfterShutdown,
    },
}

/// What to do to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Control {
    /// From STOPPED, STOPPING or RECOVERING.
    Start,
    /// To STOPPED, where it stays until started or the next boot.
    Stop,
    /// Stop, then start.
    Restart,
}

/// What a container says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// It can do its work.
    Ready,
    /// It is still there.
    Alive,
}

/// What follows an orderly stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AfterShutdown {
    /// The agent's process ends with code 0.
    End,
    /// The agent's life starts over, by re-executing itself or by rebooting where it owns the power.
    Restart,
    /// The device powers off; the agent's life starts over if it cannot.
    PowerOff,
    /// The device reboots; the agent's life starts over if it cannot.
    Reboot,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done, or (Run, Control, ShutDown) begun and saved.
    Done,
    /// Done; bytes given back by the collection.
    Collected {
        /// Bytes.
        reclaimed: u64,
    },
    /// Not done, and nothing changed.
    Refused(Refusal),
}

/// Why a request was refused. `agent/api` turns each into the field's code and text; the text here is our own, fuller one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Boot was not decided yet.
    #[error("the agent has not decided its boot yet")]
    NotBooted,
    /// An update, a rollback or a shutdown is under way: the field's 503 `Cannot do this operation while update is ongoing`.
    #[error("not while the device is {0:?}")]
    Busy(Phase),
    /// A command that was accepted before has not ended: the field's 503 `A command is already in progress. Try again`.
    #[error("another command is being carried out")]
    CommandUnderWay,
    /// The decision could not be saved, so it was not taken.
    #[error("the decision could not be written to disk, so it was not taken")]
    NotSaved,
    /// The step is the running, trying, rollback, previous or factory revision, or is just being stored; or LOCAL_RUN of what runs.
    #[error("revision {0} is in use")]
    RevisionInUse(RevisionId),
    /// No such revision on the device.
    #[error("revision {0} is not on this device")]
    NoSuchRevision(RevisionId),
    /// It failed before; the record says how.
    #[error("revision {revision} failed before: {record}")]
    FailedBefore {
        /// Which revision.
        revision: RevisionId,
        /// Its failure, for people.
        record: Arc<str>,
    },
    /// The step could not be stored.
    #[error("failed to {}", .0.detail)]
    Failed(Failure),
    /// No such container in the running revision.
    #[error("no container {0} in the running revision")]
    NoSuchContainer(ContainerName),
    /// Its restart policy is system.
    #[error("container {0} has restart policy system")]
    NotControllable(ContainerName),
    /// It is not in a state from which it could be started.
    #[error("container must be STOPPED, STOPPING or RECOVERING to be started")]
    CannotStart,
    /// It is not in a state from which it could be stopped or restarted.
    #[error("container's state does not allow it")]
    CannotStop,
    /// The signal was not expected from this container, or from this life of it.
    #[error("signal not expected")]
    UnexpectedSignal,
    /// The device cannot do this; the sentence says why.
    #[error("{0}")]
    Unsupported(Arc<str>),
}
