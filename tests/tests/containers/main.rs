//! The whole agent on the real kernel: a process of its own, as root, in a temporary folder, seen through its sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]

mod bus;
mod device;
mod logs;
mod remote;
mod revision;

mod authored;
mod commands;
mod control;
mod crashes;
mod full_disk;
mod hostile;
mod metadata;
mod power;
mod updates;
mod walk;
mod wear;
