//! A disk rebuilt from what was done to it: as it is, and as far as it was synced.

mod after;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

pub use self::after::{Draft, Found, Hashes, Lies, Scope, lay_down};

use self::after::Fate;
use super::change::{At, Change};

/// Where names that begin with a dot are removed at a start, whatever lies beneath them.
const TEMPORARY: [&str; 5] = ["objects/.", "trails/.", "logs/.", "cache/.", "disks/rev/."];
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
    /// Nothing that decides at a start reads it: logs, what containers keep, the insides of what is thrown away.
    Aside,
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

impl Default for Disk {
    /// With nothing on it.
    fn default() -> Disk {
        let nodes = vec![Node::Folder { now: Names::new(), synced: Names::new() }];
        let (unsynced, syncing, logs) = (Vec::new(), HashMap::new(), BTreeSet::new());
        Disk { nodes, unsynced, syncing, renamings: 0, logs }
    }
}

impl Disk {
    /// A folder as it lies there, all of it synced. Two names of one file are one file here too.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(root: &Path) -> Disk {
        let mut disk = Disk::default();
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

    /// Whether something lies there now.
    pub fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// Whether a folder lies there now.
    pub fn is_folder(&self, path: &str) -> bool {
        self.find(path).is_some_and(|node| matches!(self.nodes[node], Node::Folder { .. }))
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

    fn rename<const COUNT: usize>(&mut self, changes: [(&str, Option<Number>); COUNT]) {
        let mut parts = Vec::new();
        for (path, leads_to) in &changes {
            let (folder, name) = self.holder(path);
            parts.push(Part { folder, name: name.to_owned(), leads_to: *leads_to });
        }
        for part in &parts {
            let Node::Folder { now, .. } = &mut self.nodes[part.folder] else { not_there(&part.name) };
            apply(now, part);
        }
        self.renamings += 1;
        let is_aside = |(path, leads_to): &(&str, Option<Number>)| {
            is_log(path) || is_kept_by_a_container(path) || leads_to.is_none() && is_thrown_away(path)
        };
        let of = if changes.iter().any(is_aside) { Of::Aside } else { Of::State };
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
}

/// Its bytes are read by nothing that decides at a start: of the reserve whatever a cut leaves is right.
fn is_log(path: &str) -> bool {
    path.starts_with("journal") || path.starts_with("logs/") || path == "reserve"
}

/// Beneath a container's disk.
fn is_kept_by_a_container(path: &str) -> bool {
    let of_a_revision = |path: &str| path.strip_prefix("locals/").unwrap_or(path).contains('/');
    path.starts_with("disks/perm/") || path.strip_prefix("disks/rev/").is_some_and(of_a_revision)
}

/// Beneath a name that begins with a dot.
fn is_thrown_away(path: &str) -> bool {
    TEMPORARY.iter().any(|holder| path.strip_prefix(*holder).is_some_and(|rest| rest.contains('/')))
}

fn apply(names: &mut Names, part: &Part) {
    match part.leads_to {
        Some(node) => names.insert(part.name.clone(), node),
        None => names.remove(&part.name),
    };
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
        let kept = Fate::kept();
        let of_the_agent = |path: &String| !path.starts_with("disks/");
        let mut rebuilt = self.draft(&kept).found();
        let mut there = there.draft(&kept).found();
        rebuilt.retain(|path, _| of_the_agent(path));
        there.retain(|path, _| of_the_agent(path));
        let paths = rebuilt.keys().chain(there.keys());
        let different: BTreeSet<_> = paths.filter(|path| rebuilt.get(*path) != there.get(*path)).collect();
        assert!(different.is_empty(), "the record missed something of {different:?}");
    }
}
