//! What must always hold, by name, checked by what is true on the device, not by what the engine believes.

mod laws;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use engine::{Action, Time};
use model::boot::{BootVars, BootedAs};
use model::durable::{Durable, Term, TrialKind, TrialStage};
use model::ids::{ContainerName, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::report::{Exit, Happening, Phase};
use model::request::{AfterShutdown, Control, Reply, Request};

use crate::choice::Ask;
use crate::device::{Device, Life};
use crate::disk::Disk;
use crate::scenario::Scenario;
use walk::Walk;

/// The list of design.md, "What must always hold", with what the engine and the shell have agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Law {
    /// What event.rs and action.rs say of each event and action.
    Contract,
    /// 1. Something that ran well is always installed, whole, and can be started; collection can never take it.
    GoodIsInstalled,
    /// 2. A revision that has not met all its goals is never the one fallen back to (except factory `0`).
    OnlyProvenFallback,
    /// 3. Tries are finite.
    FiniteTries,
    /// 4. Once idle and saved, disk and boot loader agree, and the documents say what happened.
    DiskAndLoaderAgree,
    /// 5. No container is started before its turn.
    GroupsInOrder,
    /// 6. At most one live generation per container.
    OneLife,
    /// 7. Every action ends in a report or a deadline; one is outstanding per subject.
    EveryActionEnds,
    /// 8. After shutdown begins, nothing starts.
    NothingStartsInShutdown,
    /// 9. A revision that failed is not tried again by itself; its record survives.
    FailedStaysFailed,
    /// 10. Whoever waits, waits for something; no exit is forgotten; TESTING ends; an update can succeed.
    Liveness,
}

/// A law that does not hold, with how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub law: Law,
    pub how: String,
}

impl Violation {
    pub fn new(law: Law, how: impl Into<String>) -> Violation {
        Violation { law, how: how.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.law, self.how)
    }
}

/// What has to be remembered to judge what comes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Witness {
    /// Revisions whose containers were all at their goals at one time.
    ran_well: BTreeSet<RevisionId>,
    /// Revisions that were committed.
    committed: BTreeSet<RevisionId>,
    /// What `Durable` says is committed, and tried.
    commits: Option<RevisionId>,
    tries: Option<RevisionId>,
    /// What is tried once; never to be committed.
    once: Option<RevisionId>,
    /// Whether that was so when this agent's life began, and it has not come back yet.
    comes_back: ComesBack,
    /// A trial that is decided good; its commit point is the boot loader's.
    accepted: Option<RevisionId>,
    /// Asked to be run, and not tried since.
    permitted: BTreeMap<RevisionId, Force>,
    /// Failed for good.
    failed: BTreeSet<RevisionId>,
    /// Starts of the device that the agent decided, or tries of a candidate, since somebody asked for something.
    restarts: u32,
    candidate_boots: u32,
    stopping: Stopping,
    testing_since: Option<Time>,
    last_save: LastSave,
    user_stopped: BTreeSet<ContainerName>,
    pub(crate) walk: Walk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Force {
    No,
    Yes,
}

/// Whether what was before a revision that was tried once must come back by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
enum ComesBack {
    #[default]
    OnRequest,
    ByItself,
}

/// How the last save went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
enum LastSave {
    #[default]
    Worked,
    Failed,
}

/// Whether an orderly stop of everything has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
enum Stopping {
    #[default]
    NotAsked,
    Asked,
    Begun,
}

type Verdict = Result<(), Violation>;

fn broken(law: Law, how: impl Into<String>) -> Verdict {
    Err(Violation::new(law, how))
}

impl Witness {
    /// Neither copy of `Durable` could be read.
    pub(crate) fn nothing_readable(&self) -> Verdict {
        if self.commits.is_some() {
            return broken(Law::GoodIsInstalled, "no copy of Durable is readable, and there was one");
        }
        Ok(())
    }

    /// The boot loader has chosen.
    pub(crate) fn device_booted(&mut self, booted: &BootedAs) -> Verdict {
        if let BootedAs::Trying(revision) = booted {
            self.candidate_boots += 1;
            if self.candidate_boots > 3 {
                return broken(Law::FiniteTries, format!("{revision} is booted as a try once too often"));
            }
        }
        Ok(())
    }

