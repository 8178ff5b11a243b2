//! Ending this life of the agent.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use model::report::{Failure, FailureKind};
use model::request::AfterShutdown;
use nix::unistd::execve;

use crate::config::{Config, Pid1};
use crate::init;
use crate::power::{self, Owner, Turn};

/// What comes of leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The agent's process may end now, with this code.
    Now(u8),
    /// First the device's end is to be asked for: [`Owner::carry_out`].
    After(Owner, Turn),
}

/// Carries it out. What starts over or is carried out by the kernel does not return.
pub(crate) fn leave(then: AfterShutdown, config: &Config) -> Result<Left, Failure> {
    let owner = Owner::of(config);
    let ours = config.pid_1 == Pid1::Ours;
    let never = match (then, owner) {
        (AfterShutdown::End, _) => return Ok(Left::Now(0)),
        (AfterShutdown::Reboot, _) | (AfterShutdown::Restart, Owner::Agent) if ours => {
            init::leave_argument(None).map_err(|error| error.failure())?;
            return Ok(Left::Now(init::RESTART));
        }
        (AfterShutdown::PowerOff, _) if ours => return Ok(Left::Now(init::POWER_OFF)),
        (AfterShutdown::Reboot, _) => return Ok(Left::After(owner, Turn::Reboot)),
        (AfterShutdown::PowerOff, _) => return Ok(Left::After(owner, Turn::Off)),
        (AfterShutdown::Restart, Owner::Init) => {
            forget_boot(config);
            start_over(&config.start_over_as)
        }
        (AfterShutdown::Restart, Owner::Agent) => power::at_once(Turn::Reboot),
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
