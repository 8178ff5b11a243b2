//! A container's interfaces: brought in from the device's network namespace, set up in the container's own.
//!
//! The child does both sides: it opens its outer socket before it makes its network namespace, and lets go of it before it
//! executes anything.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use model::lxc::{Gateway, Ipv4Network, Up};
use model::setup::{Link, SetupStep};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};

use crate::error::HostError;
use crate::netlink::{Changes, Interface, Route};

/// The device's side, taken while the child is still there.
pub(crate) struct Outside(Route, Changes);

/// Both sides.
pub(crate) struct BothSides {
    outside: Route,
    changes: Changes,
    inside: Route,
    own: OwnedFd,
}

/// One interface of a plan.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) link: &'a Link,
    pub(crate) up: Up,
    pub(crate) addresses: &'a [Ipv4Network],
    pub(crate) gateway: Option<Gateway>,
}

const KERNEL: &str = "the kernel's network configuration";

impl Outside {
    /// Whether the plan has an interface.
    pub(crate) fn is_needed(steps: &[SetupStep]) -> bool {
        steps.iter().any(|step| matches!(step, SetupStep::Interface { .. }))
    }

    /// None where the plan has no interface.
    pub(crate) fn open(steps: &[SetupStep]) -> Result<Option<Outside>, HostError> {
        if !Outside::is_needed(steps) {
            return Ok(None);
        }
        let opened = || Ok(Outside(Route::open()?, Changes::open()?));
        opened().map(Some).map_err(HostError::at::<rustix::io::Errno>("open", KERNEL))
    }

    /// Comes after the network namespace was made, while `/proc` is still the device's.
    pub(crate) fn with_inside(self) -> Result<BothSides, HostError> {
        let path = "/proc/self/ns/net";
        let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(HostError::at("open", path))?;
        let inside = Route::open().map_err(HostError::at("open", KERNEL))?;
        Ok(BothSides { outside: self.0, changes: self.1, inside, own })
    }
}

impl BothSides {
    pub(crate) fn make(&mut self, wanted: &Wanted<'_>) -> Result<(), HostError> {
        let name = wanted.name;
        let bridge = match wanted.link {
            Link::Pair { bridge } => self.pair(name, bridge.as_deref())?,
            Link::Device { name: given } => {
                self.take(name, given)?;
                None
            }
        };
        let interface = self.inside.interface(name).map_err(HostError::at("find interface", name))?;
        for network in wanted.addresses {
            let subject = format!("address {}/{} of interface {name}", network.address, network.prefix);
            self.inside.add_address(&interface, *network).map_err(HostError::at("set", subject))?;
        }
        match wanted.up {
            Up::Yes => self.inside.set_up(&interface).map_err(HostError::at("set up interface", name))?,
            Up::No => {}
        }
        match self.gateway(wanted, bridge.as_ref())? {
            Some(gateway) => self
                .inside
                .add_gateway(&interface, gateway)
                .map_err(HostError::at("set", format!("gateway {gateway} of interface {name}"))),
            None => Ok(()),
        }
    }

    /// Returns the bridge that it is attached to.
    fn pair(&mut self, name: &str, bridge: Option<&str>) -> Result<Option<Interface>, HostError> {
        let found = match bridge {
            Some(bridge) => {
                Some(self.outside.interface(bridge).map_err(HostError::at("find bridge", bridge))?)
            }
            None => None,
        };
        let subject = match bridge {
            Some(bridge) => format!("interface {name} with its other end on bridge {bridge}"),
            None => format!("interface {name} with its other end on the device"),
        };
        self.outside
            .make_pair(found.as_ref(), name, self.own.as_fd())
            .map_err(HostError::at("make", subject))?;
        Ok(found)
    }

    /// When the container ends, the kernel gives the interface back by the name that it has here: only its former name, kept
    /// as another one, lets the next start find it.
    fn take(&mut self, name: &str, given: &str) -> Result<(), HostError> {
        let moved = || HostError::at("move interface", format!("{given} inside, as {name}"));
        let device = self
            .outside
            .awaited_interface(given, &self.changes)
            .map_err(HostError::at("find interface", given))?;
        if device.name != given {
            self.outside.delete_other_name(&device, given).map_err(moved())?;
        }
        self.outside.give(&device, name, self.own.as_fd()).map_err(moved())?;
        if name == given {
            return Ok(());
        }
        let inside = self.inside.interface(name).map_err(HostError::at("find interface", name))?;
        self.inside.add_other_name(&inside, given).map_err(moved())
    }

    fn gateway(
        &mut self,
        wanted: &Wanted<'_>,
        bridge: Option<&Interface>,
    ) -> Result<Option<Ipv4Addr>, HostError> {
        match (wanted.gateway, bridge) {
            (None, _) => Ok(None),
            (Some(Gateway::Address(address)), _) => Ok(Some(address)),
            (Some(Gateway::Auto), Some(bridge)) => {
                let failed = HostError::at("find the address of bridge", &*bridge.name);
                self.outside.address(bridge).map(Some).map_err(failed)
            }
            (Some(Gateway::Auto), None) => {
                Err(HostError::at("find the bridge of interface", wanted.name)(Errno::EDESTADDRREQ))
            }
        }
    }
}
