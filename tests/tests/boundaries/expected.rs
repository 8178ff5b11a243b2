//! What must be true of a device after a cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use agent::digest;
use agent::store::{Meta, Store};
use model::ids::{Digest, RevisionId};
use model::progress::UpdateStatus;
use model::report::{GoalReport, Phase};
use model::request::{Reply, Request};
use tests::cuts::disk::Scope;
use tests::cuts::life::{self, Rest};

/// What the agent said, and what it was asked and had not answered: then both are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Expected {
    /// Each revision's state as it was posted, or none where it may be gone.
    pub(crate) posted: BTreeMap<RevisionId, BTreeSet<Option<Vec<u8>>>>,
    pub(crate) messages: BTreeMap<RevisionId, BTreeSet<String>>,
    pub(crate) meta: BTreeMap<(Meta, String), BTreeSet<Option<String>>>,
    /// What may run in the end.
    pub(crate) running: BTreeSet<RevisionId>,
    /// What ever committed.
    pub(crate) committed: BTreeSet<RevisionId>,
    /// What was told to have failed.
    pub(crate) failed: BTreeSet<RevisionId>,
    /// What may have been tried.
    pub(crate) tried: BTreeSet<RevisionId>,
}

type Checked = Result<(), String>;

fn that(is_true: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if is_true { Ok(()) } else { Err(otherwise()) }
}

impl Expected {
    /// Starts the agent's own code on a disk, and checks it when it is at rest; then, where all that was not synced has one fate,
    /// that garbage goes, and an update works.
    pub(crate) fn check(&self, root: &Path, scope: Scope) -> Checked {
        let rest = life::recover(root)?;
        self.at_rest(&rest)?;
        self.kept(&rest.store)?;
        if scope == Scope::One {
            return Ok(());
        }
        let rest = collect(rest)?;
        self.at_rest(&rest)?;
        self.can_update(rest)
    }

    /// One of the revisions that may run does, whole; the disk, the boot loader and what is told agree.
    fn at_rest(&self, rest: &Rest) -> Checked {
        let (report, durable, store) = (&rest.report, &rest.durable, &rest.store);
        let running = report.revision.clone().ok_or("nothing runs")?;
        that(self.running.contains(&running), || format!("{running} runs, not one of {:?}", self.running))?;
        that(report.phase == Phase::Running, || format!("the phase is {:?}", report.phase))?;
        let met = |goal| goal == GoalReport::Met;
        let missed = report.containers.iter().find(|container| !met(container.goal));
        that(missed.is_none(), || format!("a goal is not met: {missed:?}"))?;
        that(durable.committed == running, || format!("{} is committed, {running} runs", durable.committed))?;
        that(durable.trial.is_none(), || format!("a trial is left: {:?}", durable.trial))?;
        that(durable.unwritten.is_empty(), || format!("unwritten: {:?}", durable.unwritten))?;
        let vars = rest.boot_vars();
        let agrees = vars.is_empty() || vars["committed"] == running.as_str();
        that(agrees, || format!("{running} runs, and the boot loader has {vars:?}"))?;
        for id in
            [Some(&running), durable.previous.as_ref(), Some(&RevisionId::factory())].into_iter().flatten()
        {
            store.verify(id).map_err(|failure| format!("{id} is not whole: {}", failure.detail))?;
        }
        for step in store.steps().map_err(|failure| failure.detail.to_string())? {
            self.is_true(rest, &step)?;
        }
        Ok(())
    }

    /// A progress document says what happened.
    fn is_true(&self, rest: &Rest, step: &agent::store::Step) -> Checked {
        let id = &step.revision;
        let Some(progress) = &step.progress else {
            // A factory's tools write none; the agent does when its goals were met.
            return Err(format!("{id} has no progress document"));
        };
        let (has_run, is_running) = (self.tried.contains(id), rest.report.revision.as_ref() == Some(id));
        let right = match progress.status {
            UpdateStatus::New => !is_running || rest.report.revision == Some(RevisionId::factory()),
            UpdateStatus::Done => is_running || self.committed.contains(id),
            UpdateStatus::Error => !is_running && has_run && !progress.message.is_empty(),
            UpdateStatus::Queued
            | UpdateStatus::Downloading
            | UpdateStatus::InProgress
            | UpdateStatus::Testing
            | UpdateStatus::Updated
            | UpdateStatus::WontGo => false,
        };
        that(right, || format!("the progress of {id} says {progress:?}"))?;
        if self.failed.contains(id) {
            that(progress.status == UpdateStatus::Error, || {
                format!("{id} was told to have failed: {progress:?}")
            })?;
        }
        Ok(())
    }

