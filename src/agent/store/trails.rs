//! Revisions as they lie on disk.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use host::file::{FileError, Readers};
use model::ids::{Digest, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::report::{Failure, FailureKind};
use rustix::io::Errno;

use super::state::{self, Content, Files};
use super::{Store, failure, is_full, objects};

/// The longest commit message, in bytes.
const COMMIT_MESSAGE: usize = 256;

/// One revision that is on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub revision: RevisionId,
    /// When it was posted, by the wall clock of that time.
    pub posted: SystemTime,
    /// What its author says of it; often empty.
    pub commit_message: String,
    /// How its update went; `None` if the document is not there or cannot be read.
    pub progress: Option<Progress>,
}

/// A trail to be written.
struct Trail<'a> {
    files: Files,
    state: &'a [u8],
    objects: From,
    progress: Progress,
}

/// Where the objects of a trail to be written come from.
enum From {
    /// From where they were brought; one that is not there yet is linked when the trail is verified.
    Objects,
    /// From this trail, which was verified just now.
    Trail(String),
}

pub(super) fn path(revision: &RevisionId) -> String {
    format!("trails/{revision}")
}

impl Store {
    /// Where a revision's files lie.
    pub fn trail_path(&self, revision: &RevisionId) -> std::path::PathBuf {
        self.folder.join(&path(revision))
    }

    /// Writes a state as a trail, in place of one of that name: whole, or not at all. Objects that are not there yet are
    /// linked by [`Store::verify`]. The bytes are kept as they are.
    pub fn install(&self, revision: &RevisionId, state: &[u8]) -> Result<(), Failure> {
        let files = state::files(state)?;
        let _bringing = self.occupancy.bring();
        let progress = Progress::new(UpdateStatus::New, "Update ready to be run");
        let trail = Trail { files, state, objects: From::Objects, progress };
        self.making_room(|| {
            let new = self.temporary("trails", "new");
            let outcome = self.write_trail(&new, &trail).and_then(|()| self.place_trail(&new, revision));
            self.or_remove(&new, outcome)
        })
    }

    /// Lays `from` down as the factory revision too, every byte of it checked: whole beside the former one, then in its place in one
    /// exchange. The former one's files, with what it kept on its own disks, stay where they are mounted; they go at the next start.
    /// A cut before the exchange leaves the former one without what it kept on its own disks.
    pub fn make_factory(&self, from: &RevisionId) -> Result<(), Failure> {
        let factory = RevisionId::factory();
        if *from == factory {
            let detail = "make the factory revision of itself";
            return Err(Failure::new(FailureKind::Permanent, detail));
        }
        let _bringing = self.occupancy.bring();
        self.verify(from)?;
        let (state, message) = (self.state_bytes(from)?, self.commit_message(from)?);
        let progress = Progress::new(UpdateStatus::Done, "Factory revision");
        let objects = From::Trail(path(from));
        let trail = Trail { files: state::files(&state)?, state: &state, objects, progress };
        let new = self.temporary("trails", "new");
        let outcome = self.write_trail(&new, &trail).and_then(|()| {
            self.folder.write_new(&format!("{new}/.pv/done"), b"", Readers::All)?;
            if !message.is_empty() {
                self.folder.write_new(&format!("{new}/.pv/commitmsg"), message.as_bytes(), Readers::All)?;
            }
            self.folder.sync_folder(&format!("{new}/.pv"))?;
            self.set_aside(&format!("disks/rev/{factory}"))?;
            match self.folder.stat(&path(&factory)) {
                Err(error) if error.is_missing() => self.folder.rename(&new, &path(&factory))?,
                Err(error) => return Err(error),
                Ok(_) => self.folder.exchange(&new, &path(&factory))?,
            }
            self.folder.sync_folder("trails")
        });
        self.or_remove(&new, outcome)
    }

    /// Gives what is there another name, which goes at the next start.
    fn set_aside(&self, path: &str) -> Result<(), FileError> {
        match self.folder.stat(path) {
            Err(error) if error.is_missing() => return Ok(()),
            found => found?,
        };
        self.folder.rename(path, &self.temporary("disks/rev", "old"))?;
        self.folder.sync_folder("disks/rev")
    }

