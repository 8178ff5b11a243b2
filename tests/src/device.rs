//! The simulated device: what is, and what each choice makes of it.

mod effects;
mod power;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{Action, Engine, Event, Report, StopHow, Time};
use model::boot::BootedAs;
use model::ids::{ContainerName, Generation, RequestId, RevisionId};
use model::report::{Exit, Failure, FailureKind};
use model::request::{Request, Signal};

use crate::choice::{Ask, Choice, LifeName, Save, What};
use crate::disk::Disk;
use crate::effect::{Answer, Effect, Honesty, Verb};
use crate::options;
use crate::scenario::{Faults, Scenario};
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

    fn witness_all(&mut self, scenario: &Scenario) -> Result<(), Stop> {
        let mut witness = std::mem::take(&mut self.witness);
        witness.look(scenario, self)?;
        self.witness = witness;
        Ok(())
    }
}

/// Whether a life did not end although it was forced to, or could not be: the engine may go on without it.
pub fn is_past_hope(scenario: &Scenario, now: Time, life: &Life) -> bool {
    let overdue = |when| now >= when + scenario.settings.effect_deadline;
    let forced = life.asked.is_some_and(|(how, when)| how == StopHow::Force && overdue(when));
    forced || life.last_stop == LastStop::Failed
}
