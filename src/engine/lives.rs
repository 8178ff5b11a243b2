//! Short lives of a device, told as tables: what comes in, what goes out.

mod boots;
mod factory;
mod late;
mod once;
mod plans;
mod recovery;
mod requests;
mod updates;
mod walk;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use model::boot::{BootVars, BootedAs};
use model::durable::Durable;
use model::goal::Status;
use model::ids::{ContainerName, Generation, RequestId, RevisionId};
use model::progress::Progress;
use model::report::{Exit, Failure, FailureKind, Happening};
use model::request::{AfterShutdown, Control, Refusal, Reply, Request, Signal};
use model::revision::{Defaults, Revision};

use crate::Content;
use crate::{Action, Engine, Event, Former, FormerReady, Observed, Report, Settings, StopHow, Time};

/// A device whose effects succeed at once unless it was told otherwise, with everything it did.
pub(crate) struct Device {
    pub(crate) engine: Engine,
    pub(crate) now: Time,
    pub(crate) disk: Durable,
    pub(crate) boot: Option<BootVars>,
    pub(crate) revisions: BTreeMap<RevisionId, Arc<Revision>>,
    /// Effects that nobody answers until the test does.
    pub(crate) silent: BTreeSet<&'static str>,
    /// Effects that fail.
    pub(crate) failing: BTreeMap<&'static str, FailureKind>,
    pub(crate) full: bool,
    /// What is posted, beside what its name stood for.
    pub(crate) content: Content,
    /// Containers that ignore their halt signal.
    pub(crate) stubborn: BTreeSet<&'static str>,
    pub(crate) living: BTreeMap<ContainerName, Generation>,
    /// How the next agent finds them.
    former: BTreeMap<ContainerName, Former>,
    pub(crate) progress: BTreeMap<RevisionId, Progress>,
    pub(crate) left: Option<AfterShutdown>,
    log: Vec<String>,
    requests: u64,
    pub(crate) settings: Settings,
}

