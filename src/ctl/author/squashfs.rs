//! Writes a squashfs 4.0 image of a tree: gzip, blocks of 128 KiB packed on every core, the same bytes for the same tree.
//!
//! ```text
//! superblock | data blocks, fragment blocks | inodes | folders | fragment table | export table | id table | padding
//! ```
//!
//! Memory holds a handful of blocks under way, and a few dozen bytes for each node. Extended attributes are not kept.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::author::packer::{Packed, Packer, Packers};
use crate::author::squashfs_tables::{Ids, METADATA, Tables, metadata_block};
use crate::author::tree::{Content, Kind, NodeId, Tree};

pub(crate) const BLOCK: usize = 128 * 1024;
const BLOCK_LOG: u16 = 17;
const STORED_AS_IT_IS: u32 = 1 << 24;
const SUPERBLOCK: u64 = 96;
const MAGIC: u32 = 0x7371_7368;
const GZIP: u16 = 1;
const EXPORTABLE_WITHOUT_XATTRS: u16 = 0x0080 | 0x0200;
const NO_TABLE: u64 = u64::MAX;
/// What loop devices count in.
const PADDING: u64 = 4096;

/// Where a file's bytes came to lie.
#[derive(Debug, Default, Clone)]
pub(crate) struct Data {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// One word for each block; 0 is a block of zeros, which takes no place.
    pub(crate) blocks: Vec<u32>,
    pub(crate) fragment: Option<Fragment>,
}

/// A small file's place in a block that it shares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) index: u32,
    pub(crate) offset: u32,
}

/// Whose block comes back from the packers.
#[derive(Debug, Clone, Copy)]
enum Owner {
    File { id: NodeId, block: usize },
    Shared,
}

struct Writer<W> {
    out: W,
    position: u64,
    packers: Packers<Owner>,
    files: BTreeMap<NodeId, Data>,
    shared: Vec<u8>,
    /// Those that were given to the packers.
    shared_count: u32,
    /// Start and size word of each, in order.
    fragments: Vec<(u64, u32)>,
}

/// Writes the image of a tree; `read` hears how many bytes of its files were read. The answer is the image's size.
pub(crate) fn write<W: Write + Seek>(tree: &Tree, out: W, read: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let mut writer = Writer {
        out,
        position: SUPERBLOCK,
        packers: Packers::start()?,
        files: BTreeMap::new(),
        shared: Vec::new(),
        shared_count: 0,
        fragments: Vec::new(),
    };
    writer.out.seek(SeekFrom::Start(SUPERBLOCK))?;
    let order = tree.walk();
    for id in &order {
        if let Kind::File(content) = &tree.node(*id).kind {
            writer.file(*id, content, read)?;
        }
    }
    writer.finish_data()?;
    writer.tables(tree, &order)
}

impl<W: Write + Seek> Writer<W> {
    fn file(&mut self, id: NodeId, content: &Content, read: &mut dyn FnMut(u64)) -> io::Result<()> {
        let size = content.size();
        if size == 0 {
            self.files.insert(id, Data::default());
            return Ok(());
        }
        let mut source = content.open()?;
        if size < BLOCK as u64 {
            return self.small_file(id, whole_block(size), &mut source, read);
        }
        let count = usize::try_from(size.div_ceil(BLOCK as u64)).map_err(io::Error::other)?;
        self.files.insert(id, Data { start: 0, size, blocks: vec![0; count], fragment: None });
        let mut left = size;
        for block in 0..count {
            let bytes = read_block(&mut source, whole_block(left))?;
            left -= bytes.len() as u64;
            read(bytes.len() as u64);
            if bytes.iter().any(|byte| *byte != 0) {
                self.put(bytes, Owner::File { id, block })?;
            }
        }
        Ok(())
    }

    fn small_file(
        &mut self,
        id: NodeId,
        size: usize,
        source: &mut dyn Read,
        read: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let bytes = read_block(source, size)?;
        read(size as u64);
        if self.shared.len() + size > BLOCK {
            self.put_shared()?;
        }
        let offset = u32::try_from(self.shared.len()).map_err(io::Error::other)?;
        self.shared.extend_from_slice(&bytes);
        let fragment = Some(Fragment { index: self.shared_count, offset });
        self.files.insert(id, Data { start: 0, size: size as u64, blocks: Vec::new(), fragment });
        Ok(())
    }

    fn put_shared(&mut self) -> io::Result<()> {
        let shared = std::mem::take(&mut self.shared);
        self.shared_count += 1;
        self.put(shared, Owner::Shared)
    }

