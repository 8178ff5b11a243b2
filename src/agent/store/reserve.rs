//! Room that is kept back, so that a full disk still takes what a device needs to come back and to say why.
//!
//! ```text
//! whole --(an essential write finds the disk full: give a piece back, try again)--> short --(room again)--> whole
//! ```
//!
//! A file of allocated blocks that nobody writes to. It is short only while the disk is full: after each essential write, each
//! collection and at each start it takes back what it can, before others do. Whatever length a power cut leaves it at is right.

use host::file::{Folder, Readers};
use std::sync::{Mutex, PoisonError};

use super::Store;

const PATH: &str = "reserve";
/// A few dozen progress documents and boot variables, a block each, with the blocks that their folders may grow by.
const BYTES: u64 = 128 * 1024;
/// Given back at a time.
const PIECE: u64 = 32 * 1024;

/// How much is kept back just now.
#[derive(Debug)]
pub(super) struct Reserve(Mutex<u64>);

/// Whether an essential write has more room than before.
#[derive(Debug, PartialEq, Eq)]
enum Released {
    Some,
    Nothing,
}

impl Reserve {
    pub(super) fn open(folder: &Folder) -> Reserve {
        let blocks = folder.stat(PATH).map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0));
        let reserve = Reserve(Mutex::new(blocks * 512));
        reserve.fill(folder);
        reserve
    }

    /// Takes back what there is room for.
    pub(super) fn fill(&self, folder: &Folder) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *held >= BYTES {
            return;
        }
        match folder.allocate(PATH, BYTES, Readers::Owner) {
            Ok(()) => *held = BYTES,
            Err(error) => log::debug!("op=keep-reserve error={error}"),
        }
    }

    /// The last thing to give back is the file itself: a disk may be out of files, too.
    fn release(&self, folder: &Folder) -> Released {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(stat) = folder.stat(PATH) else { return Released::Nothing };
        let length = u64::try_from(stat.st_size).unwrap_or(0).min(BYTES);
        let released = match length {
            0 => folder.remove(PATH).and_then(|()| folder.sync_folder("")),
            _ => folder.shrink(PATH, length.saturating_sub(PIECE)),
        };
        *held = length.saturating_sub(PIECE);
        match released {
            Ok(()) => Released::Some,
            Err(error) => {
                log::warn!("op=release-reserve error={error}");
                Released::Nothing
            }
        }
    }
}

impl Store {
    /// Carries out what a full disk must not prevent; `is_full` tells that it did. Each try more has more room: that
    /// of partials, then of the reserve.
    pub(crate) fn essential<T, E>(
        &self,
        is_full: impl Fn(&E) -> bool,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let outcome = work();
            let full = outcome.as_ref().is_err_and(&is_full);
            if !full || !self.gives_way() {
                self.reserve.fill(&self.folder);
                return outcome;
            }
        }
    }

    fn gives_way(&self) -> bool {
        self.give_up_partials() || self.reserve.release(&self.folder) == Released::Some
    }

    /// For people: that updates find no room here, if that is so.
    pub(crate) fn full(&self) -> Option<String> {
        let free = self.folder.free_bytes().ok().filter(|free| *free < BYTES)?;
        Some(format!(
            "the data partition is full, {free} bytes are free: what runs goes on, new objects and steps are refused"
        ))
    }
}
