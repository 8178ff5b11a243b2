//! A file system in memory: names, owners, modes, where each file's bytes are; nothing of it is ever made on this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A node, by its place in the arena.
pub(crate) type NodeId = usize;

pub(crate) const ROOT: NodeId = 0;
/// Of one image; the largest distributions have a tenth of it.
const MOST_NODES: usize = 2_000_000;
/// As the kernel has it.
const MOST_LINKS_FOLLOWED: usize = 40;
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4096;

/// Nodes refer to each other by number, so that two names can share a node (a hard link). A node without a name is left behind.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
    /// Which layer brought it, counted from 1; 0 was made because something below it needed a place.
    pub(crate) layer: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: u32,
}

/// The folders that nobody described.
pub(crate) const PLAIN_FOLDER: Meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime: 0 };

#[derive(Debug)]
pub(crate) enum Kind {
    Folder(BTreeMap<Box<[u8]>, NodeId>),
    File(Content),
    Link(Box<[u8]>),
    /// With its number as squashfs holds it.
    Character(u32),
    Block(u32),
    Fifo,
}

/// Where a file's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A part of a tar that lies unpacked.
    Section(Section),
    Path {
        path: PathBuf,
        size: u64,
    },
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Content::Section(section) => section.size,
            Content::Path { size, .. } => *size,
        }
    }

    pub(crate) fn open(&self) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Content::Section(section) => Box::new(section.reader()),
            Content::Path { path, .. } => Box::new(File::open(path)?),
        })
    }
}

/// Some bytes of a file that is open.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Section {
    pub(crate) fn whole(file: File) -> io::Result<Section> {
        let size = file.metadata()?.len();
        Ok(Section { file: Arc::new(file), start: 0, size })
    }

    /// A part of it; shorter where it ends earlier.
    pub(crate) fn part(&self, start: u64, size: u64) -> Section {
        let start = start.min(self.size);
        Section { file: self.file.clone(), start: self.start + start, size: size.min(self.size - start) }
    }

    pub(crate) fn reader(&self) -> SectionReader {
        SectionReader { section: self.clone(), at: 0 }
    }
}

/// Reads by position: readers of the same file do not disturb each other.
#[derive(Debug)]
pub(crate) struct SectionReader {
    section: Section,
    at: u64,
}

impl Read for SectionReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.section.size - self.at;
        let wanted = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.section.file.read_at(&mut into[..wanted], self.section.start + self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Why something found no place. Reads well after the name of what was to be placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("points out of the image with ..")]
    Outside,
    #[error("has a name longer than 255 bytes or a path longer than 4096")]
    TooLong,
    #[error("goes through more than 40 symbolic links")]
    LinkLoop,
    #[error("goes through something that is no folder")]
    NotAFolder,
    #[error("is one file too many: an image holds two million at most")]
    TooMany,
    #[error("is a hard link to something that is not there, or that is a folder")]
    NoTarget,
    #[error("is a device whose number squashfs cannot hold")]
    NoSuchDevice,
}

/// The names on the way to something, from the root; absolute paths are taken as relative to it.
pub(crate) fn names(path: &[u8]) -> Result<Vec<&[u8]>, NoPlace> {
    if path.len() > LONGEST_PATH {
        return Err(NoPlace::TooLong);
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(NoPlace::Outside),
            _ if name.len() > LONGEST_NAME => return Err(NoPlace::TooLong),
            _ => names.push(name),
        }
    }
    Ok(names)
}

impl Tree {
    pub(crate) fn new() -> Tree {
        Tree { nodes: vec![Node { meta: PLAIN_FOLDER, kind: Kind::Folder(BTreeMap::new()), layer: 0 }] }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    pub(crate) fn children(&self, folder: NodeId) -> Option<&BTreeMap<Box<[u8]>, NodeId>> {
        match &self.nodes[folder].kind {
            Kind::Folder(children) => Some(children),
            Kind::File(_) | Kind::Link(_) | Kind::Character(_) | Kind::Block(_) | Kind::Fifo => None,
        }
    }

    fn children_mut(&mut self, folder: NodeId) -> Result<&mut BTreeMap<Box<[u8]>, NodeId>, NoPlace> {
        match &mut self.nodes[folder].kind {
            Kind::Folder(children) => Ok(children),
            Kind::File(_) | Kind::Link(_) | Kind::Character(_) | Kind::Block(_) | Kind::Fifo => {
                Err(NoPlace::NotAFolder)
            }
        }
    }

    /// The folder at those names: made where it is missing, found through symbolic links that never leave the root.
    pub(crate) fn folder(&mut self, names: &[&[u8]]) -> Result<NodeId, NoPlace> {
        let mut at = vec![ROOT];
        let mut ahead: Vec<Box<[u8]>> = names.iter().rev().map(|name| (*name).into()).collect();
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            let here = at.last().copied().unwrap_or(ROOT);
            let next = match self.children_mut(here)?.get(&name) {
                Some(next) => *next,
                None => self.insert(here, &name, PLAIN_FOLDER, Kind::Folder(BTreeMap::new()), 0)?,
            };
            match &self.nodes[next].kind {
                Kind::Folder(_) => at.push(next),
                Kind::Link(target) => {
                    followed += 1;
                    let target = target.clone();
                    follow(&target, followed, &mut at, &mut ahead)?;
                }
                Kind::File(_) | Kind::Character(_) | Kind::Block(_) | Kind::Fifo => {
                    return Err(NoPlace::NotAFolder);
                }
            }
        }
        Ok(at.last().copied().unwrap_or(ROOT))
    }