    /// An agent's life begins on this.
    pub(crate) fn booted(&mut self, scenario: &Scenario, durable: &Durable, disk: &Disk) -> Verdict {
        self.walk = Walk::default();
        self.stopping = Stopping::NotAsked;
        self.testing_since = None;
        self.last_save = LastSave::Worked;
        self.user_stopped.clear();
        if disk.durable().is_some() {
            self.commits = Some(durable.committed.clone());
            self.fallback_is_good(&durable.committed)?;
        }
        self.committed.insert(durable.committed.clone());
        self.learn(durable)?;
        let proved = durable.trial.as_ref().is_some_and(|trial| trial.term == Term::OnceProved);
        self.comes_back = if proved { ComesBack::ByItself } else { ComesBack::OnRequest };
        self.boot_vars(scenario, disk.boot.as_ref())
    }

    pub(crate) fn power_lost(&mut self) {
        self.walk = Walk::default();
        self.testing_since = None;
        self.user_stopped.clear();
        self.stopping = Stopping::NotAsked;
    }

    /// What a new `Durable` allows to be concluded.
    fn learn(&mut self, durable: &Durable) -> Verdict {
        let trial = durable.trial.as_ref().map(|trial| trial.revision.clone());
        if let Some(revision) = trial.clone().filter(|revision| self.tries.as_ref() != Some(revision)) {
            self.candidate_boots = 0;
            match (self.permitted.remove(&revision), self.failed.contains(&revision)) {
                (Some(Force::Yes), _) | (Some(Force::No), false) => {}
                (_, true) => return broken(Law::FailedStaysFailed, format!("{revision} is tried again")),
                (None, false) => {
                    return broken(Law::FiniteTries, format!("{revision} is tried, nobody asked"));
                }
            }
        }
        self.tries = trial;
        if self.once.as_ref() == Some(&durable.committed) {
            return broken(
                Law::OnlyProvenFallback,
                format!("{} was tried once, and is committed", durable.committed),
            );
        }
        self.once =
            durable.trial.as_ref().filter(|it| it.term != Term::Lasting).map(|it| it.revision.clone());
        if self.once.is_none() {
            self.comes_back = ComesBack::OnRequest;
        }
        let accepted = durable.trial.as_ref().filter(|trial| trial.stage == TrialStage::Committing);
        self.accepted = accepted.map(|trial| trial.revision.clone());
        let lost = self
            .failed
            .iter()
            .filter(|it| **it != durable.committed)
            .find(|revision| durable.failures.get(*revision).is_none_or(|it| !it.final_));
        if let Some(revision) = lost.filter(|revision| !self.permitted.contains_key(*revision)) {
            return broken(Law::FailedStaysFailed, format!("the failure of {revision} is forgotten"));
        }
        self.failed =
            durable.failures.iter().filter(|(_, record)| record.final_).map(|(id, _)| id.clone()).collect();
        let trial = durable.trial.iter().map(|trial| &trial.fallback);
        trial.chain(&durable.previous).try_for_each(|revision| self.fallback_is_good(revision))?;
        if durable.proven {
            self.ran(&durable.committed)?;
        }
        Ok(())
    }

    fn fallback_is_good(&self, revision: &RevisionId) -> Verdict {
        if *revision == RevisionId::factory() { Ok(()) } else { self.ran(revision) }
    }

    fn ran(&self, revision: &RevisionId) -> Verdict {
        if self.ran_well.contains(revision) {
            return Ok(());
        }
        broken(Law::OnlyProvenFallback, format!("{revision} never met all its goals"))
    }

    fn boot_vars(&mut self, scenario: &Scenario, vars: Option<&BootVars>) -> Verdict {
        let Some(vars) = vars else { return Ok(()) };
        if scenario.revision(&vars.committed).is_none() {
            return broken(Law::GoodIsInstalled, format!("the boot loader knows no {}", vars.committed));
        }
        if self.once.as_ref() == Some(&vars.committed) {
            return broken(
                Law::OnlyProvenFallback,
                format!("{} is tried once, and is to be booted", vars.committed),
            );
        }
        self.committed.insert(vars.committed.clone());
        self.fallback_is_good(&vars.committed)
    }

