//! What is recorded of a committed revision once its walk is decided, with what its backoff policies decide.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use model::ids::{ContainerName, RevisionId};
use model::progress::UpdateStatus;
use model::request::AfterShutdown;

use crate::Engine;
use crate::container::{Fate, GaveUp, Goal, Life, Rest, Stakes};
use crate::course::Why;
use crate::groups;
use crate::thought::Thought;
use crate::time::Time;
use crate::update::Lasting;

impl Engine {
    /// Whether every container met its goal in this walk or passed its deadline.
    pub(crate) fn is_walk_decided(&self, stakes: Stakes) -> bool {
        self.slots.values().all(|slot| {
            !matches!(slot.fate, Fate::Replace(_) | Fate::Remove | Fate::Depart)
                && groups::is_decided(slot, stakes)
        })
    }

    /// Takes down what the walk showed. Nothing here keeps anything from starting: it is saved by a wake-up of its own.
    pub(crate) fn settle(&mut self, thought: &mut Thought) {
        // Where nothing runs there is no walk, and nothing to conclude from it; what is tried once says nothing of what is committed.
        if self.current.is_none()
            || self.disk.durable().trial.is_some()
            || !self.is_walk_decided(Stakes::Ordinary)
        {
            return;
        }
        let durable = self.disk.durable();
        let missed = self.missed();
        if durable.unsettled_starts != 0 || durable.missed != missed {
            let durable = self.disk.change();
            durable.unsettled_starts = 0;
            durable.missed = missed;
        }
        let all_met = self.meets_every_goal();
        if !self.disk.durable().proven && all_met && self.slots.values().all(|slot| slot.fate == Fate::Stay) {
            self.prove(thought);
        }
        if self.disk.durable().policy_reboots != 0 && all_met && self.calm_at() <= thought.now {
            self.disk.change().policy_reboots = 0;
        }
    }

    fn missed(&self) -> BTreeMap<ContainerName, String> {
        let missed = self.slots.values().filter(|slot| slot.goal == Goal::Missed);
        missed
            .map(|slot| {
                let container = &slot.spec.container;
                let seconds = container.deadline.as_secs();
                (slot.name().clone(), format!("goal {} not met in {seconds} s", container.status_goal))
            })
            .collect()
    }

    /// The factory revision met every goal: it is a rollback point like any other.
    fn prove(&mut self, thought: &mut Thought) {
        let committed = self.disk.durable().committed.clone();
        self.disk.change().proven = true;
        if committed == RevisionId::factory() {
            self.say(&committed, UpdateStatus::Done, "Factory revision", &[], Lasting::Yes, thought);
        }
    }

    /// When all goals have been met for so long that the reboots of policies are forgotten.
    pub(crate) fn calm_at(&self) -> Time {
        self.stable_at().unwrap_or(Time::ZERO) + self.settings.commit_delay
    }

    /// A container gave up, and its policy asks for a fresh start. That is counted on disk first: it must end some time.
    pub(crate) fn obey_policies(&mut self, thought: &mut Thought) {
        let due = self.slots.values().find(|slot| {
            matches!(slot.life, Life::Stopped(Rest::GaveUp(GaveUp::RebootAt(at))) if at <= thought.now)
        });
        let Some(name) = due.map(|slot| slot.name().clone()) else { return };
        if !thought.may_decide() {
            return;
        }
        let durable = self.disk.change();
        durable.policy_reboots = durable.policy_reboots.saturating_add(1);
        durable.unsettled_starts = durable.unsettled_starts.saturating_sub(1);
        thought.decided();
        let reason = format!("{name} has no try left, and its backoff policy is reboot");
        self.leave(Why::Policy, AfterShutdown::Restart, &reason, thought);
    }
}
