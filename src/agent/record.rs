//! The runtime record: which lives there are, so that an agent that was killed knows them again when it is started.
//!
//! One small file per container under the run dir, which the machine empties at each boot. It is written before the process
//! exists and again when its number is known; the file of an ended life stays, so that no generation is given twice.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::FormerReady;
use host::process::Process;
use model::ids::{ContainerName, Generation, RevisionId};
use model::recovery::Role;

/// Bytes of a note, filled up with blanks so that each covers the one before. Names are short enough for any to fit.
const LENGTH: usize = 768;

/// The folder of the runtime record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    folder: PathBuf,
}

/// One life, as far as it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// Whose.
    pub(crate) container: ContainerName,
    /// Which.
    pub(crate) generation: Generation,
    /// Of which revision.
    pub(crate) revision: RevisionId,
    /// How far it got.
    pub(crate) stage: Stage,
    /// What it takes to go on with it, once that is known.
    pub(crate) known: Option<Known>,
}

/// What an agent that goes on with a life must know, whatever became of its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Of the container that it was started as.
    pub(crate) fingerprint: u64,
    /// The signal that asks it to end.
    pub(crate) halt: u8,
    /// What it may ask.
    pub(crate) role: Role,
    /// The revision whose trail its mounts use.
    pub(crate) mounted_of: RevisionId,
}

/// A life as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// How far it got.
    pub(crate) life: Life,
    /// Whether it said that it is ready.
    pub(crate) ready: FormerReady,
}

/// How far a life got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its process may exist.
    Starting,
    /// Its first process exists, and is being set up.
    Made(Identity),
    /// Its program was executed.
    Running(Identity),
    /// It is being asked or forced to end.
    Stopping(Identity),
    /// Nothing of it is left.
    Ended,
}

/// A first process: a number and a start time, which together are never used twice in a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// As the host numbers it.
    pub(crate) pid: u32,
    /// In clock ticks since boot.
    pub(crate) started: u64,
}

impl Identity {
    pub(crate) fn of(process: &Process) -> Identity {
        Identity { pid: process.pid(), started: process.started().0 }
    }
}

impl Record {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn open(run_dir: &Path) -> io::Result<Record> {
        let folder = run_dir.join("lives");
        std::fs::create_dir_all(&folder)?;
        Ok(Record { folder })
    }

    /// Notes a life in place of the container's former one.
    ///
    /// # Errors
    /// It cannot be written; the former note is still there.
    pub(crate) fn write(&self, life: &Life) -> io::Result<()> {
        let mut note = words(life).into_bytes();
        note.resize(note.len().max(LENGTH), b' ');
        let file = self.file(&life.container)?;
        // Within one page a process that is killed has written all or nothing. No fsync: neither the record nor a life outlives
        // the machine's boot. No rename: over a file that is there ext4 makes it wait for the disk, 0.3 to 3 ms as seen in a trace on a busy machine.
        file.write_all_at(&note, 0)
    }

    /// Notes that a life said that it is ready: behind its note, which is another's to write.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_ready(&self, container: &ContainerName, generation: Generation) -> io::Result<()> {
        self.file(container)?.write_all_at(format!("{:<20}", generation.0).as_bytes(), LENGTH as u64)
    }

    fn file(&self, container: &ContainerName) -> io::Result<File> {
        let file = self.folder.join(format!("{container}.life"));
        OpenOptions::new().write(true).create(true).truncate(false).open(file)
    }

    /// Every life that was noted. A file that makes no sense is left out: it was cut off before its process existed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn read(&self) -> io::Result<Vec<Noted>> {
        let mut lives = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "life") {
                lives.extend(std::fs::read(&path).ok().and_then(|bytes| read_back(&bytes)));
            }
        }
        lives.sort_by_key(|noted: &Noted| noted.life.generation);
        Ok(lives)
    }
}

fn read_back(bytes: &[u8]) -> Option<Noted> {
    let (note, ready) = bytes.split_at_checked(LENGTH)?;
    let life = life(std::str::from_utf8(note).ok()?)?;
    let said = std::str::from_utf8(ready).ok().and_then(|text| text.trim_end().parse().ok());
    let ready = if said == Some(life.generation.0) { FormerReady::Said } else { FormerReady::NotSaid };
    Some(Noted { life, ready })
}