    /// What is at a path, through symbolic links that never leave the root. None if it is not there.
    pub(crate) fn find(&self, path: &[u8]) -> Option<NodeId> {
        let mut at = vec![ROOT];
        let mut ahead: Vec<Box<[u8]>> = names(path).ok()?.into_iter().rev().map(Into::into).collect();
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            let here = at.last().copied().unwrap_or(ROOT);
            let next = *self.children(here)?.get(&name)?;
            match &self.nodes[next].kind {
                Kind::Link(target) => {
                    followed += 1;
                    follow(target, followed, &mut at, &mut ahead).ok()?;
                }
                Kind::Folder(_) | Kind::File(_) | Kind::Character(_) | Kind::Block(_) | Kind::Fifo => {
                    at.push(next);
                }
            }
        }
        at.last().copied()
    }

    /// The bytes of a small file; none if it is absent, no file, or longer.
    pub(crate) fn read_small(&self, path: &[u8], longest: u64) -> Option<Vec<u8>> {
        let Kind::File(content) = &self.node(self.find(path)?).kind else { return None };
        if content.size() > longest {
            return None;
        }
        let mut bytes = Vec::new();
        content.open().ok()?.take(longest).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Puts something under a name: a folder is laid over a folder, all else replaces what was there.
    pub(crate) fn insert(
        &mut self,
        folder: NodeId,
        name: &[u8],
        meta: Meta,
        kind: Kind,
        layer: u32,
    ) -> Result<NodeId, NoPlace> {
        if let Some(old) = self.children_mut(folder)?.get(name).copied()
            && matches!((&self.nodes[old].kind, &kind), (Kind::Folder(_), Kind::Folder(_)))
        {
            let old_node = &mut self.nodes[old];
            (old_node.meta, old_node.layer) = (meta, layer);
            return Ok(old);
        }
        if self.nodes.len() >= MOST_NODES {
            return Err(NoPlace::TooMany);
        }
        let id = self.nodes.len();
        self.nodes.push(Node { meta, kind, layer });
        self.children_mut(folder)?.insert(name.into(), id);
        Ok(id)
    }

    /// Gives what is at `target` (itself, if it is a symbolic link) a second name.
    pub(crate) fn link(
        &mut self,
        folder: NodeId,
        name: &[u8],
        target: &[&[u8]],
        layer: u32,
    ) -> Result<(), NoPlace> {
        let (last, way) = target.split_last().ok_or(NoPlace::NoTarget)?;
        let holder = self.folder(way)?;
        let id = *self.children_mut(holder)?.get(*last).ok_or(NoPlace::NoTarget)?;
        if matches!(self.nodes[id].kind, Kind::Folder(_)) {
            return Err(NoPlace::NoTarget);
        }
        self.nodes[id].layer = layer;
        self.children_mut(folder)?.insert(name.into(), id);
        Ok(())
    }

    /// Hides what layers before this one have put under a name.
    pub(crate) fn hide(&mut self, folder: NodeId, name: &[u8], layer: u32) -> Result<(), NoPlace> {
        let Some(id) = self.children_mut(folder)?.get(name).copied() else { return Ok(()) };
        if !self.holds(id, layer) {
            self.children_mut(folder)?.remove(name);
        } else if self.children(id).is_some() {
            self.hide_all(id, layer)?;
        }
        Ok(())
    }

    /// Hides everything that layers before this one have put into a folder.
    pub(crate) fn hide_all(&mut self, folder: NodeId, layer: u32) -> Result<(), NoPlace> {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            let held: Vec<(Box<[u8]>, NodeId)> =
                self.children_mut(folder)?.iter().map(|(name, id)| (name.clone(), *id)).collect();
            for (name, id) in held {
                if !self.holds(id, layer) {
                    self.children_mut(folder)?.remove(&name);
                } else if self.children(id).is_some() {
                    folders.push(id);
                }
            }
        }
        Ok(())
    }

    /// Whether a node, or anything below it, came with that layer.
    fn holds(&self, id: NodeId, layer: u32) -> bool {
        let mut ahead = vec![id];
        while let Some(id) = ahead.pop() {
            if self.nodes[id].layer == layer {
                return true;
            }
            ahead.extend(self.children(id).into_iter().flat_map(BTreeMap::values));
        }
        false
    }

    /// Every node that has a name, each once, a folder always before what is in it.
    pub(crate) fn walk(&self) -> Vec<NodeId> {
        let mut seen = vec![false; self.nodes.len()];
        let mut order = Vec::new();
        let mut ahead = vec![ROOT];
        while let Some(id) = ahead.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            order.push(id);
            ahead.extend(self.children(id).into_iter().flat_map(|children| children.values().rev()));
        }
        order
    }

    /// How many bytes its files have.
    pub(crate) fn bytes(&self) -> u64 {
        let sizes = self.walk().into_iter().map(|id| match &self.nodes[id].kind {
            Kind::File(content) => content.size(),
            Kind::Folder(_) | Kind::Link(_) | Kind::Character(_) | Kind::Block(_) | Kind::Fifo => 0,
        });
        sizes.fold(0, u64::saturating_add)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// Goes on at what a link says; `..` at the root stays there, as in a container.
fn follow(
    target: &[u8],
    followed: usize,
    at: &mut Vec<NodeId>,
    ahead: &mut Vec<Box<[u8]>>,
) -> Result<(), NoPlace> {
    if followed > MOST_LINKS_FOLLOWED {
        return Err(NoPlace::LinkLoop);
    }
    if target.starts_with(b"/") {
        at.truncate(1);
    }
    // `..` after a name takes that name back: the walk never goes up in the middle, and so never out.
    let mut onward: Vec<&[u8]> = Vec::new();
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if onward.pop().is_none() => at.truncate(at.len().saturating_sub(1).max(1)),
            b".." => {}
            _ => onward.push(name),
        }
    }
    ahead.extend(onward.into_iter().rev().map(Into::into));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(tree: &mut Tree, path: &str, kind: Kind, layer: u32) {
        let all = names(path.as_bytes()).unwrap();
        let (name, way) = all.split_last().unwrap();
        let folder = tree.folder(way).unwrap();
        tree.insert(folder, name, PLAIN_FOLDER, kind, layer).unwrap();
    }

    fn listing(tree: &Tree, id: NodeId, at: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (name, id) in tree.children(id).into_iter().flatten() {
            let path = format!("{at}{}", String::from_utf8_lossy(name));
            found.push(path.clone());
            found.extend(listing(tree, *id, &format!("{path}/")));
        }
        found
    }

    #[test]
    fn a_link_never_leads_outside() {
        let mut tree = Tree::new();
        put(&mut tree, "etc/up", Kind::Link(b"../../../..".as_slice().into()), 1);
        put(&mut tree, "abs", Kind::Link(b"/etc".as_slice().into()), 1);
        put(&mut tree, "etc/up/a", Kind::Fifo, 1);
        put(&mut tree, "abs/b", Kind::Fifo, 1);
        assert_eq!(listing(&tree, ROOT, ""), ["a", "abs", "etc", "etc/b", "etc/up"]);
    }

    #[test]
    fn a_loop_of_links_is_refused() {
        let mut tree = Tree::new();
        put(&mut tree, "a", Kind::Link(b"b".as_slice().into()), 1);
        put(&mut tree, "b", Kind::Link(b"a".as_slice().into()), 1);
        assert_eq!(tree.folder(&[b"a", b"x"]), Err(NoPlace::LinkLoop));
        assert_eq!(tree.find(b"a/x"), None);
    }

    #[test]
    fn an_opaque_folder_keeps_what_its_own_layer_brought() {
        let mut tree = Tree::new();
        put(&mut tree, "d/old/deep", Kind::Fifo, 1);
        put(&mut tree, "d/both/old", Kind::Fifo, 1);
        put(&mut tree, "d/both/new", Kind::Fifo, 2);
        let folder = tree.folder(&[b"d"]).unwrap();
        tree.hide_all(folder, 2).unwrap();
        assert_eq!(listing(&tree, ROOT, ""), ["d", "d/both", "d/both/new"]);
    }

    #[test]
    fn paths_that_climb_or_are_too_long_are_refused() {
        assert_eq!(names(b"a/../b"), Err(NoPlace::Outside));
        assert_eq!(names(&[b'a'; 256]), Err(NoPlace::TooLong));
        assert_eq!(names(&b"a/".repeat(2049)), Err(NoPlace::TooLong));
        assert_eq!(names(b"/./a//b/").unwrap(), [b"a", b"b"]);
    }
}
