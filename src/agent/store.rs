//! What the device keeps on disk: objects, trails, `Durable`.
//!
//! ```text
//! objects/<sha256>       .new-N-<sha256> while one arrives, .partial-<sha256> when it was cut off
//! trails/<rev>/          .new-N while one is written, .old-N while one goes
//! trails/current         logs/<rev>/<container>/     logs/current
//! disks/perm/<c>/<v>     disks/rev/<rev>/<c>/<v>     disks/rev/.old-N while one goes
//! cache/usrmeta/<key>    cache/devmeta/<key>         cache/.new-N while one is written      boot
//! durable/0  durable/1   the two copies of `Durable`
//! reserve                room for a full disk
//! ```
//!
//! Nothing is seen under its own name before it is whole and synced. Methods block; the ones that hash or copy belong on a
//! blocking thread.

mod collect;
mod copies;
mod failure;
mod meta;
mod objects;
mod occupancy;
mod partial;
mod reserve;
mod state;
mod trails;
mod verify;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use host::file::{Folder, Witness, errno_of};
use model::durable::Durable;
use model::ids::ContainerName;
use model::report::{Failure, FailureKind};
use model::revision::Defaults;

pub use self::collect::Keep;
pub use self::meta::{LONGEST_VALUE, MOST_BYTES, MOST_KEYS, Meta, Values};
pub use self::objects::{Object, ObjectWriter};
pub use self::partial::LEAST as LEAST_PARTIAL;
pub use self::trails::Step;
pub use host::file::{Change, FileError};

use self::copies::Copies;
pub(crate) use self::failure::{failure, is_full, kind_of};
use self::occupancy::Occupancy;
use self::reserve::Reserve;

/// Folders that a store has.
const FOLDERS: [&str; 10] = [
    "objects",
    "trails",
    "trails/locals",
    "logs",
    "disks/perm",
    "disks/rev",
    "cache/usrmeta",
    "cache/devmeta",
    "boot",
    "durable",
];

/// A device's disk. One agent has it at a time.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    copies: Mutex<Copies>,
    defaults: Defaults,
    occupancy: Arc<Occupancy>,
    reserve: Reserve,
    temporaries: AtomicU64,
    /// Held for as long as the store is open.
    _lock: File,
}

impl Store {
    /// Opens the store beneath `root`, which must exist; makes the folders that it lacks, removes what a former agent left
    /// half written, but for objects that another upload can go on with. A disk that cannot be written is no failure while the
    /// folders are there.
    pub fn open(root: &Path) -> Result<Store, Failure> {
        Store::open_with(root, Defaults::default(), None)
    }

    /// The same, with what the device decides where a state says nothing; `witness` hears of each change of the disk.
    pub fn open_with(
        root: &Path,
        defaults: Defaults,
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<Store, Failure> {
        let lock = lock(root)?;
        let folder = Folder::open(root, witness).map_err(failure)?;
        for path in FOLDERS {
            folder.make_folders(path).map_err(failure)?;
        }
        let copies = Mutex::new(Copies::read(&folder));
        let occupancy = Arc::default();
        for holder in ["objects", "trails", "logs", "disks/rev", "cache"] {
            remove_left_overs(&folder, holder);
        }
        let reserve = Reserve::open(&folder);
        let temporaries = AtomicU64::new(0);
        let store = Store { folder, copies, defaults, occupancy, reserve, temporaries, _lock: lock };
        Ok(store)
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Another number after each change of a name on the disk that was made by way of this store.
    pub(crate) fn names(&self) -> u64 {
        self.folder.names()
    }

    /// The folder, for others who write beneath it (captured output).
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What was saved last, or `None` if nothing ever was. Corrupt if neither copy is whole.
    pub fn load_durable(&self) -> Result<Option<Durable>, Failure> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).load()
    }

    /// Saves, so that it survives a power cut from the moment this returns. After a failure the former one is still whole.
    pub fn save_durable(&self, durable: &Durable) -> Result<(), Failure> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        self.essential(is_full, || copies.save(&self.folder, durable))
    }

    /// The folder of a container's volume that outlives revisions; made if it is not there.
    pub fn permanent_disk(&self, container: &ContainerName, volume: &str) -> Result<PathBuf, Failure> {
        self.disk(&format!("disks/perm/{container}"), volume)
    }

    /// The folder of a container's volume that goes with its revision; made if it is not there.
    pub fn revision_disk(
        &self,
        revision: &model::ids::RevisionId,
        container: &ContainerName,
        volume: &str,
    ) -> Result<PathBuf, Failure> {
        self.disk(&format!("disks/rev/{revision}/{container}"), volume)
    }

    fn disk(&self, holder: &str, volume: &str) -> Result<PathBuf, Failure> {
        if !state::is_name(volume) {
            return Err(Failure::new(
                FailureKind::Permanent,
                format!("make a disk for volume {volume:?}: not a name"),
            ));
        }
        let path = format!("{holder}/{volume}");
        self.folder.make_folders(&path).map_err(failure)?;
        Ok(self.folder.join(&path))
    }

    /// A name beneath `holder` that nobody else has.
    fn temporary(&self, holder: &str, what: &str) -> String {
        format!("{holder}/.{what}-{}", self.temporaries.fetch_add(1, Ordering::Relaxed))
    }
}

fn remove_left_overs(folder: &Folder, holder: &str) {
    let Ok(entries) = folder.list(holder) else { return };
    for entry in entries {
        let Some(name) = entry.name.to_str().filter(|name| name.starts_with('.')) else { continue };
        if holder == "objects" && partial::keep(folder, name) {
            continue;
        }
        let path = format!("{holder}/{name}");
        match folder.remove_tree(&path) {
            Ok(bytes) => log::info!("left-over removed path={path} bytes={bytes}"),
            Err(error) => log::warn!("left-over stays error={error}"),
        }
    }
}

/// Locks the root folder itself, so that a disk which cannot be written can be locked too.
fn lock(root: &Path) -> Result<File, Failure> {
    let failed = |kind, why: &str| Failure::new(kind, format!("lock {}: {why}", root.display()));
    let file = File::open(root).map_err(|error| failed(kind_of(errno_of(&error)), &error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(FailureKind::Denied, "another agent uses this store")),
        Err(TryLockError::Error(error)) => Err(failed(kind_of(errno_of(&error)), &error.to_string())),
    }
}
