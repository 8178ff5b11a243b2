//! Removing a whole tree that somebody else may have filled.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::file::{Change, FileError, Folder, entries};

/// Folders within each other that are walked with a descriptor each. What lies deeper is first moved up to the top, so that
/// no depth a container can make runs out of descriptors or stack.
const DEPTH: usize = 32;

/// Removes what is at `path`; the contract is [`Folder::remove_tree`]'s.
pub(crate) fn remove(folder: &Folder, path: &str) -> Result<u64, FileError> {
    let (holder, name) = match folder.holder_of(path) {
        Err(error) if error.is_missing() => return Ok(0),
        found => found?,
    };
    let mut removal = Removal { folder, freed: 0, moved: 0, first_error: None };
    removal.entry(&holder, OsStr::new(name), path, None, 0);
    removal.first_error.map_or(Ok(removal.freed), Err)
}

struct Removal<'a> {
    folder: &'a Folder,
    freed: u64,
    moved: u64,
    first_error: Option<FileError>,
}

impl Removal<'_> {
    fn note(&mut self, op: &'static str, path: &str, errno: Errno) {
        let path = self.folder.join(path).display().to_string();
        self.first_error.get_or_insert(FileError { op, path, errno });
    }

    fn entry(&mut self, holder: &OwnedFd, name: &OsStr, path: &str, top: Option<&OwnedFd>, depth: usize) {
        match fs::statat(holder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.directory(holder, name, path, top, depth);
            }
            Ok(stat) => {
                if self.unlink(holder, name, path, AtFlags::empty()) && stat.st_nlink == 1 {
                    self.freed += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
                }
            }
            Err(Errno::NOENT) => {}
            Err(errno) => self.note("stat", path, errno),
        }
    }

    fn directory(&mut self, holder: &OwnedFd, name: &OsStr, path: &str, top: Option<&OwnedFd>, depth: usize) {
        if let Some(top) = top.filter(|_| depth > DEPTH) {
            if let Err(errno) = self.move_up(holder, name, top) {
                self.note("move", path, errno);
            }
            return;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(holder, name, flags, Mode::empty()) {
            Ok(opened) => loop {
                let moved_before = self.moved;
                self.contents(&opened, path, top.unwrap_or(&opened), depth);
                // Only the top has new entries after a pass, and only if the pass moved some there.
                if top.is_some() || self.moved == moved_before || self.first_error.is_some() {
                    break;
                }
            },
            Err(errno) => self.note("open", path, errno),
        }
        self.unlink(holder, name, path, AtFlags::REMOVEDIR);
    }

    fn move_up(&mut self, holder: &OwnedFd, name: &OsStr, top: &OwnedFd) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let moved = format!(".moved-{}", self.moved);
            match fs::renameat_with(holder, name, top, moved, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                outcome => return outcome,
            }
        }
    }

    fn contents(&mut self, opened: &OwnedFd, path: &str, top: &OwnedFd, depth: usize) {
        match entries(opened) {
            Ok(list) => {
                for entry in list {
                    let inner = format!("{path}/{}", entry.name.to_string_lossy());
                    self.entry(opened, &entry.name, &inner, Some(top), depth + 1);
                }
            }
            Err(errno) => self.note("list", path, errno),
        }
    }

    /// Returns whether the name was removed, which its caller counts.
    fn unlink(&mut self, holder: &OwnedFd, name: &OsStr, path: &str, flags: AtFlags) -> bool {
        let change = if flags.contains(AtFlags::REMOVEDIR) {
            Change::RemoveFolder { path }
        } else {
            Change::Remove { path }
        };
        if let Err(error) = self.folder.announced(change, path) {
            self.first_error.get_or_insert(error);
            return false;
        }
        match fs::unlinkat(holder, name, flags) {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            // Its contents that could not be removed were noted; that the folder is therefore full says nothing new.
            Err(Errno::NOTEMPTY) if self.first_error.is_some() => false,
            Err(errno) => {
                self.note("remove", path, errno);
                false
            }
        }
    }
}
