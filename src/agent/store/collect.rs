//! Giving back the room of what nobody needs.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use host::file::FileError;
use model::ids::{Digest, RevisionId};
use model::progress::UpdateStatus;
use model::report::{Failure, FailureKind};

use super::state::{self, Content};
use super::{Store, failure, objects, partial, trails};

/// What a collection must leave, beside the revision that `trails/current` names.
#[derive(Debug, Clone)]
pub struct Keep {
    /// Whatever their age: running, tried, rollback points, pinned.
    pub revisions: BTreeSet<RevisionId>,
    /// How long a revision stays that was posted and never run.
    pub posted: Duration,
    /// How long an object that no trail names stays, or what has arrived of one: somebody may be about to post the step that does.
    pub fresh: Duration,
}

impl Keep {
    /// A week for a posted revision, an hour for an object.
    pub fn new(revisions: BTreeSet<RevisionId>) -> Keep {
        Keep { revisions, posted: Duration::from_secs(7 * 24 * 3600), fresh: Duration::from_secs(3600) }
    }
}

impl Store {
    /// Removes trails that are not kept, then logs and revision disks without a trail, then objects that no trail names.
    /// Returns the bytes given back. Transient while objects or a revision arrive.
    ///
    /// A trail vanishes in one rename; whatever a power cut leaves of it has no trail, which is what the next collection
    /// looks for.
    pub fn collect(&self, keep: &Keep) -> Result<u64, Failure> {
        let Some(_collecting) = self.occupancy.collect() else {
            let detail = "collect: objects are arriving just now";
            return Err(Failure::new(FailureKind::Transient, detail));
        };
        let mut collection = Collection { freed: 0, first: None };
        for revision in self.revisions("trails")? {
            if !self.is_kept(&revision, keep) {
                collection.note(self.remove_trail(&revision));
            }
        }
        self.remove_orphans(&mut collection)?;
        self.remove_objects(keep.fresh, &mut collection)?;
        self.reserve.fill(&self.folder);
        collection.first.map_or(Ok(collection.freed), |error| Err(failure(error)))
    }

    fn is_kept(&self, revision: &RevisionId, keep: &Keep) -> bool {
        if keep.revisions.contains(revision) || self.current().as_ref() == Some(revision) {
            return true;
        }
        let Some(step) = self.step(revision) else { return false };
        let never_run = step.progress.is_none_or(|progress| match progress.status {
            UpdateStatus::New | UpdateStatus::Queued | UpdateStatus::Downloading => true,
            UpdateStatus::InProgress
            | UpdateStatus::Testing
            | UpdateStatus::Updated
            | UpdateStatus::Done
            | UpdateStatus::WontGo
            | UpdateStatus::Error => false,
        });
        never_run && is_younger(step.posted, keep.posted)
    }

    fn remove_trail(&self, revision: &RevisionId) -> Result<u64, FileError> {
        let (trail, old) = (trails::path(revision), self.temporary("trails", "old"));
        self.folder.rename(&trail, &old)?;
        self.folder.sync_folder(if revision.is_local() { "trails/locals" } else { "trails" })?;
        self.folder.remove_tree(&old)
    }

    fn remove_orphans(&self, collection: &mut Collection) -> Result<(), Failure> {
        let trails: BTreeSet<_> = self.revisions("trails")?.into_iter().collect();
        for holder in ["logs", "disks/rev"] {
            for revision in self.revisions(holder)? {
                if !trails.contains(&revision) {
                    collection.note(self.folder.remove_tree(&format!("{holder}/{revision}")));
                }
            }
        }
        Ok(())
    }

    /// Which objects are needed is read from the states, not from link counts: a trail may hold a copy, or not have been
    /// linked yet. If one state cannot be read, every object stays.
    fn remove_objects(&self, fresh: Duration, collection: &mut Collection) -> Result<(), Failure> {
        let needed = self.needed()?;
        for object in self.objects()? {
            let path = objects::path(&object.digest);
            if needed.contains(&object.digest) || self.is_fresh(&path, fresh) {
                continue;
            }
            collection.note(self.folder.remove_tree(&path));
        }
        let is_nearly_full = partial::is_nearly_full(&self.folder);
        for path in self.partials().iter().map(partial::path) {
            if is_nearly_full || !self.is_fresh(&path, fresh) {
                collection.note(self.folder.remove_tree(&path));
            }
        }
        Ok(())
    }

    fn needed(&self) -> Result<BTreeSet<Digest>, Failure> {
        let mut needed = BTreeSet::new();
        for revision in self.revisions("trails")? {
            let files = state::files(&self.state_bytes(&revision)?)?;
            needed.extend(files.into_values().filter_map(|content| match content {
                Content::Object(digest) => Some(digest),
                Content::Inline(_) => None,
            }));
        }
        Ok(needed)
    }

    fn is_fresh(&self, path: &str, fresh: Duration) -> bool {
        let Ok(stat) = self.folder.stat(path) else { return true };
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        is_younger(SystemTime::UNIX_EPOCH + seconds, fresh)
    }
}

/// A time in the future counts as young: the clock was set back since, and nothing is lost by waiting.
fn is_younger(then: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(then).map_or(true, |elapsed| elapsed < age)
}

/// Carries on past what cannot be removed.
struct Collection {
    freed: u64,
    first: Option<FileError>,
}

impl Collection {
    fn note(&mut self, outcome: Result<u64, FileError>) {
        match outcome {
            Ok(bytes) => self.freed += bytes,
            Err(error) => {
                self.first.get_or_insert(error);
            }
        }
    }
}
