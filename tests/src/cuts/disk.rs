//! A disk rebuilt from what was done to it, as it is and as it may be found after a power cut.
//!
//! A name and the bytes behind it reach the disk each for itself. What was synced is there; of the rest anything may be: every
//! name that was not synced alone lost, every beginning of their row (what a journal keeps), every folder for itself; the bytes
//! of every file that was not synced lost, zeros, or torn between any two sectors. Logs, which are never synced, go together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use super::change::{At, Change};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// A file's place in [`Disk::nodes`].
type Number = usize;
type Names = BTreeMap<String, Number>;

/// The disk. Node 0 is the root.
#[derive(Debug, Clone)]
pub struct Disk {
    nodes: Vec<Node>,
    /// Changes of names that were not synced in every folder that they are about, in order.
    unsynced: Vec<Renaming>,
    /// Syncs that were asked for and have not returned: what they are about.
    syncing: HashMap<u32, Syncing>,
    renamings: u64,
    /// Files that are logs.
    logs: BTreeSet<Number>,
}

#[derive(Debug, Clone)]
enum Node {
    File { now: Arc<Vec<u8>>, synced: Arc<Vec<u8>> },
    Folder { now: Names, synced: Names },
    Symlink(String),
}

/// One change of names: what it makes of each name that it is about.
#[derive(Debug, Clone)]
struct Renaming {
    number: u64,
    parts: Vec<Part>,
    of: Of,
}

/// What a name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    State,
    Log,
}

/// How much of what was not synced has one fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    All,
    One,
}

#[derive(Debug, Clone)]
struct Part {
    folder: Number,
    name: String,
    leads_to: Option<Number>,
}

