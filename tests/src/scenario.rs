//! What a simulated life starts from: revisions, settings, and how much may go wrong in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use engine::Settings;
use model::boot::{BootVars, BootedAs};
use model::ids::RevisionId;
use model::report::FailureKind;
use model::revision::{Container, Defaults, Revision};

use crate::choice::{Ask, meaning};
use crate::disk::Disk;

/// A device before its first boot. Its text, [`Scenario::to_text`], is the head of each journal.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    pub loader: Loader,
    pub settings: Settings,
    /// In the store from the beginning.
    pub installed: BTreeSet<RevisionId>,
    /// Every revision that exists, installed or waiting to be posted.
    pub revisions: BTreeMap<RevisionId, Arc<Revision>>,
    pub texts: BTreeMap<RevisionId, String>,
    /// What may be asked.
    pub asks: Vec<Ask>,
    /// How effects may fail.
    pub failures: Vec<FailureKind>,
    pub faults: Faults,
}

/// What decides which revision is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loader {
    /// A boot loader proper: what it booted stays true until the device boots again.
    Kernel,
    /// The agent's own stand-in, asked anew by each agent.
    StandIn,
    /// None: reboot updates are refused.
    Absent,
}

/// How often each sort of trouble may come in one life. Friendly things (an effect that works, a signal, an obeyed stop, a
/// wake-up that is all there is to wait for) are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    /// The power goes.
    pub cuts: u8,
    /// The agent is killed.
    pub kills: u8,
    /// A save fails.
    pub saves: u8,
    /// An effect reports a failure.
    pub effects: u8,
    /// A container ends that nobody asked to.
    pub ends: u8,
    /// Time passes although something friendly could happen: slow effects, containers that hang or ignore a stop.
    pub stalls: u8,
    /// Requests, counted with the faults because somebody has to stop asking for a search to end.
    pub asks: u8,
    /// Signals of a former life.
    pub stale: u8,
}

const LOADERS: [(&str, Loader); 3] =
    [("kernel", Loader::Kernel), ("stand-in", Loader::StandIn), ("absent", Loader::Absent)];

impl Scenario {
    pub fn new(name: &str, loader: Loader) -> Scenario {
        let reboot_updates = match loader {
            Loader::Kernel | Loader::StandIn => Ok(()),
            Loader::Absent => Err(Arc::from("no boot loader")),
        };
        Scenario {
            name: name.to_owned(),
            loader,
            settings: Settings { reboot_updates, ..Settings::default() },
            installed: BTreeSet::new(),
            revisions: BTreeMap::new(),
            texts: BTreeMap::new(),
            asks: Vec::new(),
            failures: vec![FailureKind::Permanent],
            faults: Faults::default(),
        }
    }

    /// Adds a revision to the store.
    ///
    /// # Errors
    /// The state is no state.
    pub fn with(mut self, id: &str, state: &str) -> Result<Scenario, String> {
        let id = self.add(id, state)?;
        self.installed.insert(id);
        Ok(self)
    }

    /// Adds a revision that is to be posted.
    ///
    /// # Errors
    /// The state is no state.
    pub fn with_posted(mut self, id: &str, state: &str) -> Result<Scenario, String> {
        self.add(id, state)?;
        Ok(self)
    }

    fn add(&mut self, id: &str, state: &str) -> Result<RevisionId, String> {
        let id: RevisionId = id.parse().map_err(|error| format!("{error}"))?;
        let mut conf = |_: &str, _: &_| Ok(b"lxc.init.cmd = /sbin/init\n".to_vec());
        let revision = Revision::parse(id.clone(), state.as_bytes(), Defaults::default(), &mut conf)
            .map_err(|errors| format!("revision {id}: {errors}"))?;
        self.revisions.insert(id.clone(), Arc::new(revision));
        self.texts.insert(id.clone(), state.replace('\n', " "));
        Ok(id)
    }

    /// The disk before the first boot.
    pub fn disk(&self) -> Disk {
        let mut disk = Disk::factory(self.installed.clone());
        if self.loader == Loader::Kernel {
            disk.boot = Some(BootVars { committed: RevisionId::factory(), candidate: None });
        }
        disk
    }

    /// Whether `name` is the same container in both revisions, so that an update from one to the other leaves it alone.
    pub fn same(&self, one: &RevisionId, other: &RevisionId, container: &Container) -> bool {
        let of =
            |revision| self.revisions.get(revision).and_then(|revision| revision.container(&container.name));
        matches!((of(one), of(other)), (Some(one), Some(other)) if one == other)
    }

    pub fn revision(&self, id: &RevisionId) -> Option<&Arc<Revision>> {
        self.revisions.get(id)
    }

