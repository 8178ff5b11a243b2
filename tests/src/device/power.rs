//! How a life of the agent, or of the whole device, begins and ends.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Action, Engine, Event, Former, FormerReady, Observed, Time};
use model::boot::BootedAs;
use model::durable::Durable;
use model::ids::{ContainerName, Generation, RevisionId};
use model::report::{Failure, FailureKind};
use model::request::AfterShutdown;

use super::{Agent, Device, Exec, LastStop, Life, NOT_HERE, Noted, Saved, Stop};
use crate::disk::Loss;
use crate::effect::{Effect, EffectName};
use crate::scenario::{Loader, Scenario};

impl Device {
    pub(super) fn boot(&mut self, scenario: &Scenario) -> Result<Event, Stop> {
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

    pub(super) fn read(
        &self,
        scenario: &Scenario,
        id: &RevisionId,
    ) -> Result<std::sync::Arc<model::revision::Revision>, Failure> {
        let there = scenario.revision(id).filter(|_| self.disk.trails.contains(id));
        there.cloned().ok_or_else(|| Failure::new(FailureKind::Missing, format!("read trail {id}")))
    }

    pub(super) fn leave(&mut self, scenario: &Scenario, name: &EffectName) -> Result<Saved, Stop> {
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
    pub(super) fn kill(&mut self, scenario: &Scenario, landed: &[EffectName]) -> Result<Saved, Stop> {
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

    pub(super) fn cut(
        &mut self,
        scenario: &Scenario,
        losses: &[Loss],
        landed: &[EffectName],
    ) -> Result<Saved, Stop> {
        let effects = self.agent.as_ref().map(|agent| agent.effects.clone()).unwrap_or_default();
        for name in landed {
            let index = name.find(&effects).ok_or(NOT_HERE)?;
            let _ = self.land(scenario, &effects[index])?;
        }
        self.faults.cuts = self.faults.cuts.saturating_sub(1);
        self.lose_power(losses);
        Ok(Saved::Nothing)
    }

    pub(super) fn lose_power(&mut self, losses: &[Loss]) {
        self.disk.cut(losses);
        self.agent = None;
        self.booted = None;
        self.lives.clear();
        self.witness.power_lost();
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
