//! What the engine asked for, from the asking to what becomes of it.

use engine::{Action, Content, Event, Report};
use model::ids::{ContainerName, Generation, RevisionId};
use model::report::{Failure, FailureKind};

use super::{Device, Exec, LastStop, Life, Mounted, NOT_HERE, Noted, Said, Stop};
use crate::choice::Landing;
use crate::effect::{Answer, Effect, EffectName, Honesty, Verb, has_its_turn};
use crate::scenario::Scenario;
use crate::shell::Shell;
use crate::witness::{Law, Violation};

impl Device {
    pub(super) fn take_effect(&mut self, name: &EffectName) -> Result<Effect, Stop> {
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

    pub(super) fn done(&mut self, scenario: &Scenario, name: &EffectName) -> Result<Event, Stop> {
        let effect = self.take_effect(name)?;
        let outcome = self.land(scenario, &effect)?;
        self.report(scenario, effect.action, outcome)
    }

    pub(super) fn fail(
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
    pub(super) fn land(&mut self, scenario: &Scenario, effect: &Effect) -> Result<Result<(), Failure>, Stop> {
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

    pub(super) fn begin(&mut self, event: &Event, action: Action) -> Result<(), Stop> {
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
}

/// Whether a report of it names the one action that it answers, by a generation or by when it was asked.
fn names_its_ask(verb: Verb) -> bool {
    match verb {
        Verb::Mount | Verb::Unmount | Verb::Start | Verb::SetBoot | Verb::WriteProgress => true,
        Verb::Verify | Verb::Install | Verb::Collect | Verb::MakeFactory | Verb::Leave => false,
    }
}