    /// After a failure nothing of the new one stays.
    fn or_remove(&self, new: &str, outcome: Result<(), FileError>) -> Result<(), Failure> {
        if outcome.is_err()
            && let Err(error) = self.folder.remove_tree(new)
        {
            log::warn!("temporary of a trail stays error={error}");
        }
        outcome.map_err(failure)
    }

    fn write_trail(&self, new: &str, trail: &Trail<'_>) -> Result<(), FileError> {
        let Trail { files, state, objects, progress } = trail;
        let folders: BTreeSet<&str> =
            files.keys().flat_map(|path| state::folders(path)).chain([".pv", ".pvr"]).collect();
        self.folder.make_folder(new)?;
        for folder in &folders {
            self.folder.make_folder(&format!("{new}/{folder}"))?;
        }
        for (key, content) in files {
            let path = format!("{new}/{key}");
            match content {
                Content::Inline(text) => self.folder.write_new(&path, text.as_bytes(), Readers::All)?,
                Content::Object(digest) => match objects {
                    From::Objects => match self.link_object(digest, &path) {
                        Err(error) if error.is_missing() => {}
                        outcome => outcome?,
                    },
                    From::Trail(other) => self.link_file(&format!("{other}/{key}"), &path)?,
                },
            }
        }
        let write =
            |name: &str, bytes: &[u8]| self.folder.write_new(&format!("{new}/{name}"), bytes, Readers::All);
        let config = serde_json::json!({ "ObjectsDir": self.folder.join("objects") });
        write(".pvr/json", state)?;
        write(".pvr/config", config.to_string().as_bytes())?;
        write(".pv/progress", progress.to_json().as_bytes())?;
        for folder in folders.iter().rev() {
            self.folder.sync_folder(&format!("{new}/{folder}"))?;
        }
        self.folder.sync_folder(new)
    }

    /// A revision's own disks are of the former content of its name, if it had one.
    fn place_trail(&self, new: &str, revision: &RevisionId) -> Result<(), FileError> {
        let place = path(revision);
        let holder = if revision.is_local() { "trails/locals" } else { "trails" };
        match self.folder.stat(&place) {
            Err(error) if error.is_missing() => {
                self.folder.rename(new, &place)?;
                self.folder.sync_folder(holder)
            }
            Err(error) => Err(error),
            Ok(_) => {
                self.folder.remove_tree(&format!("disks/rev/{revision}"))?;
                self.folder.exchange(new, &place)?;
                self.folder.sync_folder(holder)?;
                if holder != "trails" {
                    self.folder.sync_folder("trails")?;
                }
                // The new one is in place: what stays of the former one goes at the next start.
                self.folder.remove_tree(new).map(|_| ()).or_else(|error| {
                    log::warn!("former trail stays error={error}");
                    Ok(())
                })
            }
        }
    }

    /// Links an object into a trail; copies it where it cannot be linked.
    pub(super) fn link_object(&self, digest: &Digest, to: &str) -> Result<(), FileError> {
        self.link_file(&objects::path(digest), to)
    }

