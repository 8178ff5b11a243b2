//! Verify, try, test, commit, roll back.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use model::durable::{FailureRecord, Trial, TrialKind, TrialStage};
use model::ids::{RequestId, RevisionId};
use model::plan::Needs;
use model::progress::{Progress, UpdateStatus};
use model::report::{Failure, FailureKind, Happening};
use model::request::{AfterShutdown, Refusal, Reply};
use model::revision::Revision;

use crate::Engine;
use crate::action::Action;
use crate::container::{Fate, Goal, Life, Rest, Slot, Spec, Stakes};
use crate::course::{Back, Check, Course, Departure, LeaveStage, Told, TryStage, Verifying, Why};
use crate::plan;
use crate::thought::{Moved, Thought};
use crate::time::Time;

/// At most so many failures are remembered.
const FAILURES: usize = 32;
/// A trial that was merely interrupted this often, running on, counts as failed.
const INTERRUPTIONS: u32 = 3;
/// A progress document's `logs` has at most so many bytes.
const LOGS: usize = 4096;
/// Reading every object of a revision may take this many effects' time.
pub(crate) const LONG_EFFECT: u32 = 10;

/// Whether a progress document must survive a power cut before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    Yes,
    No,
}

/// Why an update is not tried, or does not go on.
pub(crate) struct Verdict {
    pub(crate) message: &'static str,
    pub(crate) details: Vec<String>,
}

impl Engine {
    /// LOCAL_RUN.
    pub(crate) fn run(
        &mut self,
        request: RequestId,
        revision: RevisionId,
        force: bool,
        thought: &mut Thought,
    ) {
        if let Err(refusal) = self.may_run(&revision, force, thought) {
            return self.refuse(request, refusal, thought);
        }
        if self.is_only_answering() && revision == self.disk.durable().committed {
            self.disk.change().unsettled_starts = 0;
        }
        self.say(&revision, UpdateStatus::New, "Update ready to be run", &[], Lasting::Yes, thought);
        thought.decided();
        thought.act(Action::Reply { request, reply: Reply::Done });
        let (target, fallback) = (Check::NotAsked, Check::NotAsked);
        self.go(Course::Verifying(Verifying { revision, target, fallback }), "it was asked for", thought);
    }

    fn may_run(&self, revision: &RevisionId, force: bool, thought: &Thought) -> Result<(), Refusal> {
        let durable = self.disk.durable();
        if !matches!(self.course, Course::Running | Course::OnlyAnswering(_)) {
            return Err(Refusal::Busy(self.course.phase()));
        }
        if *revision == durable.committed && !self.is_only_answering() {
            return Err(Refusal::RevisionInUse(revision.clone()));
        }
        if let Some(failure) = durable.failures.get(revision).filter(|failure| failure.final_ && !force) {
            let record = Arc::from(lines(&failure.message, &failure.details));
            return Err(Refusal::FailedBefore { revision: revision.clone(), record });
        }
        if thought.may_decide() { Ok(()) } else { Err(Refusal::NotSaved) }
    }

    /// `Verified` was reported.
    pub(crate) fn verified(
        &mut self,
        revision: &RevisionId,
        outcome: &Result<Arc<Revision>, Failure>,
        thought: &mut Thought,
    ) {
        let committed = self.disk.durable().committed.clone();
        let mut expected = false;
        if let Course::Verifying(verifying) = &mut self.course {
            let (is_target, is_fallback) = (verifying.revision == *revision, committed == *revision);
            for (check, is_it) in [(&mut verifying.target, is_target), (&mut verifying.fallback, is_fallback)]
            {
                if is_it && matches!(check, Check::Asked { .. }) {
                    *check = Check::Done(outcome.clone());
                    expected = true;
                }
            }
        }
        if !expected {
            thought.note(format!("a late report of revision {revision} was dropped"));
        }
    }

