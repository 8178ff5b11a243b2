//! The closed vocabularies of an `lxc.container.conf`: capabilities, namespaces, resources, signals.

use alloc::boxed::Box;

/// A capability of the kernel, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

/// By number, from linux/capability.h.
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

impl Capability {
    /// By its lower-case name without `cap_`.
    pub fn by_name(name: &str) -> Option<Capability> {
        let number = CAPABILITIES.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Capability)
    }

    /// As in linux/capability.h.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Lower case, without `cap_`.
    pub fn name(self) -> &'static str {
        CAPABILITIES[usize::from(self.0)]
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// None of them.
    pub const EMPTY: CapabilitySet = CapabilitySet(0);

    /// One bit per number, as the kernel has it.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Puts one in.
    pub fn insert(&mut self, capability: Capability) {
        self.0 |= 1 << capability.0;
    }

    /// Whether it is in.
    pub fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// By number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0..64).filter(move |number| self.0 & (1 << number) != 0).map(Capability)
    }
}

/// A sort of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Process numbers.
    Pid,
    /// Host name.
    Uts,
    /// System V and POSIX queues, semaphores, shared memory.
    Ipc,
    /// Network.
    Net,
    /// User and group numbers.
    User,
    /// The view of the cgroup tree.
    Cgroup,
    /// Clocks since boot.
    Time,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Namespace; 8] = [
        Namespace::Mount,
        Namespace::Pid,
        Namespace::Uts,
        Namespace::Ipc,
        Namespace::Net,
        Namespace::User,
        Namespace::Cgroup,
        Namespace::Time,
    ];

    /// As `/proc/PID/ns` and the conf have it.
    pub fn name(self) -> &'static str {
        match self {
            Namespace::Mount => "mnt",
            Namespace::Pid => "pid",
            Namespace::Uts => "uts",
            Namespace::Ipc => "ipc",
            Namespace::Net => "net",
            Namespace::User => "user",
            Namespace::Cgroup => "cgroup",
            Namespace::Time => "time",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceSet(u8);

impl NamespaceSet {
    /// None of them.
    pub const EMPTY: NamespaceSet = NamespaceSet(0);
    /// What a container has as its own unless its conf says otherwise.
    pub const CONTAINER: NamespaceSet = NamespaceSet(
        Namespace::Mount.bit()
            | Namespace::Pid.bit()
            | Namespace::Uts.bit()
            | Namespace::Ipc.bit()
            | Namespace::Net.bit()
            | Namespace::Cgroup.bit(),
    );

    /// Whether it is in.
    pub fn contains(self, namespace: Namespace) -> bool {
        self.0 & namespace.bit() != 0
    }

    /// With one more.
    #[must_use]
    pub fn with(self, namespace: Namespace) -> NamespaceSet {
        NamespaceSet(self.0 | namespace.bit())
    }

    /// With one less.
    #[must_use]
    pub fn without(self, namespace: Namespace) -> NamespaceSet {
        NamespaceSet(self.0 & !namespace.bit())
    }

    /// In the order of [`Namespace::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Namespace> {
        Namespace::ALL.into_iter().filter(move |namespace| self.contains(*namespace))
    }
}

/// What `lxc.prlimit.*` limits. The numbers are those of x86 and ARM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(u8);

/// By number, from asm-generic/resource.h.
const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

impl Resource {
    /// By its lower-case name without `RLIMIT_`.
    pub fn by_name(name: &str) -> Option<Resource> {
        let number = RESOURCES.iter().position(|known| *known == name)?;
        u8::try_from(number).ok().map(Resource)
    }

    /// As in asm-generic/resource.h.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Lower case, without `RLIMIT_`.
    pub fn name(self) -> &'static str {
        RESOURCES[usize::from(self.0)]
    }
}

/// A signal, by its number (1 to 64). The numbers are those of x86 and ARM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StopSignal(u8);

/// By number, from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl StopSignal {
    /// SIGKILL.
    pub const KILL: StopSignal = StopSignal(9);
    /// SIGTERM.
    pub const TERM: StopSignal = StopSignal(15);
    /// SIGPWR, which asks an init to halt.
    pub const POWER: StopSignal = StopSignal(30);

    /// What asks a program to end where nothing else is said: SIGPWR an init, SIGTERM whatever is not one.
    pub fn that_halts(command: &[Box<str>]) -> StopSignal {
        let program = command.first().and_then(|path| path.rsplit('/').next());
        match program {
            Some("init" | "systemd" | "openrc-init") => StopSignal::POWER,
            Some("busybox") if command.get(1).is_some_and(|word| **word == *"init") => StopSignal::POWER,
            Some(_) | None => StopSignal::TERM,
        }
    }

    /// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`, `SIGRTMAX-1`.
    pub fn by_name(text: &str) -> Option<StopSignal> {
        if let Ok(number) = text.parse::<u8>() {
            return (1..=64).contains(&number).then_some(StopSignal(number));
        }
        let name = text.strip_prefix("SIG").unwrap_or(text);
        if let Some(rest) = name.strip_prefix("RTMIN") {
            let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse::<u8>().ok()? };
            return (offset <= 30).then(|| StopSignal(34 + offset));
        }
        if let Some(rest) = name.strip_prefix("RTMAX") {
            let offset = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse::<u8>().ok()? };
            return (offset <= 30).then(|| StopSignal(64 - offset));
        }
        let index = SIGNALS.iter().position(|known| *known == name)?;
        u8::try_from(index + 1).ok().map(StopSignal)
    }

    /// As the kernel has it.
    pub fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_by_number() {
        let number = |text| StopSignal::by_name(text).map(StopSignal::number);
        assert_eq!(
            ["SIGTERM", "TERM", "15", "SIGPWR", "SIGRTMIN+3", "SIGRTMAX-1"].map(number),
            [Some(15), Some(15), Some(15), Some(30), Some(37), Some(63)]
        );
        assert_eq!(["0", "65", "SIGRTMIN+31", "SIGRTMIN-1", "sigterm", ""].map(number), [None; 6]);
    }

    #[test]
    fn an_init_is_asked_by_sigpwr_and_whatever_is_none_by_sigterm() {
        let halts = |words: &[&str]| {
            StopSignal::that_halts(&words.iter().map(|word| Box::from(*word)).collect::<alloc::vec::Vec<_>>())
        };
        for init in [&["/sbin/init"][..], &["/lib/systemd/systemd", "--unit=x"], &["/bin/busybox", "init"]] {
            assert_eq!(halts(init), StopSignal::POWER, "{init:?}");
        }
        for other in [&["/app"][..], &["/usr/bin/dumb-init", "/app"], &["/bin/busybox", "sh"], &["/init/app"]]
        {
            assert_eq!(halts(other), StopSignal::TERM, "{other:?}");
        }
    }

    #[test]
    fn capabilities_keep_their_numbers() {
        assert_eq!(
            ["chown", "sys_admin", "checkpoint_restore"]
                .map(|name| Capability::by_name(name).unwrap().number()),
            [0, 21, 40]
        );
        let mut set = CapabilitySet::EMPTY;
        set.insert(Capability::by_name("bpf").unwrap());
        assert_eq!((set.bits(), set.iter().next().unwrap().name()), (1 << 39, "bpf"));
    }
}
