//! What the host is told to do for a container, as plain data: its mounts, its control group, each step before its program.
//!
//! `engine/setup.rs` makes these values; `host` carries them out in order and names the one that failed.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::lxc::{DeviceRule, Gateway, Ipv4Network, Up};

/// Everything a start needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StartPlan {
    /// The namespaces that are new; a mount namespace always is.
    pub namespaces: BTreeSet<Namespace>,
    /// What is written to its control group, where the host has control groups.
    pub cgroup: CgroupPlan,
    /// In order; the last one is [`SetupStep::Execute`].
    pub steps: Vec<SetupStep>,
}

/// A namespace that a container may have for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Process numbers.
    Pid,
    /// Host name.
    Uts,
    /// System V IPC, POSIX message queues.
    Ipc,
    /// The view of control groups.
    Cgroup,
    /// Network; made by the child itself, because it takes longest.
    Network,
}

/// What is written to a container's control group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CgroupPlan {
    /// `pids.max`.
    pub processes: ProcessLimit,
    /// File name to value, in order; each must be writable, or the start fails.
    pub values: Vec<(String, String)>,
}

/// How many processes a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcessLimit {
    /// At most so many, where the host can limit them.
    AtMost(u32),
    /// As many as the host bears, because the conf says so.
    Unlimited,
}

/// A sort of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// `b`
    Block,
    /// `c`
    Character,
}

/// One thing that the child does before its program is executed. Paths named `target` or `path` are the container's own and
/// are resolved inside its root: no symlink leads outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SetupStep {
    /// Set the host name of its own uts namespace.
    HostName {
        /// The name.
        name: String,
    },
    /// Set its own network namespace's loopback device up.
    LoopbackUp,
    /// Bring an interface into its own network namespace.
    Interface {
        /// What it is called there.
        name: String,
        /// Where it comes from.
        link: Link,
        /// Whether it is brought up.
        up: Up,
        /// Its addresses.
        addresses: Vec<Ipv4Network>,
        /// Where everything else is reached; `auto` is the bridge's own address.
        gateway: Option<Gateway>,
    },
    /// Make a tree the root.
    Root {
        /// What becomes the root.
        tree: Tree,
        /// Beside those of the tree.
        attributes: BTreeSet<MountAttribute>,
    },
    /// Attach a tree below the root. Every tree is taken before the root is entered, so `tree` is a place of the device.
    Mount {
        /// What is attached.
        tree: Tree,
        /// Where.
        target: String,
        /// Beside those of the tree.
        attributes: BTreeSet<MountAttribute>,
        /// What is made when the target is not there.
        create: Create,
        /// What happens when it cannot be done.
        need: Need,
    },
    /// Make a folder, with its parents, if it is not there.
    Folder {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Make a device node.
    Node {
        /// Where.
        path: String,
        /// Block or character.
        kind: DeviceKind,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Make a symbolic link.
    Link {
        /// Where.
        path: String,
        /// Its text.
        to: String,
    },
    /// Make a terminal in the container's own `/dev/pts`, show it as `/dev/console`, hand its other side to the agent.
    Console,
    /// Hide a file or folder, if it is there.
    Mask {
        /// Which.
        path: String,
    },
    /// Make a file or folder read-only, if it is there.
    ReadOnly {
        /// Which.
        path: String,
    },
    /// Make a folder writable that lies in something read-only, if it is there.
    Writable {
        /// Which.
        path: String,
    },
    /// Write a file of the container's own `/proc`.
    Write {
        /// Which.
        path: String,
        /// What.
        value: String,
        /// What happens when it cannot be done.
        need: Need,
    },
    /// Let the container's control group use only some devices. Follows everything that makes or opens one.
    Devices {
        /// The last rule that matches decides; without one the answer is no.
        rules: Vec<DeviceRule>,
    },
    /// Set a resource limit.
    Limit {
        /// `RLIMIT_…` as a number.
        resource: u32,
        /// In the resource's unit; `u64::MAX` is no limit.
        soft: u64,
        /// In the resource's unit; `u64::MAX` is no limit.
        hard: u64,
    },
    /// Drop every capability that is not kept.
    Capabilities {
        /// Those kept.
        keep: Capabilities,
    },
    /// Become a user. Follows `Capabilities`.
    User {
        /// Its user number.
        uid: u32,
        /// Its group number; no further groups are kept.
        gid: u32,
    },
    /// Let no program of the container gain privileges by being executed.
    NoNewPrivileges,
    /// Filter system calls. Those of the steps that follow must pass too, up to exec. Needs the capability to do so, or
    /// `NoNewPrivileges` before it.
    SystemCalls {
        /// Its profile: a file of the device, read before the root is entered.
        profile: String,
    },
    /// Have the program run under a label of a security module.
    Label {
        /// Whose.
        module: SecurityModule,
        /// Which.
        label: String,
    },
    /// Change the working folder.
    WorkFolder {
        /// Where.
        path: String,
    },
    /// Become the container's program.
    Execute {
        /// The program, then its arguments. A program without `/` is looked for in the `PATH` of the environment.
        arguments: Vec<String>,
        /// `NAME=value`.
        environment: Vec<String>,
    },
}

/// A security module of the kernel that labels programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityModule {
    /// Its labels are names of profiles.
    AppArmor,
    /// Its labels are contexts.
    Selinux,
}

