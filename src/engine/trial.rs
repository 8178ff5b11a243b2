//! A trial from being begun to its end: try, test, commit, roll back.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use model::durable::{FailureRecord, Term, Trial, TrialKind, TrialStage};
use model::ids::RevisionId;
use model::progress::UpdateStatus;
use model::request::AfterShutdown;

use crate::Engine;
use crate::container::{Fate, Goal, Life, Rest, Slot};
use crate::course::{Back, Course, Departure, Told, TryStage, Why};
use crate::loader::Loader;
use crate::thought::Thought;
use crate::time::Time;
use crate::update::{Lasting, Verdict, lines};

/// At most so many failures are remembered.
const FAILURES: usize = 32;
/// A trial that was merely interrupted this often, running on, counts as failed.
const INTERRUPTIONS: u32 = 3;

impl Engine {
    /// While it is tried: every goal must be met.
    pub(crate) fn try_on(&mut self, thought: &mut Thought) {
        if let Some(verdict) = self.verdict() {
            return self.fail(verdict, thought);
        }
        let Course::Trying { back, stage } = &self.course else { return };
        let (back, stage) = (back.clone(), *stage);
        let Some(revision) = self.current.as_ref().map(|current| current.id().clone()) else { return };
        let clear = !self.slots.values().any(|slot| matches!(slot.fate, Fate::Replace(_) | Fate::Remove));
        if clear && stage == TryStage::Transitioning {
            self.say(&revision, UpdateStatus::InProgress, "Trying new revision", &[], Lasting::No, thought);
            self.course = Course::Trying { back: back.clone(), stage: TryStage::Walking };
        }
        if clear && self.meets_every_goal() {
            let message = match back {
                Back::Reboot => "Awaiting to set rollback point if update is stable",
                Back::InPlace(_) | Back::ToNothing => "Awaiting to see if update is stable",
            };
            self.say(&revision, UpdateStatus::Testing, message, &[], Lasting::No, thought);
            let since = thought.now;
            let ceiling = since + self.settings.commit_delay + self.longest_goal().saturating_mul(3);
            let course = Course::Testing { back, since, ceiling, told: Told::NotYet };
            self.go(course, "every goal is met", thought);
        }
    }

    fn longest_goal(&self) -> Duration {
        let goals = self.slots.values().map(|slot| {
            let container = slot.aim();
            container.deadline.saturating_add(container.recovery.stable_timeout)
        });
        goals.max().unwrap_or_default()
    }

    /// While it is tested: it must stay so.
    pub(crate) fn test_on(&mut self, thought: &mut Thought) {
        let now = thought.now;
        let &Course::Testing { since, ceiling, told, .. } = &self.course else { return };
        if let Some(verdict) = self.verdict() {
            return self.fail(verdict, thought);
        }
        let delay_over = since + self.settings.commit_delay <= now;
        let stable = self.meets_every_goal() && self.stable_at().is_none_or(|at| at <= now);
        match (delay_over, stable) {
            (true, true) => self.accept(thought),
            _ if ceiling <= now => {
                let details = self.unstable();
                self.fail(Verdict { message: "Status goal not reached", details }, thought);
            }
            (true, false) if told == Told::NotYet => self.tell_waiting(thought),
            (true | false, _) => {}
        }
    }

    fn tell_waiting(&mut self, thought: &mut Thought) {
        let Some(revision) = self.current.as_ref().map(|current| current.id().clone()) else { return };
        if let Course::Testing { told, .. } = &mut self.course {
            *told = Told::WaitsForStability;
        }
        let message = "Waiting for all containers to become stable";
        self.say(&revision, UpdateStatus::Testing, message, &[], Lasting::No, thought);
    }

    /// The trial is good.
    fn accept(&mut self, thought: &mut Thought) {
        if !thought.may_decide() {
            return;
        }
        if self.disk.durable().trial.as_ref().is_some_and(|trial| trial.term != Term::Lasting) {
            return self.keep_once(thought);
        }
        let reboot = self.disk.durable().trial.as_ref().is_some_and(|trial| trial.kind == TrialKind::Reboot);
        if reboot && self.loader != Loader::Absent {
            if let Some(trial) = &mut self.disk.change().trial {
                trial.stage = TrialStage::Committing;
            }
            thought.decided();
            self.go(Course::Committing, "it is stable", thought);
        } else {
            self.commit(thought);
            thought.decided();
            self.go(Course::Running, "it is stable", thought);
        }
    }

