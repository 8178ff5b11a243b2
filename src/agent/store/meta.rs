//! Metadata as it lies on disk: a file for each key.
//!
//! What is written comes from outside, so it is bounded here: by key, by value, by number, by all bytes together.

use std::collections::BTreeMap;

use host::file::{FileError, Readers};
use model::report::{Failure, FailureKind};

use super::{Store, failure, state};

/// Whose metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meta {
    /// Set by its user.
    User,
    /// Told by the device.
    Device,
}

/// Keys with their values.
pub type Values = BTreeMap<String, String>;

/// The longest value that is taken, in bytes.
pub const LONGEST_VALUE: usize = 4096;
/// The longest that is read: others who write these folders may take more.
const LONGEST_READ: usize = 64 * 1024;
/// Keys of one kind.
pub const MOST_KEYS: usize = 512;
/// Bytes of all keys and values of one kind.
pub const MOST_BYTES: usize = 256 * 1024;

impl Meta {
    /// Both.
    pub const ALL: [Meta; 2] = [Meta::User, Meta::Device];

    /// The word in an error.
    pub fn name(self) -> &'static str {
        match self {
            Meta::User => "user meta",
            Meta::Device => "device meta",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Meta::User => "cache/usrmeta",
            Meta::Device => "cache/devmeta",
        }
    }
}

impl Store {
    /// All metadata of a kind, as far as it can be read and is within the bounds; the rest stays where it is, and is told.
    pub fn meta(&self, kind: Meta) -> Result<Values, Failure> {
        let mut values = Values::new();
        for entry in self.folder.list(kind.folder()).map_err(failure)? {
            let name = entry.name.to_string_lossy().into_owned();
            match self.read_meta(kind, &name, &values) {
                Ok(value) => _ = values.insert(name, value),
                Err(why) => log::warn!("op=read-meta path={}/{name:?} error={:?}", kind.folder(), why.detail),
            }
        }
        Ok(values)
    }

    fn read_meta(&self, kind: Meta, key: &str, known: &Values) -> Result<String, Failure> {
        check_key(kind, key)?;
        let bytes = self.folder.read(&path(kind, key), LONGEST_READ).map_err(failure)?;
        let value = String::from_utf8(bytes).map_err(|_| {
            Failure::new(FailureKind::Permanent, format!("read {} {key:?}: it is not UTF-8", kind.name()))
        })?;
        check_room(kind, key, &value, known)?;
        Ok(value)
    }

    /// Keeps a value, whole or not at all; `known` is all there is of this kind. Two at once are the caller's to prevent.
    pub fn put_meta(&self, kind: Meta, key: &str, value: &str, known: &Values) -> Result<(), Failure> {
        check_key(kind, key)?;
        check_room(kind, key, value, known)?;
        let new = self.temporary("cache", "new");
        let path = path(kind, key);
        let placed = self.folder.write_new(&new, value.as_bytes(), Readers::Owner);
        let placed = placed.and_then(|()| self.folder.rename(&new, &path));
        if placed.is_err()
            && let Err(error) = self.folder.remove(&new)
        {
            log::warn!("temporary of a value stays error={error}");
        }
        placed.and_then(|()| self.folder.sync_folder(kind.folder())).map_err(failure)
    }

    /// Removes a key. One that is not there is `Missing`.
    pub fn remove_meta(&self, kind: Meta, key: &str) -> Result<(), Failure> {
        check_key(kind, key)?;
        let path = path(kind, key);
        let removed = self.folder.stat(&path).and_then(|_| self.folder.remove(&path));
        removed
            .and_then(|()| self.folder.sync_folder(kind.folder()))
            .map_err(|error: FileError| failure(error))
    }
}

fn path(kind: Meta, key: &str) -> String {
    format!("{}/{key}", kind.folder())
}

fn check_key(kind: Meta, key: &str) -> Result<(), Failure> {
    if state::is_name(key) {
        return Ok(());
    }
    let key: String = key.chars().take(80).collect();
    Err(Failure::new(
        FailureKind::Permanent,
        format!("keep {} {key:?}: a key is 1 to 255 bytes without '/' and control characters", kind.name()),
    ))
}

fn check_room(kind: Meta, key: &str, value: &str, known: &Values) -> Result<(), Failure> {
    let full = |what: String| {
        let detail = format!("keep {} {key:?}: {what}; remove a key first", kind.name());
        Err(Failure::new(FailureKind::NoSpace, detail))
    };
    let others = known.iter().filter(|(other, _)| *other != key);
    let (count, bytes) =
        others.fold((0, 0), |(count, bytes), (key, value)| (count + 1, bytes + key.len() + value.len()));
    if count >= MOST_KEYS {
        return full(format!("there are {count} keys, the most that are kept"));
    }
    if bytes + key.len() + value.len() > MOST_BYTES {
        return full(format!("with it there would be more than the {MOST_BYTES} bytes that are kept"));
    }
    Ok(())
}
