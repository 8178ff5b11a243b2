//! What an `lxc.container.conf` asks for.

use alloc::boxed::Box;

pub use crate::lxc_words::{Capability, CapabilitySet, Namespace, NamespaceSet, Resource, StopSignal};

/// Every key that authoring tools write, in types. Paths are as the conf has them: `/volumes/…`, `/exports`, `/storage` and the
/// rest of the device on the left of a mount, paths within the container on the right.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LxcConf {
    /// `lxc.rootfs.path`; none: the container's root volume under its writable layer.
    pub rootfs: Option<Rootfs>,
    /// `lxc.init.cmd`: the program with its arguments, `/sbin/init` if the key is empty or absent.
    pub command: Box<[Box<str>]>,
    /// `lxc.init.cwd`
    pub working_folder: Option<Box<str>>,
    /// `lxc.init.uid`
    pub uid: u32,
    /// `lxc.init.gid`
    pub gid: u32,
    /// `lxc.environment`: name and value.
    pub environment: Box<[(Box<str>, Box<str>)]>,
    /// The namespaces that are its own, after `lxc.namespace.keep` and `.clone`. Mount is always among them.
    pub namespaces: NamespaceSet,
    /// `lxc.uts.name`; none: the container's name.
    pub host_name: Option<Box<str>>,
    /// `lxc.mount.auto`
    pub auto_mounts: AutoMounts,
    /// `lxc.mount.entry`, in order.
    pub mounts: Box<[MountEntry]>,
    /// `lxc.cap.drop` or `lxc.cap.keep`
    pub capabilities: Capabilities,
    /// `lxc.cgroup.devices.*` and `lxc.cgroup2.devices.*`, in order; a later rule wins.
    pub devices: Box<[DeviceRule]>,
    /// Every other `lxc.cgroup.*` and `lxc.cgroup2.*`, in order.
    pub cgroup: Box<[CgroupValue]>,
    /// `lxc.tty.max`
    pub tty_max: Option<u32>,
    /// `lxc.pty.max`
    pub pty_max: Option<u32>,
    /// `lxc.console.path`
    pub console: Console,
    /// `lxc.autodev`
    pub dev: Dev,
    /// `lxc.net.N`, by N.
    pub net: Box<[NetInterface]>,
    /// `lxc.signal.halt`: how to ask it to end; else by what its program is, see [`StopSignal::that_halts`].
    pub halt: StopSignal,
    /// `lxc.signal.stop`: how to force it.
    pub stop: StopSignal,
    /// `lxc.prlimit.*`
    pub limits: Box<[ResourceLimit]>,
    /// `lxc.no_new_privs`
    pub new_privileges: NewPrivileges,
    /// `lxc.seccomp.profile`, `lxc.apparmor.profile`, `lxc.selinux.context`, which are rare.
    pub profiles: Option<Box<Profiles>>,
}

/// `lxc.rootfs.path`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rootfs {
    /// `overlayfs:LOWER[:LOWER…]:UPPER`
    Overlay {
        /// Top first: the one named first lies over the others.
        lower: Box<[Box<str>]>,
        /// Where writes go.
        upper: Box<str>,
    },
    /// `dir:PATH`, or a plain path.
    Folder(Box<str>),
}

/// `lxc.mount.auto`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AutoMounts {
    /// `proc[:mixed|rw]`
    pub proc: Option<Access>,
    /// `sys[:ro|mixed|rw]`
    pub sys: Option<Access>,
    /// `cgroup[:ro|mixed|rw]`
    pub cgroup: Option<Access>,
    /// `cgroup…:force`: mounted even with a cgroup namespace.
    pub cgroup_force: Force,
}

/// How much of an automatic mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Nothing.
    ReadOnly,
    /// What concerns the container only; the rest is masked or read-only.
    Mixed,
    /// Everything.
    ReadWrite,
}

/// Whether cgroup is mounted where the container could do that itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Force {
    /// No.
    #[default]
    No,
    /// Yes.
    Yes,
}

