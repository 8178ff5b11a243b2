//! Rights for an agent that has none: a user namespace in which it is root.

use nix::sched::CloneFlags;
use nix::unistd::{getegid, geteuid};

use crate::error::HostError;
use crate::sys;

/// Makes this process root of a user namespace of its own, in which its user and group are the only ones. Comes before any
/// thread exists.
///
/// # Errors
/// The kernel does not let ordinary users make user namespaces, or this process has threads (EINVAL).
pub fn enter_user_namespace() -> Result<(), HostError> {
    let (user, group) = (geteuid(), getegid());
    sys::unshare(CloneFlags::CLONE_NEWUSER).map_err(HostError::at("make", "a user namespace"))?;
    // An ordinary user may map its group only once nobody can drop groups any more.
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ] {
        std::fs::write(file, text).map_err(HostError::at("write", file))?;
    }
    Ok(())
}
