//! What may be found of a disk after a cut: every fate of what was not synced.
//!
//! A name and the bytes behind it reach the disk each for itself. What was synced is there; of the rest anything may be. Of the
//! changes of names that were not synced: every subset of the latest six, every beginning of their row (what a journal keeps),
//! each alone lost, each folder alone lost or alone kept; all this with the bytes that were not synced, and without. Of the bytes:
//! those of each file alone lost, zeros, or torn between any two sectors. Logs, which are never synced, go together, and so does
//! what containers keep.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, Names, Node, Number, Of, Part, TEMPORARY, apply, is_kept_by_a_container};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How much of what was not synced has one fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    All,
    One,
}

/// What becomes of a file's bytes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Kept,
    Lost,
    /// As long as they were to be, and nothing in it.
    Zeros,
    /// So many sectors from the start are new, the others old; or the other way round.
    NewUpTo(usize),
    OldUpTo(usize),
}

/// Whether a part of a change of names, by its place, is on the disk.
type Happened<'a> = dyn Fn(usize, &Part) -> bool + 'a;

/// One way in which a disk may be found: which unsynced changes of names there are, what became of each file.
pub(super) struct Fate<'a> {
    names: Box<Happened<'a>>,
    bytes: Box<dyn Fn(Number) -> Bytes + 'a>,
}

/// A disk as it was found: path to what lies there.
pub type Found = BTreeMap<String, Lies>;

/// What lies at a path. Bytes are shared between finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lies {
    Folder,
    File(Arc<Vec<u8>>),
    Symlink(String),
}

/// So many changes of names: every subset of the latest is a fate of its own.
const FEW: usize = 6;

/// A disk as it may be found, before it is written out.
#[derive(Debug)]
pub struct Draft<'a> {
    disk: &'a Disk,
    folders: HashMap<Number, Names>,
    fate: &'a Fate<'a>,
}

/// Bytes that were hashed before, by their address; each is kept, so that no other has it.
#[derive(Debug, Default)]
pub struct Hashes(HashMap<*const Vec<u8>, (Arc<Vec<u8>>, u64)>);

/// Puts a disk as it was found into an empty folder.
///
/// # Panics
/// If the folder cannot be written.
pub fn lay_down(found: &Found, place: &Path) {
    for (path, lies) in found {
        let path = place.join(path);
        let done = match lies {
            Lies::Folder => fs::create_dir(&path),
            Lies::File(bytes) => fs::write(&path, &**bytes),
            Lies::Symlink(target) => symlink(target, &path),
        };
        done.expect("a temporary folder can be written");
    }
}

impl Disk {
    /// Every disk that may be found after a cut now, with what became of what was not synced.
    pub fn after_a_cut(&self, mut check: impl FnMut(&Draft<'_>, Scope, fmt::Arguments<'_>)) {
        let state: Vec<usize> =
            (0..self.unsynced.len()).filter(|at| self.unsynced[*at].of == Of::State).collect();
        let is_log = |at: usize| self.unsynced[at].of == Of::Aside;
        let mut found =
            |scope, what: fmt::Arguments<'_>, fate: &Fate<'_>| check(&self.draft(fate), scope, what);
        for bytes in [Bytes::Kept, Bytes::Lost, Bytes::Zeros] {
            for names in [true, false] {
                let fate = Fate::new(move |_, _| names, move |_| bytes);
                found(Scope::All, format_args!("names there: {names}, bytes {bytes:?}"), &fate);
            }
        }
        found(Scope::All, format_args!("logs lost"), &Fate::new(move |at, _| !is_log(at), |_| Bytes::Kept));
        for bytes in [Bytes::Kept, Bytes::Lost] {
            let mut names = |what: fmt::Arguments<'_>, names: &Happened<'_>| {
                let fate = Fate::new(names, move |_| bytes);
                found(Scope::One, format_args!("{what}, bytes {bytes:?}"), &fate);
            };
            let latest = &state[state.len().saturating_sub(FEW)..];
            for subset in 0..1_usize << latest.len() {
                let is_there =
                    |at| latest.iter().position(|one| *one == at).is_none_or(|bit| subset & 1 << bit != 0);
                names(format_args!("of the latest names {subset:b}"), &|at, _| is_there(at));
            }
            for one in &state {
                names(format_args!("names from {one} on lost"), &|at, _| at < *one);
                names(format_args!("name {one} lost"), &|at, _| at != *one);
            }
            let folders: BTreeSet<_> =
                state.iter().flat_map(|at| &self.unsynced[*at].parts).map(|part| part.folder).collect();
            for one in folders {
                names(format_args!("folder {one} lost"), &|_, part| part.folder != one);
                names(format_args!("only folder {one} there"), &|_, part| part.folder == one);
            }
        }
        for file in (0..self.nodes.len()).filter(|node| !self.logs.contains(node)) {
            for bytes in self.ways_to_tear(file) {
                let one = move |node| if node == file { bytes } else { Bytes::Kept };
                found(Scope::One, format_args!("file {file} {bytes:?}"), &Fate::new(|_, _| true, one));
            }
        }
    }

