//! What may happen next on a device, friendly things first.

use model::goal::StatusGoal;
use model::ids::{ContainerName, Generation};
use model::recovery::Lifetime;
use model::report::Exit;
use model::revision::Container;

use crate::choice::{Landing, LifeName, Save, What};
use crate::device::{Agent, Device, Exec, Life, Said};
use crate::disk::Loss;
use crate::effect::{EffectName, Verb, has_its_turn};
use crate::scenario::Scenario;
use crate::shell::Shell;

const ENDED: Exit = Exit::Code(1);
const TERMINATED: Exit = Exit::Signal(15);

/// Everything that may happen next, in an order that is always the same. How saves go is another question:
/// [`saves`].
pub fn options(scenario: &Scenario, device: &Device) -> Vec<What> {
    let mut options = friendly(scenario, device);
    let Some(agent) = device.agent.as_deref() else {
        options.extend(ends(scenario, device));
        return options;
    };
    if !options.contains(&What::Wait) && agent.engine.next_wakeup().is_some() && device.faults.stalls > 0 {
        options.push(What::Wait);
    }
    if device.faults.asks > 0 {
        options.extend(scenario.asks.iter().cloned().map(What::Ask));
    }
    if device.faults.effects > 0 {
        options.extend(failures(scenario, device, agent));
    }
    options.extend(ends(scenario, device));
    if device.faults.stale > 0 {
        let names = agent.mounts.keys().cloned();
        options.extend(names.map(What::StaleReady));
    }
    if device.faults.kills > 0 {
        let may_land = |verb: Verb| verb.lasts() || verb == Verb::Start;
        options.extend(subsets(&names(device.shell, agent, may_land)).into_iter().map(What::Kill));
    }
    if device.faults.cuts > 0 {
        let landed = subsets(&names(device.shell, agent, Verb::lasts));
        let losses = losses(device.disk.unsynced());
        let pairs = losses.iter().flat_map(|losses| landed.iter().map(move |landed| (losses, landed)));
        options.extend(pairs.map(|(losses, landed)| What::Cut(losses.clone(), landed.clone())));
    }
    options
}

/// How a save may go here, besides well.
pub fn saves(device: &Device) -> impl Iterator<Item = Save> {
    let faults = device.faults;
    Save::FAULTS.into_iter().filter(move |save| match save {
        Save::Works => false,
        Save::Fails | Save::FailsInDoubt => faults.saves > 0,
        Save::CutBefore | Save::CutAfter => faults.cuts > 0,
    })
}

/// What happens on a device on which nothing goes wrong. A wait is friendly where there is nothing else to wait for.
pub fn friendly(scenario: &Scenario, device: &Device) -> Vec<What> {
    let Some(agent) = device.agent.as_deref() else { return vec![What::Boot] };
    let mut options: Vec<What> = names(device.shell, agent, |_| true).into_iter().map(What::Done).collect();
    for ((name, generation), life) in &device.lives {
        options.extend(friendly_life(scenario, device, name, *generation, life));
    }
    if options.is_empty() && agent.engine.next_wakeup().is_some() {
        options.push(What::Wait);
    }
    options
}

/// Whether anything friendly but a wait can happen.
pub fn something_friendly(scenario: &Scenario, device: &Device) -> bool {
    friendly(scenario, device).iter().any(|what| *what != What::Wait)
}

fn friendly_life(
    scenario: &Scenario,
    device: &Device,
    name: &ContainerName,
    generation: Generation,
    life: &Life,
) -> Option<What> {
    let life_name = life_name(device, name, generation);
    let container = container(scenario, name, life)?;
    match life {
        Life { asked: Some(_), .. } => Some(What::End(life_name, TERMINATED)),
        Life { ready: Said::NotYet, .. } if container.status_goal == StatusGoal::Ready => {
            Some(What::Ready(life_name))
        }
        Life { exec: Exec::Reported, .. } if container.lifetime == Lifetime::Once => {
            Some(What::End(life_name, Exit::Code(0)))
        }
        Life { .. } => None,
    }
}

fn container<'s>(scenario: &'s Scenario, name: &ContainerName, life: &Life) -> Option<&'s Container> {
    scenario.revision(&life.revision)?.container(name).map(|container| &**container)
}

fn life_name(device: &Device, name: &ContainerName, generation: Generation) -> LifeName {
    let newer = device.lives.keys().filter(|(other, its)| other == name && *its > generation);
    LifeName { container: name.clone(), back: newer.count() }
}

/// Ends that nobody asked for.
fn ends(scenario: &Scenario, device: &Device) -> Vec<What> {
    if device.faults.ends == 0 {
        return Vec::new();
    }
    let unasked = device.lives.iter().filter(|(_, life)| life.asked.is_none());
    let of = unasked.filter(|((name, _), life)| container(scenario, name, life).is_some());
    of.map(|((name, generation), _)| What::End(life_name(device, name, *generation), ENDED)).collect()
}

fn failures(scenario: &Scenario, device: &Device, agent: &Agent) -> Vec<What> {
    let mut options = Vec::new();
    for name in names(device.shell, agent, |_| true) {
        let may_land = name.verb.lasts();
        let spoke = name.verb == Verb::Start && has_spoken(device, &name);
        for kind in scenario.failures.iter().filter(|_| !spoke) {
            options.push(What::Fail(name.clone(), *kind, Landing::Nothing));
        }
        for kind in scenario.failures.iter().take(1).filter(|_| may_land) {
            options.push(What::Fail(name.clone(), *kind, Landing::Landed));
        }
    }
    for ((name, generation), _) in device.lives.iter().filter(|(_, life)| life.asked.is_some()) {
        options.push(What::StopFails(life_name(device, name, *generation)));
    }
    options
}

/// A life that spoke, or is over, was executed: its start cannot fail any more.
fn has_spoken(device: &Device, start: &EffectName) -> bool {
    let mut lives = device.lives.iter().filter(|((name, _), _)| *name.as_str() == start.subject);
    lives.all(|(_, life)| life.ready == Said::Ready)
}

fn names(shell: Shell, agent: &Agent, wanted: impl Fn(Verb) -> bool) -> Vec<EffectName> {
    let its_turn = |index: &usize| has_its_turn(shell, &agent.effects, &agent.effects[*index]);
    let names = (0..agent.effects.len()).filter(its_turn);
    let names = names.filter_map(|index| EffectName::of(&agent.effects, index));
    names.filter(|name| wanted(name.verb)).collect()
}

fn subsets(names: &[EffectName]) -> Vec<Vec<EffectName>> {
    names.iter().fold(vec![Vec::new()], |subsets, name| {
        let with = subsets.iter().map(|subset| [subset.as_slice(), std::slice::from_ref(name)].concat());
        let with: Vec<_> = with.collect();
        [subsets, with].concat()
    })
}

fn losses(unsynced: usize) -> Vec<Vec<Loss>> {
    (0..unsynced).fold(vec![Vec::new()], |rows, _| {
        rows.iter().flat_map(|row| Loss::ALL.map(|loss| [row.as_slice(), &[loss]].concat())).collect()
    })
}
