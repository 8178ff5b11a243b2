//! One container's life, from INSTALLED to STOPPED.

use alloc::sync::Arc;

use model::goal::Status;
use model::ids::{ContainerName, Generation, RevisionId};
use model::report::Happening;
use model::revision::{Container, Revision};

use crate::event::Settings;
use crate::thought::{Moved, Thought};
use crate::time::Time;

/// A container with everything the engine knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// What is, or will be, mounted and started.
    pub(crate) spec: Spec,
    pub(crate) life: Life,
    pub(crate) mounts: Mounts,
    /// What it was last mounted of: an update that does not touch it changes `spec`, never this.
    pub(crate) mounted_of: RevisionId,
    pub(crate) fate: Fate,
    pub(crate) goal: Goal,
    /// Tries used up since the count last started.
    pub(crate) retries: u32,
    /// Why it is where it is, for people.
    pub(crate) reason: Arc<str>,
}

/// One container of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Spec {
    pub(crate) revision: Arc<Revision>,
    pub(crate) container: Arc<Container>,
}

/// Where a container is in its life; [`Life::status`] is what outsiders call it.
///
/// ```text
///              Mount            Mounted                     its group           Start            exec
/// Installed ----------> Mounting -----> Mounted -> Blocked ------------> Starting ----> Running (STARTED, then READY)
///     ^                    |                       (goal MOUNTED                |           |
///     | delay over         | failed                 ends at Mounted)           | failed    | ended
///     |                    v                                                   v           v
///     +--------------- Recovering <---------------- tries left --------------- after_end() ----> Stopped
///     |
///     |  any life with a fate other than Stay:   Starting, Running -- Stop --> Stopping -- Exited --> Stopped
///     +--- Unmounting <-- Unmount, where its fate asks for it ------------------------------------------+
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// Nothing is asked.
    Installed,
    /// `Mount` is asked, for the life `generation`.
    Mounting { generation: Generation, until: Time },
    /// Mounted, for the life `generation`.
    Mounted { generation: Generation },
    /// An earlier group has not met its goals.
    Blocked { generation: Generation },
    /// `Start` is asked. A ready that is said now counts when exec is reported.
    Starting { generation: Generation, since: Time, until: Time, ready: Said },
    /// Its program runs.
    Running { generation: Generation, pid: u32, since: Time, ready: Said },
    /// `Stop` is asked; until then it may take.
    Stopping { generation: Generation, since: Time, stage: StopStage, until: Time },
    /// `Unmount` is asked.
    Unmounting { generation: Generation, until: Time },
    /// Waits for its next try.
    Recovering { until: Time },
    /// Has no life.
    Stopped(Rest),
}

/// How far a stop got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StopStage {
    /// Its halt signal.
    Asked,
    /// Everything in it is killed.
    Forced,
    /// That did not help in time; it is tried again and again, and nothing waits for it any more.
    Hopeless,
}

/// Why a container rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rest {
    /// It was asked to, or what follows is its [`Fate`]'s.
    Asked,
    /// It was meant to end, and did so with code 0.
    Finished { ready: Said },
    /// It ended, and no try is left.
    GaveUp(GaveUp),
    /// Everything is being stopped; nothing of it is left.
    Left,
}

/// What follows giving up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum GaveUp {
    /// Nothing: its policy says so, no reboots are left, or the update fails with it.
    ForGood,
    /// A fresh start of everything.
    RebootAt(Time),
}

/// Whether a life said that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Said {
    Ready,
    Nothing,
}

/// What is known of a container's mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mounts {
    /// There are none.
    None,
    /// They are there.
    Held(Generation),
    /// `Mount` never answered: what there is must be taken away before the next one.
    Doubtful(Generation),
}

/// What is to become of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// Forward, to its goal.
    Stay,
    /// Stopped on request; keeps its mounts.
    Rest,
    /// Stopped, then started again; keeps its mounts.
    Again,
    /// Stopped and unmounted; this is mounted and started then.
    Replace(Spec),
    /// Stopped and unmounted; then it is no more.
    Remove,
    /// Stopped and unmounted, because everything is.
    Depart,
}