    /// The trial is good, and was for once: its revision runs on, and what is committed stays what a boot brings.
    fn keep_once(&mut self, thought: &mut Thought) {
        let Course::Testing { back, .. } = &self.course else { return };
        let back = back.clone();
        let Some(trial) = &mut self.disk.change().trial else { return };
        trial.term = Term::OnceProved;
        let revision = trial.revision.clone();
        let message = "Update finished, revision not set as rollback point";
        self.say(&revision, UpdateStatus::Updated, message, &[], Lasting::Yes, thought);
        thought.decided();
        self.go(Course::Once(back), "it is stable, and tried once", thought);
    }

    pub(crate) fn commit_when_told(&mut self, thought: &mut Thought) {
        let told = self.loader.is(&self.wanted_boot());
        if told && thought.may_decide() {
            self.commit(thought);
            thought.decided();
            self.go(Course::Running, "the boot loader knows it", thought);
        }
    }

    /// The trial's revision is the rollback point; what was it before is the one before.
    pub(crate) fn commit(&mut self, thought: &mut Thought) {
        let durable = self.disk.change();
        let Some(trial) = durable.trial.take() else { return };
        if durable.committed != trial.revision {
            durable.previous = Some(core::mem::replace(&mut durable.committed, trial.revision.clone()));
        }
        durable.proven = true;
        durable.failures.remove(&trial.revision);
        durable.missed.clear();
        durable.fell_back = false;
        durable.unsettled_starts = 0;
        durable.policy_reboots = 0;
        let message = "Update finished, revision set as rollback point";
        self.say(&trial.revision, UpdateStatus::Done, message, &[], Lasting::Yes, thought);
    }

    /// The trial is bad: as soon as that is saved, what was before comes back.
    fn fail(&mut self, verdict: Verdict, thought: &mut Thought) {
        if !thought.may_decide() {
            return;
        }
        let back = match &self.course {
            Course::Trying { back, .. } | Course::Testing { back, .. } => back.clone(),
            Course::Departing(Departure { why: Why::Try(back), .. }) => back.clone(),
            Course::Booting(_)
            | Course::Running
            | Course::OnlyAnswering(_)
            | Course::Once(_)
            | Course::Verifying(_)
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => return,
        };
        let reason = lines(verdict.message, &verdict.details);
        if let Some(trial) = &mut self.disk.change().trial {
            trial.stage = TrialStage::RollingBack(FailureRecord {
                message: verdict.message.to_string(),
                details: verdict.details,
                interruptions: trial.interruptions,
                final_: true,
            });
        }
        thought.decided();
        self.come_back(back, &reason, thought);
    }

    /// What was before the trial comes back.
    pub(crate) fn come_back(&mut self, back: Back, reason: &str, thought: &mut Thought) {
        let before = match back {
            Back::InPlace(revision) => Some(revision),
            Back::ToNothing => None,
            Back::Reboot => return self.leave(Why::Back, AfterShutdown::Restart, reason, thought),
        };
        self.go(Course::RollingBack, reason, thought);
        self.turn_to(before.as_ref(), thought);
    }

    /// A trial that cannot even be booted.
    pub(crate) fn fail_departure(&mut self, detail: String, thought: &mut Thought) {
        self.fail(Verdict { message: "Internal error", details: vec![detail] }, thought);
    }

    /// What was before is back: the record of a failure lasts, and the progress document says it. What was tried once, and well,
    /// leaves nothing behind.
    pub(crate) fn finish_rolling_back(&mut self, thought: &mut Thought) {
        let Some(Trial { revision, kind, stage, term, .. }) = self.disk.durable().trial.clone() else {
            return self.go_on("", thought);
        };
        let failure = match (stage, term) {
            (TrialStage::RollingBack(record), _) => Some(record),
            (TrialStage::Begun | TrialStage::Booted | TrialStage::Committing, Term::OnceProved) => None,
            (TrialStage::Begun | TrialStage::Booted | TrialStage::Committing, Term::Lasting | Term::Once) => {
                return self.go_on("", thought);
            }
        };
        // An agent that finds a trial on record takes nothing for granted of the boot loader; so the record goes when that knows,
        // or cannot be told.
        let told =
            kind == TrialKind::Restart || self.loader.is(&self.wanted_boot()) || self.loader.has_failed();
        if !told || !thought.may_decide() {
            return;
        }
        self.disk.change().trial = None;
        if let Some(record) = failure {
            let FailureRecord { message, details, .. } = &record;
            self.say(&revision, UpdateStatus::Error, message, details, Lasting::Yes, thought);
            self.remember_failure(&revision, record);
        }
        thought.decided();
        self.go_on("the last good revision is back", thought);
    }

