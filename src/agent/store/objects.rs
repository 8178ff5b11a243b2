//! Immutable files, each named by its sha256.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use host::file::{FileError, OpenFile, Readers, errno_of};
use model::ids::Digest;
use model::report::{Failure, FailureKind};

use super::occupancy::Bringing;
use super::{Store, failure, kind_of, partial};
use crate::digest::Sha256;

/// Bytes that the disk is given at once while an object arrives: so much is left to wait for at its end.
const WRITE_OUT: u64 = 4 * 1024 * 1024;
/// Bytes read at a time of what has arrived before.
const READ_AGAIN: usize = 256 * 1024;

/// One object that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// An object that is arriving. No collection runs meanwhile. Dropped before [`ObjectWriter::finish`], what there is of it is kept
/// for [`Store::continue_object`] where that is worth it.
#[derive(Debug)]
pub struct ObjectWriter {
    store: Arc<Store>,
    expected: Digest,
    hash: Sha256,
    file: OpenFile,
    /// How much of it the disk was given.
    given: u64,
    /// Whether it could still become the object.
    is_sound: bool,
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
    pub fn put_object(self: &Arc<Self>, expected: Digest) -> Result<ObjectWriter, Failure> {
        let bringing = self.occupancy.bring();
        let file = self.folder.create(&self.arriving(&expected), Readers::All).map_err(failure)?;
        Ok(ObjectWriter::new(self, expected, file, bringing))
    }

    /// Goes on with an object that was cut off, behind its first `from` bytes, which are read once more; `None` if fewer are here, or
    /// another goes on with it. Waits for a collection to end.
    pub fn continue_object(
        self: &Arc<Self>,
        expected: Digest,
        from: u64,
    ) -> Result<Option<ObjectWriter>, Failure> {
        let bringing = self.occupancy.bring();
        let (here, path) = (partial::path(&expected), self.arriving(&expected));
        match self.folder.rename(&here, &path) {
            Err(error) if error.is_missing() => return Ok(None),
            renamed => renamed.map_err(failure)?,
        }
        let file = self.folder.append(&path).inspect_err(|_| {
            // It can be gone on with later.
            let _ = self.folder.rename(&path, &here);
        });
        let mut object = ObjectWriter::new(self, expected, file.map_err(failure)?, bringing);
        if object.file.len() < from {
            return Ok(None);
        }
        if object.file.len() > from {
            self.folder.shrink(&path, from).map_err(failure)?;
            object.file = self.folder.append(&path).map_err(failure)?;
            object.given = from;
        }
        object.read_again()?;
        Ok(Some(object))
    }

    /// Where an object lies while it arrives.
    fn arriving(&self, digest: &Digest) -> String {
        format!("{}-{digest}", self.temporary("objects", "new"))
    }
}

impl ObjectWriter {
    fn new(store: &Arc<Store>, expected: Digest, file: OpenFile, bringing: Bringing) -> ObjectWriter {
        let (store, given) = (Arc::clone(store), file.len());
        ObjectWriter {
            store,
            expected,
            hash: Sha256::new(),
            file,
            given,
            is_sound: true,
            _bringing: bringing,
        }
    }

    fn read_again(&mut self) -> Result<(), Failure> {
        let (mut piece, mut at) = (vec![0; READ_AGAIN], 0);
        while at < self.file.len() {
            let read = match self.file.as_file().read_at(&mut piece, at) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                read => read,
            };
            let count = read.map_err(|error| {
                self.is_sound = false;
                let detail = format!("read again what arrived of object {}: {error}", self.expected);
                Failure::new(kind_of(errno_of(&error)), detail)
            })?;
            self.hash.update(&piece[..count]);
            at += count as u64;
        }
        Ok(())
    }

    /// Writes on.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.store.making_room(|| self.file.write(bytes).map_err(failure));
        self.is_sound &= written.is_ok();
        written?;
        self.hash.update(bytes);
        let waiting = self.file.len() - self.given;
        if waiting >= WRITE_OUT {
            self.file.begin_write_out(self.given, waiting);
            self.given = self.file.len();
        }
        Ok(())
    }

    /// Its bytes are all there: checks them, and gives them their name. Corrupt if they are not what the name says.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.is_sound = false;
        let found = self.hash.clone().finish();
        if found != self.expected {
            let detail = format!("store object {}: its bytes have sha256 {found}", self.expected);
            return Err(Failure::new(FailureKind::Corrupt, detail));
        }
        self.store.making_room(|| self.place().map_err(failure))?;
        // Another upload of the same may have been cut off.
        if self.store.partial_size(&self.expected).is_some()
            && let Err(error) = self.store.folder.remove(&partial::path(&self.expected))
        {
            log::warn!("partial of an object that is whole stays error={error}");
        }
        Ok(())
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
        let folder = &self.store.folder;
        if self.is_sound && partial::is_worth_keeping(folder, &self.expected, self.file.len()) {
            // Not synced: this may be many at once, and what a power cut leaves of it is checked like any other bytes.
            match folder.rename(self.file.path(), &partial::path(&self.expected)) {
                Ok(()) => return,
                Err(error) => log::warn!("op=keep-partial error={error}"),
            }
        }
        if let Err(error) = folder.remove(self.file.path()) {
            log::warn!("temporary of an object stays error={error}");
        }
    }
}
