//! The inodes of a squashfs image with its folder listings, packed in blocks of 8 KiB.

use std::collections::BTreeMap;
use std::io;

use crate::author::packer::{Packed, Packer};
use crate::author::squashfs::Data;
use crate::author::tree::{Kind, Meta, NodeId, ROOT, Tree};

pub(crate) const METADATA: usize = 8192;
const AS_IT_IS: u16 = 1 << 15;
const NO_FRAGMENT: u32 = u32::MAX;
const NO_XATTRS: u32 = u32::MAX;
/// Of one heading in a folder's listing.
const MOST_PER_HEADING: usize = 256;
/// A listing counts the entries for itself and its parent, which it does not hold.
const UNLISTED: usize = 3;

/// Where an inode lies: its packed block's start within the table, its place in the unpacked block.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    start: u32,
    offset: u16,
}

impl Place {
    pub(crate) fn reference(self) -> u64 {
        u64::from(self.start) << 16 | u64::from(self.offset)
    }
}

/// Bytes that are packed block by block as they come.
#[derive(Debug)]
struct Metadata {
    packer: Packer,
    done: Vec<u8>,
    block: Vec<u8>,
}

impl Metadata {
    fn new() -> Metadata {
        Metadata { packer: Packer::new(), done: Vec::new(), block: Vec::new() }
    }

    fn place(&self) -> io::Result<Place> {
        let start = u32::try_from(self.done.len()).map_err(io::Error::other)?;
        Ok(Place { start, offset: u16::try_from(self.block.len()).map_err(io::Error::other)? })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(METADATA - self.block.len()));
            self.block.extend_from_slice(fits);
            bytes = rest;
            if self.block.len() == METADATA {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        if !block.is_empty() {
            self.done.extend(metadata_block(&mut self.packer, block)?);
        }
        Ok(())
    }
}

/// A block of at most 8 KiB, with the two bytes that say its size.
pub(crate) fn metadata_block(packer: &mut Packer, block: Vec<u8>) -> io::Result<Vec<u8>> {
    let (bytes, flag) = match packer.pack(block) {
        Packed::Smaller(bytes) => (bytes, 0),
        Packed::AsItIs(bytes) => (bytes, AS_IT_IS),
    };
    let size = u16::try_from(bytes.len()).map_err(io::Error::other)? | flag;
    Ok([size.to_le_bytes().as_slice(), &bytes].concat())
}

/// Every owner and group that occurs.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    index: BTreeMap<u32, u16>,
    all: Vec<u32>,
}

impl Ids {
    fn of(&mut self, id: u32) -> io::Result<u16> {
        if let Some(index) = self.index.get(&id) {
            return Ok(*index);
        }
        let index = u16::try_from(self.all.len())
            .ok()
            .filter(|index| *index < u16::MAX)
            .ok_or_else(|| io::Error::other("more than 65535 owners and groups"))?;
        self.index.insert(id, index);
        self.all.push(id);
        Ok(index)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.all.iter().flat_map(|id| id.to_le_bytes()).collect()
    }

    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.all.len()).unwrap_or(u16::MAX)
    }
}

/// The two tables while they grow, a folder after all that is in it.
#[derive(Debug)]
pub(crate) struct Tables<'a> {
    tree: &'a Tree,
    inodes: Metadata,
    folders: Metadata,
    /// By node: its number, counted from 1 in the order of the walk.
    numbers: Vec<u32>,
    /// By node: how many names it has.
    names: Vec<u32>,
    /// By node: the number of the folder it is in; what has two names is no folder, and needs none.
    parents: Vec<u32>,
    /// By number.
    places: Vec<Place>,
}

