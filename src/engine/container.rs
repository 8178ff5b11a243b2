//! One container's life, from INSTALLED to STOPPED.

use alloc::format;
use alloc::sync::Arc;

use model::goal::Status;
use model::ids::{ContainerName, Generation};
use model::recovery::Lifetime;
use model::report::{Exit, Failure, Happening};
use model::revision::{Container, Revision};

use crate::action::{Action, StopHow};
use crate::event::Settings;
use crate::recovery::{self, Ending, Next};
use crate::thought::{Moved, Thought};
use crate::time::Time;

/// A container with everything the engine knows of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// What is, or will be, mounted and started.
    pub(crate) spec: Spec,
    pub(crate) life: Life,
    pub(crate) mounts: Mounts,
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
    fn next(self) -> StopStage {
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

    /// Moves as far as it can by itself.
    pub(crate) fn advance(&mut self, rules: Rules<'_>, next: &mut Generation, thought: &mut Thought) -> Keep {
        match self.fate {
            Fate::Stay => {
                self.forward(rules, next, thought);
                Keep::Yes
            }
            Fate::Rest | Fate::Again | Fate::Replace(_) | Fate::Remove | Fate::Depart => {
                self.backward(rules, thought)
            }
        }
    }

    fn forward(&mut self, rules: Rules<'_>, next: &mut Generation, thought: &mut Thought) {
        let now = thought.now;
        let due = now + rules.settings.effect_deadline;
        match self.life {
            Life::Installed if rules.starts == Starts::Allowed => {
                let generation = *next;
                *next = next.next();
                match self.mounts {
                    Mounts::None => self.mount(generation, due, thought),
                    Mounts::Held(_) => {
                        self.pass(Life::Mounted { generation }, "its mounts are held", thought)
                    }
                    Mounts::Doubtful(mounted) => self.unmount(mounted, due, thought),
                }
            }
            Life::Mounted { generation } if self.starts() => {
                self.pass(Life::Blocked { generation }, "", thought);
            }
            Life::Blocked { generation }
                if rules.starts == Starts::Allowed && self.spec.container.group < rules.released =>
            {
                self.start(generation, due, thought);
            }
            Life::Mounting { generation, until } if until <= now => {
                self.mounts = Mounts::Doubtful(generation);
                self.ended(&Ending::Overdue("its mount did not answer in time"), rules, thought);
            }
            Life::Starting { until, .. } if until <= now => {
                self.stop(StopStage::Forced, "its start did not answer in time", due, thought);
            }
            Life::Stopping { stage, until, .. } if until <= now => {
                self.stop(stage.next(), "it did not end in time", due, thought);
            }
            Life::Unmounting { until, .. } if until <= now => {
                thought.note(format!("{}: its unmount did not answer in time", self.name()));
                self.unmounted(thought);
            }
            Life::Recovering { until } if until <= now && rules.starts == Starts::Allowed => {
                self.pass(Life::Installed, "tried again", thought);
            }
            Life::Installed
            | Life::Mounting { .. }
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Starting { .. }
            | Life::Running { .. }
            | Life::Stopping { .. }
            | Life::Unmounting { .. }
            | Life::Recovering { .. }
            | Life::Stopped(_) => {}
        }
    }

    fn backward(&mut self, rules: Rules<'_>, thought: &mut Thought) -> Keep {
        let now = thought.now;
        let due = now + rules.settings.effect_deadline;
        match self.life {
            Life::Starting { .. } | Life::Running { .. } => {
                let why = match self.fate {
                    Fate::Rest | Fate::Again => "on request",
                    Fate::Stay | Fate::Replace(_) => "the update changes it",
                    Fate::Remove => "the update removes it",
                    Fate::Depart => "everything stops",
                };
                self.stop(StopStage::Asked, why, now + rules.settings.stop_grace, thought);
            }
            Life::Stopping { stage, until, .. } if until <= now => {
                self.stop(stage.next(), "it did not obey in time", due, thought);
            }
            Life::Mounting { generation, until } if until <= now => {
                self.mounts = Mounts::Doubtful(generation);
                self.pass(Life::Installed, "its mount did not answer in time", thought);
            }
            Life::Unmounting { until, .. } if until <= now => {
                thought.note(format!("{}: its unmount did not answer in time", self.name()));
                self.unmounted(thought);
            }
            Life::Mounting { .. } | Life::Stopping { .. } | Life::Unmounting { .. } => {}
            Life::Installed
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Recovering { .. }
            | Life::Stopped(_) => return self.fulfil(due, thought),
        }
        Keep::Yes
    }

    /// It has no life and nothing is asked of it: its fate can have its way.
    fn fulfil(&mut self, due: Time, thought: &mut Thought) -> Keep {
        let bare = match (&self.fate, self.mounts) {
            (Fate::Stay | Fate::Rest | Fate::Again, _) | (_, Mounts::None) => true,
            (
                Fate::Replace(_) | Fate::Remove | Fate::Depart,
                Mounts::Held(mounted) | Mounts::Doubtful(mounted),
            ) => {
                self.unmount(mounted, due, thought);
                false
            }
        };
        if !bare {
            return Keep::Yes;
        }
        match &self.fate {
            Fate::Stay => {}
            Fate::Rest if self.life == Life::Stopped(Rest::Asked) => {}
            Fate::Rest => self.pass(Life::Stopped(Rest::Asked), "on request", thought),
            Fate::Again => {
                self.fate = Fate::Stay;
                self.retries = 0;
                self.pass(Life::Installed, "started on request", thought);
            }
            Fate::Replace(next) => {
                self.spec = next.clone();
                self.fate = Fate::Stay;
                self.retries = 0;
                self.pass(Life::Installed, "the update changes it", thought);
            }
            Fate::Remove => return Keep::No,
            Fate::Depart if self.is_gone() => {}
            Fate::Depart => self.pass(Life::Stopped(Rest::Left), "everything stops", thought),
        }
        Keep::Yes
    }

    /// Whether it has a program to start on the way to its goal.
    fn starts(&self) -> bool {
        self.spec.container.status_goal != model::goal::StatusGoal::Mounted
    }

    fn mount(&mut self, generation: Generation, until: Time, thought: &mut Thought) {
        let (container, revision) = (self.name().clone(), self.spec.revision.id().clone());
        thought.act(Action::Mount { container, revision, generation });
        let reason = Arc::clone(&self.reason);
        self.pass(Life::Mounting { generation, until }, reason, thought);
    }

    fn unmount(&mut self, generation: Generation, until: Time, thought: &mut Thought) {
        thought.act(Action::Unmount { container: self.name().clone(), generation });
        let reason = Arc::clone(&self.reason);
        self.pass(Life::Unmounting { generation, until }, reason, thought);
    }

    fn start(&mut self, generation: Generation, until: Time, thought: &mut Thought) {
        let (container, revision) = (self.name().clone(), self.spec.revision.id().clone());
        thought.act(Action::Start { container, revision, generation });
        let life = Life::Starting { generation, since: thought.now, until, ready: Said::Nothing };
        self.pass(life, "", thought);
    }

    fn stop(&mut self, stage: StopStage, why: &str, until: Time, thought: &mut Thought) {
        let Some(generation) = self.living() else { return };
        let since = match self.life {
            Life::Starting { since, .. } | Life::Running { since, .. } | Life::Stopping { since, .. } => {
                since
            }
            Life::Installed
            | Life::Mounting { .. }
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Unmounting { .. }
            | Life::Recovering { .. }
            | Life::Stopped(_) => thought.now,
        };
        let how = if stage == StopStage::Asked { StopHow::Ask } else { StopHow::Force };
        thought.act(Action::Stop { container: self.name().clone(), generation, how });
        self.pass(Life::Stopping { generation, since, stage, until }, why, thought);
    }

    /// `Mounted` was reported for the mount that is asked.
    pub(crate) fn mounted(&mut self, outcome: Result<(), Failure>, rules: Rules<'_>, thought: &mut Thought) {
        let Life::Mounting { generation, .. } = self.life else { return };
        match outcome {
            Ok(()) => {
                self.mounts = Mounts::Held(generation);
                self.pass(Life::Mounted { generation }, "", thought);
            }
            Err(failure) => self.ended(&Ending::NotMounted(failure), rules, thought),
        }
    }

    /// `Unmounted` was reported for the unmount that is asked, or it took too long.
    pub(crate) fn unmounted(&mut self, thought: &mut Thought) {
        self.mounts = Mounts::None;
        let life = if self.fate == Fate::Stay { Life::Installed } else { Life::Stopped(Rest::Asked) };
        let reason = Arc::clone(&self.reason);
        self.pass(life, reason, thought);
    }

    /// `StopFailed` was reported for the life that it has: asking failed, so force; forcing is tried again in time.
    pub(crate) fn stop_failed(&mut self, rules: Rules<'_>, thought: &mut Thought) {
        if let Life::Stopping { stage: StopStage::Asked, .. } = self.life {
            let due = thought.now + rules.settings.effect_deadline;
            self.stop(StopStage::Forced, "it could not be asked to stop", due, thought);
        }
    }

    /// `Started` was reported for the life that it has.
    pub(crate) fn started(&mut self, outcome: Result<u32, Failure>, rules: Rules<'_>, thought: &mut Thought) {
        match (outcome, &self.life) {
            (Ok(pid), &Life::Starting { generation, ready, .. }) => {
                let life = Life::Running { generation, pid, since: thought.now, ready: Said::Nothing };
                self.pass(life, "", thought);
                self.says_ready_if(ready, thought);
            }
            (Ok(_), _) => {}
            (Err(failure), _) => self.ended(&Ending::NotStarted(failure), rules, thought),
        }
    }

    /// A ready that came before exec was reported takes effect.
    fn says_ready_if(&mut self, said: Said, thought: &mut Thought) {
        if let (Said::Ready, &Life::Running { generation, pid, since, .. }) = (said, &self.life) {
            self.pass(Life::Running { generation, pid, since, ready: Said::Ready }, "it said so", thought);
        }
    }

    /// It said that it is ready, in the life that it has; or why that counts for nothing.
    pub(crate) fn says_ready(&mut self, thought: &mut Thought) -> Result<(), &'static str> {
        if self.spec.container.status_goal != model::goal::StatusGoal::Ready {
            return Err("its goal is not READY");
        }
        match &mut self.life {
            Life::Starting { ready, .. } => {
                *ready = Said::Ready;
                Ok(())
            }
            Life::Running { ready: Said::Ready, .. } => Ok(()),
            Life::Running { .. } => {
                self.says_ready_if(Said::Ready, thought);
                Ok(())
            }
            Life::Installed
            | Life::Mounting { .. }
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Stopping { .. }
            | Life::Unmounting { .. }
            | Life::Recovering { .. }
            | Life::Stopped(_) => Err("it is not being started and does not run"),
        }
    }

    /// The life that it has ended.
    pub(crate) fn exited(&mut self, exit: Exit, rules: Rules<'_>, thought: &mut Thought) {
        self.ended(&Ending::Exited(exit), rules, thought);
    }

    /// What follows an end: what its fate says, else what its recovery says.
    fn ended(&mut self, ending: &Ending, rules: Rules<'_>, thought: &mut Thought) {
        let text = ending.text();
        if self.fate != Fate::Stay {
            self.pass(Life::Stopped(Rest::Asked), text, thought);
            return;
        }
        let spec = &self.spec.container;
        if let (Ending::Exited(Exit::Code(0)), Lifetime::Once) = (ending, spec.lifetime) {
            let ready = self.said();
            self.pass(Life::Stopped(Rest::Finished { ready }), text, thought);
            return;
        }
        let lived = if let Life::Running { since, .. } = self.life {
            thought.now - since
        } else {
            Default::default()
        };
        let life = match recovery::after_end(&spec.recovery, self.retries, lived, rules.stakes) {
            Next::Retry { after, retries } => {
                self.retries = retries;
                Life::Recovering { until: thought.now + after }
            }
            Next::GiveUp => Life::Stopped(Rest::GaveUp(GaveUp::ForGood)),
            Next::Reboot => Life::Stopped(Rest::GaveUp(reboot_after(rules, thought.now))),
        };
        self.pass(life, text, thought);
    }

    fn said(&self) -> Said {
        match self.life {
            Life::Starting { ready, .. } | Life::Running { ready, .. } => ready,
            Life::Installed
            | Life::Mounting { .. }
            | Life::Mounted { .. }
            | Life::Blocked { .. }
            | Life::Stopping { .. }
            | Life::Unmounting { .. }
            | Life::Recovering { .. }
            | Life::Stopped(_) => Said::Nothing,
        }
    }
}

fn reboot_after(rules: Rules<'_>, now: Time) -> GaveUp {
    match recovery::policy_reboot_delay(rules.settings, rules.policy_reboots) {
        Some(delay) => GaveUp::RebootAt(now + delay),
        None => GaveUp::ForGood,
    }
}
