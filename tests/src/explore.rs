//! Every life of a small device: breadth first, each state once, each law after each choice.
//!
//! A state is a whole [`Device`], told from others by a 64-bit hash (for a million states the chance that two are taken for
//! one is below one in ten million). What is merged beyond equality is argued where it is done: effects under way have no
//! order (`effect.rs`), a copy of `Durable` that can never be read again has no content (`disk.rs`), time and generations
//! are counted from the agent's start (`Device::renumber`), request numbers are used again (`Device::request`).

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use model::goal::Status;
use model::ids::RevisionId;
use model::report::Phase;

use crate::choice::{Ask, Choice, Save, What};
use crate::device::{Device, Next, Saved, Stop};
use crate::options::{friendly, options, saves};
use crate::scenario::Scenario;
use crate::shell::Shell;
use crate::witness::{Law, Violation};

/// How big it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Explored {
    pub states: usize,
    pub transitions: usize,
    /// States in which everything has been done that was to be done.
    pub settled: usize,
    /// The longest of the shortest ways to a state.
    pub depth: u32,
}

/// A law that was broken, with the shortest way there.
#[derive(Debug, Clone)]
pub struct Found {
    pub violation: Violation,
    pub way: Vec<Choice>,
}

/// Ways that a search has of each state.
#[derive(Debug, Default)]
struct Map {
    known: HashMap<u64, u32>,
    /// Whence it was first reached, by which of the choices there.
    came: Vec<(u32, u32)>,
    depth: Vec<u32>,
    /// Friendly steps, from and to.
    friendly: Vec<(u32, u32)>,
    settled: Vec<u32>,
}

const START: u32 = u32::MAX;

/// Walks through every life.
///
/// # Errors
/// The first law that is broken, by a shortest way.
pub fn explore(scenario: &Scenario, shell: Shell) -> Result<Explored, Box<Found>> {
    explore_up_to(scenario, shell, usize::MAX)
}

