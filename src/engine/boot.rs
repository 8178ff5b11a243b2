//! What a boot leads to: the ordinary start, a try, a commit to finish, a rollback.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;

use model::boot::{BootVars, BootedAs};
use model::durable::{Durable, FailureRecord, Term, Trial, TrialKind, TrialStage};
use model::ids::RevisionId;
use model::plan::Needs;
use model::progress::UpdateStatus;
use model::request::AfterShutdown;
use model::revision::Revision;

use crate::Engine;
use crate::action::{Action, StopHow};
use crate::course::{Back, Course, Departure, LeaveStage, TryStage, Why};
use crate::event::Observed;
use crate::leftover::Leftover;
use crate::life::Attached;
use crate::loader::Loader;
use crate::plan;
use crate::thought::Thought;
use crate::update::Lasting;

/// What a boot leads to, by what was saved with what was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// The committed revision starts.
    Ordinary,
    /// The boot loader committed the trial's revision: the rest follows.
    Commit,
    /// This is the trial's one boot.
    Try,
    /// The trial was decided good; the boot loader may not know yet.
    Tell,
    /// The trial was interrupted; the committed revision was booted.
    Interrupted,
    /// The trial was interrupted by the agent's end alone; another boot is needed.
    InterruptedHere,
    /// The trial was decided bad, or was for once; the committed revision was booted.
    RollBack,
    /// The trial was decided bad, or was for once; another boot is needed.
    RollBackHere,
    /// Something else was booted.
    Wrong,
}

fn lead(durable: &Durable, booted: &BootedAs) -> Lead {
    let Some(trial) = &durable.trial else {
        return match booted {
            BootedAs::Committed(booted) | BootedAs::Trying(booted) if *booted != durable.committed => {
                Lead::Wrong
            }
            BootedAs::Committed(_) | BootedAs::Trying(_) | BootedAs::NoLoader => Lead::Ordinary,
        };
    };
    let (reboot, here) = (trial.kind == TrialKind::Reboot, &trial.revision);
    if trial.term == Term::OnceProved {
        return match booted {
            BootedAs::Trying(booted) if reboot && booted == here => Lead::RollBackHere,
            BootedAs::Committed(_) | BootedAs::Trying(_) | BootedAs::NoLoader => Lead::RollBack,
        };
    }
    let lasts = trial.term == Term::Lasting;
    match (booted, &trial.stage) {
        (BootedAs::Committed(booted), _) if reboot && lasts && booted == here => Lead::Commit,
        (BootedAs::NoLoader, TrialStage::Committing) if reboot => Lead::Commit,
        (BootedAs::NoLoader, TrialStage::Begun) if reboot => Lead::Try,
        (BootedAs::Trying(booted), stage) if reboot && booted == here => match stage {
            TrialStage::Begun => Lead::Try,
            TrialStage::Booted => Lead::InterruptedHere,
            TrialStage::Committing => Lead::Tell,
            TrialStage::RollingBack(_) => Lead::RollBackHere,
        },
        (_, TrialStage::RollingBack(_)) => Lead::RollBack,
        (_, TrialStage::Begun | TrialStage::Booted | TrialStage::Committing) => Lead::Interrupted,
    }
}

impl Engine {
    /// The agent's life begins.
    pub(crate) fn boot(&mut self, observed: &Arc<Observed>, thought: &mut Thought) {
        for (revision, progress) in self.disk.durable().unwritten.clone() {
            self.documents.put(&revision, progress, None);
        }
        let trial = self.disk.durable().trial.clone();
        match (lead(self.disk.durable(), &observed.booted), trial) {
            (Lead::Commit, Some(_)) => {
                self.commit(thought);
                self.start_committed(observed, thought);
            }
            (Lead::Try, Some(trial)) => self.start_trial(&trial, observed, thought),
            (Lead::Tell, Some(trial)) => {
                self.go(Course::Committing, "it was decided good before", thought);
                let revision = whole(observed, &trial.revision).ok().cloned();
                self.turn_to(revision.as_ref(), thought);
            }
            (Lead::Interrupted, Some(trial)) => {
                self.roll_back(Engine::interrupted(&trial));
                self.start_committed(observed, thought);
            }
            (Lead::InterruptedHere, Some(trial)) => {
                self.roll_back(Engine::interrupted(&trial));
                self.leave(Why::Back, AfterShutdown::Restart, "the trial was interrupted", thought);
            }
            (Lead::RollBackHere, Some(_)) => {
                self.leave(Why::Back, AfterShutdown::Restart, "the trial is over", thought);
            }
            (Lead::Wrong, _) => self.correct_boot(observed, thought),
            (Lead::Ordinary | Lead::RollBack, _) => self.start_committed(observed, thought),
            (
                Lead::Commit
                | Lead::Try
                | Lead::Tell
                | Lead::Interrupted
                | Lead::InterruptedHere
                | Lead::RollBackHere,
                None,
            ) => self.start_committed(observed, thought),
        }
        self.meet_former_lives(observed, thought);
    }

