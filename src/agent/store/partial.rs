//! What has arrived of an object whose upload was cut off, so that the next upload goes on from there.
//!
//! ```text
//! .new-N-<sha256> --(cut off after LEAST bytes or more)--> .partial-<sha256> --(the next one goes on)--> .new-N-<sha256>
//! ```
//!
//! A courtesy that promises nothing: its bytes are checked when the object is whole; it goes with a collection that finds it old or
//! the disk nearly full, and at once where an object, a step or a decision needs its room. None is kept on a nearly full disk.

use host::file::Folder;
use model::ids::Digest;
use model::report::Failure;

use super::{Store, is_full, objects};

/// Less is sooner sent again than asked for.
pub const LEAST: u64 = 1024 * 1024;
/// Bytes that what runs will not write at once.
const ENOUGH: u64 = 64 * 1024 * 1024;

/// A partial's path beneath the store.
pub(super) fn path(digest: &Digest) -> String {
    format!("objects/.partial-{digest}")
}

/// Keeps what a former agent left of an object, a file in `objects`; false where that is not worth it.
pub(super) fn keep(folder: &Folder, name: &str) -> bool {
    let left = format!("objects/{name}");
    if let Some(digest) = digest_of(name, ".partial-") {
        return is_worth_room(folder, &digest, size_of(folder, &left));
    }
    match name.strip_prefix(".new-").and_then(|rest| rest.split_once('-')).map(|(_, text)| text.parse()) {
        Some(Ok(digest)) => {
            is_worth_keeping(folder, &digest, size_of(folder, &left))
                && folder.rename(&left, &path(&digest)).is_ok()
        }
        Some(Err(_)) | None => false,
    }
}

/// Whether another upload is better off with so many bytes than with what is here.
pub(super) fn is_worth_keeping(folder: &Folder, digest: &Digest, size: u64) -> bool {
    size > size_of(folder, &path(digest)) && is_worth_room(folder, digest, size)
}

/// What runs, and what it writes, needs a nearly full disk more.
fn is_worth_room(folder: &Folder, digest: &Digest, size: u64) -> bool {
    size >= LEAST && !is_nearly_full(folder) && folder.stat(&objects::path(digest)).is_err()
}

/// Whether less is free than a sixteenth, or of a large disk [`ENOUGH`].
pub(super) fn is_nearly_full(folder: &Folder) -> bool {
    folder.free_bytes().is_ok_and(|free| folder.all_bytes().is_ok_and(|all| free < ENOUGH.min(all / 16)))
}

fn size_of(folder: &Folder, path: &str) -> u64 {
    folder.stat(path).ok().and_then(|stat| u64::try_from(stat.st_size).ok()).unwrap_or(0)
}

fn digest_of(name: &str, prefix: &str) -> Option<Digest> {
    name.strip_prefix(prefix)?.parse().ok()
}

impl Store {
    /// How many bytes are here of an object that was cut off.
    pub fn partial_size(&self, digest: &Digest) -> Option<u64> {
        self.folder.stat(&path(digest)).ok().and_then(|stat| u64::try_from(stat.st_size).ok())
    }

    /// Every object that is here in part.
    pub(super) fn partials(&self) -> Vec<Digest> {
        let files = self.folder.files("objects").unwrap_or_default().into_iter();
        files.filter_map(|(name, _)| digest_of(name.to_str()?, ".partial-")).collect()
    }

    /// Carries out what needs room; once more, where the disk was full and partials made way.
    pub(super) fn making_room<T>(&self, mut work: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        match work() {
            Err(failure) if is_full(&failure) && self.give_up_partials() => work(),
            done => done,
        }
    }

    /// Whether there is more room than before.
    pub(super) fn give_up_partials(&self) -> bool {
        let mut gone = 0;
        for digest in self.partials() {
            match self.folder.remove_tree(&path(&digest)) {
                Ok(bytes) => gone += bytes,
                Err(error) => log::warn!("op=give-up-partial error={error}"),
            }
        }
        // Blocks can be used again once it is on disk that they are free.
        gone > 0 && self.folder.sync_folder("objects").is_ok()
    }
}
