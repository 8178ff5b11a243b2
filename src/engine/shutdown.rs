//! The orderly stop: the last group first, each container asked, then forced; then the agent's life ends.

use alloc::format;

use model::report::Failure;
use model::request::AfterShutdown;

use crate::Engine;
use crate::action::Action;
use crate::container::{Fate, Slot};
use crate::course::{Course, LeaveStage, Why};
use crate::thought::{Moved, Thought};
use crate::time::Time;

/// Where a departure stands.
enum Standing {
    /// Something of it is still awaited.
    Waits,
    /// It may go on.
    Ready,
}

impl Engine {
    /// Moves a departure on.
    pub(crate) fn depart(&mut self, thought: &mut Thought) {
        let Course::Departing(departure) = &self.course else { return };
        match departure.stage {
            LeaveStage::Stopping => {
                if let Standing::Ready = self.stop_last_group(thought) {
                    self.at_stage(LeaveStage::Telling, thought);
                }
            }
            LeaveStage::Telling => self.tell_and_leave(thought),
            LeaveStage::Leaving { until } if until <= thought.now => self.stay("it took too long", thought),
            LeaveStage::Staying { retry_at } if retry_at <= thought.now => {
                self.at_stage(LeaveStage::Telling, thought);
            }
            LeaveStage::Leaving { .. } | LeaveStage::Staying { .. } => {}
        }
    }

    /// Asks the last group that is not gone; ready once all are.
    fn stop_last_group(&mut self, thought: &mut Thought) -> Standing {
        let last =
            self.slots.values().filter(|slot| !slot.is_gone()).map(|slot| slot.spec.container.group).max();
        let Some(last) = last else {
            return if self.leftovers.values().all(|left| left.is_hopeless()) {
                Standing::Ready
            } else {
                Standing::Waits
            };
        };
        let wants = |slot: &Slot| {
            slot.fate != Fate::Depart && (slot.fate != Fate::Stay || slot.spec.container.group >= last)
        };
        self.slots.change(wants, |slot| {
            slot.fate = Fate::Depart;
            thought.moved = Moved::Yes;
        });
        Standing::Waits
    }

    fn tell_and_leave(&mut self, thought: &mut Thought) {
        let wanted = self.wanted_boot();
        let Course::Departing(departure) = &self.course else { return };
        let (why, then) = (departure.why.clone(), departure.then);
        let told = self.loader.is(&wanted);
        match why {
            Why::Try(_) if told => {}
            Why::Try(_) if self.loader.has_failed() => {
                return self.fail_departure("the boot loader could not be told to try it".into(), thought);
            }
            // That this start is counted must be on disk, or boots that go wrong never end. Where that cannot be, it runs here.
            Why::WrongBoot(committed) if self.disk.is_dirty() && !thought.may_decide() => {
                return self.start_walk(&committed, thought);
            }
            // Whatever else is decided is on disk, or will be decided likewise by the next boot; and a boot loader that cannot
            // be told must not leave a device on which nothing runs.
            Why::Back | Why::WrongBoot(_) if told || self.loader.has_failed() => {}
            Why::Asked | Why::Policy => {}
            Why::Try(_) | Why::Back | Why::WrongBoot(_) => return,
        }
        if self.disk.is_dirty() && thought.may_decide() {
            thought.decided();
        }
        thought.act(Action::Leave(then));
        let until = thought.now + self.settings.effect_deadline;
        self.at_stage(LeaveStage::Leaving { until }, thought);
    }

    /// `LeaveFailed` was reported.
    pub(crate) fn leave_failed(&mut self, failure: &Failure, thought: &mut Thought) {
        if let Course::Departing(departure) = &self.course
            && matches!(departure.stage, LeaveStage::Leaving { .. })
        {
            self.stay(&format!("failed to {}", failure.detail), thought);
        }
    }

    fn stay(&mut self, why: &str, thought: &mut Thought) {
        thought.note(format!("could not leave: {why}"));
        let Course::Departing(departure) = &mut self.course else { return };
        match departure.then {
            // A device that stays on must not stay on with nothing running.
            AfterShutdown::PowerOff | AfterShutdown::Reboot => {
                departure.then = AfterShutdown::Restart;
                return self.at_stage(LeaveStage::Telling, thought);
            }
            AfterShutdown::End | AfterShutdown::Restart => {}
        }
        if matches!(departure.why, Why::Try(_)) && thought.may_decide() {
            return self.fail_departure(format!("could not leave: {why}"), thought);
        }
        let retry_at = thought.now + self.settings.effect_deadline;
        self.at_stage(LeaveStage::Staying { retry_at }, thought);
    }

    pub(crate) fn at_stage(&mut self, stage: LeaveStage, thought: &mut Thought) {
        if let Course::Departing(departure) = &mut self.course {
            departure.stage = stage;
            thought.moved = Moved::Yes;
        }
    }

    pub(crate) fn departure_wakes(&self) -> Option<(Time, &'static str)> {
        let Course::Departing(departure) = &self.course else { return None };
        match departure.stage {
            LeaveStage::Leaving { until } => Some((until, "leaving takes too long")),
            LeaveStage::Staying { retry_at } => Some((retry_at, "the next try to leave")),
            LeaveStage::Stopping | LeaveStage::Telling => None,
        }
    }
}
