//! The simulated device: what is, and what each choice makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{Action, Content, Engine, Event, Former, FormerReady, Observed, Report, StopHow, Time};
use model::boot::BootedAs;
use model::durable::Durable;
use model::ids::{ContainerName, Generation, RequestId, RevisionId};
use model::report::{Exit, Failure, FailureKind};
use model::request::{AfterShutdown, Request, Signal};

use crate::choice::{Ask, Choice, Landing, LifeName, Save, What};
use crate::disk::{Disk, Loss};
use crate::effect::{Answer, Effect, EffectName, Honesty, Verb, has_its_turn};
use crate::options;
use crate::scenario::{Faults, Loader, Scenario};
use crate::shell::{After, SaveAsked, Shell, Taken};
use crate::witness::{Law, Violation, Witness};

/// A device in one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    pub shell: Shell,
    pub disk: Disk,
    /// How the device was booted; nothing while it has no power, or where each agent asks anew.
    pub booted: Option<BootedAs>,
    pub agent: Option<Box<Agent>>,
    pub lives: BTreeMap<(ContainerName, Generation), Life>,
    /// The highest generation of the runtime record.
    pub record: Generation,
    /// How much trouble may still come.
    pub faults: Faults,
    pub witness: Witness,
}

/// One life of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Agent {
    pub engine: Engine,
    pub now: Time,
    pub effects: Vec<Effect>,
    pub mounts: BTreeMap<ContainerName, Mounted>,
    /// Containers with a life that ended after everybody had given up waiting.
    pub given_up: BTreeSet<ContainerName>,
    /// The newest life of each container.
    pub newest: BTreeMap<ContainerName, Generation>,
    pub unanswered: BTreeMap<RequestId, Request>,
}

/// The mounts of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mounted {
    pub revision: RevisionId,
    pub generation: Generation,
}

/// A process, from the action that starts it to its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life {
    pub revision: RevisionId,
    pub exec: Exec,
    pub ready: Said,
    pub asked: Option<(StopHow, Time)>,
    pub last_stop: LastStop,
    /// What the runtime record says of it beside its start.
    pub noted: Noted,
    /// What its mounts were made of.
    pub mounted_of: RevisionId,
}

/// What the runtime record says of a life beside its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Noted {
    Nothing,
    Ready,
    /// It was to be stopped.
    Stopping,
}

/// Whether its last stop could be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LastStop {
    Fine,
    Failed,
}

/// Whether its exec was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exec {
    UnderWay,
    Reported,
}

/// Whether it said that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    NotYet,
    Ready,
}

/// What a choice led to.
#[derive(Debug, Clone)]
pub struct Next {
    pub device: Device,
    /// Whether the engine asked for a save, so that the save could have gone otherwise.
    pub saved: Saved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Nothing,
    Something,
}

