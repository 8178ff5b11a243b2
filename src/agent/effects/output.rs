//! The pipe that a container prints into, made so that no agent's death breaks it.
//!
//! It has a name beside the container's control folder, so that a later agent finds it. The container's end is open for reading
//! too: while no agent reads, what it prints waits in the pipe (64 KiB), and further prints wait with it; none is ever refused.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use model::report::{Failure, FailureKind};
use nix::sys::stat::Mode;
use rustix::fs::OFlags;

const NAME: &str = "output";

/// Makes the pipe of a new life: our end, which never blocks, then the container's.
pub(super) fn make(folder: &Path) -> Result<(OwnedFd, OwnedFd), Failure> {
    let path = folder.join(NAME);
    let made = || -> io::Result<(OwnedFd, OwnedFd)> {
        fs::create_dir_all(folder)?;
        // What a former life may still have open is another pipe.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let theirs = open(&path, OFlags::RDWR)?;
        Ok((open(&path, OFlags::RDONLY | OFlags::NONBLOCK)?, theirs))
    };
    made().map_err(|error| failed("make", &path, &error))
}

/// Our end of the pipe of a life that a former agent started.
pub(crate) fn find(folder: &Path) -> Result<OwnedFd, Failure> {
    let path = folder.join(NAME);
    open(&path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(|error| failed("open", &path, &error))
}

fn open(path: &Path, how: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, how | OFlags::CLOEXEC, rustix::fs::Mode::empty())?)
}

fn failed(op: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Transient, format!("{op} {}, the pipe for its output: {error}", path.display()))
}