    /// Nothing that was acknowledged is lost, and nothing is there that nobody brought.
    fn kept(&self, store: &Store) -> Checked {
        for (id, allowed) in &self.posted {
            let state = store.state_bytes(id).ok();
            that(allowed.contains(&state), || {
                format!("the state of {id} is none of those posted: {state:?}")
            })?;
            if state.is_some() {
                store.verify(id).map_err(|failure| format!("{id} is not whole: {}", failure.detail))?;
            }
        }
        for step in store.steps().map_err(|failure| failure.detail.to_string())? {
            that(self.posted.contains_key(&step.revision), || format!("nobody posted {}", step.revision))?;
            if let Some(allowed) = self.messages.get(&step.revision) {
                that(allowed.contains(&step.commit_message), || {
                    format!(
                        "the message of {} is {:?}, not one of {allowed:?}",
                        step.revision, step.commit_message
                    )
                })?;
            }
        }
        for kind in Meta::ALL {
            let found = store.meta(kind).map_err(|failure| failure.detail.to_string())?;
            for ((of, key), allowed) in self.meta.iter().filter(|((of, _), _)| *of == kind) {
                let value = found.get(key).cloned();
                that(allowed.contains(&value), || {
                    format!("{of:?} {key} is {value:?}, not one of {allowed:?}")
                })?;
            }
            let strange = found.keys().find(|key| !self.meta.contains_key(&(kind, (*key).clone())));
            that(strange.is_none(), || format!("nobody set {strange:?}"))?;
        }
        for object in store.objects().map_err(|failure| failure.detail.to_string())? {
            let bytes =
                std::fs::read(store.object_path(&object.digest)).map_err(|error| error.to_string())?;
            that(digest::of(&bytes) == object.digest, || {
                format!("object {} is not what its name says", object.digest)
            })?;
        }
        Ok(())
    }

    /// Whatever the cut left, a new revision can be posted, run, and committed.
    fn can_update(&self, rest: Rest) -> Checked {
        let new: RevisionId = "locals/afterwards".parse().map_err(|_| "a name".to_owned())?;
        let running = rest.report.revision.clone().unwrap_or_else(RevisionId::factory);
        let state = rest.store.state_bytes(&running).map_err(|failure| failure.detail.to_string())?;
        let mut state: serde_json::Value =
            serde_json::from_slice(&state).map_err(|error| error.to_string())?;
        state["_config/web/etc/afterwards.json"] = serde_json::json!({"new": true});
        rest.store
            .install(&new, state.to_string().as_bytes())
            .map_err(|failure| format!("post afterwards: {}", failure.detail))?;
        let (rest, reply) = rest.ask(Request::Run { revision: new.clone(), force: false })?;
        that(reply == Some(Reply::Done), || format!("an update afterwards is answered {reply:?}"))?;
        let document = rest.store.progress(&new).map_err(|failure| failure.detail.to_string())?;
        let done = rest.durable.committed == new && document.status == UpdateStatus::Done;
        that(done, || {
            format!("an update afterwards ends {document:?}, {} is committed", rest.durable.committed)
        })
    }
}

/// A collection takes what nobody needs, whatever the cut left of it, and nothing else.
fn collect(rest: Rest) -> Result<Rest, String> {
    let (rest, reply) = rest.ask(Request::Collect)?;
    let Some(Reply::Collected { .. }) = reply else {
        return Err(format!("a collection is answered {reply:?}"));
    };
    let store = &rest.store;
    let steps = store.steps().map_err(|failure| failure.detail.to_string())?;
    let mut needed = BTreeSet::new();
    for step in &steps {
        let state = store.state_bytes(&step.revision).map_err(|failure| failure.detail.to_string())?;
        let state: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&state).map_err(|error| error.to_string())?;
        needed.extend(state.values().filter_map(|value| value.as_str()?.parse::<Digest>().ok()));
    }
    let objects = store.objects().map_err(|failure| failure.detail.to_string())?;
    let objects: BTreeSet<_> = objects.into_iter().map(|object| object.digest).collect();
    that(objects == needed, || format!("after a collection there are {objects:?}, needed are {needed:?}"))?;
    left_overs(store.root(), &steps.into_iter().map(|step| step.revision).collect())?;
    Ok(rest)
}

/// Names that only something half done has; logs and disks of what is gone.
fn left_overs(root: &Path, steps: &BTreeSet<RevisionId>) -> Checked {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    for folder in [
        "objects",
        "trails",
        "trails/locals",
        "logs",
        "logs/locals",
        "cache",
        "cache/usrmeta",
        "cache/devmeta",
        "disks/rev",
    ] {
        let strange = names(folder).into_iter().find(|name| name.starts_with('.'));
        that(strange.is_none(), || format!("{folder} has {strange:?} left"))?;
    }
    for holder in ["logs", "disks/rev"] {
        let numbers = names(holder).into_iter().filter(|name| name.parse::<u64>().is_ok());
        let locals = names(&format!("{holder}/locals")).into_iter().map(|name| format!("locals/{name}"));
        for name in numbers.chain(locals) {
            let is_there = name.parse().is_ok_and(|id| steps.contains(&id));
            that(is_there, || format!("{holder}/{name} is left without its revision"))?;
        }
    }
    Ok(())
}