    /// A life of a former agent goes on where it is what would be started now. Every other is ended, and seen gone before
    /// anything starts.
    fn meet_former_lives(&mut self, observed: &Observed, thought: &mut Thought) {
        let until = thought.now + self.settings.effect_deadline;
        for ((container, generation), former) in &observed.alive {
            let alone = observed.alive.iter().filter(|((other, _), _)| other == container).count() == 1;
            let slot = self.slots.get_mut(container).filter(|_| alone && may_attach(&self.course));
            if slot.is_some_and(|slot| slot.attach(*generation, former, thought) == Attached::Yes) {
                continue;
            }
            let (container, generation) = (container.clone(), *generation);
            thought.act(Action::Stop { container: container.clone(), generation, how: StopHow::Force });
            self.leftovers.insert((container, generation), Leftover::new(until));
        }
    }

    fn roll_back(&mut self, record: FailureRecord) {
        if let Some(trial) = &mut self.disk.change().trial {
            trial.stage = TrialStage::RollingBack(record);
        }
    }

    fn start_trial(&mut self, trial: &Trial, observed: &Observed, thought: &mut Thought) {
        let revision = match whole(observed, &trial.revision) {
            Ok(revision) => Arc::clone(revision),
            Err(why) => {
                self.roll_back(FailureRecord {
                    message: "Object validation went wrong".to_string(),
                    details: vec![why],
                    interruptions: trial.interruptions,
                    final_: true,
                });
                return self.leave(Why::Back, AfterShutdown::Restart, "it is not whole", thought);
            }
        };
        // That its one boot has happened must be on disk before anything of it starts, or a dying agent tries for ever.
        if !thought.may_decide() {
            return self.leave(
                Why::Back,
                AfterShutdown::Restart,
                "that it was booted could not be saved",
                thought,
            );
        }
        if let Some(trial) = &mut self.disk.change().trial {
            trial.stage = TrialStage::Booted;
        }
        thought.decided();
        self.say(revision.id(), UpdateStatus::InProgress, "Trying new revision", &[], Lasting::No, thought);
        self.go(Course::Trying { back: Back::Reboot, stage: TryStage::Walking }, "its one boot", thought);
        self.turn_to(Some(&revision), thought);
    }

    /// Starts what is committed, or what is left to start, counting that this start has not settled yet.
    fn start_committed(&mut self, observed: &Observed, thought: &mut Thought) {
        let durable = self.disk.change();
        let died = durable.unsettled_starts;
        durable.unsettled_starts = died.saturating_add(1);
        let (committed, previous) = (durable.committed.clone(), durable.previous.clone());
        let worn_out = died >= self.settings.unsettled_starts;
        let why = match whole(observed, &committed) {
            Ok(revision) if !worn_out => return self.start_walk(&Arc::clone(revision), thought),
            Ok(_) => format!("the agent died {died} times running before it had settled"),
            Err(why) => why,
        };
        let may_fall_back = !worn_out || !self.disk.durable().fell_back;
        let factory = (!worn_out).then(RevisionId::factory);
        let candidates = previous.into_iter().chain(factory).filter(|id| *id != committed);
        let found = candidates.filter_map(|id| whole(observed, &id).ok().cloned()).next();
        match found.filter(|_| may_fall_back) {
            Some(revision) => self.fall_back(&revision, &why, observed, thought),
            None => self.go(Course::OnlyAnswering(Arc::from(&*why)), &why, thought),
        }
    }

    pub(crate) fn start_walk(&mut self, revision: &Arc<Revision>, thought: &mut Thought) {
        let back = self.disk.durable().trial.is_some();
        let (course, reason) = if back {
            (Course::RollingBack, "the last good revision was booted")
        } else {
            (Course::Running, "the committed revision was booted")
        };
        self.go(course, reason, thought);
        self.turn_to(Some(revision), thought);
    }

