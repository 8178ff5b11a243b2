//! The laws themselves: of one action, of one state.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::{Action, StopHow, Time};
use model::boot::BootVars;
use model::durable::{Durable, Term, TrialStage};
use model::goal::Status;
use model::ids::{ContainerName, Generation, RequestId, RevisionId};
use model::progress::UpdateStatus;
use model::report::{ContainerReport, DeviceReport, Phase};
use model::request::Reply;

use super::walk::Stakes;
use super::{ComesBack, LastSave, Law, Stopping, Verdict, Witness, broken};
use crate::device::{Agent, Device, Said, is_past_hope};
use crate::effect::{Answer, Effect, Verb, effect_of};
use crate::scenario::Scenario;

impl Witness {
    pub(super) fn judge_action(&mut self, scenario: &Scenario, action: &Action, device: &Device) -> Verdict {
        let Some(agent) = &device.agent else { return Ok(()) };
        one_per_subject(scenario, action, device, agent)?;
        match action {
            Action::Start { container, revision, generation } => {
                self.nothing_starts("started", container)?;
                may_start(container, *generation, device, agent, scenario, revision)?;
                let report = agent.engine.report();
                let left_out = report.containers.into_iter().filter(|it| it.user_stopped).map(|it| it.name);
                self.walk.start(scenario, revision, container, stakes(report.phase), &left_out.collect())
            }
            Action::Mount { container, revision, .. } => {
                self.nothing_starts("mounted", container)?;
                if agent.mounts.contains_key(container) && !is_being_unmounted(agent, container) {
                    return broken(Law::Contract, format!("{container} is mounted twice"));
                }
                is_installed(device, revision)
            }
            Action::Unmount { container, generation } => may_unmount(container, *generation, device, agent),
            Action::Stop { container, generation, .. } => {
                if device.lives.contains_key(&(container.clone(), *generation)) {
                    return Ok(());
                }
                broken(Law::Contract, format!("{container} {generation} is stopped, and has no life"))
            }
            Action::NoteReady { container, generation } => {
                let life = device.lives.get(&(container.clone(), *generation));
                match life {
                    Some(life) if life.ready == Said::Ready => Ok(()),
                    Some(_) | None => broken(
                        Law::Contract,
                        format!("{container} {generation} is noted ready, and said nothing"),
                    ),
                }
            }
            Action::SetBoot { vars, .. } => self.may_set_boot(scenario, vars, device),
            Action::Collect { keep } => keeps_what_is_needed(keep, device),
            Action::Reply { request, reply } => self.may_reply(*request, reply, agent),
            Action::Leave(_) => nothing_is_left(scenario, device, agent),
            Action::MakeFactory { from } => is_installed(device, from),
            Action::Verify { .. } | Action::Install { .. } | Action::WriteProgress { .. } => Ok(()),
        }
    }

    fn nothing_starts(&self, verb: &str, container: &ContainerName) -> Verdict {
        if self.stopping == Stopping::NotAsked {
            return Ok(());
        }
        broken(Law::NothingStartsInShutdown, format!("{container} is {verb}"))
    }

    fn may_set_boot(&self, scenario: &Scenario, vars: &BootVars, device: &Device) -> Verdict {
        let durable = device.disk.durable();
        let decided = durable.is_some_and(|durable| durable.committed == vars.committed);
        let was = device.disk.boot.as_ref().is_some_and(|was| was.committed == vars.committed);
        if decided || was || self.accepted.as_ref() == Some(&vars.committed) {
            Ok(())
        } else {
            self.may_commit(scenario, &vars.committed, device)
        }
    }

    fn may_reply(&mut self, request: RequestId, reply: &Reply, agent: &Agent) -> Verdict {
        match agent.unanswered.get(&request) {
            Some(what) => self.replied(what, reply),
            None => broken(Law::Contract, format!("request {} is answered twice", request.0)),
        }
    }

    pub(super) fn judge_state(&mut self, scenario: &Scenario, device: &Device) -> Verdict {
        one_life(device)?;
        device.disk.durables().try_for_each(|durable| needed_is_installed(device, durable))?;
        if let Some(vars) = &device.disk.boot {
            is_installed(device, &vars.committed)?;
        }
        let Some(agent) = &device.agent else { return Ok(()) };
        let report = agent.engine.report();
        beliefs_are_true(&report, device)?;
        every_action_ends(scenario, device, agent)?;
        self.testing_ends(scenario, device, agent, &report)?;
        if agent.effects.is_empty() && agent.engine.next_wakeup().is_none() {
            nobody_waits_for_nothing(&report, device, agent)?;
            runs_what_it_should(&report, device)?;
            self.disk_and_loader_agree(device)?;
        }
        Ok(())
    }

