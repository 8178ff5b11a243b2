//! What is asked of the store: steps to install, a collection.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use model::ids::{RequestId, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::report::{Failure, FailureKind};
use model::request::{Refusal, Reply};

use crate::Engine;
use crate::action::Action;
use crate::course::Course;
use crate::event::{Content, Settings};
use crate::thought::Thought;
use crate::time::Time;
use crate::update::LONG_EFFECT;

/// What is asked of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Store {
    installs: BTreeMap<RevisionId, Install>,
    collection: Option<Collection>,
}

/// A step on its way to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Install {
    request: RequestId,
    stage: InstallStage,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum InstallStage {
    /// A collection is under way, which might take away what it needs.
    Waiting,
    Asked {
        until: Time,
    },
}

/// A collection under way, with everyone who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Collection {
    requests: Vec<RequestId>,
    until: Time,
}

impl Store {
    pub(crate) fn is_collecting(&self) -> bool {
        self.collection.is_some()
    }

    /// Whether the revision is on its way to disk.
    pub(crate) fn is_installing(&self, revision: &RevisionId) -> bool {
        self.installs.contains_key(revision)
    }

    pub(crate) fn wakes(&self) -> impl Iterator<Item = (Time, &'static str)> {
        let collection =
            self.collection.iter().map(|collection| (collection.until, "a collection takes too long"));
        let installs = self.installs.values().filter_map(|install| match install.stage {
            InstallStage::Waiting => None,
            InstallStage::Asked { until } => Some((until, "storing a step takes too long")),
        });
        collection.chain(installs)
    }
}

fn deadline(now: Time, settings: &Settings) -> Time {
    now + settings.effect_deadline.saturating_mul(LONG_EFFECT)
}

impl Engine {
    /// PUT of a step.
    pub(crate) fn post(&mut self, request: RequestId, revision: RevisionId, thought: &mut Thought) {
        if self.pinned().contains(&revision) || self.store.installs.contains_key(&revision) {
            return self.refuse(request, Refusal::RevisionInUse(revision), thought);
        }
        self.store.installs.insert(revision, Install { request, stage: InstallStage::Waiting });
    }

    /// RUN_GC.
    pub(crate) fn collect(&mut self, request: RequestId, thought: &mut Thought) {
        if let Some(collection) = &mut self.store.collection {
            collection.requests.push(request);
            return;
        }
        let mut keep = self.pinned();
        keep.extend(self.store.installs.keys().cloned());
        let until = deadline(thought.now, &self.settings);
        self.store.collection = Some(Collection { requests: alloc::vec![request], until });
        thought.act(Action::Collect { keep });
    }

    /// Revisions that a step must not overwrite, and that a collection must not take.
    fn pinned(&self) -> BTreeSet<RevisionId> {
        let durable = self.disk.durable();
        let trial = durable.trial.iter().flat_map(|trial| [&trial.revision, &trial.fallback]);
        let checked =
            if let Course::Verifying(verifying) = &self.course { Some(&verifying.revision) } else { None };
        let current = self.current.as_ref().map(|current| current.id());
        // What runs on them may be older than what is current, and have its writable layers there.
        let mounted = self.slots.values().map(|slot| &slot.mounted_of);
        let named = [&durable.committed].into_iter().chain(&durable.previous).chain(trial).chain(checked);
        named.chain(current).chain(mounted).cloned().chain([RevisionId::factory()]).collect()
    }

    /// Asks for what is due, gives up on what takes too long.
    pub(crate) fn tend_store(&mut self, thought: &mut Thought) {
        let now = thought.now;
        let until = deadline(now, &self.settings);
        if self.store.collection.as_ref().is_some_and(|collection| collection.until <= now) {
            self.collected(&Err(Failure::new(FailureKind::Transient, "collect in time")), thought);
        }
        let collecting = self.store.is_collecting();
        let mut late = Vec::new();
        for (revision, install) in &mut self.store.installs {
            match install.stage {
                InstallStage::Waiting if !collecting => {
                    install.stage = InstallStage::Asked { until };
                    thought.act(Action::Install { revision: revision.clone(), request: install.request });
                }
                InstallStage::Asked { until } if until <= now => late.push(revision.clone()),
                InstallStage::Waiting | InstallStage::Asked { .. } => {}
            }
        }
        for revision in late {
            let failure = Failure::new(FailureKind::Transient, "store the step in time");
            self.installed(&revision, Err(failure), thought);
        }
    }

    /// `Installed` was reported.
    pub(crate) fn installed(
        &mut self,
        revision: &RevisionId,
        outcome: Result<Content, Failure>,
        thought: &mut Thought,
    ) {
        let Some(Install { request, .. }) = self.store.installs.remove(revision) else {
            return thought.note(alloc::format!("a late report of step {revision} was dropped"));
        };
        match outcome {
            Ok(content) => {
                if content == Content::Other && self.disk.durable().failures.contains_key(revision) {
                    self.disk.change().failures.remove(revision);
                    thought
                        .note(alloc::format!("{revision} is something else now: its failure is forgotten"));
                }
                let message = alloc::string::String::from("Update not yet installed");
                let logs = alloc::string::String::new();
                let progress = Progress { status: UpdateStatus::New, message, retries: 0, logs };
                self.documents.put(revision, progress, Some(request));
            }
            Err(failure) => self.refuse(request, Refusal::Failed(failure), thought),
        }
    }

    /// `Collected` was reported.
    pub(crate) fn collected(&mut self, outcome: &Result<u64, Failure>, thought: &mut Thought) {
        let Some(collection) = self.store.collection.take() else {
            return thought.note("a late report of a collection was dropped");
        };
        for request in collection.requests {
            let reply = match outcome {
                Ok(reclaimed) => Reply::Collected { reclaimed: *reclaimed },
                Err(failure) => Reply::Refused(Refusal::Failed(failure.clone())),
            };
            thought.act(Action::Reply { request, reply });
        }
    }
}