    /// The head of a journal.
    pub fn to_text(&self) -> String {
        let mut text = format!("scenario {}\n", self.name);
        let loader = LOADERS.iter().find(|(_, known)| *known == self.loader).map_or("?", |(word, _)| word);
        let _ = writeln!(text, "loader {loader}");
        let _ = writeln!(text, "commit-delay {}", self.settings.commit_delay.as_secs());
        for (id, state) in &self.texts {
            let verb = if self.installed.contains(id) { "revision" } else { "posted" };
            let _ = writeln!(text, "{verb} {id} {state}");
        }
        text
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Scenario, String> {
        let mut scenario = Scenario::new("unnamed", Loader::Kernel);
        for line in text.lines() {
            let (word, rest) =
                line.split_once(' ').ok_or_else(|| format!("not a line of a scenario: {line:?}"))?;
            let revision = || rest.split_once(' ').ok_or_else(|| format!("no state: {line:?}"));
            scenario = match word {
                "scenario" => Scenario { name: rest.to_owned(), ..scenario },
                "loader" => {
                    let new = Scenario::new(&scenario.name, meaning(&LOADERS, rest)?);
                    let settings = Settings { commit_delay: scenario.settings.commit_delay, ..new.settings };
                    Scenario { loader: new.loader, settings, ..scenario }
                }
                "commit-delay" => {
                    scenario.settings.commit_delay =
                        Duration::from_secs(rest.parse().map_err(|_| format!("no number: {line:?}"))?);
                    scenario
                }
                "revision" => revision().and_then(|(id, state)| scenario.with(id, state))?,
                "posted" => revision().and_then(|(id, state)| scenario.with_posted(id, state))?,
                _ => return Err(format!("not a line of a scenario: {line:?}")),
            };
        }
        Ok(scenario)
    }
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Loader {
    /// Boots the device: a candidate once, else what is committed.
    pub fn boot(self, disk: &mut Disk, otherwise: &RevisionId) -> BootedAs {
        match (self, &mut disk.boot) {
            (Loader::Absent, _) => BootedAs::NoLoader,
            (_, None) => BootedAs::Committed(otherwise.clone()),
            (_, Some(vars)) => match vars.candidate.take() {
                Some(candidate) => BootedAs::Trying(candidate),
                None => BootedAs::Committed(vars.committed.clone()),
            },
        }
    }
}

/// A state, put together: for scenarios that are written or drawn.
#[derive(Debug, Clone, Default)]
pub struct State {
    groups: Vec<String>,
    keys: Vec<String>,
}

impl State {
    /// Adds the next group: its name, its goal, and whatever other keys it has.
    #[must_use]
    pub fn group(mut self, name: &str, goal: &str, more: &str) -> State {
        self.groups.push(format!(r#"{{"name":"{name}","status_goal":"{goal}"{more}}}"#));
        self
    }

    /// Adds a container: its group, its content's version, and whatever other keys its run.json has.
    #[must_use]
    pub fn container(mut self, name: &str, group: &str, version: u32, more: &str) -> State {
        let object = |what: u32| format!("{what:032x}{version:032x}");
        self.keys.push(format!(
            r##""{name}/run.json":{{"#spec":"service-manifest-run@1","name":"{name}","type":"lxc","config":"lxc.container.conf","root-volume":"root.squashfs","group":"{group}"{more}}},"{name}/lxc.container.conf":"{}","{name}/root.squashfs":"{}""##,
            object(1),
            object(2)
        ));
        self
    }

    /// Adds something that no container owns, for an update that must boot.
    #[must_use]
    pub fn device(mut self, version: u32) -> State {
        self.keys.push(format!(r#""_hostconfig/version.json":{{"version":{version}}}"#));
        self
    }

    /// Its JSON, on one line.
    pub fn json(&self) -> String {
        let groups = self.groups.join(",");
        let keys = self.keys.join(",");
        format!(r##"{{"#spec":"pantavisor-service-system@1","device.json":{{"groups":[{groups}]}},{keys}}}"##)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_reads_as_it_is_written() {
        let state = State::default()
            .group("one", "STARTED", r#","timeout":5"#)
            .container("a", "one", 1, r#","status_goal":"READY""#)
            .device(2)
            .json();
        let scenario = Scenario::new("small", Loader::StandIn).with("0", &state).unwrap();
        let scenario = scenario.with_posted("locals/x", &state).unwrap();
        let again: Scenario = scenario.to_text().parse().unwrap();
        assert_eq!(again.to_text(), scenario.to_text());
        assert_eq!(again.revisions, scenario.revisions);
    }
}
