//! The runtime record: which lives there are, so that an agent that was killed knows them again when it is started.
//!
//! One small file per container under the run dir, which the machine empties at each boot. It is written before the process
//! exists and again when its number is known; the file of an ended life stays, so that no generation is given twice.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use host::process::StartTime;
use model::ids::{ContainerName, Generation, RevisionId};
use serde::{Deserialize, Serialize};

/// Bytes of a note, filled up with blanks so that each covers the one before. Names are short enough for any to fit.
const LENGTH: usize = 512;

/// The folder of the runtime record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    folder: PathBuf,
}

/// One life, as far as it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Whose.
    pub(crate) container: ContainerName,
    /// Which.
    pub(crate) generation: Generation,
    /// Of which revision.
    pub(crate) revision: RevisionId,
    /// How far it got.
    pub(crate) stage: Stage,
}

/// How far a life got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// Its process may exist.
    Starting,
    /// Its first process: a number and a start time, which together are never used twice in a boot.
    Running {
        /// As the host numbers it.
        pid: u32,
        /// In clock ticks since boot.
        started: u64,
    },
    /// Nothing of it is left.
    Ended,
}

impl Stage {
    /// Of a process that runs.
    pub(crate) fn running(pid: u32, started: StartTime) -> Stage {
        Stage::Running { pid, started: started.0 }
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
        let mut note = serde_json::to_vec(life)?;
        note.resize(note.len().max(LENGTH), b' ');
        let file = self.folder.join(format!("{}.json", life.container));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
        // Within one page a process that is killed has written all or nothing. No fsync: neither the record nor a life outlives
        // the machine's boot. No rename: over a file that is there ext4 makes it wait for the disk, 0.3 to 3 ms as seen in a trace on a busy machine.
        file.write_all_at(&note, 0)
    }

    /// Every life that was noted. A file that makes no sense is left out: it was cut off before its process existed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn read(&self) -> io::Result<Vec<Life>> {
        let mut lives = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                lives.extend(std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()));
            }
        }
        lives.sort_by_key(|life: &Life| life.generation);
        Ok(lives)
    }
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
        };
        record.write(&life("b", 1, Stage::Starting)).unwrap();
        record.write(&life("a", 2, Stage::Starting)).unwrap();
        record.write(&life("b", 1, Stage::running(7, StartTime(9)))).unwrap();
        record.write(&life("d", 3, Stage::running(u32::MAX, StartTime(u64::MAX)))).unwrap();
        record.write(&life("d", 3, Stage::Ended)).unwrap();
        std::fs::write(folder.path().join("lives/c.json"), "{\"cont").unwrap();
        let read = record.read().unwrap();
        assert_eq!(
            read,
            [
                life("b", 1, Stage::Running { pid: 7, started: 9 }),
                life("a", 2, Stage::Starting),
                life("d", 3, Stage::Ended)
            ]
        );
    }
}
