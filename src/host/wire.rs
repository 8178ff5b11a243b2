//! Plans as bytes, for the way to the launcher and back: both ends are this very binary.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::lxc::{DeviceAccess, DeviceRule, Devices, Gateway, Ipv4Network, Up, Verdict};
use model::setup::{
    Capabilities, Create, Depth, DeviceKind, Link, MountAttribute, MountStep, Namespace, Need, OverlayMarks,
    Place, SecurityModule, SetupStep, Tree, Upper,
};
use nix::errno::Errno;

use crate::error::HostError;

/// A value that can be put into bytes and taken out again. Taking fails on bytes that were not put by the same program.
pub(crate) trait Wire: Sized {
    fn put(&self, to: &mut Vec<u8>);
    fn take(from: &mut &[u8]) -> Option<Self>;
}

pub(crate) fn to_bytes(value: &impl Wire) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4096);
    value.put(&mut bytes);
    bytes
}

pub(crate) fn from_bytes<T: Wire>(mut bytes: &[u8]) -> Option<T> {
    T::take(&mut bytes)
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn put(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_ne_bytes());
            }

            fn take(from: &mut &[u8]) -> Option<$number> {
                let (bytes, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(<$number>::from_ne_bytes(*bytes))
            }
        }
    )*};
}

numbers!(u8, u32, u64, i32);

impl Wire for String {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u64).put(to);
        to.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut &[u8]) -> Option<String> {
        let length = usize::try_from(u64::take(from)?).ok()?;
        let (text, rest) = from.split_at_checked(length)?;
        *from = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u64).put(to);
        self.iter().for_each(|item| item.put(to));
    }

    fn take(from: &mut &[u8]) -> Option<Vec<T>> {
        let length = u64::take(from)?;
        (0..length).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire + Ord> Wire for BTreeSet<T> {
    fn put(&self, to: &mut Vec<u8>) {
        (self.len() as u64).put(to);
        self.iter().for_each(|item| item.put(to));
    }

    fn take(from: &mut &[u8]) -> Option<BTreeSet<T>> {
        let length = u64::take(from)?;
        (0..length).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Vec<u8>) {
        u8::from(self.is_some()).put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Option<T>> {
        match u8::take(from)? {
            0 => Some(None),
            _ => T::take(from).map(Some),
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<(A, B)> {
        Some((A::take(from)?, B::take(from)?))
    }
}

macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                $(self.$field.put(to);)*
            }

            fn take(from: &mut &[u8]) -> Option<$name> {
                Some($name { $($field: Wire::take(from)?),* })
            }
        }
    )*};
}

macro_rules! enums {
    ($($name:ident { $($tag:literal => $variant:ident { $($field:ident),* })* })*) => {$(
        impl Wire for $name {
            fn put(&self, to: &mut Vec<u8>) {
                match self {
                    $($name::$variant { $($field),* } => {
                        to.push($tag);
                        $($field.put(to);)*
                    })*
                }
            }

            fn take(from: &mut &[u8]) -> Option<$name> {
                match u8::take(from)? {
                    $($tag => Some($name::$variant { $($field: Wire::take(from)?),* }),)*
                    _ => None,
                }
            }
        }
    )*};
}

structs! {
    Place { anchor, path }
    Upper { changes, work }
    Ipv4Network { address, prefix }
    DeviceRule { verdict, devices, access }
}

enums! {
    Namespace { 0 => Pid {} 1 => Uts {} 2 => Ipc {} 3 => Cgroup {} 4 => Network {} }
    DeviceKind { 0 => Block {} 1 => Character {} }
    Depth { 0 => One {} 1 => All {} }
    Create { 0 => Nothing {} 1 => Folder {} 2 => File {} 3 => Alike {} }
    Need { 0 => Required {} 1 => Optional {} }
    OverlayMarks { 0 => Trusted {} 1 => User {} }
    MountAttribute { 0 => ReadOnly {} 1 => NoSuid {} 2 => NoDevices {} 3 => NoExecution {} 4 => NoAccessTime {} }
    SecurityModule { 0 => AppArmor {} 1 => Selinux {} }
    Verdict { 0 => Allow {} 1 => Deny {} }
    Up { 0 => Yes {} 1 => No {} }
    Link { 0 => Pair { bridge } 1 => Device { name } }
    Tree {
        0 => Bind { place, depth }
        1 => New { kind, options }
        2 => Overlay { lower, upper, marks }
    }
    SetupStep {
        0 => HostName { name }
        1 => LoopbackUp {}
        2 => Root { tree, attributes }
        3 => Mount { tree, target, attributes, create, need }
        4 => Folder { path, mode }
        5 => Node { path, kind, major, minor, mode }
        6 => Link { path, to }
        7 => Console {}
        8 => Mask { path }
        9 => ReadOnly { path }
        10 => Write { path, value, need }
        11 => Limit { resource, soft, hard }
        12 => Capabilities { keep }
        13 => User { uid, gid }
        14 => NoNewPrivileges {}
        15 => SystemCalls { profile }
        16 => WorkFolder { path }
        17 => Execute { arguments, environment }
        19 => Writable { path }
        20 => Devices { rules }
        21 => Label { module, label }
        18 => Interface { name, link, up, addresses, gateway }
    }
    MountStep {
        0 => Folder { path, mode }
        1 => Link { path, to }
        2 => Image { file, device, target }
        3 => Mount { tree, target, attributes }
        4 => File { path }
    }
}

