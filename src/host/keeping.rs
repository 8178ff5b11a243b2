//! What outlives an agent: the launcher keeps the agent's sides of consoles, and hands them to the next agent.
//!
//! A console whose other side is gone would be hung up, and with it the container's standard input. So the launcher, when its
//! agent is gone, stays for as long as one of the consoles is open in its container, and meets the next agent at a socket.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

use crate::channel::{self, Wait};
use crate::error::HostError;

/// Descriptors by the names of their containers.
pub type Kept = Vec<(String, OwnedFd)>;

/// A former launcher that does not answer for so long has nothing for us.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// The socket's extension: it lies beside the folder for mounts.
const SOCKET: &str = "launcher";

/// Makes the socket at which a launcher meets the next agent.
pub(crate) fn meeting(folder: &Path) -> Result<OwnedFd, HostError> {
    let path = folder.with_extension(SOCKET);
    let failed = || HostError::at("listen on", path.display().to_string());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed()(error)),
        Ok(()) | Err(_) => {}
    }
    let make = || -> Result<OwnedFd, Errno> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        at_socket(folder, |address| bind(&socket, address))?;
        listen(&socket, 1)?;
        Ok(socket)
    };
    make().map_err(|errno| failed()(errno.into()))
}

/// What the launcher of an agent that is gone kept; nothing if there is none.
///
/// # Errors
/// It is there, and what it says cannot be received.
pub fn take_over(folder: &Path) -> Result<Kept, HostError> {
    let failed = || HostError::at("take over from", "the former launcher");
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(failed())?;
    match at_socket(folder, |address| connect(&socket, address)) {
        Ok(()) => {}
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(Kept::new()),
        Err(errno) => return Err(failed()(errno)),
    }
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(failed())?;
    let mut kept = Kept::new();
    loop {
        let packet = match channel::receive(socket.as_fd(), Wait::Yes) {
            // It had nothing to hand over, and ended as we came.
            Err(Errno::CONNRESET) => return Ok(kept),
            packet => packet.map_err(failed())?,
        };
        if packet.bytes.is_empty() {
            return Ok(kept);
        }
        let name = String::from_utf8_lossy(&packet.bytes).into_owned();
        kept.extend(packet.descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
    }
}

/// Takes note of what is to be kept under a name, in place of what was; without a descriptor, of nothing.
pub(crate) fn keep(kept: &mut Kept, name: &[u8], descriptor: Option<OwnedFd>) {
    let name = String::from_utf8_lossy(name).into_owned();
    kept.retain(|(other, _)| *other != name);
    kept.extend(descriptor.map(|descriptor| (name, descriptor)));
}

/// Waits for the next agent, as long as there is anything to hand over.
pub(crate) fn hand_over(meeting: &OwnedFd, mut kept: Kept) -> Result<(), HostError> {
    let failed = || HostError::at("meet", "the next agent");
    while !kept.is_empty() {
        let mut watched = vec![PollFd::new(meeting, PollFlags::IN)];
        watched.extend(kept.iter().map(|(_, descriptor)| PollFd::new(descriptor, PollFlags::empty())));
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failed()(errno)),
        }
        let (came, over): (bool, Vec<bool>) = (
            watched[0].revents().contains(PollFlags::IN),
            watched[1..].iter().map(|one| !one.revents().is_empty()).collect(),
        );
        drop(watched);
        let mut over = over.into_iter();
        kept.retain(|_| !over.next().unwrap_or(false));
        if came {
            let agent = accept_with(meeting, SocketFlags::CLOEXEC).map_err(failed())?;
            return kept.iter().try_for_each(|(name, descriptor)| {
                channel::send(agent.as_fd(), name.as_bytes(), &[descriptor.as_fd()]).map_err(failed())
            });
        }
    }
    Ok(())
}

/// The path may be longer than the 107 characters that a socket's address holds.
fn at_socket(folder: &Path, act: impl FnOnce(&SocketAddrUnix) -> Result<(), Errno>) -> Result<(), Errno> {
    let path = folder.with_extension(SOCKET);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let held = openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    act(&SocketAddrUnix::new(format!("/proc/self/fd/{}/{}", held.as_raw_fd(), name.display()))?)
}
