//! An update from being asked for to being begun: what is checked, what is said, what must run from then on.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use model::durable::{Term, Trial, TrialKind, TrialStage};
use model::ids::{RequestId, RevisionId};
use model::plan::Needs;
use model::progress::{Progress, UpdateStatus};
use model::report::{Failure, FailureKind, Happening};
use model::request::{AfterShutdown, Refusal, Reply};
use model::revision::Revision;

use crate::Engine;
use crate::action::Action;
use crate::container::{Fate, Goal, Life, Rest, Slot, Spec, Stakes};
use crate::course::{Back, Check, Course, Departure, LeaveStage, TryStage, Verifying, Why};
use crate::plan;
use crate::thought::{Moved, Thought};
use crate::time::Time;

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

/// What is asked to be run.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) revision: RevisionId,
    /// Even if it failed before.
    pub(crate) force: bool,
    pub(crate) term: Term,
}

/// A revision that can be tried.
struct Triable {
    target: Arc<Revision>,
    /// What comes back if it fails; nothing where nothing runs and nothing is whole.
    fallback: Option<Arc<Revision>>,
    needs: Needs,
    term: Term,
}

/// Why an update is not tried, or does not go on.
pub(crate) struct Verdict {
    pub(crate) message: &'static str,
    pub(crate) details: Vec<String>,
}

impl Engine {
    /// LOCAL_RUN, TRY_ONCE. Where one is tried once, to run what is committed is to return from it.
    pub(crate) fn run(&mut self, request: RequestId, wanted: Wanted, thought: &mut Thought) {
        if let Err(refusal) = self.may_run(&wanted, thought) {
            return self.refuse(request, refusal, thought);
        }
        let Wanted { revision, term, .. } = wanted;
        let once = if let Course::Once(back) = &self.course { Some(back.clone()) } else { None };
        if let Some(back) = once.clone().filter(|_| revision == self.disk.durable().committed) {
            thought.act(Action::Reply { request, reply: Reply::Done });
            return self.come_back(back, "on request", thought);
        }
        if self.is_only_answering() && revision == self.disk.durable().committed {
            self.disk.change().unsettled_starts = 0;
        }
        self.say(&revision, UpdateStatus::New, "Update ready to be run", &[], Lasting::Yes, thought);
        thought.decided();
        thought.act(Action::Reply { request, reply: Reply::Done });
        let (target, fallback) = (Check::NotAsked, Check::NotAsked);
        let verifying = Verifying { revision, term, once, target, fallback };
        self.go(Course::Verifying(verifying), "it was asked for", thought);
    }

    fn may_run(&self, wanted: &Wanted, thought: &Thought) -> Result<(), Refusal> {
        let Wanted { revision, force, term } = wanted;
        let durable = self.disk.durable();
        let is_committed = *revision == durable.committed;
        let in_use = match &self.course {
            Course::Running => is_committed,
            Course::OnlyAnswering(_) => is_committed && *term == Term::Once,
            Course::Once(_) if is_committed && *term == Term::Lasting => return Ok(()),
            Course::Once(Back::Reboot) => return Err(self.only_a_boot_returns()),
            Course::Once(_) => is_committed,
            Course::Booting(_)
            | Course::Verifying(_)
            | Course::Trying { .. }
            | Course::Testing { .. }
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => return Err(Refusal::Busy(self.course.phase())),
        };
        if self.factory.is_under_way() {
            return Err(Refusal::CommandUnderWay);
        }
        if in_use || self.store.is_installing(revision) || self.factory.may_still_change(revision) {
            return Err(Refusal::RevisionInUse(revision.clone()));
        }
        if let Some(failure) = durable.failures.get(revision).filter(|failure| failure.final_ && !force) {
            let record = Arc::from(lines(&failure.message, &failure.details));
            return Err(Refusal::FailedBefore { revision: revision.clone(), record });
        }
        if thought.may_decide() { Ok(()) } else { Err(Refusal::NotSaved) }
    }

    fn only_a_boot_returns(&self) -> Refusal {
        let committed = &self.disk.durable().committed;
        Refusal::Unsupported(Arc::from(format!(
            "a revision is tried once, and only another boot returns from it: LOCAL_RUN {committed} first, which boots"
        )))
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
            Course::Once(_) => self.obey_policies(thought),
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
        let (term, once) = (verifying.term, verifying.once.clone());
        let before = if matches!(once, Some(Back::ToNothing)) { None } else { self.current.clone() };
        match self.judge_revisions(term, before.as_ref(), target, fallback) {
            Ok(triable) => self.begin(triable, thought),
            Err(verdict) => {
                let Verdict { message, details } = verdict;
                self.say(&revision, UpdateStatus::WontGo, message, &details, Lasting::Yes, thought);
                thought.decided();
                match once {
                    Some(back) => self.come_back(back, message, thought),
                    None => self.go_on(message, thought),
                }
            }
        }
    }

    /// Whether the target can be tried, and what that takes.
    fn judge_revisions(
        &self,
        term: Term,
        before: Option<&Arc<Revision>>,
        target: Result<Arc<Revision>, Failure>,
        fallback: Result<Arc<Revision>, Failure>,
    ) -> Result<Triable, Verdict> {
        let target = target.map_err(|failure| refused(&failure))?;
        if !target.unsupported().is_empty() {
            let details = target.unsupported().iter().map(ToString::to_string).collect();
            return Err(Verdict { message: "Update aborted", details });
        }
        let fallback = match fallback {
            Ok(fallback) => fallback,
            // Where nothing runs, nothing can be lost.
            Err(_) if before.is_none() => {
                return Ok(Triable { target, fallback: None, needs: Needs::Restart, term });
            }
            Err(failure) => {
                let details =
                    vec![format!("the revision to fall back to is not whole: failed to {}", failure.detail)];
                return Err(Verdict { message: "Internal error", details });
            }
        };
        let plan = plan::diff(&fallback, &target);
        match (&self.settings.reboot_updates, plan.needs) {
            (Err(why), Needs::Reboot) => {
                let mut details = vec![format!("it needs a reboot: {why}")];
                details.extend(plan.reboot_because);
                Err(Verdict { message: "Update aborted", details })
            }
            (_, needs) => Ok(Triable { target, fallback: before.is_some().then_some(fallback), needs, term }),
        }
    }

    fn begin(&mut self, triable: Triable, thought: &mut Thought) {
        let Triable { target, fallback, needs, term } = triable;
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
            term,
        });
        thought.decided();
        let back = fallback.map_or(Back::ToNothing, Back::InPlace);
        match kind {
            TrialKind::Restart => {
                let message = "Transitioning to new revision without rebooting";
                self.say(&revision, UpdateStatus::InProgress, message, &[], Lasting::Yes, thought);
                self.go(Course::Trying { back, stage: TryStage::Transitioning }, message, thought);
                self.turn_to(Some(&target), thought);
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

    /// Back to Running, or to answering only where nothing runs.
    pub(crate) fn go_on(&mut self, reason: &str, thought: &mut Thought) {
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

    pub(crate) fn is_only_answering(&self) -> bool {
        matches!(self.course, Course::OnlyAnswering(_))
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

pub(crate) fn lines(message: &str, details: &[String]) -> String {
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