/// How its goal stands in this walk.
///
/// ```text
/// Waiting --(group released, former life gone)--> Pending --(deadline)--> Missed
///    |                                               |                      | late, outside a trial
///    +---------------------------------------------> Met <------------------+
///                                                    |  ^
///                                                    v  |
///                                                   Lost --(in a trial: fresh deadline)--> Missed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Goal {
    /// Its deadline does not run yet.
    Waiting,
    /// Its deadline runs.
    Pending { since: Time, until: Time },
    /// Met at `at`, and still there; its deadline was `until`.
    Met { at: Time, until: Time },
    /// Met in this walk, and lost; in a trial it must be met again by `until`.
    Lost { until: Time },
    /// Its deadline passed.
    Missed,
}

/// What a container goes by while one event is thought about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) stakes: Stakes,
    pub(crate) starts: Starts,
    /// Groups below this index are released.
    pub(crate) released: usize,
    /// Fresh starts that policies decided already.
    pub(crate) policy_reboots: u32,
}

/// What an end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stakes {
    /// An update is tried.
    Trying,
    /// It met every goal and is watched.
    Testing,
    /// A committed revision runs.
    Ordinary,
}

/// Whether anything may be mounted or started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starts {
    Allowed,
    /// A former life is not seen gone yet, or everything is being stopped.
    Forbidden,
}

/// Whether a slot is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

impl Spec {
    pub(crate) fn new(revision: &Arc<Revision>, container: &Arc<Container>) -> Spec {
        Spec { revision: Arc::clone(revision), container: Arc::clone(container) }
    }
}

impl StopStage {
    /// What follows if it did not help in time.
    pub(crate) fn next(self) -> StopStage {
        match self {
            StopStage::Asked => StopStage::Forced,
            StopStage::Forced | StopStage::Hopeless => StopStage::Hopeless,
        }
    }
}

impl Life {
    fn status(&self) -> Status {
        match self {
            Life::Installed | Life::Mounting { .. } => Status::Installed,
            Life::Mounted { .. } => Status::Mounted,
            Life::Blocked { .. } => Status::Blocked,
            Life::Starting { .. } => Status::Starting,
            Life::Running { ready: Said::Nothing, .. } => Status::Started,
            Life::Running { ready: Said::Ready, .. } => Status::Ready,
            Life::Stopping { .. } => Status::Stopping,
            Life::Recovering { .. } => Status::Recovering,
            Life::Unmounting { .. } | Life::Stopped(_) => Status::Stopped,
        }
    }
}

impl Slot {
    pub(crate) fn new(spec: Spec) -> Slot {
        Slot {
            mounted_of: spec.revision.id().clone(),
            spec,
            life: Life::Installed,
            mounts: Mounts::None,
            fate: Fate::Stay,
            goal: Goal::Waiting,
            retries: 0,
            reason: Arc::from(""),
        }
    }

    pub(crate) fn name(&self) -> &ContainerName {
        &self.spec.container.name
    }

    pub(crate) fn status(&self) -> Status {
        self.life.status()
    }

    /// What it will be once its fate is fulfilled.
    pub(crate) fn aim(&self) -> &Container {
        match &self.fate {
            Fate::Replace(next) => &next.container,
            Fate::Stay | Fate::Rest | Fate::Again | Fate::Remove | Fate::Depart => &self.spec.container,
        }
    }

    /// The life it has, or is being given or mounted for.
    pub(crate) fn generation(&self) -> Option<Generation> {
        match self.life {
            Life::Mounting { generation, .. }
            | Life::Mounted { generation }
            | Life::Blocked { generation }
            | Life::Starting { generation, .. }
            | Life::Running { generation, .. }
            | Life::Stopping { generation, .. } => Some(generation),
            Life::Installed | Life::Unmounting { .. } | Life::Recovering { .. } | Life::Stopped(_) => None,
        }
    }

