//! The device's power, where the agent owns it.

use std::convert::Infallible;
use std::ffi::CStr;

use nix::sys::reboot::{RebootMode, reboot as kernel_reboot};

use crate::error::HostError;

/// Writes everything to the disks, then starts the device over, asked with `argument` if its boot loader wants one. Returns only
/// if the kernel refuses.
///
/// # Errors
/// Not permitted.
pub fn reboot(argument: Option<&CStr>) -> Result<Infallible, HostError> {
    nix::unistd::sync();
    if let Some(argument) = argument {
        return crate::sys::reboot_with(argument).map_err(HostError::at("reboot", "the device"));
    }
    kernel_reboot(RebootMode::RB_AUTOBOOT).map_err(HostError::at("reboot", "the device"))
}

/// Writes everything to the disks, then switches the device off. Returns only if the kernel refuses.
///
/// # Errors
/// Not permitted.
pub fn power_off() -> Result<Infallible, HostError> {
    nix::unistd::sync();
    kernel_reboot(RebootMode::RB_POWER_OFF).map_err(HostError::at("power off", "the device"))
}
