//! Immutable files, each named by its sha256.

use std::fs::File;

use host::file::{FileError, OpenFile, Readers};
use model::ids::Digest;
use model::report::{Failure, FailureKind};

use super::occupancy::Bringing;
use super::{Store, failure};
use crate::digest::Sha256;

/// Bytes that the disk is given at once while an object arrives: so much is left to wait for at its end.
const WRITE_OUT: u64 = 4 * 1024 * 1024;

/// One object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// An object that is arriving. Dropped before [`ObjectWriter::finish`], nothing of it stays. No collection runs meanwhile.
#[derive(Debug)]
pub struct ObjectWriter {
    store: std::sync::Arc<Store>,
    expected: Digest,
    hash: Sha256,
    file: OpenFile,
    /// How much of it the disk was given.
    given: u64,
    _bringing: Bringing,
}

/// An object's path beneath the store.
pub(super) fn path(digest: &Digest) -> String {
    format!("objects/{digest}")
}

impl Store {
    /// Where an object lies, whether or not it is there.
    pub fn object_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.folder.join(&path(digest))
    }

    /// An object's size in bytes, if it is there.
    pub fn object_size(&self, digest: &Digest) -> Option<u64> {
        self.folder.stat(&path(digest)).ok().and_then(|stat| u64::try_from(stat.st_size).ok())
    }

    /// Whether an object is there. One that is counts as just brought, so that a collection leaves it to who asked.
    pub fn has_object(&self, digest: &Digest) -> bool {
        // Its age is a courtesy to the one who is about to name it in a step; a disk that cannot be written has no collection.
        let _ = self.folder.touch(&path(digest));
        self.object_size(digest).is_some()
    }

    /// Opens an object for reading.
    pub fn open_object(&self, digest: &Digest) -> Result<File, Failure> {
        self.folder.open_file(&path(digest)).map_err(failure)
    }

    /// Every object, sorted by name.
    pub fn objects(&self) -> Result<Vec<Object>, Failure> {
        let files = self.folder.files("objects").map_err(failure)?.into_iter();
        Ok(files
            .filter_map(|(name, size)| Some(Object { digest: name.to_str()?.parse().ok()?, size }))
            .collect())
    }

    /// Begins to bring an object. Waits for a collection to end.
    pub fn put_object(self: &std::sync::Arc<Self>, expected: Digest) -> Result<ObjectWriter, Failure> {
        let bringing = self.occupancy.bring();
        let file = self.folder.create(&self.temporary("objects", "new"), Readers::All).map_err(failure)?;
        let store = std::sync::Arc::clone(self);
        Ok(ObjectWriter { store, expected, hash: Sha256::new(), file, given: 0, _bringing: bringing })
    }
}

impl ObjectWriter {
    /// Writes on.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.hash.update(bytes);
        self.file.write(bytes).map_err(failure)?;
        let waiting = self.file.len() - self.given;
        if waiting >= WRITE_OUT {
            self.file.begin_write_out(self.given, waiting);
            self.given = self.file.len();
        }
        Ok(())
    }

    /// Its bytes are all there: checks them, and gives them their name. Corrupt if they are not what the name says.
    pub fn finish(self) -> Result<(), Failure> {
        let found = self.hash.clone().finish();
        if found != self.expected {
            let detail = format!("store object {}: its bytes have sha256 {found}", self.expected);
            return Err(Failure::new(FailureKind::Corrupt, detail));
        }
        self.place().map_err(failure)
    }

    fn place(&self) -> Result<(), FileError> {
        let (folder, path) = (&self.store.folder, path(&self.expected));
        self.file.sync()?;
        // Trails link the one that is there: another file of the same content would only cost room.
        match folder.link(self.file.path(), &path) {
            Err(error) if error.is_taken() => folder.touch(&path)?,
            Err(_) => folder.rename(self.file.path(), &path)?,
            Ok(()) => {}
        }
        folder.sync_folder("objects")
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let Err(error) = self.store.folder.remove(self.file.path()) {
            log::warn!("temporary of an object stays error={error}");
        }
    }
}
