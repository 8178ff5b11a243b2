//! What a revision says about the device itself: disks, the agent's own volumes, address pools, the BSP.

use alloc::boxed::Box;

use crate::run::Storage;

/// `device.json` without its groups, `bsp/run.json`, `bsp/drivers.json`. Most devices have none of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// Of `disks`, `disks_v2` and `disks_v3`, in order; those of an unknown type in `disks_v3` left out.
    pub disks: Box<[Disk]>,
    /// `volumes`: where the agent keeps what is its own.
    pub volumes: Box<[Storage]>,
    /// `network.pools`
    pub pools: Box<[Pool]>,
    /// `bsp/run.json`; none: the kernel is not ours.
    pub bsp: Option<Box<Bsp>>,
    /// `bsp/drivers.json`
    pub drivers: Box<[DriverAlias]>,
}

/// A disk that storage may name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Disk {
    /// Its name.
    pub name: Box<str>,
    /// Its sort.
    pub kind: DiskKind,
    /// Whether storage that names none lies on it.
    pub default: DefaultDisk,
    /// Its path on the device.
    pub path: Option<Box<str>>,
}

/// The sort of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskKind {
    /// A folder of the agent's own disk.
    Directory,
    /// A file system on a block device, mounted by the agent.
    Volume,
    /// Swap on a disk.
    SwapDisk,
    /// Encrypted, the key in plain sight: for tests.
    DmCryptVersatile,
    /// Encrypted, the key held by NXP's CAAM.
    DmCryptCaam,
    /// Encrypted, the key held by NXP's DCP.
    DmCryptDcp,
}

/// Whether storage that names no disk lies on this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefaultDisk {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// An address pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Its name.
    pub name: Box<str>,
    /// Its value, canonical: later versions give it meaning.
    pub text: Box<str>,
}

/// `bsp/run.json`: file names under `bsp/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bsp {
    /// What is booted.
    pub kernel: BootImage,
    /// Kernel modules: an image, with the kernel release it is for if the key names one.
    pub modules: Option<(Option<Box<str>>, Box<str>)>,
    /// An image of firmware.
    pub firmware: Option<Box<str>>,
    /// Laid over the initrd.
    pub addons: Box<[Box<str>]>,
}

/// What is booted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BootImage {
    /// `linux`, `initrd`, `fdt`
    Parts {
        /// The kernel.
        linux: Box<str>,
        /// The agent's own first root.
        initrd: Option<Box<str>>,
        /// The device tree.
        fdt: Option<Box<str>>,
    },
    /// `fit`: all in one.
    Fit(Box<str>),
    /// `rpiab`: a Raspberry Pi boot image.
    RaspberryPi(Box<str>),
}

/// One alias of `bsp/drivers.json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DriverAlias {
    /// `all`, or `fitconfig:NAME`: for which boards.
    pub section: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Modules with arguments, in loading order; `${user-meta:KEY}` still in them.
    pub modules: Box<[Box<str>]>,
}
