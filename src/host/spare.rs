//! A network namespace made in advance, by a process of its own: the kernel takes as long for one as for all the rest of a start.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::channel::{self, Wait};
use crate::error::HostError;
use crate::sys::{self, Cloned, ParentOf};

/// The launcher's side. Dropped, the process that makes them ends.
pub(crate) struct Spare {
    maker: OwnedFd,
    is_asked: bool,
}

impl Spare {
    /// Starts the process that makes them.
    pub(crate) fn start() -> Result<Spare, HostError> {
        let (ours, theirs) = channel::pair().map_err(HostError::at("make", "a channel"))?;
        match sys::clone_process(CloneFlags::empty(), ParentOf::Us, None)
            .map_err(HostError::at("make", "a process"))?
        {
            Cloned::Parent { .. } => Ok(Spare { maker: ours, is_asked: false }),
            Cloned::Child => {
                drop(ours);
                let _ = make_all(&theirs);
                sys::end(0)
            }
        }
    }

    /// One will be wanted. Without its maker, containers make their own, and say why they cannot.
    pub(crate) fn want(&mut self) {
        if !self.is_asked {
            self.is_asked = channel::send(self.maker.as_fd(), b"N", &[]).is_ok();
        }
    }

    /// One that is there by now.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        if !self.is_asked {
            return None;
        }
        let made = channel::receive(self.maker.as_fd(), Wait::No).ok()?.descriptors.pop();
        self.is_asked = made.is_none();
        made
    }
}

/// Makes one, with its loopback device up, each time that it is asked, until nobody is there to ask.
fn make_all(asked: &OwnedFd) -> Result<(), Errno> {
    // Nobody is to wait for it, and it not to be waited for by whoever needs what it holds in the kernel.
    let _ = sys::schedule(libc::SCHED_BATCH, 0);
    let own = current()?;
    // There is no way back where the device's own lies outside, as in a user namespace.
    enter(&own)?;
    while channel::receive(asked.as_fd(), Wait::Yes).is_ok_and(|packet| !packet.bytes.is_empty()) {
        sys::unshare(CloneFlags::CLONE_NEWNET)?;
        sys::loopback_up()?;
        let made = current()?;
        enter(&own)?;
        channel::send(asked.as_fd(), b"N", &[made.as_fd()])
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    }
    Ok(())
}

/// Enters a network namespace.
pub(crate) fn enter(namespace: &OwnedFd) -> Result<(), Errno> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}

fn current() -> Result<OwnedFd, Errno> {
    openat(CWD, "/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
}
