//! Moves a container through its life: by its timers, by its fate, by what is reported of it.

use alloc::format;
use alloc::sync::Arc;
use core::time::Duration;

use model::goal::StatusGoal;
use model::ids::Generation;
use model::recovery::Lifetime;
use model::report::{Exit, Failure};

use crate::action::{Action, StopHow};
use crate::container::{Fate, GaveUp, Keep, Life, Mounts, Rest, Rules, Said, Slot, Starts, StopStage};
use crate::event::{Former, FormerReady};
use crate::recovery::{self, Ending, Next};
use crate::thought::Thought;
use crate::time::Time;

/// Whether a former life goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attached {
    Yes,
    No,
}

impl Slot {
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
    pub(crate) fn starts(&self) -> bool {
        self.spec.container.status_goal != StatusGoal::Mounted
    }

    fn mount(&mut self, generation: Generation, until: Time, thought: &mut Thought) {
        let (container, revision) = (self.name().clone(), self.spec.revision.id().clone());
        self.mounted_of = revision.clone();
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

    /// A life of a former agent becomes its own, if it was started as this container.
    pub(crate) fn attach(
        &mut self,
        generation: Generation,
        former: &Former,
        thought: &mut Thought,
    ) -> Attached {
        match former {
            Former::Runs { pid, fingerprint, ready, mounted_of }
                if *fingerprint == self.spec.container.fingerprint() =>
            {
                let ready = match ready {
                    FormerReady::Said => Said::Ready,
                    FormerReady::NotSaid => Said::Nothing,
                };
                self.mounted_of = mounted_of.clone();
                let life = Life::Running { generation, pid: *pid, since: thought.now, ready };
                self.pass(life, "a former agent started it", thought);
                Attached::Yes
            }
            Former::Runs { .. } | Former::Unfit => Attached::No,
        }
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
        if self.spec.container.status_goal != StatusGoal::Ready {
            return Err("its goal is not READY");
        }
        match &mut self.life {
            Life::Starting { ready: Said::Ready, .. } | Life::Running { ready: Said::Ready, .. } => Ok(()),
            Life::Starting { generation, ready, .. } => {
                *ready = Said::Ready;
                let generation = *generation;
                thought.act(Action::NoteReady { container: self.name().clone(), generation });
                Ok(())
            }
            &mut Life::Running { generation, .. } => {
                thought.act(Action::NoteReady { container: self.name().clone(), generation });
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
        let lived =
            if let Life::Running { since, .. } = self.life { thought.now - since } else { Duration::ZERO };
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
