//! A partition beside the agent's own, or a folder that stands for one, opened for as long as it is written.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use host::file::Folder;
use rustix::fs::{Advice, fadvise};

use super::{BootError, at};

/// Where boot files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The partition of this number on the disk that holds the agent's root: a FAT file system.
    Partition(u8),
    /// A folder, mounted by someone else; or, for U-Boot, a file.
    Path(PathBuf),
}

impl Place {
    /// Opens it. A partition is mounted where nobody sees it, and is unmounted when the last of it is dropped.
    pub(super) fn open(&self, root: &Path) -> Result<Folder, BootError> {
        match self {
            Place::Path(path) => Ok(Folder::open(path, None)?),
            Place::Partition(number) => {
                let device = device(root, *number)?;
                let tree = host::boot_partition(&device)?;
                use std::os::fd::AsRawFd;
                Ok(Folder::open(Path::new(&format!("/proc/self/fd/{}", tree.as_raw_fd())), None)?)
            }
        }
    }

    /// What a boot loader calls it: its number on the disk. A folder's is the one that its name ends in.
    pub(super) fn number(&self) -> u8 {
        match self {
            Place::Partition(number) => *number,
            Place::Path(path) => {
                let name = path.to_string_lossy();
                name.bytes().last().filter(u8::is_ascii_digit).map_or(0, |digit| digit - b'0')
            }
        }
    }
}

/// Everything written in it survives a power cut from now on.
pub(super) fn sync(folder: &Folder) -> Result<(), BootError> {
    at("sync", folder.path(), rustix::fs::syncfs(folder).map_err(Into::into))
}

/// Writes over a part of a file that is there, which does not move it, and reads it back from the disk.
pub(super) fn overwrite(folder: &Folder, name: &str, offset: u64, bytes: &[u8]) -> Result<(), BootError> {
    let file = folder.append(name)?;
    file.write_at(offset, bytes)?;
    file.sync()?;
    // What cannot be forgotten is read from memory, which is no worse than not reading it.
    let _ = fadvise(file.as_file(), 0, None, Advice::DontNeed);
    let mut found = vec![0; bytes.len()];
    let path = folder.join(name);
    at("read back", &path, read_at(file.as_file(), offset, &mut found))?;
    if found == bytes { Ok(()) } else { Err(BootError::Different { path }) }
}

pub(super) fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// The device of partition `number` on the disk that `root` is on.
fn device(root: &Path, number: u8) -> Result<PathBuf, BootError> {
    let own = at("stat", root, std::fs::metadata(root))?.dev();
    let (major, minor) = (rustix::fs::major(own), rustix::fs::minor(own));
    let own = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    let own = at("find the partition", &own, std::fs::canonicalize(&own))?;
    let lacks = |problem: String| BootError::Partition { number, problem };
    let disk = own
        .parent()
        .filter(|_| own.join("partition").exists())
        .ok_or_else(|| lacks(format!("{} does not lie on a partition of a disk", root.display())))?;
    for entry in at("list", disk, std::fs::read_dir(disk))? {
        let folder = at("list", disk, entry)?.path();
        let found = std::fs::read_to_string(folder.join("partition")).unwrap_or_default();
        if found.trim().parse() == Ok(number)
            && let Some(name) = folder.file_name()
        {
            return Ok(Path::new("/dev").join(name));
        }
    }
    Err(lacks(format!("{} has no such partition", disk.display())))
}