/// `group:name` with fields of its `run.json`, and a version that makes it another container.
pub(crate) fn revision(id: &str, groups: &[&str], containers: &[(&str, &str, u32)]) -> Arc<Revision> {
    let mut keys = Vec::new();
    let groups: Vec<String> = groups
        .iter()
        .map(|name| format!(r#"{{"name":"{name}","timeout":30,"status_goal":"STARTED"}}"#))
        .collect();
    keys.push(r##""#spec":"pantavisor-service-system@1""##.to_string());
    keys.push(format!(r#""device.json":{{"groups":[{}]}}"#, groups.join(",")));
    for (name, fields, version) in containers {
        let fields = if fields.is_empty() { String::new() } else { format!(",{fields}") };
        keys.push(format!(
            r##""{name}/run.json":{{"#spec":"service-manifest-run@1","name":"{name}","type":"lxc","config":"lxc.container.conf","root-volume":"root.squashfs"{fields}}}"##
        ));
        keys.push(format!(r#""{name}/lxc.container.conf":"{:064x}""#, 1));
        keys.push(format!(r#""{name}/root.squashfs":"{version:064x}""#));
    }
    let state = format!("{{{}}}", keys.join(","));
    let conf = b"lxc.init.cmd = /bin/init\n";
    let parsed =
        Revision::parse(rev(id), state.as_bytes(), Defaults::default(), &mut |_, _| Ok(conf.to_vec()));
    Arc::new(parsed.unwrap_or_else(|errors| panic!("{state}: {errors:?}")))
}

pub(crate) fn rev(id: &str) -> RevisionId {
    id.parse().unwrap()
}

pub(crate) fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

impl Device {
    pub(crate) fn new(revisions: &[Arc<Revision>]) -> Device {
        let revisions: BTreeMap<_, _> =
            revisions.iter().map(|one| (one.id().clone(), Arc::clone(one))).collect();
        let disk = Durable::factory();
        let settings = Settings::default();
        let boot = Some(BootVars { committed: rev("0"), candidate: None });
        Device {
            engine: Engine::new(disk.clone(), observed(&revisions, BootedAs::NoLoader, 1, &settings)),
            now: Time::ZERO,
            disk,
            boot,
            revisions,
            silent: BTreeSet::new(),
            failing: BTreeMap::new(),
            full: false,
            content: Content::MayBeTheSame,
            stubborn: BTreeSet::new(),
            living: BTreeMap::new(),
            former: BTreeMap::new(),
            progress: BTreeMap::new(),
            left: None,
            log: Vec::new(),
            requests: 0,
            settings,
        }
    }

    /// The device is switched on, or the agent starts again while containers live.
    pub(crate) fn boot(&mut self) -> &mut Device {
        let booted = match &mut self.boot {
            None => BootedAs::NoLoader,
            Some(vars) => match vars.candidate.take() {
                Some(candidate) => BootedAs::Trying(candidate),
                None => BootedAs::Committed(vars.committed.clone()),
            },
        };
        self.boot_as(booted)
    }

    pub(crate) fn boot_as(&mut self, booted: BootedAs) -> &mut Device {
        let next = self.living.values().map(|one| one.0 + 1).max().unwrap_or(1);
        let mut observed = observed(&self.revisions, booted, next, &self.settings);
        let former = |name: &ContainerName| self.former.get(name).cloned().unwrap_or(Former::Unfit);
        let living = self.living.iter();
        observed.alive = living.map(|(name, one)| ((name.clone(), *one), former(name))).collect();
        self.engine = Engine::new(self.disk.clone(), observed);
        self.left = None;
        self.event(Event::Booted)
    }

    pub(crate) fn power_cut(&mut self) -> &mut Device {
        self.living.clear();
        self.boot()
    }

    /// One event, then whatever it leads to without time passing.
    pub(crate) fn event(&mut self, event: Event) -> &mut Device {
        let mut events = alloc::collections::VecDeque::from([event]);
        let mut turns = 0;
        while let Some(event) = events.pop_front() {
            turns += 1;
            assert!(turns < 2000, "no end: {:?}", self.log.iter().rev().take(40).collect::<Vec<_>>());
            let mut thinking = self.engine.clone();
            let step = thinking.handle(self.now, event.clone());
            if step.save.is_some() && self.full {
                assert!(!matches!(event, Event::SaveFailed { .. }), "a step that never saves saved");
                self.log.push("save failed".to_string());
                events.push_front(Event::SaveFailed { event: event.into() });
                continue;
            }
            if let Some(durable) = step.save {
                self.disk = durable;
                self.log.push("saved".to_string());
            }
            self.engine = thinking;
            self.log.extend(step.happenings.iter().filter_map(words));
            for action in step.actions {
                events.extend(self.act(action));
            }
            if events.is_empty() && self.engine.next_wakeup().is_some_and(|wakeup| wakeup.at <= self.now) {
                events.push_back(Event::Woke);
            }
        }
        self
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        let (kind, line) = line(&action);
        self.log.push(line);
        let failure = self.failing.get(kind).map(|kind| Failure::new(*kind, "do it"));
        if self.silent.contains(kind) {
            return None;
        }
        let outcome = failure.clone().map_or(Ok(()), Err);
        Some(match action {
            Action::Mount { container, generation, .. } => {
                Event::Report(Report::Mounted { container, generation, outcome })
            }
            Action::Unmount { container, generation } => {
                Event::Report(Report::Unmounted { container, generation, outcome })
            }
            Action::Start { container, revision, generation } => {
                let started = failure.map_or(Ok(100), Err);
                if started.is_ok() {
                    assert!(
                        !self.living.contains_key(&container),
                        "two lives of {container}: {:#?}",
                        self.log
                    );
                    self.living.insert(container.clone(), generation);
                    let fingerprint = self.revisions[&revision].container(&container).unwrap().fingerprint();
                    let ready = FormerReady::NotSaid;
                    let former = Former::Runs { pid: 100, fingerprint, ready, mounted_of: revision };
                    self.former.insert(container.clone(), former);
                }
                Event::Report(Report::Started { container, generation, outcome: started })
            }
            Action::Stop { container, how: StopHow::Ask, .. }
                if self.stubborn.contains(container.as_str()) =>
            {
                self.former.insert(container, Former::Unfit);
                return None;
            }
            Action::Stop { container, generation, .. } => {
                self.living.remove(&container);
                Event::Exited { container, generation, exit: Exit::Signal(15) }
            }
            Action::NoteReady { container, .. } => {
                if let Some(Former::Runs { ready, .. }) = self.former.get_mut(&container) {
                    *ready = FormerReady::Said;
                }
                return None;
            }
            Action::Verify { revision } => {
                let found = self.revisions.get(&revision).cloned();
                let missing = || Failure::new(FailureKind::Missing, "find it");
                let outcome = failure.map_or(found.ok_or_else(missing), Err);
                Event::Report(Report::Verified { revision, outcome })
            }
            Action::Install { revision, .. } => {
                Event::Report(Report::Installed { revision, outcome: outcome.map(|()| self.content) })
            }
            Action::SetBoot { vars, asked } => {
                if outcome.is_ok() {
                    self.boot = Some(vars);
                }
                Event::Report(Report::BootSet { asked, outcome })
            }
            Action::WriteProgress { revision, progress, asked } => {
                if outcome.is_ok() {
                    self.progress.insert(revision.clone(), progress);
                }
                Event::Report(Report::ProgressWritten { revision, asked, outcome })
            }
            Action::Collect { .. } => {
                Event::Report(Report::Collected { outcome: failure.map_or(Ok(7), Err) })
            }
            Action::MakeFactory { .. } => Event::Report(Report::FactoryMade { outcome }),
            Action::Reply { .. } => return None,
            Action::Leave(then) => match failure {
                Some(failure) => Event::Report(Report::LeaveFailed { failure }),
                None => {
                    assert!(self.living.is_empty(), "left while something lives");
                    self.left = Some(then);
                    return None;
                }
            },
        })
    }

    /// Time passes, and every wake-up that is wanted comes.
    pub(crate) fn pass(&mut self, seconds: f64) -> &mut Device {
        let until = self.now + Duration::from_secs_f64(seconds);
        let mut wakes = 0;
        while let Some(wakeup) = self.engine.next_wakeup().filter(|wakeup| wakeup.at <= until) {
            wakes += 1;
            assert!(wakes < 10_000, "wakes for ever: {wakeup:?}");
            self.now = self.now.max(wakeup.at);
            self.event(Event::Woke);
        }
        self.now = until;
        self
    }

    pub(crate) fn ask(&mut self, what: Request) -> &mut Device {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.event(Event::Asked { request, what })
    }

    pub(crate) fn run(&mut self, id: &str) -> &mut Device {
        self.ask(Request::Run { revision: rev(id), force: false })
    }

    pub(crate) fn control(&mut self, container: &str, control: Control) -> &mut Device {
        self.ask(Request::Control { container: name(container), control })
    }

    pub(crate) fn ready(&mut self, container: &str) -> &mut Device {
        let generation = self
            .engine
            .slots
            .get(&name(container))
            .expect("it is there")
            .generation()
            .unwrap_or(Generation(0));
        self.ask(Request::Signal { container: name(container), generation, signal: Signal::Ready })
    }

    pub(crate) fn exits(&mut self, container: &str, exit: Exit) -> &mut Device {
        let container = name(container);
        let generation = self.living.remove(&container).expect("it lives");
        self.event(Event::Exited { container, generation, exit })
    }

    pub(crate) fn status(&self, container: &str) -> Status {
        self.engine.slots.get(&name(container)).expect("it is there").status()
    }

    pub(crate) fn generation(&self, container: &str) -> u64 {
        self.living[&name(container)].0
    }

    pub(crate) fn message(&self, id: &str) -> String {
        let progress = &self.progress[&rev(id)];
        format!("{:?} {}", progress.status, progress.message)
    }

    /// What happened since the last time, in order.
    pub(crate) fn told(&mut self) -> Vec<String> {
        core::mem::take(&mut self.log)
    }

    /// The same, only lines that contain one of these.
    pub(crate) fn told_of(&mut self, words: &[&str]) -> Vec<String> {
        let mut told = self.told();
        told.retain(|line| words.iter().any(|word| line.contains(word)));
        told
    }

    pub(crate) fn last_reply(&self) -> String {
        self.log.iter().rev().find(|line| line.starts_with("reply")).cloned().unwrap_or_default()
    }
}

fn observed(
    revisions: &BTreeMap<RevisionId, Arc<Revision>>,
    booted: BootedAs,
    next: u64,
    settings: &Settings,
) -> Observed {
    Observed {
        booted,
        revisions: revisions.iter().map(|(id, one)| (id.clone(), Ok(Arc::clone(one)))).collect(),
        alive: Vec::new(),
        next_generation: Generation(next),
        settings: settings.clone(),
        notes: Vec::new(),
    }
}

fn words(happening: &Happening) -> Option<String> {
    Some(match happening {
        Happening::Status { container, to, .. } => format!("{container} {to}"),
        Happening::GoalMissed { container, .. } => format!("{container} missed its goal"),
        Happening::GoalMet { container, .. } => format!("{container} met its goal"),
        Happening::Phase { phase, .. } => format!("phase {phase:?}"),
        Happening::Note { text } => format!("note {text}"),
        Happening::Signal { .. } | Happening::Update { .. } => return None,
    })
}

fn line(action: &Action) -> (&'static str, String) {
    match action {
        Action::Mount { container, generation, revision } => {
            ("mount", format!("mount {container} {generation} of {revision}"))
        }
        Action::Unmount { container, generation } => ("unmount", format!("unmount {container} {generation}")),
        Action::Start { container, generation, revision } => {
            ("start", format!("start {container} {generation} of {revision}"))
        }
        Action::Stop { container, generation, how: StopHow::Ask } => {
            ("ask", format!("ask {container} {generation}"))
        }
        Action::Stop { container, generation, how: StopHow::Force } => {
            ("force", format!("force {container} {generation}"))
        }
        Action::NoteReady { container, generation } => {
            ("note", format!("note {container} {generation} ready"))
        }
        Action::Verify { revision } => ("verify", format!("verify {revision}")),
        Action::Install { revision, .. } => ("install", format!("install {revision}")),
        Action::SetBoot { vars, .. } => {
            let candidate = vars.candidate.as_ref().map_or(String::new(), |one| format!(", try {one}"));
            ("boot", format!("boot {}{candidate}", vars.committed))
        }
        Action::WriteProgress { revision, progress, .. } => {
            ("progress", format!("progress {revision} {:?} {}", progress.status, progress.message))
        }
        Action::Collect { keep } => ("collect", format!("collect, keep {keep:?}")),
        Action::MakeFactory { from } => ("factory", format!("make factory of {from}")),
        Action::Reply { reply: Reply::Refused(refusal), .. } => {
            ("reply", format!("reply {}", refused(refusal)))
        }
        Action::Reply { reply, .. } => ("reply", format!("reply {reply:?}")),
        Action::Leave(then) => ("leave", format!("leave {then:?}")),
    }
}

fn refused(refusal: &Refusal) -> String {
    format!("refused: {refusal}")
}