/// Why a choice led nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It cannot happen here.
    Impossible(&'static str),
    /// What must always hold does not.
    Broken(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Stop {
        Stop::Broken(violation)
    }
}

const NOT_HERE: Stop = Stop::Impossible("there is no such thing now");
const NO_AGENT: Stop = Stop::Impossible("no agent lives");

impl Device {
    /// Before its first boot.
    pub fn new(scenario: &Scenario, shell: Shell) -> Device {
        Device {
            shell,
            disk: scenario.disk(),
            booted: None,
            agent: None,
            lives: BTreeMap::new(),
            record: Generation(0),
            faults: scenario.faults,
            witness: Witness::default(),
        }
    }

    /// What `choice` makes of it.
    ///
    /// # Errors
    /// The choice is not possible here, or something does not hold that must.
    pub fn after(&self, scenario: &Scenario, choice: &Choice) -> Result<Next, Stop> {
        let mut device = self.clone();
        let saved = device.apply(scenario, choice)?;
        device.witness_all(scenario)?;
        Ok(Next { device, saved })
    }

    fn apply(&mut self, scenario: &Scenario, choice: &Choice) -> Result<Saved, Stop> {
        let event = match &choice.what {
            What::Kill(landed) => return self.kill(scenario, landed),
            What::Cut(losses, landed) => return self.cut(scenario, losses, landed),
            What::Pass(length) => return self.pass(*length),
            What::Done(name) if name.verb == Verb::Leave => return self.leave(scenario, name),
            What::End(name, exit) if self.agent.is_none() => return self.end_unseen(scenario, name, *exit),
            What::Boot => self.boot(scenario)?,
            What::Wait => self.wait(scenario)?,
            What::Done(name) => self.done(scenario, name)?,
            What::Fail(name, kind, landing) => self.fail(scenario, name, *kind, *landing)?,
            What::Ready(name) => self.ready(name)?,
            What::StaleReady(container) => self.stale_ready(container)?,
            What::End(name, exit) => self.end(scenario, name, *exit)?,
            What::StopFails(name) => self.stop_fails(name)?,
            What::Ask(ask) => self.ask(ask)?,
        };
        self.deliver(scenario, &event, choice.save)
    }

    fn agent(&mut self) -> Result<&mut Agent, Stop> {
        self.agent.as_deref_mut().ok_or(NO_AGENT)
    }

    fn boot(&mut self, scenario: &Scenario) -> Result<Event, Stop> {
        if self.agent.is_some() {
            return Err(Stop::Impossible("an agent lives"));
        }
        let durable = self.disk.open();
        if durable.is_none() {
            self.witness.nothing_readable()?;
        }
        let durable = durable.map_or_else(Durable::factory, |durable| (*durable).clone());
        let booted = match &self.booted {
            Some(booted) => booted.clone(),
            None => {
                let booted = scenario.loader.boot(&mut self.disk, &durable.committed);
                self.witness.device_booted(&booted)?;
                booted
            }
        };
        self.booted = Some(booted.clone());
        self.renumber();
        self.witness.booted(scenario, &durable, &self.disk)?;
        let observed = self.observe(scenario, &durable, booted);
        self.agent = Some(Box::new(Agent {
            engine: Engine::new(durable, observed),
            now: Time::ZERO,
            effects: Vec::new(),
            mounts: BTreeMap::new(),
            given_up: BTreeSet::new(),
            newest: self.lives.keys().cloned().collect(),
            unanswered: BTreeMap::new(),
        }));
        Ok(Event::Booted)
    }

    /// A new agent knows generations only from what it is told, and time only from now on. Both are numbered anew from
    /// zero, so that two lives that differ only in how long the device had run are one in the search.
    fn renumber(&mut self) {
        let lives = std::mem::take(&mut self.lives);
        let again = |(number, ((container, _), life))| ((container, Generation(number)), life);
        let mut sorted: Vec<_> = lives.into_iter().collect();
        sorted.sort_by_key(|((_, generation), _)| *generation);
        self.lives = (1..).zip(sorted).map(again).collect();
        for life in self.lives.values_mut() {
            life.asked = None;
            life.last_stop = LastStop::Fine;
        }
        self.record = Generation(self.lives.len() as u64);
    }

    fn observe(&self, scenario: &Scenario, durable: &Durable, booted: BootedAs) -> Observed {
        let factory = RevisionId::factory();
        let trial = durable.trial.iter().flat_map(|trial| [&trial.revision, &trial.fallback]);
        let of_loader = match &booted {
            BootedAs::Committed(revision) | BootedAs::Trying(revision) => Some(revision.clone()),
            BootedAs::NoLoader => None,
        };
        let named = [&durable.committed, &factory].into_iter().chain(&durable.previous);
        let named: Vec<RevisionId> = named.chain(trial).cloned().chain(of_loader).collect();
        Observed {
            booted,
            revisions: named.into_iter().map(|id| (id.clone(), self.read(scenario, &id))).collect(),
            alive: self
                .lives
                .iter()
                .map(|(key, life)| (key.clone(), former(scenario, &key.0, life)))
                .collect(),
            next_generation: self.record.next(),
            settings: scenario.settings.clone(),
            notes: Vec::new(),
        }
    }

    fn read(
        &self,
        scenario: &Scenario,
        id: &RevisionId,
    ) -> Result<std::sync::Arc<model::revision::Revision>, Failure> {
        let there = scenario.revision(id).filter(|_| self.disk.trails.contains(id));
        there.cloned().ok_or_else(|| Failure::new(FailureKind::Missing, format!("read trail {id}")))
    }

    fn wait(&mut self, scenario: &Scenario) -> Result<Event, Stop> {
        if options::something_friendly(scenario, self) {
            self.faults.stalls = self.faults.stalls.saturating_sub(1);
        }
        let agent = self.agent()?;
        let wakeup = agent.engine.next_wakeup().ok_or(Stop::Impossible("no wake-up is wanted"))?;
        agent.now = agent.now.max(wakeup.at);
        Ok(Event::Woke)
    }

    fn pass(&mut self, length: Duration) -> Result<Saved, Stop> {
        let agent = self.agent()?;
        agent.now = agent.now + length;
        Ok(Saved::Nothing)
    }

    fn take_effect(&mut self, name: &EffectName) -> Result<Effect, Stop> {
        let shell = self.shell;
        let agent = self.agent()?;
        let index = name.find(&agent.effects).ok_or(NOT_HERE)?;
        if !has_its_turn(shell, &agent.effects, &agent.effects[index]) {
            return Err(Stop::Impossible("what was asked of its mounts before has not ended"));
        }
        let effect = agent.effects.remove(index);
        let named = names_its_ask(name.verb);
        for other in agent.effects.iter_mut().filter(|it| !named && it.order() == effect.order()) {
            other.answer = Answer::TakenFromAnother;
        }
        Ok(effect)
    }

    fn done(&mut self, scenario: &Scenario, name: &EffectName) -> Result<Event, Stop> {
        let effect = self.take_effect(name)?;
        let outcome = self.land(scenario, &effect)?;
        self.report(scenario, effect.action, outcome)
    }

    fn fail(
        &mut self,
        scenario: &Scenario,
        name: &EffectName,
        kind: FailureKind,
        landing: Landing,
    ) -> Result<Event, Stop> {
        self.faults.effects = self.faults.effects.saturating_sub(1);
        let effect = self.take_effect(name)?;
        if landing == Landing::Landed {
            let _ = self.land(scenario, &effect)?;
        }
        let failure = Failure::new(kind, name.to_string());
        self.report(scenario, effect.action, Err(failure))
    }

    /// The effect happens on the disk. What happens to processes and mounts happens with its report.
    fn land(&mut self, scenario: &Scenario, effect: &Effect) -> Result<Result<(), Failure>, Stop> {
        if effect.honesty == Honesty::OnlySays {
            return Ok(Ok(()));
        }
        match &effect.action {
            Action::Install { revision, .. } => {
                self.disk.trails.insert(revision.clone());
            }
            Action::SetBoot { vars, .. } => {
                self.witness.boot_set(scenario, vars, &self.disk)?;
                self.disk.boot = Some(vars.clone());
            }
            Action::WriteProgress { revision, progress, .. } => {
                self.witness.progress_written(revision, progress)?;
                self.disk.progress.insert(revision.clone(), progress.clone());
            }
            Action::Collect { keep } => self.disk.trails.retain(|revision| keep.contains(revision)),
            // What a name stands for never changes here; what matters is that nobody needs what it stood for.
            Action::MakeFactory { from } => {
                self.witness.factory_made(from, &self.disk)?;
                self.disk.trails.insert(RevisionId::factory());
            }
            Action::Verify { revision } => return Ok(self.read(scenario, revision).map(|_| ())),
            Action::Mount { .. }
            | Action::Unmount { .. }
            | Action::Start { .. }
            | Action::Stop { .. }
            | Action::NoteReady { .. }
            | Action::Reply { .. }
            | Action::Leave(_) => {}
        }
        Ok(Ok(()))
    }

    fn report(
        &mut self,
        scenario: &Scenario,
        action: Action,
        outcome: Result<(), Failure>,
    ) -> Result<Event, Stop> {
        let report = match action {
            Action::Mount { container, revision, generation } => {
                if outcome.is_ok() {
                    self.mounted(&container, revision, generation)?;
                }
                Report::Mounted { container, generation, outcome }
            }
            Action::Unmount { container, generation } => {
                self.agent()?
                    .mounts
                    .retain(|name, mounted| *name != container || mounted.generation != generation);
                Report::Unmounted { container, generation, outcome }
            }
            Action::Start { container, generation, .. } => self.started(container, generation, outcome)?,
            Action::Verify { revision } => {
                let outcome = outcome.and_then(|()| self.read(scenario, &revision));
                Report::Verified { revision, outcome }
            }
            // What a name stands for never changes here.
            Action::Install { revision, .. } => {
                Report::Installed { revision, outcome: outcome.map(|()| Content::MayBeTheSame) }
            }
            Action::SetBoot { asked, .. } => Report::BootSet { asked, outcome },
            Action::WriteProgress { revision, asked, .. } => {
                Report::ProgressWritten { revision, asked, outcome }
            }
            Action::Collect { .. } => Report::Collected { outcome: outcome.map(|()| 1) },
            Action::MakeFactory { .. } => Report::FactoryMade { outcome },
            Action::Leave(_) => match outcome {
                Ok(()) => return Err(NOT_HERE),
                Err(failure) => Report::LeaveFailed { failure },
            },
            Action::Stop { .. } | Action::NoteReady { .. } | Action::Reply { .. } => return Err(NOT_HERE),
        };
        Ok(Event::Report(report))
    }

    fn mounted(
        &mut self,
        container: &ContainerName,
        revision: RevisionId,
        generation: Generation,
    ) -> Result<(), Stop> {
        let before = self.agent()?.mounts.insert(container.clone(), Mounted { revision, generation });
        match before {
            Some(_) => {
                Err(Violation::new(Law::Contract, format!("{container} is mounted on its mounts")).into())
            }
            None => Ok(()),
        }
    }

    fn started(
        &mut self,
        container: ContainerName,
        generation: Generation,
        outcome: Result<(), Failure>,
    ) -> Result<Report, Stop> {
        let key = (container.clone(), generation);
        match &outcome {
            // A life that ended before its start was reported: exec had succeeded, the exit was faster.
            Ok(()) => self.lives.entry(key).and_modify(|life| life.exec = Exec::Reported),
            Err(_) if self.lives.get(&key).is_some_and(|life| life.ready == Said::Ready) => {
                return Err(Stop::Impossible("what spoke was executed"));
            }
            Err(_) => {
                self.lives
                    .remove(&key)
                    .ok_or(Stop::Impossible("a process that was there did not fail to start"))?;
                return Ok(Report::Started { container, generation, outcome: outcome.map(|()| 0) });
            }
        };
        let pid = u32::try_from(generation.0).unwrap_or(u32::MAX);
        Ok(Report::Started { container, generation, outcome: outcome.map(|()| pid) })
    }

    pub(crate) fn find_life(&self, name: &LifeName) -> Option<(ContainerName, Generation)> {
        let mut lives = self.lives.keys().rev().filter(|(container, _)| *container == name.container);
        lives.nth(name.back).cloned()
    }

    fn life(&mut self, name: &LifeName) -> Result<(Generation, &mut Life), Stop> {
        let key = self.find_life(name).ok_or(NOT_HERE)?;
        let life = self.lives.get_mut(&key).ok_or(NOT_HERE)?;
        Ok((key.1, life))
    }

    fn ready(&mut self, name: &LifeName) -> Result<Event, Stop> {
        let (generation, life) = self.life(name)?;
        life.ready = Said::Ready;
        self.signal(&name.container, generation)
    }

    fn stale_ready(&mut self, container: &ContainerName) -> Result<Event, Stop> {
        self.agent()?;
        self.faults.stale = self.faults.stale.saturating_sub(1);
        let newest = self.find_life(&LifeName { container: container.clone(), back: 0 });
        let newest = newest.map_or(self.record.next(), |(_, generation)| generation);
        self.signal(container, Generation(newest.0.saturating_sub(1)))
    }

    fn signal(&mut self, container: &ContainerName, generation: Generation) -> Result<Event, Stop> {
        let what = Request::Signal { container: container.clone(), generation, signal: Signal::Ready };
        self.request(what)
    }

    fn request(&mut self, what: Request) -> Result<Event, Stop> {
        let agent = self.agent()?;
        // The number ties a reply to its request and says nothing else, so the lowest free one will do: fewer states.
        let free = (1..).map(RequestId).find(|request| !agent.unanswered.contains_key(request));
        let request = free.ok_or(NOT_HERE)?;
        agent.unanswered.insert(request, what.clone());
        Ok(Event::Asked { request, what })
    }

    fn end(&mut self, scenario: &Scenario, name: &LifeName, exit: Exit) -> Result<Event, Stop> {
        let key = self.find_life(name).ok_or(NOT_HERE)?;
        let life = self.lives.remove(&key).ok_or(NOT_HERE)?;
        if life.asked.is_none() && !self.may_end_well(scenario, &key.0, &life, exit) {
            self.faults.ends = self.faults.ends.saturating_sub(1);
        }
        self.witness.ended(scenario, &key.0, &life, exit);
        if let Some(agent) =
            self.agent.as_deref_mut().filter(|agent| is_past_hope(scenario, agent.now, &life))
        {
            // The engine waits no more for such a life, nor for its mounts.
            agent.given_up.insert(key.0.clone());
        }
        let (container, generation) = key;
        Ok(Event::Exited { container, generation, exit })
    }

    /// A life ends between two agents; the next will not find it.
    fn end_unseen(&mut self, scenario: &Scenario, name: &LifeName, exit: Exit) -> Result<Saved, Stop> {
        self.end(scenario, name, exit).map(|_| Saved::Nothing)
    }

    /// Whether this end is what the container is meant for.
    pub fn may_end_well(&self, scenario: &Scenario, name: &ContainerName, life: &Life, exit: Exit) -> bool {
        let container = scenario.revision(&life.revision).and_then(|revision| revision.container(name));
        container.is_some_and(|it| it.lifetime == model::recovery::Lifetime::Once) && exit == Exit::Code(0)
    }

    fn stop_fails(&mut self, name: &LifeName) -> Result<Event, Stop> {
        self.faults.effects = self.faults.effects.saturating_sub(1);
        let (generation, life) = self.life(name)?;
        life.asked.take().ok_or(NOT_HERE)?;
        life.last_stop = LastStop::Failed;
        let failure = Failure::new(FailureKind::Transient, "stop");
        Ok(Event::Report(Report::StopFailed { container: name.container.clone(), generation, failure }))
    }

    fn ask(&mut self, ask: &Ask) -> Result<Event, Stop> {
        self.faults.asks = self.faults.asks.saturating_sub(1);
        self.agent()?;
        self.witness.asked(ask);
        let what = match ask.clone() {
            Ask::Run(revision) => Request::Run { revision, force: false },
            Ask::RunForced(revision) => Request::Run { revision, force: true },
            Ask::Post(revision) => Request::Post { revision },
            Ask::Control(container, control) => Request::Control { container, control },
            Ask::Collect => Request::Collect,
            Ask::ShutDown(then) => Request::ShutDown { then },
            Ask::TryOnce(revision) => Request::TryOnce { revision, force: false },
            Ask::MakeFactory(revision) => Request::MakeFactory { revision },
        };
        self.request(what)
    }

    fn deliver(&mut self, scenario: &Scenario, event: &Event, save: Save) -> Result<Saved, Stop> {
        let shell = self.shell;
        let agent = self.agent.as_deref_mut().ok_or(NO_AGENT)?;
        let before = (*event == Event::Woke).then(|| agent.engine.clone());
        let taken = shell.take(&mut agent.engine, agent.now, event, &mut self.disk, save);
        let same = taken.after == After::PowerOn && before.is_some_and(|before| before == agent.engine);
        if same && agent.engine.next_wakeup().is_some_and(|wakeup| wakeup.at <= agent.now) {
            return Err(
                Violation::new(Law::Liveness, "woken again and again, and nothing comes of it").into()
            );
        }
        let saved = match &taken.asked_to_save {
            SaveAsked::No => Saved::Nothing,
            SaveAsked::Saved(_) | SaveAsked::Failed => Saved::Something,
            SaveAsked::Twice => {
                return Err(Violation::new(Law::Contract, "SaveFailed asked for a save").into());
            }
        };
        self.pay_for(save, saved);
        self.see(scenario);
        if taken.after == After::PowerCut {
            self.land_all(scenario, taken.actions)?;
            self.lose_power(&[]);
            return Ok(saved);
        }
        self.act(scenario, event, taken)?;
        Ok(saved)
    }

    fn pay_for(&mut self, save: Save, saved: Saved) {
        match (save, saved) {
            (_, Saved::Nothing) | (Save::Works, _) => {}
            (Save::Fails | Save::FailsInDoubt, _) => self.faults.saves = self.faults.saves.saturating_sub(1),
            (Save::CutBefore | Save::CutAfter, _) => self.faults.cuts = self.faults.cuts.saturating_sub(1),
        }
    }

    fn land_all(&mut self, scenario: &Scenario, actions: Vec<Action>) -> Result<(), Stop> {
        for action in actions {
            let effect =
                Effect { action, began: Time::ZERO, honesty: Honesty::Does, answer: Answer::Awaited };
            let _ = self.land(scenario, &effect)?;
        }
        Ok(())
    }

    fn see(&mut self, scenario: &Scenario) {
        let mut witness = std::mem::take(&mut self.witness);
        witness.see(scenario, self);
        self.witness = witness;
    }

    /// Begins the actions.
    fn act(&mut self, scenario: &Scenario, event: &Event, taken: Taken) -> Result<(), Stop> {
        let mut witness = std::mem::take(&mut self.witness);
        match &taken.asked_to_save {
            SaveAsked::Saved(durable) => witness.saved(scenario, durable, self)?,
            SaveAsked::Failed => witness.not_saved(),
            SaveAsked::No | SaveAsked::Twice => {}
        }
        witness.happened(scenario, &taken.happenings, self)?;
        for action in taken.actions {
            witness.before_action(scenario, &action, self)?;
            self.begin(event, action)?;
        }
        self.witness = witness;
        Ok(())
    }

    fn begin(&mut self, event: &Event, action: Action) -> Result<(), Stop> {
        let forgets = self.shell == Shell::ForgetsToRedo && *event == Event::Booted;
        match &action {
            Action::Reply { request, .. } => {
                self.agent()?.unanswered.remove(request);
                return Ok(());
            }
            Action::Stop { container, generation, how } => {
                let now = self.agent()?.now;
                if let Some(life) = self.lives.get_mut(&(container.clone(), *generation)) {
                    let first = life.asked.filter(|(asked, _)| asked == how).map_or(now, |(_, when)| when);
                    life.asked = Some((*how, first));
                    life.noted = Noted::Stopping;
                }
                return Ok(());
            }
            Action::NoteReady { container, generation } => {
                if let Some(life) = self.lives.get_mut(&(container.clone(), *generation))
                    && life.noted == Noted::Nothing
                {
                    life.noted = Noted::Ready;
                }
                return Ok(());
            }
            Action::Start { container, revision, generation } => {
                self.record = self.record.max(*generation);
                self.agent()?.newest.insert(container.clone(), *generation);
                let mounted = self.agent()?.mounts.get(container);
                let mounted_of = mounted.map_or_else(|| revision.clone(), |mounted| mounted.revision.clone());
                let life = Life {
                    revision: revision.clone(),
                    exec: Exec::UnderWay,
                    ready: Said::NotYet,
                    asked: None,
                    last_stop: LastStop::Fine,
                    noted: Noted::Nothing,
                    mounted_of,
                };
                self.lives.insert((container.clone(), *generation), life);
            }
            Action::Mount { .. }
            | Action::Unmount { .. }
            | Action::Verify { .. }
            | Action::Install { .. }
            | Action::SetBoot { .. }
            | Action::WriteProgress { .. }
            | Action::Collect { .. }
            | Action::MakeFactory { .. }
            | Action::Leave(_) => {}
        }
        let agent = self.agent()?;
        let honesty = match &action {
            Action::SetBoot { .. } | Action::WriteProgress { .. } if forgets => Honesty::OnlySays,
            Action::SetBoot { .. }
            | Action::WriteProgress { .. }
            | Action::Mount { .. }
            | Action::Unmount { .. }
            | Action::Start { .. }
            | Action::Stop { .. }
            | Action::NoteReady { .. }
            | Action::Verify { .. }
            | Action::Install { .. }
            | Action::Collect { .. }
            | Action::MakeFactory { .. }
            | Action::Reply { .. }
            | Action::Leave(_) => Honesty::Does,
        };
        agent.effects.push(Effect { action, began: agent.now, honesty, answer: Answer::Awaited });
        agent.effects.sort_by_cached_key(Effect::order);
        Ok(())
    }

    fn leave(&mut self, scenario: &Scenario, name: &EffectName) -> Result<Saved, Stop> {
        let Action::Leave(then) = self.take_effect(name)?.action else { return Err(NOT_HERE) };
        self.witness.left(scenario, then)?;
        self.agent = None;
        let boots = scenario.loader == Loader::Kernel && then != AfterShutdown::End;
        if boots {
            self.lives.clear();
        }
        if boots || scenario.loader != Loader::Kernel {
            self.booted = None;
        }
        Ok(Saved::Nothing)
    }

    /// The agent is gone; whatever it had started lives on.
    fn kill(&mut self, scenario: &Scenario, landed: &[EffectName]) -> Result<Saved, Stop> {
        let effects = std::mem::take(&mut self.agent()?.effects);
        self.faults.kills = self.faults.kills.saturating_sub(1);
        for (index, effect) in effects.iter().enumerate() {
            let it = EffectName::of(&effects, index).is_some_and(|name| landed.contains(&name));
            self.fell_with_agent(scenario, effect, it)?;
        }
        self.agent = None;
        if scenario.loader != Loader::Kernel {
            self.booted = None;
        }
        Ok(Saved::Nothing)
    }

    fn fell_with_agent(&mut self, scenario: &Scenario, effect: &Effect, landed: bool) -> Result<(), Stop> {
        match (&effect.action, landed) {
            (Action::Start { container, generation, .. }, false) => {
                let key = (container.clone(), *generation);
                if self.lives.get(&key).is_some_and(|life| life.exec == Exec::UnderWay) {
                    self.lives.remove(&key);
                }
            }
            (_, true) => {
                let _ = self.land(scenario, effect)?;
            }
            (_, false) => {}
        }
        Ok(())
    }

    fn cut(&mut self, scenario: &Scenario, losses: &[Loss], landed: &[EffectName]) -> Result<Saved, Stop> {
        let effects = self.agent.as_ref().map(|agent| agent.effects.clone()).unwrap_or_default();
        for name in landed {
            let index = name.find(&effects).ok_or(NOT_HERE)?;
            let _ = self.land(scenario, &effects[index])?;
        }
        self.faults.cuts = self.faults.cuts.saturating_sub(1);
        self.lose_power(losses);
        Ok(Saved::Nothing)
    }

    fn lose_power(&mut self, losses: &[Loss]) {
        self.disk.cut(losses);
        self.agent = None;
        self.booted = None;
        self.lives.clear();
        self.witness.power_lost();
    }

    fn witness_all(&mut self, scenario: &Scenario) -> Result<(), Stop> {
        let mut witness = std::mem::take(&mut self.witness);
        witness.look(scenario, self)?;
        self.witness = witness;
        Ok(())
    }
}

/// Whether a report of it names the one action that it answers, by a generation or by when it was asked.
fn names_its_ask(verb: Verb) -> bool {
    match verb {
        Verb::Mount | Verb::Unmount | Verb::Start | Verb::SetBoot | Verb::WriteProgress => true,
        Verb::Verify | Verb::Install | Verb::Collect | Verb::MakeFactory | Verb::Leave => false,
    }
}

/// What the next agent finds of a life: it can be attached to once exec was noted, and as long as nobody asked it to stop.
fn former(scenario: &Scenario, name: &ContainerName, life: &Life) -> Former {
    let container = scenario.revision(&life.revision).and_then(|revision| revision.container(name));
    let ready = match life.noted {
        Noted::Nothing => FormerReady::NotSaid,
        Noted::Ready => FormerReady::Said,
        Noted::Stopping => return Former::Unfit,
    };
    match (container, life.exec) {
        (Some(container), Exec::Reported) => Former::Runs {
            pid: 0,
            fingerprint: container.fingerprint(),
            ready,
            mounted_of: life.mounted_of.clone(),
        },
        (Some(_), Exec::UnderWay) | (None, _) => Former::Unfit,
    }
}

/// Whether a life did not end although it was forced to, or could not be: the engine may go on without it.
pub fn is_past_hope(scenario: &Scenario, now: Time, life: &Life) -> bool {
    let overdue = |when| now >= when + scenario.settings.effect_deadline;
    let forced = life.asked.is_some_and(|(how, when)| how == StopHow::Force && overdue(when));
    forced || life.last_stop == LastStop::Failed
}
