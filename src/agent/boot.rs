//! The boot loader, whichever it is: what it boots next, how it booted this life.
//!
//! ```text
//! SetBoot ── Loader::set ─┬─ SelfExec   the agent itself, which reads its variables when it starts
//!                         ├─ Slots ─┬── a partition gets the kernel of the revision to try (bsp.rs), whole, before
//!                         │         └── the loader's own variables name it: tryboot.rs, uboot.rs, grub.rs
//!                         └─ None       a reboot update is refused
//! ```
//!
//! No write of theirs can be torn into something that boots neither the old nor the new: either one byte changes, or the older
//! of two copies is written and its checksum last.

mod bsp;
mod grub;
mod partition;
pub mod selfexec;
pub mod slots;
mod tryboot;
mod uboot;

use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::HostError;
use host::file::{FileError, errno_of};
use model::boot::{BootVars, BootedAs};
use model::ids::RevisionId;
use model::report::FailureKind;

pub use self::bsp::{BootFile, files as bsp_files};
pub use self::partition::Place;
use self::selfexec::SelfExec;
use self::slots::{By, Slots};
use crate::store::kind_of;

/// Which boot loader the device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None, but the agent can do what one would: start another revision when it starts over.
    SelfExec,
    /// The Raspberry Pi's own, with its one-time try.
    Tryboot,
    /// U-Boot, with an environment in two copies.
    UBoot,
    /// GRUB, with its environment block.
    Grub,
    /// None at all.
    None,
}

/// How the device is booted, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// By what.
    pub kind: Kind,
    /// The partitions that hold a kernel each.
    pub slots: [Place; 2],
    /// Where `autoboot.txt` or `grubenv` is; of U-Boot, the file that says where its environment is.
    pub variables: Place,
    /// Modules for the file system of these partitions, by name, in order, between blanks. An ordinary start needs none of them.
    pub modules: String,
}

impl Default for Options {
    fn default() -> Options {
        let slots = [Place::Partition(2), Place::Partition(3)];
        Options { kind: Kind::SelfExec, slots, variables: Place::Partition(1), modules: String::new() }
    }
}

/// Why the boot loader could not be asked or told.
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
    /// A file operation beneath a folder failed.
    #[error(transparent)]
    Beneath(#[from] FileError),
    /// The kernel refused something else.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What was written is not what was read back.
    #[error("read back {}: it is not what was written", path.display())]
    Different {
        /// Which file.
        path: PathBuf,
    },
    /// A file is not what it must be.
    #[error("understand {}: {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A revision cannot be booted by this boot loader.
    #[error("prepare the boot of revision {revision}: {problem}")]
    Revision {
        /// Which revision.
        revision: RevisionId,
        /// Why not.
        problem: String,
    },
    /// The device is not made as it is configured.
    #[error("find boot partition {number}: {problem}")]
    Partition {
        /// Its number on the disk that holds `root`.
        number: u8,
        /// Why it cannot be used.
        problem: String,
    },
}

impl BootError {
    /// Whether there was no room.
    pub(crate) fn is_full(&self) -> bool {
        let errno = match self {
            BootError::File { source, .. } => errno_of(source),
            BootError::Beneath(error) => error.errno,
            BootError::Host(_)
            | BootError::Different { .. }
            | BootError::Content { .. }
            | BootError::Revision { .. }
            | BootError::Partition { .. } => return false,
        };
        kind_of(errno) == FailureKind::NoSpace
    }
}

pub(crate) fn at<T>(op: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, BootError> {
    outcome.map_err(|source| BootError::File { op, path: path.to_owned(), source })
}

/// The kernel of a revision with what it is booted with; empty where the kernel is not ours.
pub type Bsp<'a> = &'a dyn Fn(&RevisionId) -> Result<Vec<BootFile>, BootError>;

/// The boot loader, whichever it is.
#[derive(Debug)]
pub enum Loader {
    /// The agent itself.
    SelfExec(SelfExec),
    /// One that boots from one of two partitions.
    Slots(Slots),
    /// None.
    None,
}

impl Loader {
    /// The one that is configured; `root` is the agent's.
    pub fn new(options: &Options, root: &Path) -> Loader {
        match options.kind {
            Kind::SelfExec => Loader::SelfExec(SelfExec::new(root)),
            Kind::None => Loader::None,
            Kind::Tryboot => Loader::Slots(Slots::new(By::Tryboot, options, root)),
            Kind::UBoot => Loader::Slots(Slots::new(By::UBoot, options, root)),
            Kind::Grub => Loader::Slots(Slots::new(By::Grub, options, root)),
        }
    }

    /// How this life was booted; a device whose variables were never set booted `otherwise`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn boot(&self, otherwise: &RevisionId) -> Result<BootedAs, BootError> {
        match self {
            Loader::SelfExec(this) => this.boot(otherwise),
            Loader::Slots(slots) => slots.booted(otherwise),
            Loader::None => Ok(BootedAs::NoLoader),
        }
    }

    /// Sets both variables, with everything that they name in place before, then reads them back.
    ///
    /// # Errors
    /// They are not, or not surely, on disk.
    pub fn set(&self, vars: &BootVars, bsp: Bsp<'_>) -> Result<(), BootError> {
        match self {
            Loader::SelfExec(this) => this.set(vars),
            Loader::Slots(slots) => slots.set(vars, bsp),
            Loader::None => Ok(()),
        }
    }

    /// Why no update can be tried that needs a reboot.
    ///
    /// # Errors
    /// The reason.
    pub fn reboot_updates(&self) -> Result<(), Arc<str>> {
        match self {
            Loader::SelfExec(_) | Loader::Slots(_) => Ok(()),
            Loader::None => {
                Err(Arc::from("this device has no boot loader that could try it once (boot.loader is none)"))
            }
        }
    }

    /// What a reboot must be asked with, for the loader to do what it was told.
    pub fn reboot_argument(&self) -> Option<&'static CStr> {
        match self {
            Loader::Slots(slots) => slots.reboot_argument(),
            Loader::SelfExec(_) | Loader::None => None,
        }
    }
}