    /// The factory revision has new content: nothing may need the former one, now or after any boot.
    pub(crate) fn factory_made(&mut self, from: &RevisionId, disk: &Disk) -> Verdict {
        self.ran(from)?;
        if !disk.trails.contains(from) {
            return broken(
                Law::GoodIsInstalled,
                format!("{from} is to be the factory revision, and not there"),
            );
        }
        let trials = disk.durables().flat_map(|it| &it.trial).flat_map(|it| [&it.revision, &it.fallback]);
        let loader = disk.boot.iter().flat_map(|it| [Some(&it.committed), it.candidate.as_ref()]).flatten();
        let mut needed = disk.durables().map(|it| &it.committed).chain(trials).chain(loader);
        if needed.any(|needed| *needed == RevisionId::factory()) {
            return broken(Law::GoodIsInstalled, "the factory revision is replaced while it is needed");
        }
        self.permitted.insert(RevisionId::factory(), Force::Yes);
        Ok(())
    }

    pub(crate) fn not_saved(&mut self) {
        self.last_save = LastSave::Failed;
    }

    /// The engine's decision is on disk.
    pub(crate) fn saved(&mut self, scenario: &Scenario, durable: &Durable, device: &Device) -> Verdict {
        self.last_save = LastSave::Worked;
        let accepted = durable.trial.as_ref().filter(|trial| trial.stage == TrialStage::Committing);
        if let Some(trial) = accepted.filter(|trial| self.accepted.as_ref() != Some(&trial.revision)) {
            self.may_commit(scenario, &trial.revision, device)?;
        }
        let before = self.commits.replace(durable.committed.clone());
        if before.as_ref().is_some_and(|before| *before != durable.committed) {
            self.fallback_is_good(&durable.committed)?;
            let loader_knew =
                device.disk.boot.as_ref().is_some_and(|vars| vars.committed == durable.committed);
            let returned = durable.fell_back || self.tries.is_none();
            if !loader_knew && !returned {
                self.may_commit(scenario, &durable.committed, device)?;
            }
        }
        self.committed.insert(durable.committed.clone());
        self.learn(durable)
    }

    /// A revision is committed only while it runs well, and has been watched for long enough.
    fn may_commit(&self, scenario: &Scenario, revision: &RevisionId, device: &Device) -> Verdict {
        if let Some(missing) = self.not_at_its_goal(scenario, revision, device) {
            return broken(
                Law::OnlyProvenFallback,
                format!("{revision} is committed while {missing} is not there"),
            );
        }
        let now = device.agent.as_ref().map_or(Time::ZERO, |agent| agent.now);
        let watched = self.testing_since.is_some_and(|since| now >= since + scenario.settings.commit_delay);
        if !watched {
            return broken(Law::OnlyProvenFallback, format!("{revision} is committed unwatched"));
        }
        Ok(())
    }

    /// Boot variables reach the disk.
    pub(crate) fn boot_set(&mut self, scenario: &Scenario, vars: &BootVars, disk: &Disk) -> Verdict {
        let candidate = vars.candidate.iter().find(|candidate| !disk.trails.contains(*candidate));
        if let Some(candidate) = candidate {
            return broken(Law::GoodIsInstalled, format!("{candidate} is to be booted, and not installed"));
        }
        self.boot_vars(scenario, Some(vars))
    }

    /// A progress document reaches the disk.
    pub(crate) fn progress_written(&mut self, revision: &RevisionId, progress: &Progress) -> Verdict {
        match progress.status {
            UpdateStatus::Done if !self.committed.contains(revision) => {
                broken(Law::DiskAndLoaderAgree, format!("{revision} is called DONE and was not committed"))
            }
            UpdateStatus::Done
            | UpdateStatus::Updated
            | UpdateStatus::New
            | UpdateStatus::Queued
            | UpdateStatus::Downloading
            | UpdateStatus::InProgress
            | UpdateStatus::Testing
            | UpdateStatus::WontGo
            | UpdateStatus::Error => Ok(()),
        }
    }

    pub(crate) fn asked(&mut self, ask: &Ask) {
        self.restarts = 0;
        match ask {
            Ask::Run(revision) | Ask::TryOnce(revision) => {
                self.permitted.entry(revision.clone()).or_insert(Force::No);
            }
            Ask::RunForced(revision) | Ask::Post(revision) => {
                self.permitted.insert(revision.clone(), Force::Yes);
            }
            Ask::ShutDown(_) => self.stopping = Stopping::Asked,
            Ask::Control(..) | Ask::Collect | Ask::MakeFactory(_) => {}
        }
    }

