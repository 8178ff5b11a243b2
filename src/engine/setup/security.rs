//! What a container may not: devices, processes, hidden paths, limits, capabilities, user.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use model::lxc::{
    self, Access, DeviceAccess, DeviceRule, Devices, LxcConf, NewPrivileges, Profiles, Verdict,
};
use model::report::Failure;
use model::setup::{Capabilities, CgroupPlan, Namespace, Need, ProcessLimit, SecurityModule, SetupStep};

use super::{Context, ProcessLimiting, unsupported};

/// Its number in linux/capability.h.
pub(super) const SYS_ADMIN: u8 = 21;

const MOST_PROCESSES: u32 = 4096;

/// The kernel does not use numbers below 300 again once it has run through all, so a bound near that would soon leave none.
const LEAST_BOUND_BY_NUMBERS: u32 = 512;

/// As container runtimes have them.
const HIDDEN_IN_PROC: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/interrupts",
];
const READ_ONLY_IN_PROC: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const HIDDEN_IN_SYS: [&str; 2] = ["/sys/firmware", "/sys/devices/virtual/powercap"];

pub(super) fn cgroup(conf: &LxcConf, context: &Context) -> Result<CgroupPlan, Failure> {
    let processes = match own_limit(conf) {
        Some(_) => ProcessLimit::Unlimited,
        None => ProcessLimit::AtMost(MOST_PROCESSES),
    };
    let by_numbers = context.processes == ProcessLimiting::PidNamespace;
    let written = || conf.cgroup.iter().filter(|value| !(by_numbers && &*value.file == "pids.max"));
    if context.cgroup.is_none() {
        if devices(conf).is_some() {
            return Err(unsupported("attach device rules: they need control groups of version 2".to_owned()));
        }
        if let Some(value) = written().next() {
            return Err(unsupported(format!("set {}: it needs control groups of version 2", value.file)));
        }
    }
    let values = written().map(|value| match value.version {
        lxc::CgroupVersion::V2 => Ok((value.file.to_string(), value.value.to_string())),
        lxc::CgroupVersion::V1 => Err(unsupported(format!(
            "set lxc.cgroup.{}: this host's control groups are of version 2",
            value.file
        ))),
    });
    Ok(CgroupPlan { processes, values: values.collect::<Result<_, _>>()? })
}

/// As the kernel's first hierarchy has it: what no rule is about is allowed until a rule about every device says otherwise.
fn devices(conf: &LxcConf) -> Option<SetupStep> {
    let all = DeviceRule { verdict: Verdict::Allow, devices: Devices::All, access: DeviceAccess::ALL };
    let last_of_all = conf.devices.iter().rposition(|rule| rule.devices == Devices::All);
    let (first, exceptions) = match last_of_all {
        Some(at) => (conf.devices[at], &conf.devices[at + 1..]),
        None => (all, &*conf.devices),
    };
    let never_denied = exceptions.iter().all(|rule| rule.verdict == Verdict::Allow);
    match (first.verdict, never_denied) {
        (Verdict::Allow, true) => None,
        (Verdict::Allow, false) | (Verdict::Deny, _) => {
            let rules = core::iter::once(first).chain(exceptions.iter().copied()).collect();
            Some(SetupStep::Devices { rules })
        }
    }
}

pub(super) fn kept(conf: &LxcConf) -> Capabilities {
    match conf.capabilities {
        lxc::Capabilities::Drop(dropped) => Capabilities(!dropped.bits()),
        lxc::Capabilities::Keep(kept) => Capabilities(kept.bits()),
    }
}

