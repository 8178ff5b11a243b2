//! The folder that a container sees at `/pantavisor`, with the socket by which one life of it speaks.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::report::{Failure, FailureKind};
use tokio::net::UnixListener;

const SOCKET: &str = "pv-ctrl";

/// Makes a socket in the folder that no former life of the container has: whoever speaks on it is this life.
pub(super) fn listen(folder: &Path) -> Result<UnixListener, Failure> {
    let path = folder.join(SOCKET);
    let listener = || {
        fs::create_dir_all(folder)?;
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        // The path may be longer than the 107 characters that a socket's address holds.
        let held = File::open(folder)?;
        let listener =
            UnixListener::bind(PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", held.as_raw_fd())))?;
        // Any user of the container may speak for it.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    listener().map_err(|error: io::Error| {
        Failure::new(FailureKind::Transient, format!("listen on {}: {error}", path.display()))
    })
}
