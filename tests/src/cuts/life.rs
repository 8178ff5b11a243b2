//! A life of the agent on a disk as it was found: its own store, boot variables and engine; only the containers are made up.
//!
//! Every action is carried out at once, in order. Each container starts, unless its revision is one that is meant not to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::boot::selfexec::SelfExec;
use agent::store::{Keep, Store};
use engine::{Action, Engine, Event, Observed, Report, Settings, Time};
use model::boot::BootedAs;
use model::durable::Durable;
use model::ids::{Generation, RequestId, RevisionId};
use model::report::{DeviceReport, Exit, Failure, FailureKind};
use model::request::{Reply, Request};
use model::revision::Revision;

use crate::shell::ready;

/// Steps of the engine in one life, at most: whoever needs more does not come to rest.
const MOST_STEPS: usize = 1000;
/// Lives until the device is at rest, at most.
const MOST_LIVES: usize = 6;

/// The agent at rest.
#[derive(Debug)]
pub struct Rest {
    pub store: Arc<Store>,
    pub durable: Durable,
    pub report: DeviceReport,
    engine: Engine,
    loader: SelfExec,
    now: Time,
    requests: u64,
}

enum Went {
    ToRest(Box<Rest>),
    /// It starts over.
    Left,
}

/// Starts the agent on what lies in `root`, as often as it wants to be started, until it is at rest.
///
/// # Errors
/// It cannot start, or does not come to rest.
pub fn recover(root: &Path) -> Result<Rest, String> {
    for _ in 0..MOST_LIVES {
        if let Went::ToRest(rest) = begin(root)? {
            return Ok(*rest);
        }
    }
    Err(format!("the agent started over {MOST_LIVES} times"))
}

fn begin(root: &Path) -> Result<Went, String> {
    let told = |what: &str, failure: Failure| format!("{what}: failed to {}", failure.detail);
    let store = Arc::new(Store::open(root).map_err(|failure| told("open", failure))?);
    let durable =
        store.load_durable().map_err(|failure| told("load", failure))?.unwrap_or_else(Durable::factory);
    let loader = SelfExec::new(root);
    let booted = loader.boot(&durable.committed).map_err(|error| format!("boot: {error}"))?;
    let observed = Observed {
        revisions: named(&durable, &booted).into_iter().map(|id| (id.clone(), whole(&store, &id))).collect(),
        booted,
        alive: Vec::new(),
        next_generation: Generation(1),
        settings: Settings { commit_delay: Duration::from_secs(1), ..Settings::default() },
        notes: Vec::new(),
    };
    let engine = Engine::new(durable.clone(), observed);
    let report = engine.report();
    let rest = Rest { store, durable, report, engine, loader, now: Time::from_micros(1), requests: 0 };
    rest.live(VecDeque::from([Event::Booted])).map(|(went, _)| went)
}

fn named(durable: &Durable, booted: &BootedAs) -> BTreeSet<RevisionId> {
    let mut named = BTreeSet::from([RevisionId::factory(), durable.committed.clone()]);
    named.extend(durable.previous.clone());
    named.extend(durable.trial.iter().flat_map(|trial| [trial.revision.clone(), trial.fallback.clone()]));
    if let BootedAs::Committed(revision) | BootedAs::Trying(revision) = booted {
        named.insert(revision.clone());
    }
    named
}

fn whole(store: &Store, id: &RevisionId) -> Result<Arc<Revision>, Failure> {
    let revision = store.load_revision(id)?;
    let missing = revision.objects().find(|(_, digest)| store.object_size(digest).is_none());
    let missing = missing.map(|(key, _)| format!("find the object {key} of {id}"));
    missing.map_or(Ok(revision), |missing| Err(Failure::new(FailureKind::Missing, missing)))
}

