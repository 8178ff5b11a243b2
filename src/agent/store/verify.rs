//! Whether a revision is whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::file::FileError;
use model::ids::{Digest, RevisionId};
use model::report::{Failure, FailureKind};
use model::revision::Revision;

use super::state::{self, Content};
use super::{Store, failure, objects, trails};
use crate::digest;

/// Objects that a failure names; it counts the rest.
const NAMED: usize = 8;
/// The longest object that parsing reads (a conf, a `run.json`), in bytes.
const READ: usize = 1 << 20;

/// What a file of a trail turned out to be.
enum Checked {
    Right,
    Missing,
    Wrong,
}

impl Store {
    /// Reads a revision from its trail. Missing if there is none; Permanent if it cannot be parsed, with every reason.
    pub fn load_revision(&self, revision: &RevisionId) -> Result<Arc<Revision>, Failure> {
        let state = self.state_bytes(revision)?;
        let trail = trails::path(revision);
        let mut object = |key: &str, digest: &Digest| {
            let linked = self.folder.read(&format!("{trail}/{key}"), READ);
            let bytes = linked.or_else(|_| self.folder.read(&objects::path(digest), READ));
            let bytes = bytes.map_err(|error| error.to_string())?;
            if digest::of(&bytes) == *digest {
                Ok(bytes)
            } else {
                Err(format!("read object {digest}: its sha256 is wrong"))
            }
        };
        Revision::parse(revision.clone(), &state, self.defaults, &mut object).map(Arc::new).map_err(
            |errors| Failure::new(FailureKind::Permanent, format!("parse revision {revision}: {errors}")),
        )
    }

    /// Parses a state that is offered as `revision`. Objects may still be on their way: where parsing would need one that is not
    /// there, the state is left to [`Store::verify`]. Permanent if it is wrong, with every reason.
    pub fn check_posted(&self, revision: &RevisionId, state: &[u8]) -> Result<(), Failure> {
        let mut is_awaited = false;
        let mut object = |_: &str, digest: &Digest| {
            self.folder.read(&objects::path(digest), READ).map_err(|error| {
                is_awaited |= error.is_missing();
                error.to_string()
            })
        };
        let parsed = Revision::parse(revision.clone(), state, self.defaults, &mut object);
        match (parsed, is_awaited) {
            (Ok(_), _) | (Err(_), true) => Ok(()),
            (Err(errors), false) => {
                Err(Failure::new(FailureKind::Permanent, format!("parse revision {revision}: {errors}")))
            }
        }
    }

    /// Reads a revision whose every file is there; the bytes of its objects are not looked at. Missing, with their names.
    pub fn load_present(&self, revision: &RevisionId) -> Result<Arc<Revision>, Failure> {
        let trail = trails::path(revision);
        let mut missing = Vec::new();
        for (path, content) in &state::files(&self.state_bytes(revision)?)? {
            match self.folder.stat(&format!("{trail}/{path}")) {
                Err(error) if error.is_missing() => missing.push(name_of(path, content)),
                found => {
                    found.map_err(failure)?;
                }
            }
        }
        if missing.is_empty() { self.load_revision(revision) } else { Err(lacks(revision, &missing)) }
    }

    /// Reads a revision and every byte of its objects. Links what arrived after the revision did; an object whose bytes
    /// turn out wrong loses its name, so that it can be brought again. Corrupt, with the names of objects that are missing or wrong.
    pub fn verify(&self, revision: &RevisionId) -> Result<Arc<Revision>, Failure> {
        let _bringing = self.occupancy.bring();
        let files = state::files(&self.state_bytes(revision)?)?;
        let mut hashed = BTreeMap::new();
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for (path, content) in &files {
            match self.check(revision, path, content, &mut hashed).map_err(failure)? {
                Checked::Right => {}
                Checked::Missing => missing.push(name_of(path, content)),
                Checked::Wrong => wrong.push(name_of(path, content)),
            }
        }
        if !wrong.is_empty() {
            let detail = format!("verify revision {revision}: wrong sha256: {}", listed(&wrong));
            return Err(Failure::new(FailureKind::Corrupt, detail));
        }
        // The state is there: an object that is not is a fault of what it names.
        if !missing.is_empty() {
            return Err(Failure { kind: FailureKind::Corrupt, ..lacks(revision, &missing) });
        }
        self.load_revision(revision)
    }

    fn check(
        &self,
        revision: &RevisionId,
        path: &str,
        content: &Content,
        hashed: &mut BTreeMap<(u64, u64), Digest>,
    ) -> Result<Checked, FileError> {
        let trail = trails::path(revision);
        let place = format!("{trail}/{path}");
        match content {
            Content::Inline(text) => match self.folder.read(&place, text.len()) {
                Ok(bytes) if bytes == text.as_bytes() => Ok(Checked::Right),
                Err(error) if error.is_missing() => Ok(Checked::Missing),
                Ok(_) => Ok(Checked::Wrong),
                Err(error) if error.errno == rustix::io::Errno::FBIG => Ok(Checked::Wrong),
                Err(error) => Err(error),
            },
            Content::Object(digest) => {
                if let Checked::Right = self.check_object(&place, digest, hashed)? {
                    return Ok(Checked::Right);
                }
                self.relink(&trail, &place, digest, hashed)
            }
        }
    }

    fn check_object(
        &self,
        place: &str,
        digest: &Digest,
        hashed: &mut BTreeMap<(u64, u64), Digest>,
    ) -> Result<Checked, FileError> {
        let stat = match self.folder.stat(place) {
            Err(error) if error.is_missing() => return Ok(Checked::Missing),
            stat => stat?,
        };
        let found = match hashed.get(&(stat.st_dev, stat.st_ino)) {
            Some(found) => *found,
            None => {
                let file = self.folder.open_file(place)?;
                let unread = |error: std::io::Error| FileError {
                    op: "read",
                    path: self.folder.join(place).display().to_string(),
                    errno: host::file::errno_of(&error),
                };
                let found = digest::of_reader(file).map_err(unread)?;
                hashed.insert((stat.st_dev, stat.st_ino), found);
                found
            }
        };
        Ok(if found == *digest { Checked::Right } else { Checked::Wrong })
    }

    /// The trail's own file is missing or wrong: the object may have arrived since, or again.
    fn relink(
        &self,
        trail: &str,
        place: &str,
        digest: &Digest,
        hashed: &mut BTreeMap<(u64, u64), Digest>,
    ) -> Result<Checked, FileError> {
        let object = objects::path(digest);
        match self.check_object(&object, digest, hashed)? {
            Checked::Missing => return Ok(Checked::Missing),
            Checked::Wrong => {
                self.folder.remove(&object)?;
                return Ok(Checked::Wrong);
            }
            Checked::Right => {}
        }
        let new = format!("{trail}/.pv/link.new");
        self.folder.remove(&new)?;
        self.link_object(digest, &new)?;
        self.folder.rename(&new, place)?;
        self.folder.sync_folder(place.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        Ok(Checked::Right)
    }
}

fn name_of(path: &str, content: &Content) -> String {
    match content {
        Content::Object(digest) => format!("{path} ({digest})"),
        Content::Inline(_) => path.to_owned(),
    }
}

fn lacks(revision: &RevisionId, missing: &[String]) -> Failure {
    Failure::new(FailureKind::Missing, format!("verify revision {revision}: missing: {}", listed(missing)))
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let list = names[..names.len() - more].join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}
