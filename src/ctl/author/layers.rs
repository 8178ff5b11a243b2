//! Lays the layers of an image over each other, in memory: whiteouts, hard links, owners, modes, devices.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use model::ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::author::members::{self, Member, Sort, shown, wrong};
use crate::author::tree::{Content, Kind, Meta, NoPlace, ROOT, Section, Tree, names};
use crate::bundle::{bad, unreadable};
use crate::failed::Failed;
use crate::meter::Meter;

const OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT: &[u8] = b".wh.";
/// What a symbolic link may say, as the kernel has it.
const LONGEST_TARGET: usize = 4095;

/// What a name that begins with `.wh.` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// That something of a lower layer is gone.
    Mean,
    /// Nothing: the tar is a root folder, no layer.
    AreNames,
}

/// What was left out of an image on the way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) attributes: usize,
    pub(crate) sockets: usize,
}

/// Lays an unpacked tar over the tree as layer `number`; the answer is the sha256 of the whole tar.
pub(crate) fn apply(
    tree: &mut Tree,
    number: u32,
    tar: &str,
    section: &Section,
    whiteouts: Whiteouts,
    left_out: &mut LeftOut,
) -> Result<Digest, Failed> {
    let meter = Meter::new(section.size);
    let mut source = Hashing { reader: section.reader(), hash: Sha256::new(), meter };
    let placed = members::each(tar, &mut source, |member, _| {
        left_out.attributes += member.attributes;
        let name = shown(&member.path);
        if let Sort::File { start, size } = member.sort
            && start.checked_add(size).is_none_or(|end| end > section.size)
        {
            return Err(wrong(tar, &format!("it is cut short in {name:?}")));
        }
        place(tree, number, section, whiteouts, member).map_err(|why| wrong(tar, &format!("{name:?} {why}")))
    });
    source.meter.clear();
    placed?;
    // What follows the end mark belongs to the hash.
    io::copy(&mut source, &mut io::sink()).map_err(|cause| wrong(tar, &cause.to_string()))?;
    Ok(Digest::from_bytes(source.hash.finalize().into()))
}

fn place(
    tree: &mut Tree,
    layer: u32,
    tar: &Section,
    whiteouts: Whiteouts,
    member: Member,
) -> Result<(), NoPlace> {
    let all = names(&member.path)?;
    let Some((name, way)) = all.split_last() else {
        // The root itself: only a folder can describe it.
        if member.sort == Sort::Folder {
            tree.node_mut(ROOT).meta = member.meta;
        }
        return Ok(());
    };
    // Notes that a file system of old kept about itself.
    if whiteouts == Whiteouts::Mean && way.iter().any(|name| name.starts_with(WHITEOUT)) {
        return Ok(());
    }
    let folder = tree.folder(way)?;
    if whiteouts == Whiteouts::Mean {
        if *name == OPAQUE {
            return tree.hide_all(folder, layer);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return tree.hide(folder, hidden, layer);
        }
    }
    let kind = match member.sort {
        Sort::HardLink(target) => return tree.link(folder, name, &names(&target)?, layer),
        Sort::File { start, size } => Kind::File(Content::Section(tar.part(start, size))),
        Sort::Folder => Kind::Folder(Default::default()),
        Sort::Symlink(target) if target.is_empty() || target.len() > LONGEST_TARGET => {
            return Err(NoPlace::TooLong);
        }
        Sort::Symlink(target) => Kind::Link(target.into()),
        Sort::Character { major, minor } => Kind::Character(device(major, minor)?),
        Sort::Block { major, minor } => Kind::Block(device(major, minor)?),
        Sort::Fifo => Kind::Fifo,
    };
    tree.insert(folder, name, member.meta, kind, layer).map(drop)
}

