//! What the device is doing as a whole.

use alloc::sync::Arc;

use model::durable::Term;
use model::ids::RevisionId;
use model::report::{Failure, Phase};
use model::request::AfterShutdown;
use model::revision::Revision;

use crate::container::Stakes;
use crate::event::Observed;
use crate::time::Time;

/// What the device is doing.
///
/// ```text
/// Booting -> Running <-> Verifying -> Trying -> Testing -> (Committing ->) Running, one revision further
///    |                      |            |         +--> Once, asked to be tried once --(request)--> Verifying, RollingBack
///    |                      |            |         |
///    |                      | (reboot)   +---------+-> RollingBack -> Running, as before
///    |                      v                      |
///    |                   Departing -> boot -> Trying -> … -> Departing -> boot -> RollingBack
///    +-> OnlyAnswering
/// any of them -> Departing, on request or (Running) by a backoff policy
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Course {
    /// What the shell saw is remembered; nothing is decided.
    Booting(Arc<Observed>),
    /// The committed revision runs.
    Running,
    /// Nothing runs, for this reason.
    OnlyAnswering(Arc<str>),
    /// A revision that was to be tried once has proved stable, and runs until the next boot or request.
    Once(Back),
    /// It runs on while another revision, with the one to fall back to, is checked.
    Verifying(Verifying),
    /// Another revision runs, and must meet every goal.
    Trying { back: Back, stage: TryStage },
    /// It met every goal, and must stay so.
    Testing { back: Back, since: Time, ceiling: Time, told: Told },
    /// A reboot trial is decided good; the boot loader is being told.
    Committing,
    /// The last good revision is coming back.
    RollingBack,
    /// Everything is being stopped, to leave.
    Departing(Departure),
}

/// Two revisions that are being checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Verifying {
    pub(crate) revision: RevisionId,
    pub(crate) term: Term,
    /// What returns from the revision that is tried once and runs meanwhile, if one does.
    pub(crate) once: Option<Back>,
    pub(crate) target: Check,
    pub(crate) fallback: Check,
}

/// How far the check of a revision is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Check {
    /// A collection is under way, which may take it away.
    NotAsked,
    Asked {
        until: Time,
    },
    Done(Result<Arc<Revision>, Failure>),
}

/// How the last good revision comes back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Back {
    /// The changed containers are put back.
    InPlace(Arc<Revision>),
    /// By leaving and being booted again.
    Reboot,
    /// Nothing ran before.
    ToNothing,
}

/// How far a trial is, for its progress document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TryStage {
    /// What it changes or removes is being stopped.
    Transitioning,
    /// That is gone.
    Walking,
}

/// Whether the progress document says that only stability is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    NotYet,
    WaitsForStability,
}

/// How everything is being stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Departure {
    pub(crate) why: Why,
    pub(crate) then: AfterShutdown,
    pub(crate) stage: LeaveStage,
}

/// Why everything is being stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// Somebody asked.
    Asked,
    /// To boot a revision as a try; this one comes back if that cannot be.
    Try(Back),
    /// To boot the last good revision.
    Back,
    /// A backoff policy decided it.
    Policy,
    /// Another revision was booted than this one, which is committed.
    WrongBoot(Arc<Revision>),
}

/// How far a departure got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LeaveStage {
    /// Containers are being stopped, the last group first.
    Stopping,
    /// Nothing is left of any; what was decided is being saved, the boot loader told.
    Telling,
    /// `Leave` is asked.
    Leaving { until: Time },
    /// `Leave` failed.
    Staying { retry_at: Time },
}

impl Course {
    /// As outsiders know it.
    pub(crate) fn phase(&self) -> Phase {
        match self {
            Course::Booting(_) => Phase::Booting,
            Course::Running | Course::Once(_) => Phase::Running,
            Course::OnlyAnswering(_) => Phase::OnlyAnswering,
            Course::Verifying(_) => Phase::Verifying,
            Course::Trying { .. } => Phase::Trying,
            Course::Testing { .. } | Course::Committing => Phase::Testing,
            Course::RollingBack => Phase::RollingBack,
            Course::Departing(departure) => match departure.why {
                Why::Try(_) => Phase::Trying,
                Why::Back => Phase::RollingBack,
                Why::Asked | Why::Policy | Why::WrongBoot(_) => Phase::ShuttingDown,
            },
        }
    }

    /// What an end of a container, or a goal missed, means.
    pub(crate) fn stakes(&self) -> Stakes {
        match self {
            Course::Trying { .. } => Stakes::Trying,
            Course::Testing { .. } => Stakes::Testing,
            Course::Booting(_)
            | Course::Running
            | Course::OnlyAnswering(_)
            | Course::Once(_)
            | Course::Verifying(_)
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => Stakes::Ordinary,
        }
    }
}