impl Rest {
    /// Asks the agent something, and lets it come to rest again.
    ///
    /// # Errors
    /// It starts over too often, or does not come to rest.
    pub fn ask(mut self, what: Request) -> Result<(Rest, Option<Reply>), String> {
        self.requests += 1;
        let asked = Event::Asked { request: RequestId(self.requests), what };
        let root = self.store.root().to_owned();
        match self.live(VecDeque::from([asked]))? {
            (Went::ToRest(rest), reply) => Ok((*rest, reply)),
            (Went::Left, reply) => Ok((recover(&root)?, reply)),
        }
    }

    fn live(mut self, mut events: VecDeque<Event>) -> Result<(Went, Option<Reply>), String> {
        let mut answer = None;
        for _ in 0..MOST_STEPS {
            let event = match (events.pop_front(), self.engine.next_wakeup()) {
                (Some(event), _) => event,
                (None, Some(wakeup)) => {
                    self.now = wakeup.at.max(self.now);
                    Event::Woke
                }
                (None, None) => {
                    self.report = self.engine.report();
                    return Ok((Went::ToRest(Box::new(self)), answer));
                }
            };
            let step = self.engine.handle(self.now, event);
            let store = Arc::clone(&self.store);
            let saving = step.after_saving(async |durable| {
                store.save_durable(durable)?;
                self.durable = durable.clone();
                Ok::<(), Failure>(())
            });
            let actions = ready(saving).map_err(|failure| format!("save: failed to {}", failure.detail))?;
            for action in actions {
                if let Action::Leave(_) = action {
                    return Ok((Went::Left, answer));
                }
                if let Action::Reply { reply, .. } = action {
                    answer = Some(reply);
                } else {
                    events.extend(self.carry_out(action));
                }
            }
        }
        Err(format!("the agent does not come to rest: {:?}", self.engine.report()))
    }

    fn carry_out(&self, action: Action) -> Vec<Event> {
        let report = match action {
            Action::Mount { container, generation, .. } => {
                Report::Mounted { container, generation, outcome: Ok(()) }
            }
            Action::Unmount { container, generation } => {
                Report::Unmounted { container, generation, outcome: Ok(()) }
            }
            Action::Start { container, revision, generation } => {
                let cannot = Failure::new(FailureKind::Permanent, "run what is meant to fail");
                let outcome = if is_bad(&revision) { Err(cannot) } else { Ok(1000) };
                Report::Started { container, generation, outcome }
            }
            Action::Stop { container, generation, .. } => {
                return vec![Event::Exited { container, generation, exit: Exit::Code(0) }];
            }
            Action::Verify { revision } => {
                let outcome = self.store.verify(&revision);
                Report::Verified { revision, outcome }
            }
            Action::SetBoot { vars, asked } => {
                let set = self.loader.set(&vars);
                let outcome = set.map_err(|error| Failure::new(FailureKind::Transient, error.to_string()));
                Report::BootSet { asked, outcome }
            }
            Action::WriteProgress { revision, progress, asked } => {
                let outcome = self.store.write_progress(&revision, &progress);
                Report::ProgressWritten { revision, asked, outcome }
            }
            Action::Collect { keep } => {
                let now = Keep { posted: Duration::ZERO, fresh: Duration::ZERO, ..Keep::new(keep) };
                Report::Collected { outcome: self.store.collect(&now) }
            }
            Action::MakeFactory { from } => Report::FactoryMade { outcome: self.store.make_factory(&from) },
            Action::NoteReady { .. } | Action::Install { .. } | Action::Reply { .. } | Action::Leave(_) => {
                return Vec::new();
            }
        };
        vec![Event::Report(report)]
    }

    /// The boot loader's variables, as they lie on the disk.
    pub fn boot_vars(&self) -> BTreeMap<String, serde_json::Value> {
        let bytes = std::fs::read(self.store.root().join("boot/vars.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }
}

/// A revision that is meant to fail says so in its name.
pub fn is_bad(revision: &RevisionId) -> bool {
    revision.as_str().starts_with("locals/bad")
}
