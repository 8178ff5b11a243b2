//! `lxc.net.N.*`: the interfaces of a container.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::conf::Line;
use crate::errors::{Findings, Place};
use crate::lxc::{Gateway, Ipv4Network, NetInterface, NetKind, Up};

/// What was read so far, by N.
#[derive(Default)]
pub(crate) struct Interfaces(BTreeMap<u32, Draft>);

#[derive(Default)]
struct Draft {
    /// The first line that speaks of it.
    line: u32,
    kind: Given,
    link: Option<Box<str>>,
    up: Option<Up>,
    name: Option<Box<str>>,
    addresses: Vec<Ipv4Network>,
    gateway: Option<Gateway>,
}

#[derive(Default)]
enum Given {
    #[default]
    Not,
    Wrong,
    As(Sort),
}

enum Sort {
    Empty,
    None,
    Phys,
    Veth,
}

/// Takes in `lxc.net.` with `rest` behind it. `None` if there is no such key.
pub(crate) fn interface(
    all: &mut Interfaces,
    rest: &str,
    line: &Line<'_>,
    findings: &mut Findings,
) -> Option<()> {
    let (number, key) = rest.split_once('.')?;
    let number: u32 = number.parse().ok().filter(|number| *number < 64)?;
    if !matches!(key, "type" | "link" | "flags" | "name" | "ipv4.address" | "ipv4.gateway") {
        return None;
    }
    let draft = all.0.entry(number).or_insert_with(|| Draft { line: line.number, ..Draft::default() });
    match key {
        "type" => draft.kind = sort(line, findings).map_or(Given::Wrong, Given::As),
        "link" => draft.link = interface_name(line, findings),
        "flags" => draft.up = flags(line, findings),
        "name" => draft.name = interface_name(line, findings),
        "ipv4.address" => draft.addresses.extend(address(line, findings)),
        _ => draft.gateway = gateway(line, findings),
    }
    Some(())
}

impl Interfaces {
    pub(crate) fn finish(&mut self, file: &str, findings: &mut Findings) -> Box<[NetInterface]> {
        let drafts = core::mem::take(&mut self.0);
        drafts.into_iter().filter_map(|(index, draft)| draft.finish(index, file, findings)).collect()
    }
}

impl Draft {
    fn finish(self, index: u32, file: &str, findings: &mut Findings) -> Option<NetInterface> {
        let place = |key| Place::Line { number: self.line, key: format!("lxc.net.{index}.{key}").into() };
        let kind = match (self.kind, self.link) {
            (Given::Wrong, _) => return None,
            (Given::Not, _) => {
                findings.error(file, place("type"), "nothing", "empty, none, phys or veth");
                return None;
            }
            (Given::As(Sort::Empty), _) => NetKind::Empty,
            (Given::As(Sort::None), _) => NetKind::None,
            (Given::As(Sort::Veth), link) => NetKind::Veth { link },
            (Given::As(Sort::Phys), Some(link)) => NetKind::Phys { link },
            (Given::As(Sort::Phys), None) => {
                let allowed = "the host's interface that is moved into the container";
                findings.error(file, place("link"), "nothing", allowed);
                return None;
            }
        };
        Some(NetInterface {
            index,
            kind,
            up: self.up.unwrap_or(Up::No),
            name: self.name,
            addresses: self.addresses.into(),
            gateway: self.gateway,
        })
    }
}

fn sort(line: &Line<'_>, findings: &mut Findings) -> Option<Sort> {
    match line.value {
        "empty" => Some(Sort::Empty),
        "none" => Some(Sort::None),
        "phys" => Some(Sort::Phys),
        "veth" => Some(Sort::Veth),
        _ => {
            line.refuse(findings, "empty, none, phys or veth");
            None
        }
    }
}

/// The kernel's rule for names of interfaces.
fn interface_name(line: &Line<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let odd = |character: char| character == '/' || character == ':' || character.is_whitespace();
    if !(1..=15).contains(&line.value.len()) || line.value.contains(odd) || matches!(line.value, "." | "..") {
        line.refuse(findings, "the name of an interface: 1 to 15 bytes without /, : and blanks");
        return None;
    }
    Some(line.value.into())
}

fn flags(line: &Line<'_>, findings: &mut Findings) -> Option<Up> {
    match line.value {
        "up" => Some(Up::Yes),
        "" => Some(Up::No),
        _ => {
            line.refuse(findings, "up, or nothing");
            None
        }
    }
}

fn address(line: &Line<'_>, findings: &mut Findings) -> Option<Ipv4Network> {
    let parsed = network_of(line.value);
    if parsed.is_none() {
        line.refuse(findings, "an IPv4 address with the length of its prefix, such as 10.0.3.2/24");
    }
    parsed
}

/// `ADDRESS[/PREFIX] [BROADCAST]`; the kernel works the broadcast address out by itself.
fn network_of(text: &str) -> Option<Ipv4Network> {
    let mut words = text.split_whitespace();
    let (address, prefix) = match words.next()?.split_once('/') {
        Some((address, prefix)) => {
            (address.parse().ok()?, prefix.parse().ok().filter(|prefix| *prefix <= 32)?)
        }
        None => (text.split_whitespace().next()?.parse().ok()?, 32),
    };
    if let Some(broadcast) = words.next() {
        broadcast.parse::<core::net::Ipv4Addr>().ok()?;
    }
    words.next().is_none().then_some(Ipv4Network { address, prefix })
}

fn gateway(line: &Line<'_>, findings: &mut Findings) -> Option<Gateway> {
    if line.value == "auto" {
        return Some(Gateway::Auto);
    }
    let address = line.value.parse().ok().map(Gateway::Address);
    if address.is_none() {
        line.refuse(findings, "an IPv4 address, or auto");
    }
    address
}
