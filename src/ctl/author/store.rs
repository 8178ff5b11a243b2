//! Where the documents and layers of a local image lie: a folder, or an archive of one.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use model::ids::Digest;

use crate::author::images::LARGEST_DOCUMENT;
use crate::author::layers::section;
use crate::author::members::{self, Sort, wrong};
use crate::author::spool::plain_file;
use crate::author::tree::{Section, names};
use crate::failed::Failed;

/// Enough for any archive of images: a root folder has more, and is not looked at further.
const MOST_KEPT: usize = 20_000;

/// Things by their path.
#[derive(Debug)]
pub(crate) enum Store {
    Folder(PathBuf),
    Archive { name: String, tar: Section, members: BTreeMap<String, Place>, links: BTreeMap<String, String> },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    start: u64,
    size: u64,
}

impl Store {
    /// Reads the headers of a tar that lies unpacked.
    pub(crate) fn of_archive(name: &str, tar: &Section) -> Result<Store, Failed> {
        let (mut places, mut links) = (BTreeMap::new(), BTreeMap::new());
        members::each(name, tar.reader(), |member, _| {
            if places.len() + links.len() >= MOST_KEPT {
                return Ok(());
            }
            let Some(path) = plain(&member.path) else { return Ok(()) };
            match member.sort {
                Sort::File { start, size } => drop(places.insert(path, Place { start, size })),
                // Old archives share equal layers this way.
                Sort::Symlink(target) => {
                    let holder = path.rsplit_once('/').map_or("", |(holder, _)| holder);
                    let target = String::from_utf8_lossy(&target);
                    if let Some(target) = beside(holder, &target) {
                        links.insert(path, target);
                    }
                }
                Sort::Folder
                | Sort::HardLink(_)
                | Sort::Fifo
                | Sort::Character { .. }
                | Sort::Block { .. } => {}
            }
            Ok(())
        })?;
        Ok(Store::Archive { name: name.to_owned(), tar: tar.clone(), members: places, links })
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        match self {
            Store::Folder(folder) => folder.join(path).is_file(),
            Store::Archive { members, .. } => members.contains_key(path),
        }
    }

    /// The bytes at a path that a document of the image has named: hence not trusted.
    pub(crate) fn section(&self, path: &str) -> Result<Section, Failed> {
        let plain_path = plain(path.as_bytes()).ok_or_else(|| self.lacks(path))?;
        match self {
            Store::Folder(folder) => {
                let path = folder.join(plain_path);
                plain_file(&path)?;
                section(&path)
            }
            Store::Archive { tar, members, links, .. } => {
                let path = links.get(&plain_path).unwrap_or(&plain_path);
                let place = members.get(path).ok_or_else(|| self.lacks(path))?;
                if place.start.checked_add(place.size).is_none_or(|end| end > tar.size) {
                    return Err(wrong(&self.name(), &format!("it is cut short in {path}")));
                }
                Ok(tar.part(place.start, place.size))
            }
        }
    }

    pub(crate) fn document(&self, path: &str) -> Result<Vec<u8>, Failed> {
        let section = self.section(path)?;
        if section.size > LARGEST_DOCUMENT {
            return Err(wrong(&self.name(), &format!("{path} is longer than 8 MiB")));
        }
        let mut bytes = Vec::new();
        let read = section.reader().read_to_end(&mut bytes);
        read.map_err(|cause| wrong(&self.name(), &cause.to_string()))?;
        Ok(bytes)
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Store::Folder(folder) => folder.display().to_string(),
            Store::Archive { name, .. } => name.clone(),
        }
    }

    fn lacks(&self, path: &str) -> Failed {
        wrong(&self.name(), &format!("{path} is not in it"))
    }
}

/// `sha256:…` as a digest.
pub(crate) fn digest(name: &str, text: &str) -> Result<Digest, Failed> {
    let hex = text.strip_prefix("sha256:");
    hex.and_then(|hex| hex.parse().ok())
        .ok_or_else(|| wrong(name, &format!("{text:?} is not sha256:<64 hex>")))
}

fn plain(path: &[u8]) -> Option<String> {
    let names = names(path).ok()?;
    let names: Option<Vec<&str>> = names.into_iter().map(|name| std::str::from_utf8(name).ok()).collect();
    names.map(|names| names.join("/"))
}

/// A relative link from a folder of the archive; none if it leads out.
fn beside(holder: &str, target: &str) -> Option<String> {
    let mut way: Vec<&str> = holder.split('/').filter(|name| !name.is_empty()).collect();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(way.pop()?),
            name => way.push(name),
        }
    }
    Some(way.join("/"))
}

pub(crate) fn is_layout(folder: &Path) -> bool {
    folder.join("oci-layout").is_file() && folder.join("index.json").is_file()
}