    /// The committed revision cannot be run: an earlier one takes its place, on record.
    fn fall_back(&mut self, revision: &Arc<Revision>, why: &str, observed: &Observed, thought: &mut Thought) {
        let durable = self.disk.change();
        let failed = core::mem::replace(&mut durable.committed, revision.id().clone());
        durable.previous = None;
        durable.proven = *revision.id() != RevisionId::factory();
        durable.fell_back = true;
        durable.unsettled_starts = 1;
        if let Some(trial) = &mut durable.trial {
            trial.fallback = revision.id().clone();
        }
        let details = vec![why.to_string()];
        let message = "Unexpected rollback";
        let record = FailureRecord {
            message: message.to_string(),
            details: details.clone(),
            interruptions: 0,
            final_: true,
        };
        self.remember_failure(&failed, record);
        self.say(&failed, UpdateStatus::Error, message, &details, Lasting::Yes, thought);
        let other_base =
            whole(observed, &failed).is_ok_and(|failed| plan::diff(failed, revision).needs == Needs::Reboot);
        if other_base && self.loader != Loader::Absent {
            self.leave(Why::WrongBoot(Arc::clone(revision)), AfterShutdown::Restart, why, thought);
        } else {
            self.start_walk(revision, thought);
        }
    }

    /// What was booted is not what is committed. The boot loader is told; another boot is needed only where they differ in more
    /// than containers.
    fn correct_boot(&mut self, observed: &Observed, thought: &mut Thought) {
        let booted = match &observed.booted {
            BootedAs::Committed(booted) | BootedAs::Trying(booted) => booted,
            BootedAs::NoLoader => return self.start_committed(observed, thought),
        };
        let durable = self.disk.durable();
        let worn_out = durable.unsettled_starts >= self.settings.unsettled_starts;
        if let (Ok(booted), Ok(committed), false) =
            (whole(observed, booted), whole(observed, &durable.committed), worn_out)
            && plan::diff(booted, committed).needs == Needs::Reboot
        {
            let why = Why::WrongBoot(Arc::clone(committed));
            let durable = self.disk.change();
            durable.unsettled_starts = durable.unsettled_starts.saturating_add(1);
            return self.leave(why, AfterShutdown::Restart, "another revision was booted", thought);
        }
        self.start_committed(observed, thought);
    }

    /// What the boot loader's variables should be.
    pub(crate) fn wanted_boot(&self) -> BootVars {
        let durable = self.disk.durable();
        let trial = durable.trial.as_ref();
        let decided =
            trial.filter(|trial| trial.kind == TrialKind::Reboot && trial.stage == TrialStage::Committing);
        let committed = decided.map_or(&durable.committed, |trial| &trial.revision).clone();
        let candidate = match &self.course {
            Course::Departing(Departure { why: Why::Try(_), stage, .. })
                if *stage != LeaveStage::Stopping =>
            {
                trial.map(|trial| trial.revision.clone())
            }
            Course::Booting(_)
            | Course::Running
            | Course::OnlyAnswering(_)
            | Course::Once(_)
            | Course::Verifying(_)
            | Course::Trying { .. }
            | Course::Testing { .. }
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => None,
        };
        BootVars { committed, candidate }
    }
}

/// Whether what runs already may go on: not in a trial, whose one boot begins with nothing, nor on the way out.
fn may_attach(course: &Course) -> bool {
    match course {
        Course::Running | Course::RollingBack | Course::Committing => true,
        Course::Booting(_)
        | Course::OnlyAnswering(_)
        | Course::Verifying(_)
        | Course::Trying { .. }
        | Course::Testing { .. }
        | Course::Once(_)
        | Course::Departing(_) => false,
    }
}

/// The revision as the shell saw it, if it can be run.
fn whole<'a>(observed: &'a Observed, id: &RevisionId) -> Result<&'a Arc<Revision>, alloc::string::String> {
    match observed.revisions.get(id) {
        Some(Ok(revision)) => match revision.unsupported().first() {
            None => Ok(revision),
            Some(sentence) => Err(format!("revision {id}: {sentence}")),
        },
        Some(Err(failure)) => Err(format!("revision {id}: failed to {}", failure.detail)),
        None => Err(format!("revision {id} is not on this device")),
    }
}
