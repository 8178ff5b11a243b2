//! Who reboots the device or switches it off: this agent where the power is its own, else the init's logind.
//!
//! The power is the agent's own where it is the first process of all, or where whoever started it says so (`power = "own"`).

use std::convert::Infallible;

use model::report::Failure;
use nix::unistd::getpid;

use crate::config::{Config, Power};
#[cfg(feature = "dbus")]
use crate::dbus;

/// What is to become of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It starts over.
    Reboot,
    /// It is switched off.
    Off,
}

/// Who carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This process, by the kernel's own call.
    Agent,
    /// Another init, asked through its logind.
    Init,
}

impl Owner {
    /// As this process was started.
    pub fn of(config: &Config) -> Owner {
        let is_init = getpid().as_raw() == 1;
        match config.power {
            Power::Own => Owner::Agent,
            Power::Restart if is_init => Owner::Agent,
            Power::Restart => Owner::Init,
        }
    }

    /// Whether it would be carried out, asked anew each time; else why not.
    pub async fn may(self, turn: Turn) -> Result<(), Failure> {
        match self {
            Owner::Agent => Ok(()),
            Owner::Init => logind_may(turn).await,
        }
    }

    /// Carries it out; nothing of any container is left. Where the init does it, it returns once that has taken it on.
    pub(crate) async fn carry_out(self, turn: Turn) -> Result<(), Failure> {
        match self {
            Owner::Agent => at_once(turn).map(|never| match never {}),
            Owner::Init => logind_turns(turn).await,
        }
    }
}

/// By the kernel: returns only if it refuses.
pub(crate) fn at_once(turn: Turn) -> Result<Infallible, Failure> {
    let refused = match turn {
        Turn::Reboot => host::power::reboot(),
        Turn::Off => host::power::power_off(),
    };
    refused.map_err(|error| error.failure())
}

#[cfg(feature = "dbus")]
async fn logind_may(turn: Turn) -> Result<(), Failure> {
    dbus::may(turn).await
}

#[cfg(feature = "dbus")]
async fn logind_turns(turn: Turn) -> Result<(), Failure> {
    dbus::turn(turn).await
}

#[cfg(not(feature = "dbus"))]
async fn logind_may(_: Turn) -> Result<(), Failure> {
    let detail =
        "reach the init's logind: this agent was built without D-Bus, and the device's power is not its own";
    Err(Failure::new(model::report::FailureKind::Unsupported, detail))
}

#[cfg(not(feature = "dbus"))]
async fn logind_turns(turn: Turn) -> Result<(), Failure> {
    logind_may(turn).await
}

#[cfg(all(test, not(feature = "dbus")))]
mod tests {
    use super::*;

    #[test]
    fn without_dbus_the_refusal_says_so() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failure = runtime.block_on(Owner::Init.may(Turn::Reboot)).unwrap_err();
        assert_eq!(
            &*failure.detail,
            "reach the init's logind: this agent was built without D-Bus, and the device's power is not its own"
        );
    }
}
