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

/// Everything by which one life of a container speaks.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) control: UnixListener,
    pub(super) logs: LogSockets,
}

/// Makes sockets in the folder that no former life of the container has: whoever speaks on them is this life.
pub(super) fn sockets(folder: &Path) -> Result<Sockets, Failure> {
    let make = || {
        fs::create_dir_all(folder)?;
        // The path may be longer than the 107 characters that a socket's address holds.
        let held = File::open(folder)?;
        let control = bind(folder, &held, SOCKET, |address| UnixListener::bind(address))?;
        let stream = bind(folder, &held, LOG, std::os::unix::net::UnixListener::bind)?;
        let datagrams = bind(folder, &held, DEV_LOG, std::os::unix::net::UnixDatagram::bind)?;
        stream.set_nonblocking(true)?;
        datagrams.set_nonblocking(true)?;
        Ok(Sockets { control, logs: LogSockets { stream: stream.into(), datagrams: datagrams.into() } })
    };
    make().map_err(|error: io::Error| {
        Failure::new(FailureKind::Transient, format!("listen in {}: {error}", folder.display()))
    })
}

fn bind<T>(folder: &Path, held: &File, name: &str, bind: impl Fn(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(name);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let socket = bind(PathBuf::from(format!("/proc/self/fd/{}/{name}", held.as_raw_fd())))?;
    // Any user of the container may speak for it.
    fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    Ok(socket)
}