    fn testing_ends(
        &self,
        scenario: &Scenario,
        device: &Device,
        agent: &Agent,
        report: &DeviceReport,
    ) -> Verdict {
        // Decided good, it waits for the boot loader alone.
        let trial = device.disk.durable().and_then(|durable| durable.trial.as_ref());
        if trial.is_some_and(|trial| trial.stage == TrialStage::Committing) {
            return Ok(());
        }
        let Some(since) = self.testing_since.filter(|_| report.phase == Phase::Testing) else {
            return Ok(());
        };
        let revision = report.revision.as_ref().and_then(|id| scenario.revision(id));
        let longest = revision.iter().flat_map(|it| it.containers());
        let longest = longest.map(|it| it.deadline + it.recovery.stable_timeout).max().unwrap_or_default();
        let ceiling = scenario.settings.commit_delay + longest * 3;
        if agent.now > since + ceiling && self.last_save == LastSave::Worked {
            return broken(Law::Liveness, "TESTING goes on past its ceiling");
        }
        Ok(())
    }

    fn disk_and_loader_agree(&self, device: &Device) -> Verdict {
        // Nothing saved yet is what a boot takes for the factory's.
        let factory = Arc::new(Durable::factory());
        let durable = device.disk.durable().unwrap_or(&factory);
        let kept = durable.trial.as_ref().is_some_and(|trial| trial.term == Term::OnceProved);
        if kept && self.comes_back == ComesBack::ByItself {
            return broken(Law::FiniteTries, format!("booted, and what is tried once stays: {durable:?}"));
        }
        if durable.trial.is_some() && !kept || !durable.unwritten.is_empty() {
            return broken(Law::DiskAndLoaderAgree, format!("idle, and not finished: {durable:?}"));
        }
        if let Some(vars) = &device.disk.boot {
            let wanted = BootVars { committed: durable.committed.clone(), candidate: None };
            if *vars != wanted {
                return broken(Law::DiskAndLoaderAgree, format!("idle, and the boot loader says {vars:?}"));
            }
        }
        let left = device.disk.progress.iter().find(|(_, progress)| match progress.status {
            UpdateStatus::InProgress | UpdateStatus::Testing => true,
            UpdateStatus::New
            | UpdateStatus::Queued
            | UpdateStatus::Downloading
            | UpdateStatus::Updated
            | UpdateStatus::Done
            | UpdateStatus::WontGo
            | UpdateStatus::Error => false,
        });
        match left {
            Some((id, it)) => {
                broken(Law::DiskAndLoaderAgree, format!("idle, and {id} is called {:?}", it.status))
            }
            None => Ok(()),
        }
    }
}

fn stakes(phase: Phase) -> Stakes {
    match phase {
        Phase::Trying | Phase::Testing => Stakes::Trial,
        Phase::Booting
        | Phase::Running
        | Phase::Verifying
        | Phase::RollingBack
        | Phase::OnlyAnswering
        | Phase::ShuttingDown => Stakes::Ordinary,
    }
}

/// An effect of the same subject that the engine still has to wait for.
fn one_per_subject(scenario: &Scenario, action: &Action, device: &Device, agent: &Agent) -> Verdict {
    let Some((verb, subject, _)) = effect_of(action) else { return Ok(()) };
    let of_container = |verb| matches!(verb, Verb::Mount | Verb::Unmount | Verb::Start);
    let of_revision = |verb| matches!(verb, Verb::Verify | Verb::Install);
    let other = agent.effects.iter().find(|effect| {
        let Some((its_verb, its_subject)) = effect.order() else { return false };
        let same_kind = its_verb == verb
            || of_container(its_verb) && of_container(verb)
            || of_revision(its_verb) && of_revision(verb);
        same_kind
            && its_subject == subject
            && !was_answered(effect, device)
            && agent.now < effect.began + scenario.settings.effect_deadline
    });
    match other {
        Some(effect) => broken(Law::EveryActionEnds, format!("{action:?} beside {:?}", effect.action)),
        None => Ok(()),
    }
}

