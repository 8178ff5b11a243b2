//! Judges a revision that can be parsed: where it is looser than it could be.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::lxc::{Access, Capabilities, Devices, LxcConf, Namespace, NewPrivileges, Verdict};
use crate::revision::{Container, Revision, Signatures};

/// Where a revision is looser than it could be.
pub fn notes(revision: &Revision) -> Vec<String> {
    let mut notes: Vec<String> =
        revision.containers().flat_map(|container| of_container(container)).collect();
    if let Signatures::NotVerified(count) = revision.signatures() {
        notes.push(format!("signatures: {count}, not verified by this version"));
    }
    notes
}

fn of_container(container: &Container) -> Vec<String> {
    let Some(conf) = &container.conf else { return Vec::new() };
    let looser = [
        auto_mounts(conf),
        capabilities(conf),
        devices(conf),
        namespaces(conf),
        (conf.new_privileges == NewPrivileges::Allowed)
            .then(|| String::from("exec may grant privileges (lxc.no_new_privs is not 1)")),
        device_root(conf),
    ];
    looser.into_iter().flatten().map(|note| format!("{}: {note}", container.name)).collect()
}

fn auto_mounts(conf: &LxcConf) -> Option<String> {
    let mounts = &conf.auto_mounts;
    let all = [("proc", mounts.proc), ("sys", mounts.sys), ("cgroup", mounts.cgroup)];
    let writable: Vec<&str> =
        all.iter().filter(|(_, access)| *access == Some(Access::ReadWrite)).map(|(name, _)| *name).collect();
    (!writable.is_empty())
        .then(|| format!("{} can be written as a whole (lxc.mount.auto says rw)", writable.join(", ")))
}

fn capabilities(conf: &LxcConf) -> Option<String> {
    match conf.capabilities {
        Capabilities::Drop(dropped) if dropped.iter().next().is_none() => {
            Some(String::from("it has every capability (neither lxc.cap.drop nor lxc.cap.keep)"))
        }
        Capabilities::Drop(_) | Capabilities::Keep(_) => None,
    }
}

fn devices(conf: &LxcConf) -> Option<String> {
    let every = conf.devices.iter().rfind(|rule| rule.devices == Devices::All);
    match every.map(|rule| rule.verdict) {
        Some(Verdict::Deny) => None,
        Some(Verdict::Allow) => Some(String::from("it may use every device (lxc.cgroup.devices.allow = a)")),
        None => Some(String::from("it may use every device (no device rule denies a)")),
    }
}

fn namespaces(conf: &LxcConf) -> Option<String> {
    let all = [Namespace::Pid, Namespace::Uts, Namespace::Ipc, Namespace::Net, Namespace::Cgroup];
    let shared: Vec<&str> =
        all.iter().filter(|one| !conf.namespaces.contains(**one)).map(|one| one.name()).collect();
    (!shared.is_empty()).then(|| format!("it shares {} with the host", shared.join(", ")))
}

fn device_root(conf: &LxcConf) -> Option<String> {
    let sources: Vec<&str> = conf
        .device_paths()
        .filter(|path| matches!(*path, "/" | "/dev" | "dev" | "/proc" | "/sys" | "/storage"))
        .collect();
    (!sources.is_empty()).then(|| format!("it sees the device's {}", sources.join(", ")))
}
