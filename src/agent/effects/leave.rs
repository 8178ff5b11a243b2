//! Ending this life of the agent.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use model::report::{Failure, FailureKind};
use model::request::AfterShutdown;
use nix::unistd::execve;

use crate::boot::Loader;
use crate::config::{Config, Pid1, Power};
use crate::init;

/// The agent's process may end now, with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left(pub(crate) u8);

/// Carries it out. What starts over, reboots or powers off does not return.
pub(crate) fn leave(then: AfterShutdown, config: &Config, loader: &Loader) -> Result<Left, Failure> {
    let never = match (then, config.power) {
        (AfterShutdown::End, _) | (AfterShutdown::PowerOff, Power::Restart) => return Ok(Left(0)),
        (AfterShutdown::Restart, Power::Own) if config.pid_1 == Pid1::Ours => {
            init::leave_argument(loader.reboot_argument()).map_err(|error| error.failure())?;
            return Ok(Left(init::RESTART));
        }
        (AfterShutdown::PowerOff, Power::Own) if config.pid_1 == Pid1::Ours => {
            return Ok(Left(init::POWER_OFF));
        }
        (AfterShutdown::Restart, Power::Restart) => {
            forget_boot(config);
            start_over(&config.start_over_as)
        }
        (AfterShutdown::Restart, Power::Own) => {
            host::power::reboot(loader.reboot_argument()).map_err(|error| error.failure())
        }
        (AfterShutdown::PowerOff, Power::Own) => host::power::power_off().map_err(|error| error.failure()),
    };
    never.map(|never| match never {})
}

/// What containers keep until the next boot goes with this one. Nothing of them is left that could use it.
fn forget_boot(config: &Config) {
    let disks = config.run_dir.join("disks");
    if let Err(error) = std::fs::remove_dir_all(&disks)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        log::warn!("op=remove-boot-disks path={} error={error:?}", disks.display());
    }
}

/// Replaces this process by a fresh one of the same program: every descriptor is closed on exec, every thread ends.
fn start_over(arguments: &[OsString]) -> Result<Infallible, Failure> {
    let broken =
        |error: &dyn std::fmt::Display| Failure::new(FailureKind::Permanent, format!("start over: {error}"));
    let c_text = |text: OsString| CString::new(text.into_vec());
    let arguments: Result<Vec<CString>, _> = arguments.iter().cloned().map(c_text).collect();
    let environment: Result<Vec<CString>, _> = std::env::vars_os()
        .map(|(mut pair, value)| {
            pair.push("=");
            pair.push(value);
            c_text(pair)
        })
        .collect();
    let (arguments, environment) =
        (arguments.map_err(|error| broken(&error))?, environment.map_err(|error| broken(&error))?);
    execve(c"/proc/self/exe", &arguments, &environment).map_err(|errno| broken(&errno))
}
