//! Files beneath one folder, which no name leads out of.
//!
//! Every change of the disk goes through here. A [`Witness`] hears of each before it is made: tests cut the power there,
//! or let the disk be full.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timestamps};
use rustix::io::Errno;

/// A file operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} {path}: {errno}")]
pub struct FileError {
    /// The operation: "open", "rename", …
    pub op: &'static str,
    /// On which path.
    pub path: String,
    /// What the kernel said.
    pub errno: Errno,
}

impl FileError {
    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self.errno, Errno::NOENT | Errno::NOTDIR)
    }

    /// Whether something is there already.
    pub fn is_taken(&self) -> bool {
        self.errno == Errno::EXIST
    }
}

/// One change of the disk, about to be made. Paths are relative to the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Change<'a> {
    MakeFolder { path: &'a str },
    Create { path: &'a str },
    Write { path: &'a str, at: u64, bytes: &'a [u8] },
    SyncFile { path: &'a str },
    SyncFolder { path: &'a str },
    Touch { path: &'a str },
    Resize { path: &'a str, length: u64 },
    Rename { from: &'a str, to: &'a str },
    Exchange { one: &'a str, other: &'a str },
    Link { from: &'a str, to: &'a str },
    Symlink { path: &'a str, target: &'a str },
    Remove { path: &'a str },
    RemoveFolder { path: &'a str },
}

/// Hears of each change before it is made, and may forbid it.
pub trait Witness: Send + Sync {
    /// An error is what the change then fails with, unmade.
    fn before(&self, change: Change<'_>) -> Result<(), Errno>;
}

/// A folder, and everything beneath it. Cheap to clone.
#[derive(Clone)]
pub struct Folder {
    fd: Arc<OwnedFd>,
    path: Arc<Path>,
    witness: Option<Arc<dyn Witness>>,
    names: Arc<AtomicU64>,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Folder({})", self.path.display())
    }
}

/// What lies in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; anything the file system allows.
    pub name: std::ffi::OsString,
    /// What it is.
    pub kind: FileType,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Mode 0644.
    All,
    /// Mode 0600.
    Owner,
}

impl Readers {
    fn mode(self) -> Mode {
        Mode::from_raw_mode(match self {
            Readers::All => 0o644,
            Readers::Owner => 0o600,
        })
    }
}

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl Folder {
    /// Opens the folder at `path`, which must exist. Links in `path` itself are followed.
    pub fn open(path: &Path, witness: Option<Arc<dyn Witness>>) -> Result<Folder, FileError> {
        let failed = |errno| FileError { op: "open", path: path.display().to_string(), errno };
        let absolute = std::path::absolute(path).map_err(|_| failed(Errno::INVAL))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(&absolute, flags, Mode::empty()).map_err(failed)?;
        Ok(Folder { fd: Arc::new(fd), path: Arc::from(absolute), witness, names: Arc::default() })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `path` beneath it lies, for those who need a whole path (a mount).
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// Another number after each change of a name beneath it that was made here. Read before a file, it tells later whether
    /// that name still means the same.
    pub fn names(&self) -> u64 {
        self.names.load(Ordering::Acquire)
    }

    /// Takes note that a name may have changed.
    pub(crate) fn changed<T>(&self, outcome: T) -> T {
        self.names.fetch_add(1, Ordering::Release);
        outcome
    }

    fn failed(&self, op: &'static str, path: &str) -> impl Fn(Errno) -> FileError {
        let path = self.join(path).display().to_string();
        move |errno| FileError { op, path: path.clone(), errno }
    }

    fn announce(&self, change: Change<'_>) -> Result<(), Errno> {
        self.witness.as_ref().map_or(Ok(()), |witness| witness.before(change))
    }

    fn open_beneath(&self, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, BENEATH)
    }

    /// The folder that holds `path`, for calls that cannot be told to stay beneath, with the last name.
    fn holder<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
        let (folder, name) = split(path);
        if matches!(name, "" | "." | "..") {
            return Err(Errno::INVAL);
        }
        Ok((self.open_beneath(folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name))
    }

    /// Opens a file for reading.
    pub fn open_file(&self, path: &str) -> Result<File, FileError> {
        let failed = self.failed("open", path);
        let fd = self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).map_err(failed)?;
        Ok(File::from(fd))
    }

    /// Reads a file of at most `limit` bytes; a longer one is `EFBIG`.
    pub fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, FileError> {
        use std::io::Read;
        let failed = self.failed("read", path);
        let mut bytes = Vec::new();
        let file = self.open_file(path)?;
        let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(bound).read_to_end(&mut bytes).map_err(|error| failed(errno_of(&error)))?;
        if bytes.len() > limit { Err(failed(Errno::FBIG)) } else { Ok(bytes) }
    }

    /// What `path` is, without following a link.
    pub fn stat(&self, path: &str) -> Result<Stat, FileError> {
        let failed = self.failed("stat", path);
        let (folder, name) = self.holder(path).map_err(&failed)?;
        fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Where the link at `path` points.
    pub fn read_link(&self, path: &str) -> Result<String, FileError> {
        let failed = self.failed("read link", path);
        let (folder, name) = self.holder(path).map_err(&failed)?;
        let target = fs::readlinkat(&folder, name, Vec::new()).map_err(&failed)?;
        target.into_string().map_err(|_| failed(Errno::ILSEQ))
    }

    /// What lies in the folder at `path` ("" for itself), sorted by name.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, FileError> {
        let failed = self.failed("list", path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.open_beneath(path, flags, Mode::empty()).map_err(&failed)?;
        entries(&fd).map_err(failed)
    }

    /// The files in the folder at `path`, each with its length, sorted by name.
    pub fn files(&self, path: &str) -> Result<Vec<(std::ffi::OsString, u64)>, FileError> {
        let failed = self.failed("list", path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.open_beneath(path, flags, Mode::empty()).map_err(&failed)?;
        let entries = entries(&fd).map_err(failed)?.into_iter();
        let files = entries.filter(|entry| entry.kind == FileType::RegularFile);
        // One that went meanwhile is not there.
        let lengths = files.filter_map(|Entry { name, .. }| {
            let stat = fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((name, u64::try_from(stat.st_size).ok()?))
        });
        Ok(lengths.collect())
    }

    /// Creates a file that is not there yet. Its mode is as asked, whatever the umask.
    pub fn create(&self, path: &str, readers: Readers) -> Result<OpenFile, FileError> {
        self.announce(Change::Create { path }).map_err(self.failed("create", path))?;
        let failed = self.failed("create", path);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let fd = self.open_beneath(path, flags, readers.mode()).map_err(&failed)?;
        fs::fchmod(&fd, readers.mode()).map_err(failed)?;
        Ok(OpenFile { file: File::from(fd), folder: self.clone(), path: path.into(), at: 0 })
    }

    /// Has the blocks of a file's first `length` bytes allocated; makes the file if it is not there, writes nothing into it. A
    /// disk that has less room gives what it has, and this is `ENOSPC`.
    pub fn allocate(&self, path: &str, length: u64, readers: Readers) -> Result<(), FileError> {
        let failed = self.failed("allocate", path);
        self.announce(Change::Resize { path, length }).map_err(&failed)?;
        let fd = self.open_beneath(path, OFlags::RDWR | OFlags::CREATE, readers.mode()).map_err(&failed)?;
        fs::fallocate(&fd, fs::FallocateFlags::empty(), 0, length).map_err(failed)
    }

    /// Gives back what a file has beyond `length` bytes, for others to have from when this returns.
    pub fn shrink(&self, path: &str, length: u64) -> Result<(), FileError> {
        let failed = self.failed("shrink", path);
        self.announce(Change::Resize { path, length }).map_err(&failed)?;
        let fd = self.open_beneath(path, OFlags::RDWR, Mode::empty()).map_err(&failed)?;
        fs::ftruncate(&fd, length).map_err(&failed)?;
        // Blocks can be used again once it is on disk that they are free.
        fs::fsync(&fd).map_err(failed)
    }

    /// What may still be written beneath it by an ordinary user.
    pub fn free_bytes(&self) -> Result<u64, FileError> {
        let stat = fs::fstatvfs(&self.fd).map_err(self.failed("look at the disk of", ""))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What its file system holds when it is full.
    pub fn all_bytes(&self) -> Result<u64, FileError> {
        let stat = fs::fstatvfs(&self.fd).map_err(self.failed("look at the disk of", ""))?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    /// Opens a file for writing from its end on; what is in it stays.
    pub fn append(&self, path: &str) -> Result<OpenFile, FileError> {
        let failed = self.failed("open for writing", path);
        let fd = self.open_beneath(path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).map_err(&failed)?;
        let end = fs::fstat(&fd).map_err(failed)?.st_size;
        let at = u64::try_from(end).unwrap_or(0);
        Ok(OpenFile { file: File::from(fd), folder: self.clone(), path: path.into(), at })
    }

    /// Makes a folder, mode 0755. One that is there already is `EEXIST`.
    pub fn make_folder(&self, path: &str) -> Result<(), FileError> {
        let failed = self.failed("make folder", path);
        self.announce(Change::MakeFolder { path }).map_err(&failed)?;
        let (folder, name) = self.holder(path).map_err(&failed)?;
        fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)).map_err(failed)
    }

    /// Makes a folder with all that lead to it, for what a power cut may take away again.
    pub fn make_passing_folders(&self, path: &str) -> Result<(), FileError> {
        match self.make_folder(path) {
            Err(error) if error.is_missing() => {
                self.make_passing_folders(split(path).0)?;
                self.make_folder(path)
            }
            Err(error) if !error.is_taken() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes a folder with all that lead to it; what was made is synced into its parent.
    pub fn make_folders(&self, path: &str) -> Result<(), FileError> {
        if self.stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            return Ok(());
        }
        let (parent, _) = split(path);
        if !parent.is_empty() {
            self.make_folders(parent)?;
        }
        match self.make_folder(path) {
            Err(error) if !error.is_taken() => Err(error),
            Ok(()) | Err(_) => self.sync_folder(parent),
        }
    }

    /// Makes the names in a folder survive a power cut.
    pub fn sync_folder(&self, path: &str) -> Result<(), FileError> {
        let failed = self.failed("sync", path);
        self.announce(Change::SyncFolder { path }).map_err(&failed)?;
        let fd =
            self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(&failed)?;
        fs::fsync(&fd).map_err(failed)
    }

    /// Gives a file a new name, in place of what has that name.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.announce(Change::Rename { from, to }).map_err(self.failed("rename to", to))?;
        self.rename_with(from, to, RenameFlags::empty())
    }

    /// Lets two names change places.
    pub fn exchange(&self, one: &str, other: &str) -> Result<(), FileError> {
        self.announce(Change::Exchange { one, other }).map_err(self.failed("exchange", other))?;
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    fn rename_with(&self, from: &str, to: &str, flags: RenameFlags) -> Result<(), FileError> {
        let failed = self.failed("rename to", to);
        let (old, old_name) = self.holder(from).map_err(&failed)?;
        let (new, new_name) = self.holder(to).map_err(&failed)?;
        self.changed(fs::renameat_with(&old, old_name, &new, new_name, flags)).map_err(failed)
    }

    /// Gives a file a second name.
    pub fn link(&self, from: &str, to: &str) -> Result<(), FileError> {
        let failed = self.failed("link", to);
        self.announce(Change::Link { from, to }).map_err(&failed)?;
        let (old, old_name) = self.holder(from).map_err(&failed)?;
        let (new, new_name) = self.holder(to).map_err(&failed)?;
        self.changed(fs::linkat(&old, old_name, &new, new_name, AtFlags::empty())).map_err(failed)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, path: &str, target: &str) -> Result<(), FileError> {
        let failed = self.failed("link", path);
        self.announce(Change::Symlink { path, target }).map_err(&failed)?;
        let (folder, name) = self.holder(path).map_err(&failed)?;
        fs::symlinkat(target, &folder, name).map_err(failed)
    }

    /// Sets a file's times to now.
    pub fn touch(&self, path: &str) -> Result<(), FileError> {
        let failed = self.failed("touch", path);
        self.announce(Change::Touch { path }).map_err(&failed)?;
        let (folder, name) = self.holder(path).map_err(&failed)?;
        let now = fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        fs::utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Removes a file. One that is not there is no error.
    pub fn remove(&self, path: &str) -> Result<(), FileError> {
        let failed = self.failed("remove", path);
        let (folder, name) = match self.holder(path) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        };
        self.announce(Change::Remove { path }).map_err(&failed)?;
        match self.changed(fs::unlinkat(&folder, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Writes a file whole or not at all: a temporary beside it (`<path>.new`), synced, renamed, the folder synced. Two at
    /// once on one path are the caller's to prevent.
    pub fn replace(&self, path: &str, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
        let temporary = format!("{path}.new");
        let outcome = self.write_new(&temporary, bytes, readers).and_then(|()| self.rename(&temporary, path));
        if let Err(error) = outcome {
            // The cause is what is told; a temporary that cannot be removed is replaced by the next write.
            let _ = self.remove(&temporary);
            return Err(error);
        }
        self.sync_folder(split(path).0)
    }

    /// Creates a file with `bytes`, synced; a left-over of that name goes first. The folder is not synced.
    pub fn write_new(&self, path: &str, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
        let mut file = match self.create(path, readers) {
            Err(error) if error.is_taken() => {
                self.remove(path)?;
                self.create(path, readers)?
            }
            created => created?,
        };
        file.write(bytes)?;
        file.sync()
    }

    /// Removes a folder with all that is in it, or a file; never follows a link. Returns the bytes of disk given back.
    /// What is not there is no error. Carries on past what it cannot remove, and returns the first such error.
    pub fn remove_tree(&self, path: &str) -> Result<u64, FileError> {
        self.changed(crate::tree::remove(self, path))
    }

    /// For `tree`: the descriptor of the folder that holds `path`.
    pub(crate) fn holder_of<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), FileError> {
        self.holder(path).map_err(self.failed("open folder of", path))
    }

    pub(crate) fn announced(&self, change: Change<'_>, path: &str) -> Result<(), FileError> {
        self.announce(change).map_err(self.failed("remove", path))
    }
}

/// A file open for writing.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    folder: Folder,
    path: Box<str>,
    at: u64,
}

impl OpenFile {
    /// Bytes written so far, which is where the next ones go.
    pub fn len(&self) -> u64 {
        self.at
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// Its path beneath the folder.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Writes on at the end. After an error the end is where it was before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.write_at(self.at, bytes)?;
        self.at += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// Writes at `at`, over what is there.
    pub fn write_at(&self, at: u64, bytes: &[u8]) -> Result<(), FileError> {
        let failed = self.folder.failed("write", &self.path);
        self.folder.announce(Change::Write { path: &self.path, at, bytes }).map_err(&failed)?;
        self.file.write_all_at(bytes, at).map_err(|error| failed(errno_of(&error)))
    }

    /// Makes its bytes survive a power cut.
    pub fn sync(&self) -> Result<(), FileError> {
        let failed = self.folder.failed("sync", &self.path);
        self.folder.announce(Change::SyncFile { path: &self.path }).map_err(&failed)?;
        fs::fsync(&self.file).map_err(failed)
    }

    /// Has the disk begin with a part of it, so that a later sync finds less to wait for.
    pub fn begin_write_out(&self, from: u64, length: u64) {
        crate::sys::begin_write_out(self.file.as_fd(), from, length);
    }

    /// The same file, for reading.
    pub fn as_file(&self) -> &File {
        &self.file
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A path's folder and its last name.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// What the kernel said, where the standard library kept it.
pub fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or_else(|| {
        let is_full = matches!(error.kind(), std::io::ErrorKind::WriteZero | std::io::ErrorKind::StorageFull);
        if is_full { Errno::NOSPC } else { Errno::IO }
    })
}

/// What lies in an open folder, sorted by name, without `.` and `..`.
pub(crate) fn entries(folder: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = Vec::new();
    for entry in fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            let stat = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            kind = FileType::from_raw_mode(stat.st_mode);
        }
        found.push(Entry { name: name.to_owned(), kind });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
