//! Makes the root of a device that an image is made with: its objects, its factory revision.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use model::ids::{Digest, RevisionId};
use model::report::{Failure, FailureKind};

use crate::store::Store;

/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;

/// Installs what lies in `folder` as revision `0`, and sees that it is whole. `folder` has `json` and `objects/`.
///
/// # Errors
/// What is missing or wrong, or cannot be written.
pub fn make(root: &Path, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(root).map_err(|error| unread("make", root, &error))?;
    let store = Arc::new(Store::open(root)?);
    let objects = folder.join("objects");
    for entry in std::fs::read_dir(&objects).map_err(|error| unread("list", &objects, &error))? {
        let path = entry.map_err(|error| unread("list", &objects, &error))?.path();
        put(&store, &path)?;
    }
    let state = folder.join("json");
    let state = std::fs::read(&state).map_err(|error| unread("read", &state, &error))?;
    let factory = RevisionId::factory();
    store.install(&factory, &state)?;
    store.verify(&factory)?;
    store.set_current(&factory)
}

fn put(store: &Arc<Store>, path: &Path) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digest: Digest = name.parse().map_err(|_| {
        Failure::new(FailureKind::Permanent, format!("use {}: its name is no sha256", path.display()))
    })?;
    let mut source = File::open(path).map_err(|error| unread("open", path, &error))?;
    let mut writer = store.put_object(digest)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match source.read(&mut chunk).map_err(|error| unread("read", path, &error))? {
            0 => return writer.finish(),
            length => writer.write(&chunk[..length])?,
        }
    }
}

fn unread(op: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Permanent, format!("{op} {}: {error}", path.display()))
}
