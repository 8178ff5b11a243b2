//! The whole agent on the real kernel: a process of its own, as root, in a temporary folder, seen through its sockets.

mod device;
mod revision;

mod crashes;
mod hostile;
mod updates;
mod walk;