    /// Moves the update on as far as what is known allows.
    pub(crate) fn steer(&mut self, thought: &mut Thought) {
        match &self.course {
            Course::Booting(_) => {}
            Course::Running => {
                self.settle(thought);
                self.obey_policies(thought);
            }
            Course::OnlyAnswering(_) => self.finish_rolling_back(thought),
            Course::Verifying(_) => {
                self.settle(thought);
                self.verify(thought);
            }
            Course::Trying { .. } => self.try_on(thought),
            Course::Testing { .. } => self.test_on(thought),
            Course::Committing => self.commit_when_told(thought),
            Course::RollingBack => {
                if self.is_walk_decided(Stakes::Ordinary) {
                    self.finish_rolling_back(thought);
                }
            }
            Course::Departing(_) => self.depart(thought),
        }
    }

    fn verify(&mut self, thought: &mut Thought) {
        let until = thought.now + self.settings.effect_deadline.saturating_mul(LONG_EFFECT);
        let collecting = self.store.is_collecting();
        let committed = self.disk.durable().committed.clone();
        let Course::Verifying(verifying) = &mut self.course else { return };
        let same = verifying.revision == committed;
        let (revision, target, fallback) =
            (&verifying.revision, &mut verifying.target, &mut verifying.fallback);
        ask(target, revision, until, collecting, Twin::No, thought);
        ask(fallback, &committed, until, collecting, if same { Twin::Yes } else { Twin::No }, thought);
        let (Check::Done(target), Check::Done(fallback)) = (&*target, &*fallback) else { return };
        if !thought.may_decide() {
            return;
        }
        let (revision, target, fallback) = (revision.clone(), target.clone(), fallback.clone());
        match self.judge_revisions(target, fallback) {
            Ok((target, fallback, needs)) => self.begin(&target, fallback, needs, thought),
            Err(verdict) => {
                let Verdict { message, details } = verdict;
                self.say(&revision, UpdateStatus::WontGo, message, &details, Lasting::Yes, thought);
                thought.decided();
                self.go_on(message, thought);
            }
        }
    }

    /// Whether the target can be tried, and what that takes.
    fn judge_revisions(
        &self,
        target: Result<Arc<Revision>, Failure>,
        fallback: Result<Arc<Revision>, Failure>,
    ) -> Result<(Arc<Revision>, Arc<Revision>, Needs), Verdict> {
        let target = target.map_err(|failure| refused(&failure))?;
        let fallback = fallback.map_err(|failure| Verdict {
            message: "Internal error",
            details: vec![format!("the revision to fall back to is not whole: failed to {}", failure.detail)],
        })?;
        if !target.unsupported().is_empty() {
            let details = target.unsupported().iter().map(ToString::to_string).collect();
            return Err(Verdict { message: "Update aborted", details });
        }
        let plan = plan::diff(&fallback, &target);
        match (&self.settings.reboot_updates, plan.needs) {
            (Err(why), Needs::Reboot) => {
                let mut details = vec![format!("it needs a reboot: {why}")];
                details.extend(plan.reboot_because);
                Err(Verdict { message: "Update aborted", details })
            }
            (_, needs) => Ok((target, fallback, needs)),
        }
    }

    fn begin(
        &mut self,
        target: &Arc<Revision>,
        fallback: Arc<Revision>,
        needs: Needs,
        thought: &mut Thought,
    ) {
        let revision = target.id().clone();
        let kind = if needs == Needs::Reboot { TrialKind::Reboot } else { TrialKind::Restart };
        let durable = self.disk.change();
        let before = durable.failures.get(&revision).filter(|failure| !failure.final_);
        durable.trial = Some(Trial {
            revision: revision.clone(),
            fallback: durable.committed.clone(),
            kind,
            stage: TrialStage::Begun,
            interruptions: before.map_or(0, |failure| failure.interruptions),
        });
        thought.decided();
        let back = if self.current.is_some() { Back::InPlace(fallback) } else { Back::ToNothing };
        match kind {
            TrialKind::Restart => {
                let message = "Transitioning to new revision without rebooting";
                self.say(&revision, UpdateStatus::InProgress, message, &[], Lasting::Yes, thought);
                self.go(Course::Trying { back, stage: TryStage::Transitioning }, message, thought);
                self.turn_to(Some(target), thought);
            }
            TrialKind::Reboot => {
                self.say(&revision, UpdateStatus::InProgress, "Rebooting", &[], Lasting::Yes, thought);
                self.leave(
                    Why::Try(back),
                    AfterShutdown::Restart,
                    "to boot the new revision as a try",
                    thought,
                );
            }
        }
    }

