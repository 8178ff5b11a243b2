//! `goalctl tx deploy`: a state as the folder of a revision, objects linked in, replaced as a whole.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::bundle::{bad, hash_file, unreadable};
use crate::failed::Failed;
use crate::keys::{Keys, Value};
use crate::whole::{self, unwritable};

/// What the boot loader is given, by the member of `bsp/run.json` that names it.
const BOOT_LINKS: [(&str, &str); 6] = [
    ("fit", "pantavisor.fit"),
    ("linux", "pv-kernel.img"),
    ("kernel", "pv-kernel.img"),
    ("initrd", "pv-initrd.img"),
    ("pantavisor", "pv-initrd.img"),
    ("fdt", "pv-fdt.dtb"),
];

/// The new folder is whole, on the disk, before the old one goes; the old one is kept as `FOLDER.bak` for that moment.
pub(super) fn write(text: &[u8], state: &Keys, objects: &Path, folder: &Path) -> Result<(), Failed> {
    let (new, old) = (beside(folder, ".new"), beside(folder, ".bak"));
    if !folder.exists() && old.exists() {
        rename(&old, folder)?; // A run was cut off just there.
    }
    clear(&new)?;
    fill(&new, text, state, objects, folder)?;
    sync_all(&new)?;
    if folder.exists() {
        clear(&old)?;
        rename(folder, &old)?;
    }
    if let Err(failed) = rename(&new, folder) {
        // The failure is told; what was there before is put back if it can be.
        let _ = std::fs::rename(&old, folder);
        return Err(failed);
    }
    whole::sync_folder(folder)?;
    clear(&old)
}

fn beside(folder: &Path, ending: &str) -> PathBuf {
    // Without a slash at its end.
    let mut name = folder.components().as_path().as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn fill(new: &Path, text: &[u8], state: &Keys, objects: &Path, folder: &Path) -> Result<(), Failed> {
    whole::make_folder(&new.join(".pvr"))?;
    whole::make_folder(&new.join(".pv"))?;
    whole::write(&new.join(".pvr/json"), text)?;
    let config = match std::fs::read(folder.join(".pvr/config")) {
        Ok(config) => config,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            json!({ "ObjectsDir": objects.to_string_lossy() }).to_string().into_bytes()
        }
        Err(cause) => return Err(unreadable(&folder.join(".pvr/config"), &cause)),
    };
    whole::write(&new.join(".pvr/config"), &config)?;
    for (key, value) in state.iter() {
        let path = new.join(key);
        path.parent().map_or(Ok(()), whole::make_folder)?;
        match value {
            Value::Inline(text) => whole::write(&path, text.as_bytes())?,
            Value::Object(digest) => {
                let object = objects.join(digest.to_string());
                if hash_file(&object)?.0 != digest {
                    return Err(bad(&object, "its bytes do not have the sha256 it is named by"));
                }
                link(&object, &path)?;
            }
        }
    }
    boot_links(new)
}

fn boot_links(new: &Path) -> Result<(), Failed> {
    let path = new.join("bsp/run.json");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(unreadable(&path, &cause)),
    };
    let run: Json = serde_json::from_slice(&text).map_err(|cause| bad(&path, &cause.to_string()))?;
    for (member, name) in BOOT_LINKS {
        let Some(file) = run.get(member).and_then(Json::as_str) else { continue };
        if file.split('/').any(|element| matches!(element, "" | "." | "..")) {
            return Err(bad(&path, &format!("{member} names {file:?}, which is no file beside it")));
        }
        link(&new.join("bsp").join(file), &new.join(".pv").join(name))?;
    }
    Ok(())
}

/// Copied where it lies on another file system.
fn link(from: &Path, to: &Path) -> Result<(), Failed> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::CrossesDevices => {
            let mut source = File::open(from).map_err(|cause| unreadable(from, &cause))?;
            whole::fill(to, &mut source, &mut |_| {})
        }
        Err(cause) => Err(Failed::Source {
            what: format!("link {} to {}", from.display(), to.display()),
            cause: cause.to_string(),
        }),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Failed> {
    std::fs::rename(from, to).map_err(|cause| unwritable(to, &cause))
}

fn clear(folder: &Path) -> Result<(), Failed> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(unwritable(folder, &cause)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Each file's bytes and each folder's names, before anything says that they are there.
fn sync_all(path: &Path) -> Result<(), Failed> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(|cause| unreadable(path, &cause))? {
            sync_all(&entry.map_err(|cause| unreadable(path, &cause))?.path())?;
        }
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(|cause| unwritable(path, &cause))
}
