//! One container's `run.json`, parsed.

use alloc::boxed::Box;

use crate::ids::Digest;

/// What a container is made of, beside what its `lxc.container.conf` says. Every file name is relative to its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunSpec {
    /// Whether it has a program.
    pub kind: Kind,
    /// Its root.
    pub root: Option<Volume>,
    /// More images, each mounted at `/volumes/<container>/<file>`.
    pub volumes: Box<[Volume]>,
    /// What it may write to, in key order.
    pub storage: Box<[Storage]>,
    /// What it wants of the device and of others, which is rare.
    pub wants: Option<Box<Wants>>,
    /// More files of it to collect.
    pub logs: Box<[LogFile]>,
    /// Paths of it that others see.
    pub exports: Box<[Box<str>]>,
    /// Whether `/dev/log` is bound into it.
    pub dev_log: DevLog,
}

impl RunSpec {
    /// The storage whose key is `lxc-overlay`: the writable layer of the root.
    pub fn writable_layer(&self) -> Option<&Storage> {
        self.storage.iter().find(|storage| storage.purpose() == Purpose::RootOverlay)
    }
}

/// Whether a container has a program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only mounted: `type` is absent.
    Data,
    /// `lxc`: started as this file, an `lxc.container.conf`, says.
    Lxc {
        /// Its name in the container's folder.
        config: Box<str>,
    },
}

/// An image, or a folder that stands for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Volume {
    /// Its name in the container's folder.
    pub file: Box<str>,
    /// Where its bytes are.
    pub source: VolumeSource,
}

/// Where a volume's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VolumeSource {
    /// An object: a squashfs or erofs image, told by its first bytes.
    Image(Digest),
    /// The same, under dm-verity by its `_dm/<file>.json`.
    Verity(Digest),
    /// Keys below `<container>/<file>/`: a plain folder in the trail.
    Folder,
}

/// One place that can be written to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Storage {
    /// Its key: `lxc-overlay`, `docker-<path with / as ->`, `dockerovl-…` or any other name.
    pub key: Box<str>,
    /// How long what is written lasts.
    pub persistence: Persistence,
    /// On which disk of `device.json`; none: the device's own.
    pub disk: Option<Box<str>>,
}

impl Storage {
    /// By its key.
    pub fn purpose(&self) -> Purpose {
        if &*self.key == "lxc-overlay" {
            Purpose::RootOverlay
        } else if self.key.starts_with("dockerovl-") {
            Purpose::PathOverlay
        } else {
            Purpose::Volume
        }
    }
}

/// What a storage is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The writable layer of the root, seen by the conf as `/volumes/<container>/lxc-overlay`.
    RootOverlay,
    /// The writable layer of a path, seen by the conf as `/volumes/<container>/<key>`.
    PathOverlay,
    /// A folder, seen by the conf as `/volumes/<container>/<key>`.
    Volume,
}

/// How long what is written lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Persistence {
    /// Across revisions: `disks/perm/<container>/<key>`.
    Permanent,
    /// While the revision stays: `disks/rev/<revision>/<container>/<key>`.
    Revision,
    /// Until the device or the agent starts over.
    Boot,
}

/// What a container wants of the device and of others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Wants {
    /// Driver aliases of the BSP.
    pub drivers: Needs,
    /// Services of others.
    pub services: Needs,
    /// An address from a pool.
    pub network: Option<PoolAddress>,
}

/// Names by how much they are needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Needs {
    /// Without them it cannot run.
    pub required: Box<[Box<str>]>,
    /// It runs without them.
    pub optional: Box<[Box<str>]>,
    /// Loaded or wired only when asked for.
    pub manual: Box<[Box<str>]>,
}

/// An address from a pool of `device.json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolAddress {
    /// The pool's name.
    pub pool: Box<str>,
    /// The name others reach it by.
    pub hostname: Option<Box<str>>,
    /// A fixed address.
    pub ip: Option<core::net::IpAddr>,
    /// A fixed hardware address.
    pub mac: Option<[u8; 6]>,
}

/// A file of the container to collect as a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogFile {
    /// Which file.
    pub source: LogSource,
    /// Bytes at which it is rotated.
    pub max_size: Option<u64>,
    /// What happens to the container's own copy then.
    pub after_reading: AfterReading,
    /// Its name among the logs.
    pub name: Option<Box<str>>,
}

/// Which file of a container is collected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// `file`: this path in the container.
    File(Box<str>),
    /// `lxc`: what its start says.
    Start,
    /// `console`: what it writes to its console.
    Console,
}

/// What happens to the container's own copy of a collected file that reached its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AfterReading {
    /// It is left.
    Keep,
    /// It is truncated.
    Truncate,
}

/// Whether the container's own `/dev` has a `log`, where programs send their messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DevLog {
    /// It has.
    Present,
    /// It has not: the container brings a log server of its own.
    Absent,
}
