//! Paths inside a root that somebody else filled: no symlink in it leads outside.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

/// What is made when a path is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Refused,
    Folder { mode: u32 },
    File,
}

/// Opens `path` as if `root` were `/`, for its place only.
pub(crate) fn open(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    open_as(root, path, OFlags::PATH)
}

/// Opens `path` as if `root` were `/`.
pub(crate) fn open_as(root: BorrowedFd<'_>, path: &str, how: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "/" } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path, how | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename somewhere on the device made the kernel unsure; it asks to be asked again.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Opens `path` as if `root` were `/`, making what is missing: parents are always folders. A symlink that leads nowhere is
/// followed, inside the root, and what it names is made.
pub(crate) fn open_or_make(root: BorrowedFd<'_>, path: &str, missing: Missing) -> Result<OwnedFd, Errno> {
    let mut path = Cow::Borrowed(path);
    for _ in 0..MOST_LINKS {
        match open(root, &path) {
            Err(Errno::NOENT) if missing != Missing::Refused => {}
            outcome => return outcome,
        }
        let (parent, name) = parent(root, &path)?;
        match make(parent.as_fd(), name, missing) {
            Ok(()) => return open(root, &path),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            // Somebody else made it meanwhile.
            Err(Errno::INVAL) => return open(root, &path),
            Err(errno) => return Err(errno),
            Ok(link) => {
                let link = link.to_str().map_err(|_| Errno::ILSEQ)?;
                let folder = path.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder);
                path =
                    if link.starts_with('/') { link.to_owned() } else { format!("{folder}/{link}") }.into();
            }
        }
    }
    Err(Errno::LOOP)
}

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

fn make(parent: BorrowedFd<'_>, name: &str, what: Missing) -> Result<(), Errno> {
    match what {
        Missing::Refused => Err(Errno::NOENT),
        Missing::Folder { mode } => mkdirat(parent, name, mode.into()),
        Missing::File => {
            let how = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, how, Mode::from(0o644)).map(drop)
        }
    }
}

/// The folder that `path` lies in, made if it is not there, with the last name of `path`.
pub(crate) fn parent<'a>(root: BorrowedFd<'_>, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
    let name = last_name(path)?;
    let folder = path.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok((open_or_make(root, folder, Missing::Folder { mode: 0o755 })?, name))
}

/// The last name of `path`, which something can be made under.
pub(crate) fn last_name(path: &str) -> Result<&str, Errno> {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/').map_or(path, |(_, name)| name) {
        "" | "." | ".." => Err(Errno::NOENT),
        name => Ok(name),
    }
}

/// The device's own root, for paths that only the device decides about.
pub(crate) fn device() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