impl<'a> Tables<'a> {
    pub(crate) fn new(tree: &'a Tree, order: &[NodeId]) -> Tables<'a> {
        let mut numbers = vec![0; tree.len()];
        for (number, id) in (1..).zip(order) {
            numbers[*id] = number;
        }
        let (mut names, mut parents) = (vec![0; tree.len()], vec![0; tree.len()]);
        // The root is in no folder; its parent has the number that nobody has.
        parents[ROOT] = u32::try_from(order.len()).unwrap_or(u32::MAX).saturating_add(1);
        for folder in order {
            for child in tree.children(*folder).into_iter().flat_map(BTreeMap::values) {
                names[*child] += 1;
                parents[*child] = numbers[*folder];
            }
        }
        let places = vec![Place::default(); order.len()];
        Tables { tree, inodes: Metadata::new(), folders: Metadata::new(), numbers, names, parents, places }
    }

    pub(crate) fn has_several_names(&self, id: NodeId) -> bool {
        self.names[id] > 1
    }

    /// Writes one node's inode, for a folder its listing first.
    pub(crate) fn node(&mut self, id: NodeId, data: Option<&Data>, ids: &mut Ids) -> io::Result<()> {
        let node = self.tree.node(id);
        let (kind, body) = match &node.kind {
            Kind::Folder(children) => self.folder(id, children)?,
            Kind::File(_) => self.file(id, data)?,
            Kind::Link(target) => {
                let size = u32::try_from(target.len()).map_err(io::Error::other)?;
                let words = [self.names[id].to_le_bytes(), size.to_le_bytes()].concat();
                (3, [words.as_slice(), target].concat())
            }
            Kind::Block(number) => (4, [self.names[id].to_le_bytes(), number.to_le_bytes()].concat()),
            Kind::Character(number) => (5, [self.names[id].to_le_bytes(), number.to_le_bytes()].concat()),
            Kind::Fifo => (6, self.names[id].to_le_bytes().to_vec()),
        };
        let number = self.numbers[id];
        self.places[number as usize - 1] = self.inodes.place()?;
        let head = head(kind, node.meta, number, ids)?;
        self.inodes.write(&[head, body].concat())
    }

    fn file(&self, id: NodeId, data: Option<&Data>) -> io::Result<(u16, Vec<u8>)> {
        let data = data.ok_or_else(|| io::Error::other("a file that was not read"))?;
        let (fragment, offset) = data.fragment.map_or((NO_FRAGMENT, 0), |place| (place.index, place.offset));
        let names = self.names[id];
        let blocks = data.blocks.iter().flat_map(|word| word.to_le_bytes());
        if let (1, Ok(start), Ok(size)) = (names, u32::try_from(data.start), u32::try_from(data.size)) {
            let words = [start, fragment, offset, size];
            return Ok((2, words.into_iter().flat_map(u32::to_le_bytes).chain(blocks).collect()));
        }
        let long = [data.start, data.size, 0].into_iter().flat_map(u64::to_le_bytes);
        let words = [names, fragment, offset, NO_XATTRS].into_iter().flat_map(u32::to_le_bytes);
        Ok((9, long.chain(words).chain(blocks).collect()))
    }

    fn folder(&mut self, id: NodeId, children: &BTreeMap<Box<[u8]>, NodeId>) -> io::Result<(u16, Vec<u8>)> {
        let place = self.folders.place()?;
        let listing = self.listing(children)?;
        self.folders.write(&listing)?;
        let below = children.values().filter(|child| self.tree.children(**child).is_some()).count();
        let names = u32::try_from(below + 2).map_err(io::Error::other)?;
        let (size, parent) = (listing.len() + UNLISTED, self.parents[id]);
        if let Ok(size) = u16::try_from(size) {
            let mut body = [place.start.to_le_bytes(), names.to_le_bytes()].concat();
            body.extend([size.to_le_bytes(), place.offset.to_le_bytes()].concat());
            body.extend(parent.to_le_bytes());
            return Ok((1, body));
        }
        let size = u32::try_from(size).map_err(io::Error::other)?;
        let mut body: Vec<u8> =
            [names, size, place.start, parent].into_iter().flat_map(u32::to_le_bytes).collect();
        // No index into the listing: a hint that the kernel can do without.
        body.extend([0_u16.to_le_bytes(), place.offset.to_le_bytes()].concat());
        body.extend(NO_XATTRS.to_le_bytes());
        Ok((8, body))
    }

    /// The names of a folder in order, those together whose inodes lie in one block.
    fn listing(&self, children: &BTreeMap<Box<[u8]>, NodeId>) -> io::Result<Vec<u8>> {
        let mut listing = Vec::new();
        let mut entries: Vec<(&[u8], NodeId)> = children.iter().map(|(name, id)| (&**name, *id)).collect();
        while let Some((_, first)) = entries.first() {
            let base = self.numbers[*first];
            let start = self.place(*first).start;
            let together = entries.iter().take(MOST_PER_HEADING).take_while(|(_, id)| {
                self.place(*id).start == start && difference(self.numbers[*id], base).is_some()
            });
            let count = together.count();
            let rest = entries.split_off(count);
            for word in [u32::try_from(count - 1).map_err(io::Error::other)?, start, base] {
                listing.extend(word.to_le_bytes());
            }
            for (name, id) in entries {
                let difference = difference(self.numbers[id], base).unwrap_or_default();
                let kind = entry_kind(&self.tree.node(id).kind);
                let length = u16::try_from(name.len() - 1).map_err(io::Error::other)?;
                listing.extend(self.place(id).offset.to_le_bytes());
                listing.extend(difference.to_le_bytes());
                listing.extend([kind.to_le_bytes(), length.to_le_bytes()].concat());
                listing.extend(name);
            }
            entries = rest;
        }
        Ok(listing)
    }

    fn place(&self, id: NodeId) -> Place {
        self.places[self.numbers[id] as usize - 1]
    }

    pub(crate) fn root(&self) -> Place {
        self.place(ROOT)
    }

    /// Where each inode lies, by number.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.places.clone()
    }

    /// The packed tables: inodes, listings.
    pub(crate) fn finish(mut self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        self.inodes.flush()?;
        self.folders.flush()?;
        Ok((self.inodes.done, self.folders.done))
    }
}

fn head(kind: u16, meta: Meta, number: u32, ids: &mut Ids) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(16);
    for half in [kind, meta.mode & 0o7777, ids.of(meta.uid)?, ids.of(meta.gid)?] {
        head.extend(half.to_le_bytes());
    }
    head.extend(meta.mtime.to_le_bytes());
    head.extend(number.to_le_bytes());
    Ok(head)
}

fn difference(number: u32, base: u32) -> Option<i16> {
    i16::try_from(i64::from(number) - i64::from(base)).ok()
}

fn entry_kind(kind: &Kind) -> u16 {
    match kind {
        Kind::Folder(_) => 1,
        Kind::File(_) => 2,
        Kind::Link(_) => 3,
        Kind::Block(_) => 4,
        Kind::Character(_) => 5,
        Kind::Fifo => 6,
    }
}
