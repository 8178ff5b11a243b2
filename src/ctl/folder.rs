//! A working folder as pvr keeps it: each file is a key, `.json` files stand in the state, all others are objects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::ids::Digest;
use serde_json::value::RawValue;

use crate::bundle::{LARGEST_STATE, Object, bad, hash_file, unreadable};
use crate::failed::Failed;

const MOST_FILES: usize = 100_000;
const DEEPEST: usize = 64;
/// What lies beside a revision's own files, and is no part of it: what pvr keeps, what version control does.
const BESIDE: [&str; 5] = [".pvr", ".git", ".gitattributes", ".gitignore", ".github"];
const STATE_SPEC: &str = "pantavisor-service-system@1";

/// What the files of a folder add up to.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) state: Vec<u8>,
    pub(crate) objects: BTreeMap<Digest, Object>,
    /// `.json` files that are not JSON, and so are missing from the state.
    pub(crate) mistakes: Vec<String>,
}

pub(crate) fn read(root: &Path) -> Result<Folder, Failed> {
    let mut files = Vec::new();
    find(root, root, 0, &mut files)?;
    let mut state = BTreeMap::new();
    let mut objects = BTreeMap::new();
    let mut mistakes = Vec::new();
    state.insert("#spec".to_owned(), text(STATE_SPEC)?);
    for path in files {
        let key = key(root, &path)?;
        if key.ends_with(".json") {
            match serde_json::from_slice(&inline(&path)?) {
                Ok(value) => drop(state.insert(key, value)),
                Err(cause) => mistakes.push(format!("{key}: not JSON: {cause}")),
            }
        } else {
            let (digest, size) = hash_file(&path)?;
            state.insert(key, text(&digest.to_string())?);
            objects.insert(digest, Object { path, size });
        }
    }
    let state = serde_json::to_vec(&state).map_err(|cause| bad(root, &cause.to_string()))?;
    if state.len() as u64 > LARGEST_STATE {
        return Err(bad(root, "its .json files add up to a state longer than 16 MiB"));
    }
    Ok(Folder { state, objects, mistakes })
}

/// The keys that the files of a folder have.
#[cfg(feature = "author")]
pub(crate) fn files(root: &Path) -> Result<Vec<String>, Failed> {
    let mut files = Vec::new();
    find(root, root, 0, &mut files)?;
    let mut keys = files.iter().map(|path| key(root, path)).collect::<Result<Vec<_>, _>>()?;
    keys.sort();
    Ok(keys)
}

fn text(value: &str) -> Result<Box<RawValue>, Failed> {
    serde_json::value::to_raw_value(value).map_err(|cause| Failed::Source {
        what: format!("write {value:?} as JSON"),
        cause: cause.to_string(),
    })
}

/// The file's own text, so that its numbers and key order stay as they were signed.
fn inline(path: &Path) -> Result<Vec<u8>, Failed> {
    let found = std::fs::metadata(path).map_err(|cause| unreadable(path, &cause))?;
    if found.len() > LARGEST_STATE {
        return Err(bad(path, "a .json file stands in the state; this one is longer than 16 MiB"));
    }
    std::fs::read(path).map_err(|cause| unreadable(path, &cause))
}

fn key(root: &Path, path: &Path) -> Result<String, Failed> {
    let inside = path.strip_prefix(root).unwrap_or(path);
    inside
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| bad(path, "its name is not UTF-8, and would be a key of the state"))
}

fn find(root: &Path, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Failed> {
    if depth > DEEPEST {
        return Err(bad(folder, "more than 64 folders deep"));
    }
    for entry in std::fs::read_dir(folder).map_err(|cause| unreadable(folder, &cause))? {
        let entry = entry.map_err(|cause| unreadable(folder, &cause))?;
        let path = entry.path();
        if depth == 0 && BESIDE.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let kind = entry.file_type().map_err(|cause| unreadable(&path, &cause))?;
        if kind.is_dir() {
            find(root, &path, depth + 1, files)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            return Err(bad(
                &path,
                "neither a plain file nor a folder; a revision holds no links and no devices",
            ));
        }
        if files.len() > MOST_FILES {
            return Err(bad(root, "more than 100000 files"));
        }
    }
    Ok(())
}