impl Wire for Capabilities {
    fn put(&self, to: &mut Vec<u8>) {
        self.0.put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Capabilities> {
        u64::take(from).map(Capabilities)
    }
}

impl Wire for DeviceAccess {
    fn put(&self, to: &mut Vec<u8>) {
        self.bits().put(to);
    }

    fn take(from: &mut &[u8]) -> Option<DeviceAccess> {
        DeviceAccess::from_bits(u8::take(from)?)
    }
}

impl Wire for Devices {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Devices::All => None,
            Devices::Character(major, minor) => Some((DeviceKind::Character, (*major, *minor))),
            Devices::Block(major, minor) => Some((DeviceKind::Block, (*major, *minor))),
        }
        .put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Devices> {
        Some(match Wire::take(from)? {
            None => Devices::All,
            Some((DeviceKind::Character, (major, minor))) => Devices::Character(major, minor),
            Some((DeviceKind::Block, (major, minor))) => Devices::Block(major, minor),
        })
    }
}

impl Wire for Ipv4Addr {
    fn put(&self, to: &mut Vec<u8>) {
        self.to_bits().put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Ipv4Addr> {
        u32::take(from).map(Ipv4Addr::from_bits)
    }
}

impl Wire for Gateway {
    fn put(&self, to: &mut Vec<u8>) {
        match self {
            Gateway::Auto => None,
            Gateway::Address(address) => Some(*address),
        }
        .put(to);
    }

    fn take(from: &mut &[u8]) -> Option<Gateway> {
        Some(<Option<Ipv4Addr> as Wire>::take(from)?.map_or(Gateway::Auto, Gateway::Address))
    }
}

impl Wire for HostError {
    fn put(&self, to: &mut Vec<u8>) {
        String::from(&*self.op).put(to);
        self.subject.put(to);
        (self.errno as i32).put(to);
    }

    fn take(from: &mut &[u8]) -> Option<HostError> {
        Some(HostError {
            op: String::take(from)?.into(),
            subject: String::take(from)?,
            errno: Errno::from_raw(i32::take(from)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was() {
        let plan = vec![
            SetupStep::HostName { name: "c".into() },
            SetupStep::Mount {
                tree: Tree::Overlay {
                    lower: vec![Place::of_device("/a"), Place { anchor: "/b".into(), path: "c".into() }],
                    upper: Some(Upper { changes: Place::of_device("/u"), work: Place::of_device("/w") }),
                    marks: OverlayMarks::User,
                },
                target: "/data".into(),
                attributes: BTreeSet::from([MountAttribute::ReadOnly, MountAttribute::NoSuid]),
                create: Create::Folder,
                need: Need::Optional,
            },
            SetupStep::Devices {
                rules: vec![
                    DeviceRule { verdict: Verdict::Deny, devices: Devices::All, access: DeviceAccess::ALL },
                    DeviceRule {
                        verdict: Verdict::Allow,
                        devices: Devices::Block(Some(8), None),
                        access: DeviceAccess::ALL,
                    },
                ],
            },
            SetupStep::Capabilities { keep: Capabilities::ALL.without(3) },
            SetupStep::Label { module: SecurityModule::Selinux, label: "a:b:c".into() },
            SetupStep::Execute { arguments: vec!["/sbin/init".into()], environment: vec!["A=b".into()] },
        ];
        assert_eq!(from_bytes::<Vec<SetupStep>>(&to_bytes(&plan)), Some(plan));
    }

    #[test]
    fn cut_bytes_are_refused() {
        let bytes = to_bytes(&vec![SetupStep::WorkFolder { path: "/a/b".into() }]);
        for end in 0..bytes.len() {
            assert_eq!(from_bytes::<Vec<SetupStep>>(&bytes[..end]), None);
        }
    }
}