    pub(crate) fn remember_failure(&mut self, revision: &RevisionId, mut record: FailureRecord) {
        let failures = &mut self.disk.change().failures;
        // A forced try that was merely interrupted does not make good what failed before.
        record.final_ |= failures.get(revision).is_some_and(|before| before.final_);
        if failures.len() >= FAILURES && !failures.contains_key(revision) {
            let oldest = failures.iter().min_by_key(|(_, failure)| failure.final_).map(|(id, _)| id.clone());
            oldest.map(|id| failures.remove(&id));
        }
        failures.insert(revision.clone(), record);
    }

    /// Why the trial fails, if it does.
    fn verdict(&self) -> Option<Verdict> {
        let gave_up = self
            .slots
            .values()
            .filter(|slot| slot.fate == Fate::Stay && matches!(slot.life, Life::Stopped(Rest::GaveUp(_))));
        let details: Vec<String> = gave_up
            .map(|slot| format!("{}: {}, and no try is left (of {})", slot.name(), slot.reason, slot.retries))
            .collect();
        if !details.is_empty() {
            return Some(Verdict { message: "A container could not be started", details });
        }
        let missed = self.slots.values().filter(|slot| slot.goal == Goal::Missed);
        let details: Vec<String> = missed.map(missed_text).collect();
        (!details.is_empty()).then_some(Verdict { message: "Status goal not reached", details })
    }

    /// Who kept the trial from becoming stable.
    fn unstable(&self) -> Vec<String> {
        let unmet = self.slots.values().filter(|slot| slot.fate != Fate::Rest && !slot.meets_goal());
        let mut details: Vec<String> = unmet.map(missed_text).collect();
        if details.is_empty() {
            details.push("a container ended again and again before it was stable".to_string());
        }
        details
    }

    pub(crate) fn meets_every_goal(&self) -> bool {
        self.slots.values().all(|slot| {
            slot.fate == Fate::Rest || (matches!(slot.goal, Goal::Met { .. }) && slot.meets_goal())
        })
    }

    /// When the last container is stable; none waits for anything.
    pub(crate) fn stable_at(&self) -> Option<Time> {
        self.slots.values().filter_map(stable_at).max()
    }

    /// The record of an update that was merely interrupted.
    pub(crate) fn interrupted(trial: &Trial) -> FailureRecord {
        let interruptions = trial.interruptions.saturating_add(1);
        FailureRecord {
            message: "Unexpected rollback".to_string(),
            details: vec![format!(
                "the agent or the device ended while it was tried ({interruptions} of {INTERRUPTIONS} times running)"
            )],
            interruptions,
            final_: interruptions >= INTERRUPTIONS,
        }
    }
}

fn missed_text(slot: &Slot) -> String {
    let (goal, deadline) = (slot.aim().status_goal, slot.aim().deadline);
    let because = if slot.reason.is_empty() { String::new() } else { format!(" ({})", slot.reason) };
    format!(
        "{}: goal {goal} not met in {} s, it is {}{because}",
        slot.name(),
        deadline.as_secs_f32(),
        slot.status()
    )
}

pub(crate) fn stable_at(slot: &Slot) -> Option<Time> {
    match (&slot.life, slot.goal) {
        (Life::Stopped(Rest::Finished { .. }), Goal::Met { at, .. }) => Some(at),
        (_, Goal::Met { at, .. }) => Some(at + slot.spec.container.recovery.stable_timeout),
        (_, Goal::Waiting | Goal::Pending { .. } | Goal::Lost { .. } | Goal::Missed) => None,
    }
}