    /// From now on this is what must run. Containers that it does not change are left alone.
    pub(crate) fn turn_to(&mut self, target: Option<&Arc<Revision>>, thought: &mut Thought) {
        self.released = 0;
        self.current = target.cloned();
        thought.moved = Moved::Yes;
        self.slots.change(
            |_| true,
            |slot| {
                let next = target.and_then(|revision| {
                    revision.container(slot.name()).map(|container| Spec::new(revision, container))
                });
                match next {
                    Some(next) => turn_slot(slot, next, thought),
                    None => {
                        slot.fate = Fate::Remove;
                        slot.goal = Goal::Waiting;
                    }
                }
            },
        );
        let Some(revision) = target else { return };
        for container in revision.containers() {
            self.slots.add(Slot::new(Spec::new(revision, container)));
        }
    }

    fn try_on(&mut self, thought: &mut Thought) {
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

    fn test_on(&mut self, thought: &mut Thought) {
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
        let reboot = self.disk.durable().trial.as_ref().is_some_and(|trial| trial.kind == TrialKind::Reboot);
        if reboot && self.loader != crate::loader::Loader::Absent {
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

    fn commit_when_told(&mut self, thought: &mut Thought) {
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
        match back {
            Back::InPlace(revision) => {
                self.go(Course::RollingBack, &reason, thought);
                self.turn_to(Some(&revision), thought);
            }
            Back::ToNothing => {
                self.go(Course::RollingBack, &reason, thought);
                self.turn_to(None, thought);
            }
            Back::Reboot => self.leave(Why::Back, AfterShutdown::Restart, &reason, thought),
        }
    }

    /// A trial that cannot even be booted.
    pub(crate) fn fail_departure(&mut self, detail: String, thought: &mut Thought) {
        self.fail(Verdict { message: "Internal error", details: vec![detail] }, thought);
    }

    /// What was before is back: the record of the failure lasts, and the progress document says it.
    pub(crate) fn finish_rolling_back(&mut self, thought: &mut Thought) {
        let Some(Trial { revision, stage: TrialStage::RollingBack(record), .. }) =
            self.disk.durable().trial.clone()
        else {
            return self.go_on("", thought);
        };
        if !thought.may_decide() {
            return;
        }
        self.disk.change().trial = None;
        self.remember_failure(&revision, record.clone());
        let message = record.message.clone();
        self.say(&revision, UpdateStatus::Error, &message, &record.details, Lasting::Yes, thought);
        thought.decided();
        self.go_on("the last good revision is back", thought);
    }

    pub(crate) fn remember_failure(&mut self, revision: &RevisionId, record: FailureRecord) {
        let failures = &mut self.disk.change().failures;
        if failures.len() >= FAILURES && !failures.contains_key(revision) {
            let oldest = failures.iter().min_by_key(|(_, failure)| failure.final_).map(|(id, _)| id.clone());
            oldest.map(|id| failures.remove(&id));
        }
        failures.insert(revision.clone(), record);
    }

    /// Back to Running, or to answering only where nothing runs.
    fn go_on(&mut self, reason: &str, thought: &mut Thought) {
        match (&self.current, &self.course) {
            (Some(_), Course::Running) | (None, Course::OnlyAnswering(_)) => {}
            (Some(_), _) => self.go(Course::Running, reason, thought),
            (None, _) => self.go(Course::OnlyAnswering(Arc::from(reason)), reason, thought),
        }
    }

    pub(crate) fn go(&mut self, course: Course, reason: &str, thought: &mut Thought) {
        let (from, to) = (self.course.phase(), course.phase());
        self.course = course;
        thought.moved = Moved::Yes;
        if from != to {
            thought.tell(Happening::Phase { phase: to, reason: Arc::from(reason) });
        }
    }

    pub(crate) fn leave(&mut self, why: Why, then: AfterShutdown, reason: &str, thought: &mut Thought) {
        let departure = Departure { why, then, stage: LeaveStage::Stopping };
        self.go(Course::Departing(departure), reason, thought);
    }

    /// From now on this is how the update of `revision` goes.
    pub(crate) fn say(
        &mut self,
        revision: &RevisionId,
        status: UpdateStatus,
        message: &str,
        details: &[String],
        lasting: Lasting,
        thought: &mut Thought,
    ) {
        let progress = Progress { status, message: message.to_string(), retries: 0, logs: logs(details) };
        if lasting == Lasting::Yes {
            self.disk.change().unwritten.insert(revision.clone(), progress.clone());
        }
        self.documents.put(revision, progress.clone(), None);
        self.update = Some((revision.clone(), progress.clone()));
        thought.moved = Moved::Yes;
        thought.tell(Happening::Update { revision: revision.clone(), progress });
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

    pub(crate) fn is_only_answering(&self) -> bool {
        matches!(self.course, Course::OnlyAnswering(_))
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

/// Whether the target of a check is asked for as the other revision already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twin {
    Yes,
    No,
}

fn ask(
    check: &mut Check,
    revision: &RevisionId,
    until: Time,
    collecting: bool,
    twin: Twin,
    thought: &mut Thought,
) {
    match check {
        Check::NotAsked if !collecting => {
            *check = Check::Asked { until };
            if twin == Twin::No {
                thought.act(Action::Verify { revision: revision.clone() });
            }
        }
        Check::Asked { until } if *until <= thought.now => {
            *check = Check::Done(Err(Failure::new(FailureKind::Transient, "verify the revision in time")));
            thought.moved = Moved::Yes;
        }
        Check::NotAsked | Check::Asked { .. } | Check::Done(_) => {}
    }
}

fn refused(failure: &Failure) -> Verdict {
    let message = match failure.kind {
        FailureKind::Permanent => "State JSON has bad format",
        FailureKind::Missing => "State JSON not found",
        FailureKind::Corrupt | FailureKind::Unsupported => "Update aborted",
        FailureKind::Transient | FailureKind::NoSpace | FailureKind::Denied => "Internal error",
    };
    Verdict { message, details: vec![format!("failed to {}", failure.detail)] }
}

fn turn_slot(slot: &mut Slot, next: Spec, thought: &mut Thought) {
    let same = plan::is_same(&slot.spec.container, &next.container);
    match (&slot.fate, same) {
        (Fate::Stay | Fate::Rest | Fate::Again, true) => {
            slot.spec = next;
            keep_goal(slot, thought);
        }
        (Fate::Stay | Fate::Rest | Fate::Again, false)
        | (Fate::Replace(_) | Fate::Remove | Fate::Depart, _) => {
            slot.fate = Fate::Replace(next);
            slot.goal = Goal::Waiting;
        }
    }
}

/// A container that an update does not touch gets no new walk; one that had given up, or missed its goal, another chance.
fn keep_goal(slot: &mut Slot, thought: &mut Thought) {
    let now = thought.now;
    if slot.fate == Fate::Stay && matches!(slot.life, Life::Stopped(Rest::GaveUp(_))) {
        slot.retries = 0;
        slot.goal = Goal::Waiting;
        slot.pass(Life::Installed, "the update gives it another chance", thought);
    }
    slot.goal = match slot.goal {
        Goal::Lost { .. } | Goal::Missed => {
            Goal::Pending { since: now, until: now + slot.spec.container.deadline }
        }
        same @ (Goal::Waiting | Goal::Pending { .. } | Goal::Met { .. }) => same,
    };
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

fn lines(message: &str, details: &[String]) -> String {
    if details.is_empty() { message.to_string() } else { format!("{message}: {}", details.join("; ")) }
}

/// A line each, cut where the field's document is.
fn logs(details: &[String]) -> String {
    let mut logs = details.join("\n");
    while logs.len() > LOGS {
        logs.pop();
    }
    logs
}
