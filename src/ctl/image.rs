//! `goalctl image`: a folder as a squashfs image, without a tool of the host.

use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

use crate::bundle::unreadable;
use crate::failed::Failed;
use crate::output::Output;

/// Opens when it is first read, closes at its end: a folder may hold more files than a process may open.
enum WhenRead {
    Waiting(PathBuf),
    Open(File),
    AtEnd,
}

impl Read for WhenRead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let WhenRead::Waiting(path) = self {
            *self = WhenRead::Open(File::open(path)?);
        }
        let WhenRead::Open(file) = self else { return Ok(0) };
        let count = file.read(into)?;
        if count == 0 && !into.is_empty() {
            *self = WhenRead::AtEnd;
        }
        Ok(count)
    }
}

pub(crate) fn write(folder: &Path, out: &Path, output: &Output) -> Result<(), Failed> {
    let mut image = FilesystemWriter::default();
    let gzip = FilesystemCompressor::new(Compressor::Gzip, None).map_err(|cause| unwritable(out, &cause))?;
    image.set_compressor(gzip);
    image.set_time(0);
    let root = std::fs::metadata(folder).map_err(|cause| unreadable(folder, &cause))?;
    image.set_root_mode(mode(&root));
    add_folder(&mut image, folder, Path::new("/"))?;
    let bytes = write_whole(&mut image, out)?;
    output.line(&format!("{}: {bytes} bytes", out.display()))
}

/// Beside its place first: a half-written image never carries the name.
fn write_whole(image: &mut FilesystemWriter<'_, '_, '_>, out: &Path) -> Result<u64, Failed> {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let written = write_file(image, &part).and_then(|bytes| {
        std::fs::rename(&part, out).map_err(|cause| unwritable(out, &cause))?;
        Ok(bytes)
    });
    if written.is_err() {
        // What stopped us is told; a rest that cannot be removed is found under its name.
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn write_file(image: &mut FilesystemWriter<'_, '_, '_>, part: &Path) -> Result<u64, Failed> {
    let file = File::create(part).map_err(|cause| unwritable(part, &cause))?;
    let mut file = BufWriter::new(file);
    let (_, bytes) = image.write(&mut file).map_err(|cause| unwritable(part, &cause))?;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(|cause| unwritable(part, &cause))?;
    Ok(bytes)
}

fn add_folder(image: &mut FilesystemWriter<'_, '_, '_>, folder: &Path, inside: &Path) -> Result<(), Failed> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(|cause| unreadable(folder, &cause))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, inside) = (entry.path(), inside.join(entry.file_name()));
        let found = entry.metadata().map_err(|cause| unreadable(&path, &cause))?;
        add(image, &path, &inside, &found)?;
        if found.is_dir() {
            add_folder(image, &path, &inside)?;
        }
    }
    Ok(())
}

fn add(
    image: &mut FilesystemWriter<'_, '_, '_>,
    path: &Path,
    inside: &Path,
    found: &Metadata,
) -> Result<(), Failed> {
    let kind = found.file_type();
    let header = NodeHeader::new(mode(found), 0, 0, 0);
    let added = if kind.is_dir() {
        image.push_dir(inside, header)
    } else if kind.is_symlink() {
        let target = std::fs::read_link(path).map_err(|cause| unreadable(path, &cause))?;
        image.push_symlink(target, inside, header)
    } else if kind.is_file() {
        image.push_file(WhenRead::Waiting(path.to_owned()), inside, header)
    } else if kind.is_char_device() {
        image.push_char_device(device_number(path, found)?, inside, header)
    } else if kind.is_block_device() {
        image.push_block_device(device_number(path, found)?, inside, header)
    } else if kind.is_fifo() {
        image.push_fifo(inside, header)
    } else {
        return Ok(()); // A socket means nothing without the process that made it.
    };
    added.map_err(|cause| unreadable(path, &io::Error::other(cause.to_string())))
}

fn device_number(path: &Path, found: &Metadata) -> Result<u32, Failed> {
    u32::try_from(found.rdev())
        .map_err(|_| unreadable(path, &io::Error::other("a device number that squashfs cannot hold")))
}

fn mode(found: &Metadata) -> u16 {
    u16::try_from(found.mode() & 0o7777).unwrap_or(0o755)
}

fn unwritable(path: &Path, cause: &impl ToString) -> Failed {
    Failed::Source { what: format!("write {}", path.display()), cause: cause.to_string() }
}