/// `lxc.mount.entry`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MountEntry {
    /// A path of the device, or a file system's own word (`tmpfs`, `proc`, `none`).
    pub source: Box<str>,
    /// Relative to the container's root, without a leading slash.
    pub target: Box<str>,
    /// What is mounted.
    pub kind: MountKind,
    /// `rw` or `ro`.
    pub writes: Writes,
    /// Flags: `nosuid`, `nodev`, `noexec`, `noatime`, …, in order.
    pub flags: Box<[MountFlag]>,
    /// What the target is made as, if it is not there.
    pub create: Create,
    /// What happens when it cannot be mounted.
    pub when_missing: WhenMissing,
    /// What is left for the file system itself: `mode=755`, `size=10m`, joined by commas.
    pub options: Box<str>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// `bind`: the source without what is mounted below it.
    Bind,
    /// `rbind`: the source with what is mounted below it.
    RecursiveBind,
    /// `overlay` with its folders.
    Overlay {
        /// Top first.
        lower: Box<[Box<str>]>,
        /// Where writes go; none: read-only.
        upper: Option<Box<str>>,
        /// On the upper's file system.
        work: Option<Box<str>>,
    },
    /// A file system by its name in the kernel: `tmpfs`, `proc`, `sysfs`, `ext4`, …
    FileSystem(Box<str>),
}

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Writes {
    /// `rw`, the default.
    Allowed,
    /// `ro`
    Refused,
}

/// A flag of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountFlag {
    /// `nosuid`
    NoSuid,
    /// `nodev`
    NoDev,
    /// `noexec`
    NoExec,
    /// `noatime`
    NoAtime,
    /// `nodiratime`
    NoDirAtime,
    /// `relatime`
    RelAtime,
    /// `strictatime`
    StrictAtime,
    /// `sync`
    Sync,
    /// `dirsync`
    DirSync,
    /// `private`
    Private,
    /// `rprivate`
    RecursivePrivate,
    /// `slave`
    Slave,
    /// `rslave`
    RecursiveSlave,
    /// `shared`
    Shared,
    /// `rshared`
    RecursiveShared,
    /// `unbindable`
    Unbindable,
    /// `runbindable`
    RecursiveUnbindable,
}

/// What a mount's target is made as, if it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Create {
    /// It must be there.
    Nothing,
    /// `create=dir`
    Folder,
    /// `create=file`
    File,
}

/// What happens when a mount cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WhenMissing {
    /// The start fails.
    Fail,
    /// `optional`: the start goes on without it.
    Skip,
}

/// `lxc.cap.drop` or `lxc.cap.keep`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capabilities {
    /// All but these, of what the agent itself has.
    Drop(CapabilitySet),
    /// These only; `keep = none` is the empty set.
    Keep(CapabilitySet),
}

/// One device rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceRule {
    /// Allowed or denied.
    pub verdict: Verdict,
    /// Which devices.
    pub devices: Devices,
    /// Reading, writing, making nodes; never all `false`.
    pub access: DeviceAccess,
}

/// Allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// `lxc.cgroup.devices.allow`
    Allow,
    /// `lxc.cgroup.devices.deny`
    Deny,
}

/// Which devices a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Devices {
    /// `a`: every device, and every rule before this one is forgotten.
    All,
    /// `c MAJOR:MINOR`; none is `*`.
    Character(Option<u32>, Option<u32>),
    /// `b MAJOR:MINOR`; none is `*`.
    Block(Option<u32>, Option<u32>),
}

/// A subset of `rwm`, as bits: 1 make, 2 read, 4 write, as the kernel's `BPF_DEVCG_ACC_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceAccess(pub(crate) u8);

impl DeviceAccess {
    /// `rwm`
    pub const ALL: DeviceAccess = DeviceAccess(7);

    /// From the kernel's bits; none if they are not of these, or no access at all.
    pub fn from_bits(bits: u8) -> Option<DeviceAccess> {
        (1..=7).contains(&bits).then_some(DeviceAccess(bits))
    }

    /// The kernel's bits: 1 make, 2 read, 4 write.
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// A value written to a file of the container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupValue {
    /// Which hierarchy the conf was written for.
    pub version: CgroupVersion,
    /// The file: `memory.max`, `pids.max`, …
    pub file: Box<str>,
    /// What is written to it.
    pub value: Box<str>,
}

/// Which cgroup hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CgroupVersion {
    /// `lxc.cgroup.*`
    V1,
    /// `lxc.cgroup2.*`
    V2,
}

/// `lxc.console.path`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Console {
    /// A terminal that the agent reads.
    Terminal,
    /// `none`: no `/dev/console`.
    Absent,
    /// A path of the device.
    Path(Box<str>),
}

