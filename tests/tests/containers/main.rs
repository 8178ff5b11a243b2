//! The whole agent on the real kernel: a process of its own, as root, in a temporary folder, seen through its sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]

mod device;
mod revision;

mod crashes;
mod full_disk;
mod hostile;
mod metadata;
mod updates;
mod walk;