    fn link_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        match self.folder.link(from, to) {
            Err(error)
                if matches!(error.errno, Errno::XDEV | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP) =>
            {
                self.copy_file(from, to)
            }
            outcome => outcome,
        }
    }

    fn copy_file(&self, source: &str, to: &str) -> Result<(), FileError> {
        use std::io::Read;
        let mut from = self.folder.open_file(source)?;
        let mut file = self.folder.create(to, Readers::All)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => return file.sync(),
                Ok(length) => file.write(&chunk[..length])?,
                Err(error) => {
                    let errno = host::file::errno_of(&error);
                    return Err(FileError { op: "read", path: source.to_owned(), errno });
                }
            }
        }
    }

    /// A revision's state, byte for byte as it was posted.
    pub fn state_bytes(&self, revision: &RevisionId) -> Result<Vec<u8>, Failure> {
        self.folder.read(&format!("{}/.pvr/json", path(revision)), state::LONGEST).map_err(failure)
    }

    /// Every revision on the device: numbers first, then local names, each in order.
    pub fn steps(&self) -> Result<Vec<Step>, Failure> {
        Ok(self.revisions("trails")?.into_iter().filter_map(|revision| self.step(&revision)).collect())
    }

    /// One revision, if it is on the device.
    pub fn step(&self, revision: &RevisionId) -> Option<Step> {
        let stat = self.folder.stat(&format!("{}/.pvr/json", path(revision))).ok()?;
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        Some(Step {
            revision: revision.clone(),
            posted: SystemTime::UNIX_EPOCH + seconds,
            commit_message: self.commit_message(revision).unwrap_or_default(),
            progress: self.progress(revision).ok(),
        })
    }

    /// The revisions that have a folder beneath `holder`.
    pub(super) fn revisions(&self, holder: &str) -> Result<Vec<RevisionId>, Failure> {
        let list = |path: &str| match self.folder.list(path) {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            outcome => outcome.map_err(failure),
        };
        let mut numbers: Vec<(u64, RevisionId)> = Vec::new();
        for entry in list(holder)? {
            let Some(name) = entry.name.to_str() else { continue };
            if let (Ok(number), Ok(revision)) = (name.parse(), name.parse()) {
                numbers.push((number, revision));
            }
        }
        numbers.sort();
        let mut found: Vec<RevisionId> = numbers.into_iter().map(|(_, revision)| revision).collect();
        for entry in list(&format!("{holder}/locals"))? {
            let name = entry.name.to_str().map(|name| format!("locals/{name}").parse());
            if let Some(Ok(revision)) = name {
                found.push(revision);
            }
        }
        Ok(found)
    }

    /// A revision's progress document.
    pub fn progress(&self, revision: &RevisionId) -> Result<Progress, Failure> {
        let path = format!("{}/.pv/progress", path(revision));
        let bytes = self.folder.read(&path, Progress::MAX_BYTES).map_err(failure)?;
        Progress::from_json(&bytes)
            .map_err(|error| Failure::new(FailureKind::Corrupt, format!("read {path}: {error}")))
    }

    /// Writes a revision's progress document, then, if it says DONE, its `.pv/done`.
    pub fn write_progress(&self, revision: &RevisionId, progress: &Progress) -> Result<(), Failure> {
        let trail = path(revision);
        // A trail that was laid down by a factory's tools may lack the folder; one that is gone must not come back.
        self.folder.stat(&trail).map_err(failure)?;
        let write = |name: &str, bytes: &[u8]| {
            self.essential(is_full, || {
                self.folder.make_folders(&format!("{trail}/.pv")).map_err(failure)?;
                self.folder.replace(&format!("{trail}/.pv/{name}"), bytes, Readers::All).map_err(failure)
            })
        };
        write("progress", progress.to_json().as_bytes())?;
        if progress.status == UpdateStatus::Done { write("done", b"") } else { Ok(()) }
    }

    /// What a revision's author says of it; empty if nothing.
    pub fn commit_message(&self, revision: &RevisionId) -> Result<String, Failure> {
        self.folder.stat(&path(revision)).map_err(failure)?;
        match self.folder.read(&format!("{}/.pv/commitmsg", path(revision)), COMMIT_MESSAGE) {
            Err(error) if error.is_missing() => Ok(String::new()),
            read => Ok(String::from_utf8_lossy(&read.map_err(failure)?).into_owned()),
        }
    }

    /// Keeps what a revision's author says of it: at most 256 bytes, else `NoSpace`.
    pub fn write_commit_message(&self, revision: &RevisionId, message: &str) -> Result<(), Failure> {
        if message.len() > COMMIT_MESSAGE {
            let detail =
                format!("keep a commit message of {} bytes, more than {COMMIT_MESSAGE}", message.len());
            return Err(Failure::new(FailureKind::NoSpace, detail));
        }
        let trail = path(revision);
        self.folder
            .replace(&format!("{trail}/.pv/commitmsg"), message.as_bytes(), Readers::All)
            .map_err(failure)
    }

    /// Points `trails/current`, and `logs/current`, at the revision that runs.
    pub fn set_current(&self, revision: &RevisionId) -> Result<(), Failure> {
        for holder in ["trails", "logs"] {
            let link = format!("{holder}/current");
            if self.folder.read_link(&link).is_ok_and(|target| target == revision.as_str()) {
                continue;
            }
            let new = self.temporary(holder, "current");
            let place = || {
                self.folder.symlink(&new, revision.as_str())?;
                self.folder.rename(&new, &link)?;
                self.folder.sync_folder(holder)
            };
            self.essential(is_full, || place().map_err(failure))?;
        }
        Ok(())
    }

    /// The revision that `trails/current` names.
    pub fn current(&self) -> Option<RevisionId> {
        self.folder.read_link("trails/current").ok()?.parse().ok()
    }
}
