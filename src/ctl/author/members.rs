//! The members of a tar from a stranger: names and links of any length within bounds, each with the place of its bytes.

use std::io::{ErrorKind, Read};

use tar::{Archive, Entry, EntryType, PaxExtensions};

use crate::author::tree::Meta;
use crate::failed::Failed;
use crate::output::visible;

/// Of a long name, or of one extended header with its attributes.
const LONGEST_HEADER: u64 = 1024 * 1024;
const MOST_MEMBERS: usize = 4_000_000;
/// Characters of what the library says of a broken tar.
const LONGEST_CAUSE: usize = 120;

/// One member, as its headers together say.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) sort: Sort,
    pub(crate) meta: Meta,
    /// Extended attributes that it has, and that are not kept.
    pub(crate) attributes: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Where its bytes begin in the tar, how many there are.
    File {
        start: u64,
        size: u64,
    },
    Folder,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// What headers of their own say about the next member.
#[derive(Debug, Default)]
struct Ahead {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<u32>,
    size: Option<u64>,
    attributes: usize,
}

/// Visits every member; `tar` is how the file is called in an error.
pub(crate) fn each(
    tar: &str,
    source: impl Read,
    mut visit: impl FnMut(Member, &mut dyn Read) -> Result<(), Failed>,
) -> Result<(), Failed> {
    // The library repeats what it found, which is anybody's bytes.
    let broken = |cause: std::io::Error| {
        wrong(tar, &visible(&cause.to_string()).chars().take(LONGEST_CAUSE).collect::<String>())
    };
    let mut archive = Archive::new(source);
    let mut ahead = Ahead::default();
    // Raw: nothing is gathered in memory on the tar's word alone.
    for (count, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
        let mut entry = match entry {
            // So the library says what a header is not; a disk's error is another kind.
            Err(cause) if count == 0 && cause.kind() == ErrorKind::Other => {
                return Err(wrong(tar, "not a tar"));
            }
            entry => entry.map_err(broken)?,
        };
        if count >= MOST_MEMBERS {
            return Err(wrong(tar, "more than four million members"));
        }
        if ahead.take_header(tar, &mut entry)? {
            continue;
        }
        let Some(member) = std::mem::take(&mut ahead).finish(tar, &entry)? else { continue };
        visit(member, &mut entry)?;
    }
    Ok(())
}

impl Ahead {
    /// Whether the entry is no member, but says something about the next one.
    fn take_header<R: Read>(&mut self, tar: &str, entry: &mut Entry<'_, R>) -> Result<bool, Failed> {
        let kind = entry.header().entry_type();
        if kind == EntryType::GNULongName {
            self.path = Some(text(tar, entry)?);
        } else if kind == EntryType::GNULongLink {
            self.link = Some(text(tar, entry)?);
        } else if kind == EntryType::XHeader {
            let records = bytes(tar, entry)?;
            self.take_records(tar, &records)?;
        } else if kind == EntryType::XGlobalHeader {
            let mut global = Ahead::default();
            let records = bytes(tar, entry)?;
            global.take_records(tar, &records)?;
            if global.path.is_some() || global.link.is_some() || global.size.is_some() {
                return Err(wrong(tar, "a global header names or resizes every member"));
            }
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn take_records(&mut self, tar: &str, records: &[u8]) -> Result<(), Failed> {
        for record in PaxExtensions::new(records) {
            let record = record.map_err(|cause| wrong(tar, &format!("an extended header: {cause}")))?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"uid" => self.uid = number(value),
                b"gid" => self.gid = number(value),
                // Whole seconds: squashfs has no others.
                b"mtime" => self.mtime = value.split(|byte| *byte == b'.').next().and_then(number),
                b"size" => self.size = number(value),
                _ if key.starts_with(b"GNU.sparse") => return Err(sparse(tar)),
                _ if key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.") => {
                    self.attributes += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The member that all of this is about; none for a sort that means nothing in an image.
    fn finish<R: Read>(self, tar: &str, entry: &Entry<'_, R>) -> Result<Option<Member>, Failed> {
        let header = entry.header();
        let path = self.path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = shown(&path);
        let unreadable = |what: &str| wrong(tar, &format!("{name:?}: its {what} cannot be read"));
        let size = entry.size();
        if self.size.is_some_and(|said| said != size) {
            return Err(wrong(tar, &format!("{name:?}: its headers do not agree about its size")));
        }
        let link = || match &self.link {
            Some(link) => Ok(link.clone()),
            None => entry.link_name_bytes().map(Into::into).ok_or_else(|| unreadable("link")),
        };
        let device = || match (header.device_major(), header.device_minor()) {
            (Ok(Some(major)), Ok(Some(minor))) => Ok((major, minor)),
            (_, _) => Err(unreadable("device number")),
        };
        let kind = header.entry_type();
        let sort = if matches!(kind, EntryType::Regular | EntryType::Continuous) {
            // Tars older than ustar have no sort for a folder.
            if path.ends_with(b"/") {
                Sort::Folder
            } else {
                Sort::File { start: entry.raw_file_position(), size }
            }
        } else if kind == EntryType::Directory {
            Sort::Folder
        } else if kind == EntryType::Symlink {
            Sort::Symlink(link()?)
        } else if kind == EntryType::Link {
            Sort::HardLink(link()?)
        } else if kind == EntryType::Char {
            let (major, minor) = device()?;
            Sort::Character { major, minor }
        } else if kind == EntryType::Block {
            let (major, minor) = device()?;
            Sort::Block { major, minor }
        } else if kind == EntryType::Fifo {
            Sort::Fifo
        } else if kind == EntryType::GNUSparse {
            return Err(sparse(tar));
        } else {
            return Ok(None); // A volume label, a list of names: nothing to put anywhere.
        };
        let mode = header.mode().map_err(|_| unreadable("mode"))? & 0o7777;
        let id = |own: Option<u32>, header: std::io::Result<u64>, what: &str| match own {
            Some(id) => Ok(id),
            None => header.ok().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| unreadable(what)),
        };
        let mtime = header.mtime().ok().and_then(|time| u32::try_from(time).ok());
        let meta = Meta {
            mode: u16::try_from(mode).unwrap_or_default(),
            uid: id(self.uid, header.uid(), "owner")?,
            gid: id(self.gid, header.gid(), "group")?,
            mtime: self.mtime.or(mtime).unwrap_or_default(),
        };
        Ok(Some(Member { path, sort, meta, attributes: self.attributes }))
    }
}

fn bytes<R: Read>(tar: &str, entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Failed> {
    let size = entry.size();
    if size > LONGEST_HEADER {
        return Err(wrong(tar, "an extended header longer than 1 MiB"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|cause| wrong(tar, &cause.to_string()))?;
    if bytes.len() as u64 != size {
        return Err(wrong(tar, "it is cut short"));
    }
    Ok(bytes)
}

/// A name that ends at its first zero byte.
fn text<R: Read>(tar: &str, entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Failed> {
    let mut bytes = bytes(tar, entry)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn sparse(tar: &str) -> Failed {
    wrong(tar, "it has a sparse member, which is not read; pack it without --sparse")
}

/// A name for an error: a stranger's may be long.
pub(crate) fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 100;
    let text = String::from_utf8_lossy(path);
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

pub(crate) fn wrong(tar: &str, cause: &str) -> Failed {
    Failed::Source { what: format!("read {tar}"), cause: cause.to_owned() }
}