/// Where an interface of a container comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Link {
    /// It is one end of a pair that is made; the other end stays on the device, up.
    Pair {
        /// What the other end is attached to.
        bridge: Option<String>,
    },
    /// The device's own interface is moved; the device has it back when the container ends.
    Device {
        /// What it is called there.
        name: String,
    },
}

/// Something that can be attached to the container's tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tree {
    /// A file or folder of the device.
    Bind {
        /// Which.
        place: Place,
        /// Whether what is mounted below comes along.
        depth: Depth,
    },
    /// A file system without a disk: `tmpfs`, `proc`, `sysfs`, `devpts`, `mqueue`, `cgroup2`.
    New {
        /// As the kernel names it.
        kind: String,
        /// Option to value; an empty value is a flag.
        options: Vec<(String, String)>,
    },
    /// Layers of folders.
    Overlay {
        /// Topmost first.
        lower: Vec<Place>,
        /// Where changes go; without it nothing can be changed.
        upper: Option<Upper>,
        /// Where its marks are kept.
        marks: OverlayMarks,
    },
}

/// A path of the device: `path` is resolved inside `anchor`, so that no symlink written by a container leads out of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// A folder (or, with an empty `path`, a file) that only the device decides about.
    pub anchor: String,
    /// Below it; empty for the anchor itself.
    pub path: String,
}

/// The writable side of an overlay. Both folders are made if they are not there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upper {
    /// Changes.
    pub changes: Place,
    /// Work in progress, on the same file system.
    pub work: Place,
}

/// Where an overlay keeps its own marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverlayMarks {
    /// In `trusted.` attributes.
    Trusted,
    /// In `user.` attributes, because the agent is not privileged.
    User,
}

/// How much of a tree is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depth {
    /// The one mount.
    One,
    /// With all mounts below.
    All,
}

/// An attribute of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MountAttribute {
    /// `ro`
    ReadOnly,
    /// `nosuid`
    NoSuid,
    /// `nodev`
    NoDevices,
    /// `noexec`
    NoExecution,
    /// `noatime`
    NoAccessTime,
}

/// What is made when a mount's target is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Create {
    /// Nothing; the step fails.
    Nothing,
    /// A folder, with its parents.
    Folder,
    /// An empty file, with its parents.
    File,
    /// Whichever the tree is.
    Alike,
}

/// What happens when a step cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The start fails.
    Required,
    /// It is left out.
    Optional,
}

/// A set of capabilities, one bit per number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u64);

/// One thing that is done when a container's own mounts are made, in the namespace where all containers' mounts are held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MountStep {
    /// Make a folder, with its parents, if it is not there.
    Folder {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Make a symbolic link.
    Link {
        /// Where.
        path: String,
        /// Its text.
        to: String,
    },
    /// Make an empty file, with its parents, if it is not there.
    File {
        /// Where.
        path: String,
    },
    /// Mount an image read-only: erofs from its file, squashfs by a loop device, which all mounts of the image share. The folder
    /// is made.
    Image {
        /// The image.
        file: String,
        /// The link that names its loop device to those that mount it later.
        device: String,
        /// Where.
        target: String,
    },
    /// Mount a tree. The folder is made.
    Mount {
        /// What.
        tree: Tree,
        /// Where.
        target: String,
        /// Beside those of the tree.
        attributes: BTreeSet<MountAttribute>,
    },
}

impl Place {
    /// A path that only the device decides about.
    pub fn of_device(path: impl Into<String>) -> Place {
        Place { anchor: path.into(), path: String::new() }
    }
}

impl Capabilities {
    /// Every capability, known or not.
    pub const ALL: Capabilities = Capabilities(u64::MAX);

    /// No capability.
    pub const NONE: Capabilities = Capabilities(0);

    /// Whether the capability of that number is in.
    pub fn contains(self, number: u8) -> bool {
        number < 64 && self.0 & (1 << number) != 0
    }

    /// With the capability of that number.
    #[must_use]
    pub fn with(self, number: u8) -> Capabilities {
        if number < 64 { Capabilities(self.0 | 1 << number) } else { self }
    }

    /// Without the capability of that number.
    #[must_use]
    pub fn without(self, number: u8) -> Capabilities {
        if number < 64 { Capabilities(self.0 & !(1 << number)) } else { self }
    }
}