    fn put(&mut self, block: Vec<u8>, owner: Owner) -> io::Result<()> {
        match self.packers.put(block, owner)? {
            Some((packed, owner)) => self.store(&packed, owner),
            None => Ok(()),
        }
    }

    fn store(&mut self, packed: &Packed, owner: Owner) -> io::Result<()> {
        let (bytes, flag) = match packed {
            Packed::Smaller(bytes) => (bytes, 0),
            Packed::AsItIs(bytes) => (bytes, STORED_AS_IT_IS),
        };
        let word = u32::try_from(bytes.len()).map_err(io::Error::other)? | flag;
        match owner {
            Owner::Shared => self.fragments.push((self.position, word)),
            Owner::File { id, block } => {
                let data = self.files.entry(id).or_default();
                if data.start == 0 {
                    data.start = self.position;
                }
                data.blocks[block] = word;
            }
        }
        self.emit(bytes)
    }

    fn emit(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn finish_data(&mut self) -> io::Result<()> {
        if !self.shared.is_empty() {
            self.put_shared()?;
        }
        while let Some((packed, owner)) = self.packers.take()? {
            self.store(&packed, owner)?;
        }
        Ok(())
    }

    fn tables(mut self, tree: &Tree, order: &[NodeId]) -> io::Result<u64> {
        let mut ids = Ids::default();
        let mut tables = Tables::new(tree, order);
        // Backwards, so that a folder comes after everything that is in it; what has several names before all else.
        let (shared, single): (Vec<&NodeId>, Vec<&NodeId>) =
            order.iter().rev().partition(|id| tables.has_several_names(**id));
        for id in shared.into_iter().chain(single) {
            tables.node(*id, self.files.get(id), &mut ids)?;
        }
        let root = tables.root();
        let places = tables.places();
        let (inodes, folders) = tables.finish()?;
        let inode_table = self.position;
        self.emit(&inodes)?;
        let folder_table = self.position;
        self.emit(&folders)?;
        let fragments = self.fragments.iter().flat_map(|(start, word)| {
            [start.to_le_bytes().as_slice(), word.to_le_bytes().as_slice(), &[0; 4]].concat()
        });
        let fragment_table = self.table(&fragments.collect::<Vec<u8>>())?;
        let export: Vec<u8> = places.iter().flat_map(|place| place.reference().to_le_bytes()).collect();
        let export_table = self.table(&export)?;
        let id_table = self.table(&ids.bytes())?;
        let used = self.position;
        let padded = used.next_multiple_of(PADDING);
        self.emit(&vec![0; usize::try_from(padded - used).map_err(io::Error::other)?])?;

        let mut head = Vec::with_capacity(96);
        head.extend(MAGIC.to_le_bytes());
        head.extend(u32::try_from(order.len()).map_err(io::Error::other)?.to_le_bytes());
        head.extend(0_u32.to_le_bytes()); // No time: the same bytes each time.
        head.extend(u32::try_from(BLOCK).map_err(io::Error::other)?.to_le_bytes());
        head.extend(self.shared_count.to_le_bytes());
        for half in [GZIP, BLOCK_LOG, EXPORTABLE_WITHOUT_XATTRS, ids.count(), 4, 0] {
            head.extend(half.to_le_bytes());
        }
        let tables = [id_table, NO_TABLE, inode_table, folder_table, fragment_table, export_table];
        for word in [root.reference(), used].into_iter().chain(tables) {
            head.extend(word.to_le_bytes());
        }
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&head)?;
        self.out.flush()?;
        Ok(padded)
    }

    /// A table in blocks of 8 KiB, then where each begins: the kernel checks that the next table follows at once.
    fn table(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let mut packer = Packer::new();
        let mut index = Vec::new();
        for block in bytes.chunks(METADATA) {
            index.extend(self.position.to_le_bytes());
            let block = metadata_block(&mut packer, block.to_vec())?;
            self.emit(&block)?;
        }
        let start = self.position;
        self.emit(&index)?;
        Ok(start)
    }
}

fn whole_block(left: u64) -> usize {
    usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK))
}

fn read_block(source: &mut dyn Read, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size];
    source.read_exact(&mut bytes).map_err(|cause| {
        if cause.kind() == io::ErrorKind::UnexpectedEof {
            io::Error::other("a file became shorter while it was read")
        } else {
            cause
        }
    })?;
    Ok(bytes)
}
