//! The interfaces of a container.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::lxc::{Gateway, LxcConf, NetInterface, NetKind};
use model::report::Failure;
use model::setup::{Link, Namespace, SetupStep};

use super::{Privileges, unsupported};

pub(super) fn steps(
    conf: &LxcConf,
    namespaces: &BTreeSet<Namespace>,
    privileges: Privileges,
) -> Result<Vec<SetupStep>, Failure> {
    let mut names: BTreeSet<String> = conf.net.iter().filter_map(given_name).collect();
    let mut steps = Vec::new();
    for interface in &conf.net {
        let refuse = |why: &str| unsupported(format!("make lxc.net.{}: {why}", interface.index));
        let link = match &interface.kind {
            NetKind::Empty | NetKind::None => continue,
            NetKind::Veth { link } => Link::Pair { bridge: link.as_deref().map(str::to_owned) },
            NetKind::Phys { link } => Link::Device { name: link.to_string() },
        };
        if !namespaces.contains(&Namespace::Network) {
            return Err(refuse("the container's network is the device's own"));
        }
        if privileges == Privileges::UserNamespace {
            return Err(refuse("an agent that is not root cannot change the device's network"));
        }
        if interface.gateway == Some(Gateway::Auto) && !matches!(link, Link::Pair { bridge: Some(_) }) {
            return Err(refuse("its gateway is auto, the address of a bridge, and it is on none"));
        }
        let name = given_name(interface).unwrap_or_else(|| free_name(&mut names));
        steps.push(SetupStep::Interface {
            name,
            link,
            up: interface.up,
            addresses: interface.addresses.to_vec(),
            gateway: interface.gateway,
        });
    }
    Ok(steps)
}

/// A device's own interface keeps its name. `eth%d` leaves the number open.
fn given_name(interface: &NetInterface) -> Option<String> {
    let own = match &interface.kind {
        NetKind::Phys { link } => Some(link),
        NetKind::Empty | NetKind::None | NetKind::Veth { .. } => None,
    };
    interface.name.as_ref().filter(|name| !name.contains('%')).or(own).map(ToString::to_string)
}

fn free_name(names: &mut BTreeSet<String>) -> String {
    let mut number = 0_u32;
    loop {
        let name = format!("eth{number}");
        if names.insert(name.clone()) {
            return name;
        }
        number += 1;
    }
}