    pub(crate) fn ended(&mut self, scenario: &Scenario, name: &ContainerName, life: &Life, exit: Exit) {
        self.walk.ended(scenario, name, life, exit);
    }

    /// The agent has left.
    pub(crate) fn left(&mut self, scenario: &Scenario, then: AfterShutdown) -> Verdict {
        if then == AfterShutdown::Restart && self.stopping != Stopping::Asked {
            self.restarts += 1;
            if self.restarts > scenario.settings.policy_reboots + 3 {
                return broken(Law::FiniteTries, "the device is restarted again and again");
            }
        }
        Ok(())
    }

    /// What the engine says that happened.
    pub(crate) fn happened(
        &mut self,
        scenario: &Scenario,
        happenings: &[Happening],
        device: &Device,
    ) -> Verdict {
        let now = device.agent.as_ref().map_or(Time::ZERO, |agent| agent.now);
        for happening in happenings {
            match happening {
                Happening::Phase { phase, .. } => self.phase(scenario, *phase, device, now),
                Happening::GoalMissed { container, .. } => {
                    self.walk.missed(scenario, container, now)?;
                }
                Happening::Status { .. }
                | Happening::Signal { .. }
                | Happening::GoalMet { .. }
                | Happening::Update { .. }
                | Happening::Note { .. } => {}
            }
        }
        Ok(())
    }

    fn phase(&mut self, scenario: &Scenario, phase: Phase, device: &Device, now: Time) {
        self.testing_since = if phase == Phase::Testing { self.testing_since.or(Some(now)) } else { None };
        let trial = device.disk.durable().and_then(|durable| durable.trial.clone());
        match (phase, trial) {
            (Phase::Trying, Some(trial)) => {
                self.walk.turn_to(scenario, &trial.fallback, &trial.revision, now)
            }
            (Phase::RollingBack, Some(trial)) if trial.kind == TrialKind::Restart => {
                self.walk.turn_to(scenario, &trial.revision, &trial.fallback, now);
            }
            (Phase::ShuttingDown, _) if self.stopping == Stopping::NotAsked => {
                self.stopping = Stopping::Begun
            }
            _ => {}
        }
    }

    /// What is true now that the event has come.
    pub(crate) fn see(&mut self, scenario: &Scenario, device: &Device) {
        self.walk.felt(scenario, device);
        let well = scenario.revisions.keys().filter(|id| !self.ran_well.contains(*id));
        let well: Vec<RevisionId> =
            well.filter(|id| self.not_at_its_goal(scenario, id, device).is_none()).cloned().collect();
        self.ran_well.extend(well);
    }

    /// A container of `revision` that is not at its goal, if there is one. Those that a user stopped do not count.
    fn not_at_its_goal(
        &self,
        scenario: &Scenario,
        revision: &RevisionId,
        device: &Device,
    ) -> Option<ContainerName> {
        let containers = scenario.revision(revision)?.containers();
        let mut missing = containers
            .filter(|container| !self.user_stopped.contains(&container.name))
            .filter(|container| !self.walk.is_at_its_goal(scenario, revision, container, device));
        missing.next().map(|container| container.name.clone())
    }

    pub(crate) fn replied(&mut self, request: &Request, reply: &Reply) -> Verdict {
        match (request, reply) {
            (Request::Control { container, control }, Reply::Done) => {
                match control {
                    Control::Stop => self.user_stopped.insert(container.clone()),
                    Control::Start | Control::Restart => self.user_stopped.remove(container),
                };
                Ok(())
            }
            (Request::ShutDown { .. }, Reply::Done) => {
                self.stopping = Stopping::Asked;
                Ok(())
            }
            (Request::ShutDown { .. }, _) if self.stopping == Stopping::Asked => {
                self.stopping = Stopping::NotAsked;
                Ok(())
            }
            (
                Request::Run { revision, force: false } | Request::TryOnce { revision, force: false },
                Reply::Done,
            ) if self.failed.contains(revision) => {
                broken(Law::FailedStaysFailed, format!("{revision} failed, and is run unforced"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn before_action(&mut self, scenario: &Scenario, action: &Action, device: &Device) -> Verdict {
        self.judge_action(scenario, action, device)
    }

    pub(crate) fn look(&mut self, scenario: &Scenario, device: &Device) -> Verdict {
        self.judge_state(scenario, device)
    }
}