    /// The life that a process may have.
    pub(crate) fn living(&self) -> Option<Generation> {
        match self.life {
            Life::Starting { generation, .. }
            | Life::Running { generation, .. }
            | Life::Stopping { generation, .. } => Some(generation),
            Life::Installed
            | Life::Mounting { .. }
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Unmounting { .. }
            | Life::Recovering { .. }
            | Life::Stopped(_) => None,
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        if let Life::Running { pid, .. } = self.life { Some(pid) } else { None }
    }

    /// Whether it has reached its goal, and is still there or beyond.
    pub(crate) fn meets_goal(&self) -> bool {
        let goal = self.spec.container.status_goal;
        match (&self.fate, &self.life) {
            (Fate::Stay, Life::Stopped(Rest::Finished { ready })) => {
                goal.is_met_by(if *ready == Said::Ready { Status::Ready } else { Status::Started })
            }
            (Fate::Stay, life) => goal.is_met_by(life.status()),
            (Fate::Rest | Fate::Again | Fate::Replace(_) | Fate::Remove | Fate::Depart, _) => false,
        }
    }

    /// Whether nothing of it is left, or nothing can be done about what is.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.life, Life::Stopped(Rest::Left) | Life::Stopping { stage: StopStage::Hopeless, .. })
    }

    /// The next time at which it moves by itself.
    pub(crate) fn wakes(&self) -> Option<(Time, &'static str)> {
        match self.life {
            Life::Mounting { until, .. } => Some((until, "a mount takes too long")),
            Life::Starting { until, .. } => Some((until, "a start takes too long")),
            Life::Stopping { until, .. } => Some((until, "a stop takes too long")),
            Life::Unmounting { until, .. } => Some((until, "an unmount takes too long")),
            Life::Recovering { until } => Some((until, "a container's next try")),
            Life::Stopped(Rest::GaveUp(GaveUp::RebootAt(at))) => Some((at, "a policy's reboot")),
            Life::Installed
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Running { .. }
            | Life::Stopped(_) => None,
        }
    }

    /// Goes to `life`, and tells if that is another status.
    pub(crate) fn pass(&mut self, life: Life, reason: impl Into<Arc<str>>, thought: &mut Thought) {
        let (from, reason) = (self.status(), reason.into());
        let was = self.generation();
        self.life = life;
        self.reason = Arc::clone(&reason);
        thought.moved = Moved::Yes;
        let to = self.status();
        if from != to {
            let (container, generation) = (self.name().clone(), self.generation().or(was));
            thought.tell(Happening::Status { container, generation, from, to, reason });
        }
    }

    /// Whether [`Slot::advance`] might do anything. Most containers are where they stay, and cost a glance.
    pub(crate) fn may_move(&self, now: Time, rules: Rules<'_>) -> bool {
        let startable = rules.starts == Starts::Allowed;
        match (&self.fate, &self.life) {
            (
                _,
                Life::Mounting { until, .. } | Life::Stopping { until, .. } | Life::Unmounting { until, .. },
            ) => *until <= now,
            (Fate::Stay, Life::Starting { until, .. }) => *until <= now,
            (Fate::Stay, Life::Recovering { until }) => startable && *until <= now,
            (Fate::Stay, Life::Installed) => startable,
            (Fate::Stay, Life::Mounted { .. }) => self.starts(),
            (Fate::Stay, Life::Blocked { .. }) => startable && self.spec.container.group < rules.released,
            (Fate::Stay, Life::Running { .. } | Life::Stopped(_)) => false,
            (Fate::Rest, Life::Stopped(Rest::Asked)) => false,
            (Fate::Depart, Life::Stopped(Rest::Left)) => false,
            (Fate::Rest | Fate::Again | Fate::Replace(_) | Fate::Remove | Fate::Depart, _) => true,
        }
    }
}