/// Likewise, but gives up looking after so many states: for shells that are expected to fail.
///
/// # Errors
/// The first law that is broken, by a shortest way.
pub fn explore_up_to(scenario: &Scenario, shell: Shell, most: usize) -> Result<Explored, Box<Found>> {
    let mut map = Map::default();
    let mut transitions = 0;
    let mut ahead = VecDeque::new();
    let first = Device::new(scenario, shell);
    map.enter(&first, START, 0);
    ahead.push_back((0, first));
    while let Some((id, device)) = ahead.pop_front() {
        if map.came.len() > most {
            break;
        }
        if settled(&device) {
            map.settled.push(id);
            can_update(scenario, &device).map_err(|found| found.after(map.way(scenario, shell, id)))?;
        }
        for (ordinal, (choice, next)) in (0..).zip(steps(scenario, &device)) {
            let next = match next {
                Ok(next) => next,
                Err(violation) => {
                    let way = [map.way(scenario, shell, id), vec![choice]].concat();
                    return Err(Box::new(Found { violation, way }));
                }
            };
            transitions += 1;
            let is_friendly = is_friendly(scenario, &device, &choice);
            let (next_id, new) = map.enter(&next, id, ordinal);
            if is_friendly {
                map.friendly.push((id, next_id));
            }
            if new == New::Yes {
                ahead.push_back((next_id, next));
            }
        }
    }
    if map.came.len() <= most {
        map.everything_settles(scenario, shell)?;
    }
    let depth = map.depth.iter().copied().max().unwrap_or_default();
    Ok(Explored { states: map.came.len(), transitions, settled: map.settled.len(), depth })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum New {
    Yes,
    No,
}

/// Every step from here.
fn steps(scenario: &Scenario, device: &Device) -> Vec<(Choice, Result<Device, Violation>)> {
    let mut steps = Vec::new();
    for what in options(scenario, device) {
        let choice = Choice { what, save: Save::Works };
        let next = device.after(scenario, &choice);
        let saved = matches!(&next, Ok(Next { saved: Saved::Something, .. }));
        keep(&mut steps, choice.clone(), next);
        if saved {
            for save in saves(device) {
                let choice = Choice { save, ..choice.clone() };
                let next = device.after(scenario, &choice);
                keep(&mut steps, choice, next);
            }
        }
    }
    steps
}

fn keep(steps: &mut Vec<(Choice, Result<Device, Violation>)>, choice: Choice, next: Result<Next, Stop>) {
    match next {
        Ok(next) => steps.push((choice, Ok(next.device))),
        Err(Stop::Broken(violation)) => steps.push((choice, Err(violation))),
        Err(Stop::Impossible(_)) => {}
    }
}

fn is_friendly(scenario: &Scenario, device: &Device, choice: &Choice) -> bool {
    choice.save == Save::Works && friendly(scenario, device).contains(&choice.what)
}

/// Whether everything is done that was to be done: nothing under way, every container at its goal or given up.
pub fn settled(device: &Device) -> bool {
    let Some(agent) = &device.agent else { return false };
    if !agent.effects.is_empty() || agent.engine.next_wakeup().is_some() {
        return false;
    }
    let report = agent.engine.report();
    let calm = matches!(report.phase, Phase::Running | Phase::OnlyAnswering);
    let there = |status: Status| status == Status::Stopped;
    calm && report.containers.iter().all(|it| it.status_goal.is_met_by(it.status) || there(it.status))
}

/// From a settled device an update to another revision can succeed: asked once, with nothing going wrong; or after a
/// restart of the agent, which brings back what had given up.
fn can_update(scenario: &Scenario, device: &Device) -> Result<(), Box<Found>> {
    let Some(running) = device.disk.durable().map(|durable| durable.committed.clone()) else {
        return Ok(());
    };
    let Some(other) =
        scenario.installed.iter().find(|it| **it != running && device.disk.trails.contains(*it))
    else {
        return Ok(());
    };
    let straight = update(scenario, device, other)?;
    if straight == Outcome::Committed {
        return Ok(());
    }
    let restart = What::Ask(Ask::ShutDown(model::request::AfterShutdown::Restart));
    let (fresh, mut way) = friendly_run(scenario, device.clone(), Some(restart))?;
    if update(scenario, &fresh, other)? == Outcome::Committed {
        return Ok(());
    }
    way.push(Choice { what: What::Ask(Ask::RunForced(other.clone())), save: Save::Works });
    let how = format!("{other} cannot be committed, although nothing goes wrong");
    Err(Box::new(Found { violation: Violation::new(Law::Liveness, how), way }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    NotCommitted,
}

fn update(scenario: &Scenario, device: &Device, to: &RevisionId) -> Result<Outcome, Box<Found>> {
    let ask = What::Ask(Ask::RunForced(to.clone()));
    let (device, _) = friendly_run(scenario, device.clone(), Some(ask))?;
    let committed = device.disk.durable().is_some_and(|durable| durable.committed == *to);
    Ok(if committed && settled(&device) { Outcome::Committed } else { Outcome::NotCommitted })
}

/// The device after `first`, and then whatever is friendly until nothing more is to come.
///
/// # Errors
/// A law that is broken on the way, or that it never comes to rest.
pub fn friendly_run(
    scenario: &Scenario,
    mut device: Device,
    first: Option<What>,
) -> Result<(Device, Vec<Choice>), Box<Found>> {
    const LONGEST: usize = 2000;
    let mut way = Vec::new();
    let mut next = first.or_else(|| friendly(scenario, &device).into_iter().next());
    while let Some(what) = next {
        let choice = Choice { what, save: Save::Works };
        way.push(choice.clone());
        device = match device.after(scenario, &choice) {
            Ok(after) => after.device,
            Err(Stop::Broken(violation)) => return Err(Box::new(Found { violation, way })),
            Err(Stop::Impossible(_)) => return Ok((device, way)),
        };
        if way.len() > LONGEST {
            let violation =
                Violation::new(Law::Liveness, "it never comes to rest, although nothing goes wrong");
            return Err(Box::new(Found { violation, way }));
        }
        next = friendly(scenario, &device).into_iter().next();
    }
    Ok((device, way))
}

impl Found {
    fn after(mut self: Box<Found>, way: Vec<Choice>) -> Box<Found> {
        self.way = [way, std::mem::take(&mut self.way)].concat();
        self
    }
}

impl Map {
    fn enter(&mut self, device: &Device, from: u32, ordinal: u32) -> (u32, New) {
        let mut hasher = DefaultHasher::new();
        device.hash(&mut hasher);
        let next = u32::try_from(self.came.len()).unwrap_or(START);
        let id = *self.known.entry(hasher.finish()).or_insert(next);
        if id != next {
            return (id, New::No);
        }
        self.came.push((from, ordinal));
        let depth =
            usize::try_from(from).ok().and_then(|from| self.depth.get(from)).map_or(0, |depth| depth + 1);
        self.depth.push(depth);
        (id, New::Yes)
    }

    /// The shortest way to a state, found again by walking it.
    fn way(&self, scenario: &Scenario, shell: Shell, id: u32) -> Vec<Choice> {
        let mut ordinals = Vec::new();
        let mut at = id;
        while let Some((from, ordinal)) = self.came.get(at as usize).filter(|(from, _)| *from != START) {
            ordinals.push(*ordinal as usize);
            at = *from;
        }
        let mut device = Device::new(scenario, shell);
        let mut way = Vec::new();
        for ordinal in ordinals.into_iter().rev() {
            let step = steps(scenario, &device).into_iter().nth(ordinal);
            let Some((choice, Ok(next))) = step else { break };
            way.push(choice);
            device = next;
        }
        way
    }

    /// From every state the device settles by friendly steps alone.
    fn everything_settles(&self, scenario: &Scenario, shell: Shell) -> Result<(), Box<Found>> {
        let mut into: Vec<Vec<u32>> = vec![Vec::new(); self.came.len()];
        for (from, to) in &self.friendly {
            into[*to as usize].push(*from);
        }
        let mut reaches = vec![false; self.came.len()];
        let mut ahead = self.settled.clone();
        while let Some(id) = ahead.pop() {
            if !std::mem::replace(&mut reaches[id as usize], true) {
                ahead.extend(&into[id as usize]);
            }
        }
        let Some(lost) = reaches.iter().position(|reaches| !reaches) else { return Ok(()) };
        let way = self.way(scenario, shell, u32::try_from(lost).unwrap_or(START));
        let violation =
            Violation::new(Law::Liveness, "from here it never settles, although nothing goes wrong");
        Err(Box::new(Found { violation, way }))
    }
}