/// `lxc.autodev`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dev {
    /// A small `/dev` is made.
    Made,
    /// The root's own is left as it is.
    Left,
}

/// `lxc.net.N`
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetInterface {
    /// N.
    pub index: u32,
    /// Which sort.
    pub kind: NetKind,
    /// Whether it is brought up: `flags = up`.
    pub up: Up,
    /// `name`: what it is called inside.
    pub name: Option<Box<str>>,
    /// `ipv4.address`
    pub addresses: Box<[Ipv4Network]>,
    /// `ipv4.gateway`
    pub gateway: Option<Gateway>,
}

/// The sort of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NetKind {
    /// Only a loopback, brought up.
    Empty,
    /// The host's network.
    None,
    /// The host's interface `link`, moved inside.
    Phys {
        /// Its name on the host.
        link: Box<str>,
    },
    /// A pair of interfaces, the outer one attached to the bridge `link`.
    Veth {
        /// The bridge; none: not attached.
        link: Option<Box<str>>,
    },
}

/// Whether an interface is brought up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Up {
    /// It is.
    Yes,
    /// It is left down.
    No,
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Network {
    /// The address.
    pub address: core::net::Ipv4Addr,
    /// 0 to 32.
    pub prefix: u8,
}

/// `lxc.net.N.ipv4.gateway`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gateway {
    /// `auto`: the address of the bridge.
    Auto,
    /// This one.
    Address(core::net::Ipv4Addr),
}

/// `lxc.prlimit.*`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceLimit {
    /// Of what.
    pub resource: Resource,
    /// What a process is held to; none: unlimited.
    pub soft: Option<u64>,
    /// Up to where a process may raise it; none: unlimited.
    pub hard: Option<u64>,
}

/// `lxc.no_new_privs`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NewPrivileges {
    /// exec may grant them, the default.
    Allowed,
    /// exec never grants them.
    Refused,
}

/// Names of security profiles.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Profiles {
    /// `lxc.seccomp.profile`: a path of the device.
    pub seccomp: Option<Box<str>>,
    /// `lxc.apparmor.profile`: a name, neither `unconfined` nor `unchanged`.
    pub apparmor: Option<Box<str>>,
    /// `lxc.selinux.context`: a context.
    pub selinux: Option<Box<str>>,
}

impl LxcConf {
    /// Every path of the device that it names: layers of the root, sources of mounts.
    pub fn device_paths(&self) -> impl Iterator<Item = &str> {
        let (lower, upper): (&[Box<str>], _) = match &self.rootfs {
            Some(Rootfs::Overlay { lower, upper }) => (lower, Some(upper)),
            Some(Rootfs::Folder(path)) => (core::slice::from_ref(path), None),
            None => (&[], None),
        };
        let mounts = self.mounts.iter().flat_map(|mount| mount.device_paths());
        lower.iter().chain(upper).map(|path| &**path).chain(mounts)
    }
}

impl MountEntry {
    fn device_paths(&self) -> impl Iterator<Item = &str> {
        let (source, lower, upper): (_, &[Box<str>], _) = match &self.kind {
            MountKind::Bind | MountKind::RecursiveBind => (Some(&self.source), &[], None),
            MountKind::Overlay { lower, upper, work: _ } => (None, lower, upper.as_ref()),
            MountKind::FileSystem(_) => (None, &[], None),
        };
        source.into_iter().chain(lower).chain(upper).map(|path| &**path)
    }
}

impl Default for LxcConf {
    fn default() -> LxcConf {
        LxcConf {
            rootfs: None,
            command: Box::new(["/sbin/init".into()]),
            working_folder: None,
            uid: 0,
            gid: 0,
            environment: Box::new([]),
            namespaces: NamespaceSet::CONTAINER,
            host_name: None,
            auto_mounts: AutoMounts::default(),
            mounts: Box::new([]),
            capabilities: Capabilities::Drop(CapabilitySet::EMPTY),
            devices: Box::new([]),
            cgroup: Box::new([]),
            tty_max: None,
            pty_max: None,
            console: Console::Terminal,
            dev: Dev::Made,
            net: Box::new([]),
            halt: StopSignal::POWER,
            stop: StopSignal::KILL,
            limits: Box::new([]),
            new_privileges: NewPrivileges::Allowed,
            profiles: None,
        }
    }
}
