//! The verbs on the kernel of Goalpost: blocking, safe to call, without policy.
//!
//! ```text
//! agent ── Launcher (spawn.rs) ──socket── the launcher (launcher.rs): our own binary, re-executed once, one thread
//!                                            │ lives in the mount namespace that holds every container's own mounts
//!                                            ├─ clone ─── whoever makes the next network namespace in advance (spare.rs)
//!                                            ├─ clone3 ── a container's first process: child.rs, then its program
//!                                            └─ clone3 ── a worker that mounts or unmounts (mount.rs), then ends
//! ```

mod block;
mod caps;
pub mod cgroup;
mod channel;
pub mod child;
mod detached;
pub mod device;
mod device_filter;
mod error;
pub mod file;
mod inside;
mod interface;
pub mod keeping;
mod launcher;
mod mount;
pub mod namespace;
mod netlink;
pub mod power;
pub mod process;
mod spare;
mod spawn;
mod sys;
mod system_calls;
mod tree;
mod wire;

pub use block::boot_partition;
pub use error::HostError;
pub use spawn::{Launcher, Pending, Spawned, Start, Working};
