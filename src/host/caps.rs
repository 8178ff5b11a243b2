//! Capabilities of the container's first process.

use model::setup::Capabilities;
use nix::errno::Errno;

use crate::error::HostError;
use crate::sys;

/// Drops every capability that is not kept from the bounding set: no program executed from now on can have it.
pub(crate) fn bound(keep: Capabilities, last: u8) -> Result<(), HostError> {
    for number in (0..=last).filter(|number| !keep.contains(*number)) {
        match sys::drop_from_bounding_set(number) {
            // Beyond the kernel's last one.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(HostError::at("drop", format!("capability {number}"))(errno)),
        }
    }
    Ok(())
}

/// Leaves no more than what is kept to this process itself, and nothing to be inherited. Comes after the user was changed, which
/// needs capabilities that may not be kept.
pub(crate) fn limit(keep: Capabilities) -> Result<(), HostError> {
    sys::set_capabilities(keep.0).map_err(HostError::at("set", "capabilities"))
}
