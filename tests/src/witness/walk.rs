//! Who has met a goal in the present walk: what decides whose turn it is.

use std::collections::{BTreeMap, BTreeSet};

use engine::Time;
use model::goal::StatusGoal;
use model::ids::{ContainerName, RevisionId};
use model::recovery::Lifetime;
use model::report::Exit;
use model::revision::Container;

use super::{Law, Verdict, broken};
use crate::device::{Device, Exec, Life, Said};
use crate::scenario::Scenario;

/// A walk: from a boot, the beginning of a trial, or a roll-back, to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Walk {
    /// Since when for those that an update touches; for the others since the boot.
    began: BTreeMap<ContainerName, Time>,
    /// At its goal at one time, as this revision has it.
    met: BTreeMap<ContainerName, RevisionId>,
    /// Its deadline passed first.
    missed: BTreeSet<ContainerName>,
    /// Started in this walk; a restart is not gated again.
    released: BTreeSet<ContainerName>,
    /// Ended as it was meant to.
    ended_well: BTreeMap<ContainerName, RevisionId>,
}

/// Whether a goal missed fails something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stakes {
    Trial,
    Ordinary,
}

impl Walk {
    /// A new walk for whatever is not the same in `target`.
    pub(super) fn turn_to(&mut self, scenario: &Scenario, was: &RevisionId, target: &RevisionId, now: Time) {
        let container =
            |name: &ContainerName| scenario.revision(target).and_then(|it| it.container(name)).cloned();
        let stays = |name: &ContainerName, of: &RevisionId| {
            container(name).is_some_and(|container| scenario.same(of, target, &container))
        };
        self.met.retain(|name, of| stays(name, of));
        self.ended_well.retain(|name, of| stays(name, of));
        self.released.retain(|name| self.met.contains_key(name));
        self.missed.clear();
        let touched = scenario.revision(target).into_iter().flat_map(|revision| revision.containers());
        let touched = touched.filter(|it| !scenario.same(was, target, it));
        self.began.extend(touched.map(|it| (it.name.clone(), now)));
    }

    pub(super) fn ended(&mut self, scenario: &Scenario, name: &ContainerName, life: &Life, exit: Exit) {
        let Some(container) = scenario.revision(&life.revision).and_then(|it| it.container(name)) else {
            return;
        };
        let well =
            container.lifetime == Lifetime::Once && exit == Exit::Code(0) && life.exec == Exec::Reported;
        if well && (container.status_goal != StatusGoal::Ready || life.ready == Said::Ready) {
            self.ended_well.insert(name.clone(), life.revision.clone());
            self.met.insert(name.clone(), life.revision.clone());
        } else {
            self.ended_well.remove(name);
        }
    }

    pub(super) fn felt(&mut self, scenario: &Scenario, device: &Device) {
        let at_goal = |name: &ContainerName, of: &RevisionId| {
            let container = scenario.revision(of).and_then(|it| it.container(name));
            container.is_some_and(|it| self.is_at_its_goal(scenario, of, it, device))
        };
        let lives = device.lives.iter().map(|((name, _), life)| (name, &life.revision));
        let mounts =
            device.agent.iter().flat_map(|agent| &agent.mounts).map(|(name, it)| (name, &it.revision));
        let met: Vec<_> = lives.chain(mounts).filter(|(name, of)| at_goal(name, of)).collect();
        let met: Vec<_> = met.into_iter().map(|(name, of)| (name.clone(), of.clone())).collect();
        self.met.extend(met);
    }

    /// Whether the container, as `revision` has it, is at its goal now.
    pub(super) fn is_at_its_goal(
        &self,
        scenario: &Scenario,
        revision: &RevisionId,
        container: &Container,
        device: &Device,
    ) -> bool {
        let is_it = |of: &RevisionId| scenario.same(of, revision, container);
        if self.ended_well.get(&container.name).is_some_and(is_it) {
            return true;
        }
        let mounted = || device.agent.as_ref().and_then(|agent| agent.mounts.get(&container.name));
        let lives = device.lives.iter().filter(|((name, _), life)| {
            *name == container.name
                && life.exec == Exec::Reported
                && life.asked.is_none()
                && is_it(&life.revision)
        });
        let mut lives = lives.map(|(_, life)| life);
        match container.status_goal {
            StatusGoal::Mounted => mounted().is_some_and(|mounted| is_it(&mounted.revision)),
            StatusGoal::Started => lives.next().is_some(),
            StatusGoal::Ready => lives.any(|life| life.ready == Said::Ready),
        }
    }

    /// The engine says that a deadline has passed: it must have.
    pub(super) fn missed(&mut self, scenario: &Scenario, name: &ContainerName, now: Time) -> Verdict {
        // In one step a trial may miss a goal and be rolled back: which revision was meant is not known here.
        let all = scenario.revisions.values().filter_map(|revision| revision.container(name));
        let deadline = all.map(|container| container.deadline).min().unwrap_or_default();
        let began = self.began.get(name).copied().unwrap_or_default();
        if now < began + deadline {
            return broken(Law::GroupsInOrder, format!("the deadline of {name} has not passed"));
        }
        self.missed.insert(name.clone());
        Ok(())
    }

    /// A container is started: is it its turn?
    pub(super) fn start(
        &mut self,
        scenario: &Scenario,
        revision: &RevisionId,
        name: &ContainerName,
        stakes: Stakes,
        left_out: &BTreeSet<ContainerName>,
    ) -> Verdict {
        if !self.released.insert(name.clone()) {
            return Ok(());
        }
        let Some(of) = scenario.revision(revision) else {
            return broken(Law::Contract, format!("{name} is started of {revision}, which nobody knows"));
        };
        let Some(container) = of.container(name) else {
            return broken(Law::Contract, format!("{name} is started, and {revision} has none"));
        };
        let met = |it: &Container| self.met.get(&it.name).is_some_and(|by| scenario.same(by, revision, it));
        let passed = |it: &Container| {
            left_out.contains(&it.name) || stakes == Stakes::Ordinary && self.missed.contains(&it.name)
        };
        let mut earlier = of.containers().filter(|it| it.group < container.group);
        match earlier.find(|it| !met(it) && !passed(it)) {
            Some(first) => {
                broken(Law::GroupsInOrder, format!("{name} is started before {} is there", first.name))
            }
            None => Ok(()),
        }
    }
}
