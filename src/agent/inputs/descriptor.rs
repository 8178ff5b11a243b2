//! Descriptors of the kernel as something that the runtime can await.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits for a descriptor (a pidfd, a timer, the read end of a pipe) to become readable. It must be non-blocking where it is
/// read from.
///
/// # Errors
/// The runtime cannot wait for it, as for a plain file.
#[expect(
    deprecated,
    reason = "its successor is unsafe for types that give another descriptor each time they are asked; an OwnedFd does not"
)]
pub fn awaited(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// Waits, likewise, for nothing but the other end's going away altogether (a socket's peer that closed it, not one that only
/// stopped sending).
///
/// # Errors
/// The runtime cannot wait for it.
#[expect(deprecated, reason = "as above")]
pub fn awaited_for_hang_up(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // PRIORITY asks the kernel for no readability, so that what it always reports is all that is left.
    AsyncFd::with_interest(descriptor, Interest::PRIORITY)
}