/// An unmount that takes too long is not waited for: what it leaves is left.
fn is_being_unmounted(agent: &Agent, name: &ContainerName) -> bool {
    agent.effects.iter().any(|effect| effect.order() == Some((Verb::Unmount, name.to_string())))
}

/// Before the agent leaves: everything that obeys has ended, what does not was forced and waited for.
fn nothing_is_left(scenario: &Scenario, device: &Device, agent: &Agent) -> Verdict {
    if let Some(((name, _), _)) =
        device.lives.iter().find(|(_, life)| !is_past_hope(scenario, agent.now, life))
    {
        return broken(Law::Contract, format!("the agent is to leave while {name} lives"));
    }
    let lives = |name: &ContainerName| device.lives.keys().any(|(other, _)| other == name);
    match agent
        .mounts
        .keys()
        .find(|name| !is_being_unmounted(agent, name) && !lives(name) && !agent.given_up.contains(*name))
    {
        Some(name) => broken(Law::Contract, format!("the agent is to leave while {name} is mounted")),
        None => Ok(()),
    }
}

/// An exit answers a start too, where it is seen before the start was reported.
fn was_answered(effect: &Effect, device: &Device) -> bool {
    let ended = if let Action::Start { container, generation, .. } = &effect.action {
        !device.lives.contains_key(&(container.clone(), *generation))
    } else {
        false
    };
    ended || effect.answer == Answer::TakenFromAnother
}

fn may_start(
    container: &ContainerName,
    generation: Generation,
    device: &Device,
    agent: &Agent,
    scenario: &Scenario,
    revision: &RevisionId,
) -> Verdict {
    if let Some((_, other)) = device.lives.keys().find(|(name, _)| name == container) {
        return broken(Law::OneLife, format!("{container} {generation} is started while {other} lives"));
    }
    if agent.newest.get(container).is_some_and(|newest| generation <= *newest) {
        return broken(Law::Contract, format!("{container} {generation}: the generation is not new"));
    }
    let of = scenario.revision(revision).and_then(|it| it.container(container));
    let mounted = agent.mounts.get(container);
    match (of, mounted) {
        (Some(of), Some(mounted)) if scenario.same(&mounted.revision, revision, of) => Ok(()),
        _ => broken(Law::Contract, format!("{container} of {revision} is started on {mounted:?}")),
    }
}

fn may_unmount(container: &ContainerName, generation: Generation, device: &Device, agent: &Agent) -> Verdict {
    if device.lives.keys().any(|(name, _)| name == container) {
        return broken(Law::Contract, format!("{container} is unmounted while it lives"));
    }
    match agent.mounts.get(container) {
        Some(mounted) if mounted.generation != generation && !is_being_unmounted(agent, container) => {
            broken(Law::Contract, format!("{container}: {generation} is unmounted, {mounted:?} is there"))
        }
        Some(_) | None => Ok(()),
    }
}

fn is_installed(device: &Device, revision: &RevisionId) -> Verdict {
    if device.disk.trails.contains(revision) {
        return Ok(());
    }
    broken(Law::GoodIsInstalled, format!("{revision} is needed, and not there"))
}

/// What would be booted, or fallen back to, from this copy.
fn needed_is_installed(device: &Device, durable: &Durable) -> Verdict {
    let fallback = durable.trial.iter().map(|trial| &trial.fallback);
    let needed = [&durable.committed].into_iter().chain(&durable.previous).chain(fallback);
    needed.into_iter().try_for_each(|revision| is_installed(device, revision))
}

fn keeps_what_is_needed(keep: &BTreeSet<RevisionId>, device: &Device) -> Verdict {
    let trials = device.disk.durables().flat_map(|it| &it.trial).flat_map(|it| [&it.revision, &it.fallback]);
    let durables =
        device.disk.durables().flat_map(|it| [Some(&it.committed), it.previous.as_ref()]).flatten();
    let loader =
        device.disk.boot.iter().flat_map(|it| [Some(&it.committed), it.candidate.as_ref()]).flatten();
    let mounts = device.agent.iter().flat_map(|agent| {
        let held = agent.mounts.iter().filter(|(name, _)| !is_being_unmounted(agent, name));
        held.map(|(_, mounted)| &mounted.revision)
    });
    let mut needed = trials.chain(durables).chain(loader).chain(mounts);
    match needed.find(|revision| !keep.contains(*revision)) {
        Some(revision) => broken(Law::GoodIsInstalled, format!("{revision} may be collected")),
        None => Ok(()),
    }
}