/// As the kernel packs a number into 32 bits.
fn device(major: u32, minor: u32) -> Result<u32, NoPlace> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(NoPlace::NoSuchDevice);
    }
    Ok((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

struct Hashing<R> {
    reader: R,
    hash: Sha256,
    meter: Meter,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        self.hash.update(&into[..count]);
        self.meter.advance(count as u64);
        Ok(count)
    }
}

/// Whose the files of a folder are in an image made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// Root's, all of them, and nothing is of any time.
    Root,
    /// As they are, but root's where they are this user's.
    KeptBut(u32),
    Kept,
}

/// A folder of this machine as a tree.
pub(crate) fn from_folder(root: &Path, owners: Owners, left_out: &mut LeftOut) -> Result<Tree, Failed> {
    let mut tree = Tree::new();
    let found = std::fs::metadata(root).map_err(|cause| unreadable(root, &cause))?;
    if !found.is_dir() {
        return Err(bad(root, "it is no folder"));
    }
    tree.node_mut(ROOT).meta = meta(&found, owners);
    let mut several: std::collections::BTreeMap<(u64, u64), Vec<u8>> = Default::default();
    let mut ahead = vec![(ROOT, root.to_owned(), Vec::new())];
    while let Some((folder, path, inside)) = ahead.pop() {
        let entries = std::fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|cause| unreadable(&path, &cause))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let found = entry.metadata().map_err(|cause| unreadable(&path, &cause))?;
            let inside = [inside.as_slice(), b"/", name.as_bytes()].concat();
            let refused = |why: NoPlace| bad(&path, &why.to_string());
            let identity = (found.dev(), found.ino());
            if !found.is_dir() && found.nlink() > 1 {
                if let Some(first) = several.get(&identity) {
                    let target = names(first).map_err(refused)?;
                    tree.link(folder, name.as_bytes(), &target, 1).map_err(refused)?;
                    continue;
                }
                several.insert(identity, inside.clone());
            }
            let Some(kind) = kind(&path, &found)? else {
                left_out.sockets += 1;
                continue;
            };
            names(&inside).map_err(refused)?;
            let id = tree.insert(folder, name.as_bytes(), meta(&found, owners), kind, 1).map_err(refused)?;
            if found.is_dir() {
                ahead.push((id, path, inside));
            }
        }
    }
    Ok(tree)
}

/// None for a socket, which means nothing without the process that made it.
fn kind(path: &Path, found: &Metadata) -> Result<Option<Kind>, Failed> {
    let sort = found.file_type();
    let number =
        || u32::try_from(found.rdev()).map_err(|_| bad(path, "a device number that squashfs cannot hold"));
    Ok(Some(if sort.is_dir() {
        Kind::Folder(Default::default())
    } else if sort.is_symlink() {
        let target = std::fs::read_link(path).map_err(|cause| unreadable(path, &cause))?;
        Kind::Link(target.into_os_string().into_vec().into())
    } else if sort.is_file() {
        Kind::File(Content::Path { path: path.to_owned(), size: found.len() })
    } else if sort.is_char_device() {
        Kind::Character(number()?)
    } else if sort.is_block_device() {
        Kind::Block(number()?)
    } else if sort.is_fifo() {
        Kind::Fifo
    } else {
        return Ok(None);
    }))
}

fn meta(found: &Metadata, owners: Owners) -> Meta {
    let mode = u16::try_from(found.mode() & 0o7777).unwrap_or(0o755);
    let mtime = u32::try_from(found.mtime()).unwrap_or_default();
    match owners {
        Owners::Root => Meta { mode, uid: 0, gid: 0, mtime: 0 },
        Owners::Kept => Meta { mode, uid: found.uid(), gid: found.gid(), mtime },
        Owners::KeptBut(own) if found.uid() == own => Meta { mode, uid: 0, gid: 0, mtime },
        Owners::KeptBut(_) => Meta { mode, uid: found.uid(), gid: found.gid(), mtime },
    }
}

/// Opens a file for reading by position.
pub(crate) fn section(path: &Path) -> Result<Section, Failed> {
    File::open(path).and_then(Section::whole).map_err(|cause| unreadable(path, &cause))
}