#[derive(Debug, Clone)]
enum Syncing {
    File(Number, Arc<Vec<u8>>),
    /// Up to this change of names.
    Folder(Number, u64),
    Nothing,
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
struct Fate<'a> {
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

/// Of a long file its ends count: it is an image, a log, or room kept back.
const ENDS: usize = 8 * SECTOR;

impl Hash for Lies {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Lies::Folder => state.write_u8(0),
            Lies::Symlink(target) => target.hash(state),
            Lies::File(bytes) => {
                let (start, end) = bytes.split_at(bytes.len().min(4 * ENDS));
                (bytes.len(), start, &end[end.len().saturating_sub(ENDS)..]).hash(state);
            }
        }
    }
}

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
    /// A folder as it lies there, all of it synced. Two names of one file are one file here too.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(root: &Path) -> Disk {
        let nodes = vec![Node::Folder { now: Names::new(), synced: Names::new() }];
        let mut disk = Disk {
            nodes,
            unsynced: Vec::new(),
            syncing: HashMap::new(),
            renamings: 0,
            logs: BTreeSet::new(),
        };
        disk.read_folder(0, root, &mut HashMap::new());
        disk
    }

    fn read_folder(&mut self, into: Number, path: &Path, known: &mut HashMap<u64, Number>) {
        use std::os::unix::fs::MetadataExt;
        let mut names = Names::new();
        for entry in fs::read_dir(path).expect("a test's folder can be read") {
            let entry = entry.expect("a test's folder can be read");
            let (stat, path) = (entry.metadata().expect("it was just listed"), entry.path());
            let number = *known.entry(stat.ino()).or_insert(self.nodes.len());
            names.insert(entry.file_name().to_string_lossy().into_owned(), number);
            if number < self.nodes.len() {
                continue;
            }
            if stat.is_dir() {
                self.nodes.push(Node::Folder { now: Names::new(), synced: Names::new() });
                self.read_folder(number, &path, known);
            } else if stat.is_symlink() {
                let target = fs::read_link(&path).expect("it was just listed");
                self.nodes.push(Node::Symlink(target.to_string_lossy().into_owned()));
            } else {
                let bytes = Arc::new(fs::read(&path).expect("it was just listed"));
                self.nodes.push(Node::File { now: Arc::clone(&bytes), synced: bytes });
            }
        }
        self.nodes[into] = Node::Folder { now: names.clone(), synced: names };
    }

    fn find(&self, path: &str) -> Option<Number> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(0, |at, name| match &self.nodes[at] {
            Node::Folder { now, .. } => now.get(name).copied(),
            Node::File { .. } | Node::Symlink(_) => None,
        })
    }

    fn holder<'a>(&self, path: &'a str) -> (Number, &'a str) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.existing(folder), name)
    }

    fn existing(&self, path: &str) -> Number {
        self.find(path).unwrap_or_else(|| not_there(path))
    }

    /// Carries out a change that the kernel carried out.
    ///
    /// # Panics
    /// If it could not have: a change was missed.
    pub fn carry_out(&mut self, change: &Change) {
        match change {
            Change::MakeFolder { path } => {
                self.add(path, Node::Folder { now: Names::new(), synced: Names::new() });
            }
            Change::Create { path } if self.find(path).is_some() => {}
            Change::Create { path } => {
                self.add(path, Node::File { now: Arc::default(), synced: Arc::default() });
            }
            Change::Symlink { path, target } => self.add(path, Node::Symlink(target.clone())),
            Change::Truncate { path, length } => self.bytes_of(path).resize(*length, 0),
            Change::Write { path, at, bytes } => {
                let now = self.bytes_of(path);
                let at = match at {
                    At::Byte(at) => *at,
                    At::End => now.len(),
                };
                now.resize(now.len().max(at + bytes.len()), 0);
                now[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Change::Rename { from, to } => {
                let node = self.existing(from);
                self.rename([(from, None), (to, Some(node))]);
            }
            Change::Exchange { one, other } => {
                let (first, second) = (self.existing(one), self.existing(other));
                self.rename([(one, Some(second)), (other, Some(first))]);
            }
            Change::Link { from, to } => {
                let node = self.existing(from);
                self.rename([(to, Some(node))]);
            }
            // What containers wrote to their own disks is not the agent's, and not in the record.
            Change::Remove { path } if path.starts_with("disks/") && self.find(path).is_none() => {}
            Change::Remove { path } => {
                self.existing(path);
                self.rename([(path, None)]);
            }
            Change::SyncBegins { path, by } => {
                let syncing = self.find(path).map_or(Syncing::Nothing, |node| match &self.nodes[node] {
                    Node::File { now, .. } => Syncing::File(node, Arc::clone(now)),
                    Node::Folder { .. } => Syncing::Folder(node, self.renamings),
                    Node::Symlink(_) => Syncing::Nothing,
                });
                self.syncing.insert(*by, syncing);
            }
            Change::SyncEnds { by } => match self.syncing.remove(by).unwrap_or(Syncing::Nothing) {
                Syncing::File(node, bytes) => {
                    if let Node::File { synced, .. } = &mut self.nodes[node] {
                        *synced = bytes;
                    }
                }
                Syncing::Folder(folder, up_to) => self.synced(folder, up_to),
                Syncing::Nothing => {}
            },
        }
    }

    fn add(&mut self, path: &str, node: Node) {
        self.nodes.push(node);
        let number = self.nodes.len() - 1;
        if is_log(path) {
            self.logs.insert(number);
        }
        self.rename([(path, Some(number))]);
    }

    fn bytes_of(&mut self, path: &str) -> &mut Vec<u8> {
        let node = self.existing(path);
        match &mut self.nodes[node] {
            Node::File { now, .. } => Arc::make_mut(now),
            Node::Folder { .. } | Node::Symlink(_) => not_there(path),
        }
    }

    fn rename<'a, const COUNT: usize>(
        &mut self,
        changes: [(&'a (impl AsRef<str> + ?Sized + 'a), Option<Number>); COUNT],
    ) {
        let mut parts = Vec::new();
        for (path, leads_to) in &changes {
            let (folder, name) = self.holder(path.as_ref());
            parts.push(Part { folder, name: name.to_owned(), leads_to: *leads_to });
        }
        for part in &parts {
            let Node::Folder { now, .. } = &mut self.nodes[part.folder] else { not_there(&part.name) };
            apply(now, part);
        }
        self.renamings += 1;
        let is_log = changes.iter().any(|(path, _)| is_log(path.as_ref()));
        let of = if is_log { Of::Log } else { Of::State };
        self.unsynced.push(Renaming { number: self.renamings, parts, of });
    }

    fn synced(&mut self, folder: Number, up_to: u64) {
        let Node::Folder { synced, .. } = &mut self.nodes[folder] else { return };
        for renaming in self.unsynced.iter_mut().filter(|renaming| renaming.number <= up_to) {
            renaming.parts.retain(|part| {
                let is_here = part.folder == folder;
                if is_here {
                    apply(synced, part);
                }
                !is_here
            });
        }
        self.unsynced.retain(|renaming| !renaming.parts.is_empty());
    }

    /// Every disk that may be found after a cut now, with what became of what was not synced.
    pub fn after_a_cut(&self, mut check: impl FnMut(Found, Scope, String)) {
        let state: Vec<usize> =
            (0..self.unsynced.len()).filter(|at| self.unsynced[*at].of == Of::State).collect();
        let is_log = |at: usize| self.unsynced[at].of == Of::Log;
        let mut found = |scope, what: String, fate: &Fate<'_>| check(self.found(fate), scope, what);
        for bytes in [Bytes::Kept, Bytes::Lost, Bytes::Zeros] {
            found(
                Scope::All,
                format!("names kept, bytes {bytes:?}"),
                &Fate::new(|_, _| true, move |_| bytes),
            );
            found(
                Scope::All,
                format!("names lost, bytes {bytes:?}"),
                &Fate::new(|_, _| false, move |_| bytes),
            );
        }
        found(Scope::All, "logs lost".to_owned(), &Fate::new(move |at, _| !is_log(at), |_| Bytes::Kept));
        for first_lost in state.iter().copied().skip(1) {
            for bytes in [Bytes::Kept, Bytes::Lost] {
                let what = format!("names from {first_lost} on lost, bytes {bytes:?}");
                found(Scope::One, what, &Fate::new(move |at, _| at < first_lost, move |_| bytes));
            }
        }
        for alone in state.iter().copied() {
            let name =
                self.unsynced[alone].parts.iter().map(|part| &*part.name).collect::<Vec<_>>().join(" and ");
            found(Scope::One, format!("{name} lost"), &Fate::new(move |at, _| at != alone, |_| Bytes::Kept));
        }
        let folders: BTreeSet<_> =
            state.iter().flat_map(|at| &self.unsynced[*at].parts).map(|part| part.folder).collect();
        for alone in folders {
            let lost = Fate::new(move |_, part| part.folder != alone, |_| Bytes::Kept);
            found(Scope::One, format!("folder {alone} lost"), &lost);
            let kept = Fate::new(move |_, part| part.folder == alone, |_| Bytes::Kept);
            found(Scope::One, format!("only folder {alone} kept"), &kept);
        }
        for file in (0..self.nodes.len()).filter(|node| !self.logs.contains(node)) {
            for bytes in self.ways_to_tear(file) {
                let one = move |node| if node == file { bytes } else { Bytes::Kept };
                found(Scope::One, format!("file {file} {bytes:?}"), &Fate::new(|_, _| true, one));
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

    fn found(&self, fate: &Fate<'_>) -> Found {
        let mut folders: HashMap<Number, Names> = HashMap::new();
        for (at, renaming) in self.unsynced.iter().enumerate() {
            for part in renaming.parts.iter().filter(|part| (fate.names)(at, part)) {
                let Node::Folder { synced, .. } = &self.nodes[part.folder] else { continue };
                apply(folders.entry(part.folder).or_insert_with(|| synced.clone()), part);
            }
        }
        let mut found = Found::new();
        self.found_in(0, "", &folders, fate, &mut found);
        found
    }

    fn found_in(
        &self,
        folder: Number,
        path: &str,
        folders: &HashMap<Number, Names>,
        fate: &Fate<'_>,
        found: &mut Found,
    ) {
        let Node::Folder { synced, .. } = &self.nodes[folder] else { return };
        for (name, number) in folders.get(&folder).unwrap_or(synced) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let lies = match &self.nodes[*number] {
                Node::Folder { .. } => Lies::Folder,
                Node::Symlink(target) => Lies::Symlink(target.clone()),
                Node::File { now, synced } => Lies::File(bytes_found((fate.bytes)(*number), now, synced)),
            };
            found.insert(path.clone(), lies.clone());
            if lies == Lies::Folder {
                self.found_in(*number, &path, folders, fate, found);
            }
        }
    }
}

fn is_log(path: &str) -> bool {
    path.starts_with("journal") || path.starts_with("logs/")
}

fn apply(names: &mut Names, part: &Part) {
    match part.leads_to {
        Some(node) => names.insert(part.name.clone(), node),
        None => names.remove(&part.name),
    };
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

impl<'a> Fate<'a> {
    fn new(names: impl Fn(usize, &Part) -> bool + 'a, bytes: impl Fn(Number) -> Bytes + 'a) -> Fate<'a> {
        Fate { names: Box::new(names), bytes: Box::new(bytes) }
    }
}

#[expect(clippy::panic, reason = "a record that does not fit together has missed a change")]
fn not_there(path: &str) -> ! {
    panic!("the record makes no sense: {path} is not there, or not a file")
}

impl Disk {
    /// Compares with the folder that this disk was rebuilt from, but for what containers wrote.
    ///
    /// # Panics
    /// If they differ: a change was missed.
    pub fn is_like(&self, root: &Path) {
        let there = Disk::read(root);
        let kept = Fate::new(|_, _| true, |_| Bytes::Kept);
        let of_the_agent = |path: &String| !path.starts_with("disks/");
        let mut rebuilt = self.found(&kept);
        let mut there = there.found(&kept);
        rebuilt.retain(|path, _| of_the_agent(path));
        there.retain(|path, _| of_the_agent(path));
        let paths = rebuilt.keys().chain(there.keys());
        let different: BTreeSet<_> = paths.filter(|path| rebuilt.get(*path) != there.get(*path)).collect();
        assert!(different.is_empty(), "the record missed something of {different:?}");
    }
}
