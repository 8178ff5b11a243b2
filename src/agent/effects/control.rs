//! The folder that a container sees at `/pantavisor`, with the sockets by which one life of it speaks.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model::report::{Failure, FailureKind};
use tokio::net::UnixListener;

use crate::logs::LogSockets;

const SOCKET: &str = "pv-ctrl";
const LOG: &str = "pv-ctrl-log";
/// Where `/dev/log` leads.
const DEV_LOG: &str = "dev-log";

/// Makes the control socket in the folder, which no former life of the container has: whoever speaks on it is this life.
pub(super) fn listen(folder: &Path) -> Result<UnixListener, Failure> {
    bind(folder, SOCKET, |address| UnixListener::bind(address))
}

/// Makes the sockets for what this life has to say.
pub(super) fn log_sockets(folder: &Path) -> Result<LogSockets, Failure> {
    let stream = bind(folder, LOG, std::os::unix::net::UnixListener::bind)?;
    let datagrams = bind(folder, DEV_LOG, std::os::unix::net::UnixDatagram::bind)?;
    let made = stream.set_nonblocking(true).and_then(|()| datagrams.set_nonblocking(true));
    made.map_err(|error| failed(&folder.join(LOG), &error))?;
    Ok(LogSockets { stream: stream.into(), datagrams: datagrams.into() })
}

fn bind<T>(folder: &Path, name: &str, bind: impl Fn(PathBuf) -> io::Result<T>) -> Result<T, Failure> {
    let path = folder.join(name);
    let bound = || {
        fs::create_dir_all(folder)?;
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        // The path may be longer than the 107 characters that a socket's address holds.
        let held = File::open(folder)?;
        let socket = bind(PathBuf::from(format!("/proc/self/fd/{}/{name}", held.as_raw_fd())))?;
        // Any user of the container may speak for it.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        Ok(socket)
    };
    bound().map_err(|error: io::Error| failed(&path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Transient, format!("listen on {}: {error}", path.display()))
}