    /// What may become of a file's unsynced bytes, beside that they are kept.
    fn ways_to_tear(&self, file: Number) -> Vec<Bytes> {
        let Node::File { now, synced } = &self.nodes[file] else { return Vec::new() };
        if now == synced {
            return Vec::new();
        }
        let mut ways = vec![Bytes::Lost, Bytes::Zeros];
        let length = now.len().max(synced.len());
        let differs = |sector: usize| {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            let part = |bytes: &[u8]| bytes.get(range.start..range.end.min(bytes.len())).map(<[u8]>::to_vec);
            part(now) != part(synced)
        };
        for boundary in (1..length.div_ceil(SECTOR)).filter(|sector| differs(*sector) || differs(sector - 1))
        {
            ways.extend([Bytes::NewUpTo(boundary * SECTOR), Bytes::OldUpTo(boundary * SECTOR)]);
        }
        ways
    }

    pub(super) fn draft<'a>(&'a self, fate: &'a Fate<'a>) -> Draft<'a> {
        let mut folders: HashMap<Number, Names> = HashMap::new();
        for (at, renaming) in self.unsynced.iter().enumerate() {
            for part in renaming.parts.iter().filter(|part| (fate.names)(at, part)) {
                let Node::Folder { synced, .. } = &self.nodes[part.folder] else { continue };
                apply(folders.entry(part.folder).or_insert_with(|| synced.clone()), part);
            }
        }
        Draft { disk: self, folders, fate }
    }
}

impl Draft<'_> {
    /// Every path, with what lies there.
    pub fn found(&self) -> Found {
        let mut found = Found::new();
        self.walk(0, &mut String::new(), &mut |path, number| {
            let lies = match &self.disk.nodes[number] {
                Node::Folder { .. } => Lies::Folder,
                Node::Symlink(target) => Lies::Symlink(target.clone()),
                Node::File { now, synced } => Lies::File(bytes_found((self.fate.bytes)(number), now, synced)),
            };
            found.insert(path.to_owned(), lies);
            true
        });
        found
    }

    /// The same number for disks that a start cannot tell apart: it reads no log and nothing that containers keep, and removes
    /// temporary names whatever they are.
    pub fn fingerprint(&self, hashes: &mut Hashes) -> u64 {
        let mut hash = DefaultHasher::new();
        let mut thrown_away = "";
        self.walk(0, &mut String::new(), &mut |path, number| {
            if let Some(holder) = TEMPORARY.iter().find(|holder| path.starts_with(**holder)) {
                if thrown_away != *holder {
                    holder.hash(&mut hash);
                }
                thrown_away = holder;
                return false;
            }
            if is_kept_by_a_container(path) {
                return false;
            }
            path.hash(&mut hash);
            match &self.disk.nodes[number] {
                Node::Folder { .. } => hash.write_u8(0),
                Node::Symlink(target) => target.hash(&mut hash),
                Node::File { .. } if self.disk.logs.contains(&number) => hash.write_u8(1),
                Node::File { now, synced } => match (self.fate.bytes)(number) {
                    Bytes::Kept => hash.write_u64(hashes.of(now)),
                    _ if now == synced => hash.write_u64(hashes.of(now)),
                    Bytes::Lost => hash.write_u64(hashes.of(synced)),
                    torn @ (Bytes::Zeros | Bytes::NewUpTo(_) | Bytes::OldUpTo(_)) => {
                        hash.write_u64(hash_of(&bytes_found(torn, now, synced)));
                    }
                },
            }
            true
        });
        hash.finish()
    }

    /// Calls for each path; goes into a folder if it is told to.
    fn walk(&self, folder: Number, path: &mut String, each: &mut impl FnMut(&str, Number) -> bool) {
        let Node::Folder { synced, .. } = &self.disk.nodes[folder] else { return };
        for (name, number) in self.folders.get(&folder).unwrap_or(synced) {
            let length = path.len();
            if length > 0 {
                path.push('/');
            }
            path.push_str(name);
            if each(path, *number) {
                self.walk(*number, path, each);
            }
            path.truncate(length);
        }
    }
}

impl Hashes {
    fn of(&mut self, bytes: &Arc<Vec<u8>>) -> u64 {
        self.0.entry(Arc::as_ptr(bytes)).or_insert_with(|| (Arc::clone(bytes), hash_of(bytes))).1
    }
}

fn hash_of(bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    bytes.hash(&mut hash);
    hash.finish()
}

fn bytes_found(fate: Bytes, now: &Arc<Vec<u8>>, synced: &Arc<Vec<u8>>) -> Arc<Vec<u8>> {
    let torn = |one: &[u8], other: &[u8], at: usize| {
        let mut bytes = one[..at.min(one.len())].to_vec();
        bytes.extend_from_slice(other.get(at..).unwrap_or_default());
        Arc::new(bytes)
    };
    match fate {
        _ if now == synced => Arc::clone(now),
        Bytes::Kept => Arc::clone(now),
        Bytes::Lost => Arc::clone(synced),
        Bytes::Zeros => Arc::new(vec![0; now.len()]),
        Bytes::NewUpTo(at) => torn(now, synced, at),
        Bytes::OldUpTo(at) => torn(synced, now, at),
    }
}

impl fmt::Debug for Fate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fate")
    }
}

impl<'a> Fate<'a> {
    /// All of it is there.
    pub(super) fn kept() -> Fate<'a> {
        Fate::new(|_, _| true, |_| Bytes::Kept)
    }

    fn new(names: impl Fn(usize, &Part) -> bool + 'a, bytes: impl Fn(Number) -> Bytes + 'a) -> Fate<'a> {
        Fate { names: Box::new(names), bytes: Box::new(bytes) }
    }
}