pub(super) fn steps(
    conf: &LxcConf,
    context: &Context,
    namespaces: &BTreeSet<Namespace>,
    steps: &mut Vec<SetupStep>,
) -> Result<(), Failure> {
    let guarded = |access: Option<Access>| matches!(access, Some(Access::Mixed | Access::ReadOnly));
    steps.extend(numbers(conf, context, namespaces)?);
    if guarded(conf.auto_mounts.proc) {
        steps.extend(HIDDEN_IN_PROC.map(|path| SetupStep::Mask { path: path.to_owned() }));
        steps.extend(READ_ONLY_IN_PROC.map(|path| SetupStep::ReadOnly { path: path.to_owned() }));
    }
    if conf.auto_mounts.proc == Some(Access::Mixed) {
        // As LXC has it: a container sets up the network that it has, its own or the device's.
        steps.push(SetupStep::Writable { path: "/proc/sys/net".to_owned() });
    }
    if guarded(conf.auto_mounts.sys) {
        steps.extend(HIDDEN_IN_SYS.map(|path| SetupStep::Mask { path: path.to_owned() }));
    }
    steps.extend(devices(conf));
    steps.extend(conf.limits.iter().map(|limit| SetupStep::Limit {
        resource: limit.resource.number().into(),
        soft: limit.soft.unwrap_or(u64::MAX),
        hard: limit.hard.unwrap_or(u64::MAX),
    }));
    if kept(conf) != Capabilities::ALL {
        steps.push(SetupStep::Capabilities { keep: kept(conf) });
    }
    match conf.new_privileges {
        NewPrivileges::Refused => steps.push(SetupStep::NoNewPrivileges),
        NewPrivileges::Allowed => {}
    }
    let profiles = conf.profiles.as_deref();
    steps.extend(profiles.and_then(|profiles| profiles.seccomp.as_deref()).map(filter));
    steps.push(SetupStep::User { uid: conf.uid, gid: conf.gid });
    let path = conf.working_folder.as_deref().unwrap_or("/").to_owned();
    steps.push(SetupStep::WorkFolder { path });
    steps.extend(profiles.into_iter().flat_map(labels));
    Ok(())
}

fn own_limit(conf: &LxcConf) -> Option<&str> {
    conf.cgroup.iter().rfind(|value| &*value.file == "pids.max").map(|value| &*value.value)
}

/// Without the pids controller: how many process numbers its own pid namespace has.
fn numbers(
    conf: &LxcConf,
    context: &Context,
    namespaces: &BTreeSet<Namespace>,
) -> Result<Option<SetupStep>, Failure> {
    if context.processes != ProcessLimiting::PidNamespace {
        return Ok(None);
    }
    let possible = conf.auto_mounts.proc.is_some() && namespaces.contains(&Namespace::Pid);
    let refuse = |most: &str, why: &str| {
        unsupported(format!("limit processes to {most}: without the pids controller {why}"))
    };
    let most = match own_limit(conf) {
        Some("max") => return Ok(None),
        None if !possible => return Ok(None),
        None => MOST_PROCESSES,
        Some(most) if !possible => {
            return Err(refuse(most, "it needs a pid namespace and lxc.mount.auto = proc"));
        }
        Some(most) => {
            let number = most.parse().ok().filter(|number| *number >= LEAST_BOUND_BY_NUMBERS);
            number.ok_or_else(|| refuse(most, &format!("{LEAST_BOUND_BY_NUMBERS} is the least")))?
        }
    };
    let path = "/proc/sys/kernel/pid_max".to_owned();
    // The highest number is one less.
    let value = most.saturating_add(1).to_string();
    Ok(Some(SetupStep::Write { path, value, need: Need::Required }))
}

fn filter(profile: &str) -> SetupStep {
    SetupStep::SystemCalls { profile: profile.to_owned() }
}

fn labels(profiles: &Profiles) -> impl Iterator<Item = SetupStep> {
    let apparmor = (SecurityModule::AppArmor, &profiles.apparmor);
    let labels = [apparmor, (SecurityModule::Selinux, &profiles.selinux)].into_iter();
    labels.filter_map(|(module, label)| Some(SetupStep::Label { module, label: label.as_ref()?.to_string() }))
}