/// A note: words between blanks, which no name has.
fn words(life: &Life) -> String {
    let none = Identity { pid: 0, started: 0 };
    let (stage, Identity { pid, started }) = match life.stage {
        Stage::Starting => ("starting", none),
        Stage::Made(identity) => ("made", identity),
        Stage::Running(identity) => ("running", identity),
        Stage::Stopping(identity) => ("stopping", identity),
        Stage::Ended => ("ended", none),
    };
    let known = life.known.as_ref().map_or(String::new(), |known| {
        format!("{} {} {} {}", known.fingerprint, known.halt, known.role.as_str(), known.mounted_of)
    });
    let (container, generation, revision) = (&life.container, life.generation.0, &life.revision);
    format!("{container} {generation} {revision} {stage} {pid} {started} {known} .")
}

fn life(note: &str) -> Option<Life> {
    let mut words = note.split_ascii_whitespace();
    let mut word = || words.next();
    let (container, generation) = (word()?.parse().ok()?, Generation(word()?.parse().ok()?));
    let (revision, stage) = (word()?.parse().ok()?, word()?);
    let identity = Identity { pid: word()?.parse().ok()?, started: word()?.parse().ok()? };
    let stage = match stage {
        "starting" => Stage::Starting,
        "made" => Stage::Made(identity),
        "running" => Stage::Running(identity),
        "stopping" => Stage::Stopping(identity),
        "ended" => Stage::Ended,
        _ => return None,
    };
    let known = match word()? {
        "." => None,
        fingerprint => Some(Known {
            fingerprint: fingerprint.parse().ok()?,
            halt: word()?.parse().ok()?,
            role: match word()? {
                "mgmt" => Role::Mgmt,
                "nobody" => Role::Nobody,
                _ => return None,
            },
            mounted_of: word()?.parse().ok()?,
        }),
    };
    Some(Life { container, generation, revision, stage, known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_note_of_each_container_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::open(folder.path()).unwrap();
        let life = |name: &str, generation, stage| Life {
            container: name.parse().unwrap(),
            generation: Generation(generation),
            revision: RevisionId::factory(),
            stage,
            known: None,
        };
        let identity = Identity { pid: 7, started: 9 };
        record.write(&life("b", 1, Stage::Starting)).unwrap();
        record.write(&life("a", 2, Stage::Starting)).unwrap();
        record.write(&life("b", 1, Stage::Made(identity))).unwrap();
        record.write_ready(&"b".parse().unwrap(), Generation(1)).unwrap();
        record.write(&life("b", 1, Stage::Running(identity))).unwrap();
        record.write_ready(&"d".parse().unwrap(), Generation(2)).unwrap();
        record.write(&life("d", 3, Stage::Ended)).unwrap();
        std::fs::write(folder.path().join("lives/c.life"), "c 1 0 runn").unwrap();
        let noted = |life, ready| Noted { life, ready };
        assert_eq!(
            record.read().unwrap(),
            [
                noted(life("b", 1, Stage::Running(identity)), FormerReady::Said),
                noted(life("a", 2, Stage::Starting), FormerReady::NotSaid),
                noted(life("d", 3, Stage::Ended), FormerReady::NotSaid)
            ]
        );
    }

    #[test]
    fn the_longest_note_fits() {
        let name = "n".repeat(64);
        let container = name.repeat(2);
        let longest = Life {
            container: container.parse().unwrap(),
            generation: Generation(u64::MAX),
            revision: format!("locals/{name}").parse().unwrap(),
            stage: Stage::Stopping(Identity { pid: u32::MAX, started: u64::MAX }),
            known: Some(Known {
                fingerprint: u64::MAX,
                halt: u8::MAX,
                role: Role::Nobody,
                mounted_of: format!("locals/{name}").parse().unwrap(),
            }),
        };
        let note = words(&longest);
        assert!(note.len() <= LENGTH);
        assert_eq!(life(&note), Some(longest));
    }
}