fn one_life(device: &Device) -> Verdict {
    let mut names = device.lives.keys().map(|(name, _)| name);
    let twice = names.clone().zip(names.by_ref().skip(1)).find(|(one, next)| one == next);
    match twice {
        Some((name, _)) => broken(Law::OneLife, format!("{name} lives twice")),
        None => Ok(()),
    }
}

/// No exit is forgotten: what the engine calls alive is alive.
fn beliefs_are_true(report: &DeviceReport, device: &Device) -> Verdict {
    report.containers.iter().try_for_each(|it| {
        let Some(generation) = it.generation.filter(|_| needs_life(it)) else { return Ok(()) };
        let lives = device.lives.contains_key(&(it.name.clone(), generation));
        if lives {
            Ok(())
        } else {
            broken(Law::Liveness, format!("{} is called {}, and is gone", it.name, it.status))
        }
    })
}

/// At rest what is committed runs, or what is tried once.
fn runs_what_it_should(report: &DeviceReport, device: &Device) -> Verdict {
    let Some(durable) = device.disk.durable() else { return Ok(()) };
    let once = durable.trial.as_ref().filter(|trial| trial.term != Term::Lasting);
    let expected = once.map_or(&durable.committed, |trial| &trial.revision);
    match &report.revision {
        Some(running) if running != expected => {
            broken(Law::OnlyProvenFallback, format!("{running} runs, and not {expected}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn needs_life(it: &ContainerReport) -> bool {
    match it.status {
        Status::Started | Status::Ready => true,
        Status::Stopped
        | Status::Stopping
        | Status::Recovering
        | Status::Installed
        | Status::Mounted
        | Status::Blocked
        | Status::Starting => false,
    }
}

fn every_action_ends(scenario: &Scenario, device: &Device, agent: &Agent) -> Verdict {
    if agent.engine.next_wakeup().is_some() {
        return Ok(());
    }
    let running = |began: Time| agent.now < began + scenario.settings.effect_deadline;
    if let Some(effect) = agent.effects.iter().find(|it| running(it.began) && !was_answered(it, device)) {
        return broken(Law::EveryActionEnds, format!("no deadline for {:?}", effect.action));
    }
    let asked = device.lives.iter().find(|(_, life)| match life.asked {
        Some((StopHow::Ask, _)) => true,
        Some((StopHow::Force, when)) => running(when),
        None => false,
    });
    match asked {
        Some(((name, _), life)) => {
            broken(Law::EveryActionEnds, format!("no deadline for {name}, {:?}", life.asked))
        }
        None => Ok(()),
    }
}

/// Nothing is under way and nobody will be woken: then everything has ended that was begun.
fn nobody_waits_for_nothing(report: &DeviceReport, device: &Device, agent: &Agent) -> Verdict {
    match report.phase {
        Phase::Running | Phase::OnlyAnswering => {}
        Phase::Booting
        | Phase::Verifying
        | Phase::Trying
        | Phase::Testing
        | Phase::RollingBack
        | Phase::ShuttingDown => {
            if device.lives.values().all(|life| life.asked.is_none()) {
                return broken(Law::Liveness, format!("{:?}, and nothing will happen", report.phase));
            }
        }
    }
    if let Some(request) = agent.unanswered.values().next() {
        return broken(Law::Liveness, format!("{request:?} is never answered"));
    }
    if let Some(it) = report.containers.iter().find(|it| waits_for_nothing(it, device)) {
        return broken(Law::Liveness, format!("{} is {}, and nothing will happen", it.name, it.status));
    }
    let known = |name: &ContainerName, generation: Generation| {
        report.containers.iter().any(|it| it.name == *name && it.generation == Some(generation))
    };
    match device
        .lives
        .iter()
        .find(|((name, generation), life)| life.asked.is_none() && !known(name, *generation))
    {
        Some(((name, generation), _)) => {
            broken(Law::Liveness, format!("{name} {generation} lives unknown to all"))
        }
        None => Ok(()),
    }
}

fn waits_for_nothing(it: &ContainerReport, device: &Device) -> bool {
    match it.status {
        Status::Ready | Status::Started | Status::Stopped => false,
        Status::Mounted => !it.status_goal.is_met_by(Status::Mounted),
        Status::Stopping => !device.lives.keys().any(|(name, _)| *name == it.name),
        Status::Recovering | Status::Installed | Status::Blocked | Status::Starting => true,
    }
}
