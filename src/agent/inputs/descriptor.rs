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
