//! What stands in for a boot loader: the agent itself, which reads its two variables when it starts.
//!
//! `boot/vars.json` under the root has them. A candidate is booted once: that it was is on disk before the start goes on.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use host::file::errno_of;
use model::boot::{BootVars, BootedAs};
use model::ids::RevisionId;
use model::report::FailureKind;
use serde::{Deserialize, Serialize};

use crate::store::kind_of;

/// The stand-in, by its folder.
#[derive(Debug, Clone)]
pub struct SelfExec {
    folder: PathBuf,
}

/// The variables, with whether the candidate had its one boot.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    committed: RevisionId,
    candidate: Option<RevisionId>,
    tried: bool,
}

/// Why the variables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file operation failed.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was tried.
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was written is not what was read back.
    #[error("read back {}: it is not what was written", path.display())]
    Different {
        /// Which file.
        path: PathBuf,
    },
}

impl BootError {
    /// Whether there was no room.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, BootError::File { source, .. } if kind_of(errno_of(source)) == FailureKind::NoSpace)
    }
}

impl SelfExec {
    /// In `boot/` under the root.
    pub fn new(root: &Path) -> SelfExec {
        SelfExec { folder: root.join("boot") }
    }

    /// Boots: the candidate if it waits for its one try, else the committed revision. A device whose variables were never
    /// set, or make no sense any more, boots `otherwise`.
    ///
    /// # Errors
    /// The variables cannot be read, or that the candidate is booted cannot be noted (it must not be booted then).
    pub fn boot(&self, otherwise: &RevisionId) -> Result<BootedAs, BootError> {
        let Some(stored) = self.read()? else { return Ok(BootedAs::Committed(otherwise.clone())) };
        let Stored { committed, candidate: Some(candidate), tried: false } = stored else {
            return Ok(BootedAs::Committed(stored.committed));
        };
        self.write(&Stored { committed, candidate: Some(candidate.clone()), tried: true })?;
        Ok(BootedAs::Trying(candidate))
    }

    /// Sets both variables in one write, then reads them back.
    ///
    /// # Errors
    /// They are not, or not surely, on disk.
    pub fn set(&self, vars: &BootVars) -> Result<(), BootError> {
        let wanted =
            Stored { committed: vars.committed.clone(), candidate: vars.candidate.clone(), tried: false };
        self.write(&wanted)?;
        match self.read()? {
            Some(stored) if stored == wanted => Ok(()),
            Some(_) | None => Err(BootError::Different { path: self.path() }),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("vars.json")
    }

    fn read(&self) -> Result<Option<Stored>, BootError> {
        let path = self.path();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BootError::File { op: "read", path, source }),
        }
    }

    fn write(&self, stored: &Stored) -> Result<(), BootError> {
        let bytes = serde_json::to_vec(stored).map_err(io::Error::from);
        let write = |bytes: Vec<u8>| {
            std::fs::create_dir_all(&self.folder)?;
            let temporary = self.folder.join(".vars.json");
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, self.path())?;
            File::open(&self.folder)?.sync_all()
        };
        bytes.and_then(write).map_err(|source| BootError::File { op: "write", path: self.path(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RevisionId {
        name.parse().unwrap()
    }

    #[test]
    fn a_candidate_is_booted_once() {
        let root = tempfile::tempdir().unwrap();
        let loader = SelfExec::new(root.path());
        assert_eq!(loader.boot(&id("7")).unwrap(), BootedAs::Committed(id("7")));
        let vars = BootVars { committed: id("0"), candidate: Some(id("locals/x")) };
        loader.set(&vars).unwrap();
        assert_eq!(loader.boot(&id("7")).unwrap(), BootedAs::Trying(id("locals/x")));
        assert_eq!(loader.boot(&id("7")).unwrap(), BootedAs::Committed(id("0")));
        loader.set(&vars).unwrap();
        assert_eq!(loader.boot(&id("7")).unwrap(), BootedAs::Trying(id("locals/x")));
        loader.set(&BootVars { committed: id("locals/x"), candidate: None }).unwrap();
        assert_eq!(loader.boot(&id("7")).unwrap(), BootedAs::Committed(id("locals/x")));
    }
}
