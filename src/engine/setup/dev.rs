//! The small `/dev` of a container.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use model::lxc::{Console, LxcConf};
use model::run::DevLog;
use model::setup::{Create, DeviceKind, MountAttribute, Namespace, Need, SetupStep};

use super::{Privileges, Source, bind, fresh, has_console};

/// Name and minor number; the major number is 1, the kernel's memory devices, or 5 for `tty`.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The datagram socket of the container's own folder.
const LOG: &str = "/pantavisor/dev-log";

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

pub(super) fn made(
    conf: &LxcConf,
    log: DevLog,
    namespaces: &BTreeSet<Namespace>,
    privileges: Privileges,
    steps: &mut Vec<SetupStep>,
) {
    let quiet = [MountAttribute::NoSuid, MountAttribute::NoExecution];
    let silent = [MountAttribute::NoSuid, MountAttribute::NoDevices, MountAttribute::NoExecution];
    steps.push(fresh("tmpfs", "/dev", &[("mode", "755"), ("size", "512k")], &quiet, Source::Fresh));
    steps.extend(NODES.iter().map(|&(name, major, minor)| {
        let path = format!("/dev/{name}");
        match privileges {
            Privileges::Root => {
                SetupStep::Node { path, kind: DeviceKind::Character, major, minor, mode: 0o666 }
            }
            Privileges::UserNamespace => bind(path.clone(), &path, &[], Create::File, Need::Required),
        }
    }));
    steps.extend(LINKS.map(|(name, to)| SetupStep::Link { path: format!("/dev/{name}"), to: to.to_owned() }));
    match log {
        // A link: a log server of the container's own can put its socket in its place.
        DevLog::Present => steps.push(SetupStep::Link { path: "/dev/log".to_owned(), to: LOG.to_owned() }),
        DevLog::Absent => {}
    }
    // Group 5 is tty; a user namespace with one group does not have it.
    let mut own_terminals = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    match privileges {
        Privileges::Root => own_terminals.push(("gid", "5")),
        Privileges::UserNamespace => {}
    }
    let most = conf.pty_max.map(|most| most.to_string());
    own_terminals.extend(most.as_deref().map(|most| ("max", most)));
    steps.push(fresh("devpts", "/dev/pts", &own_terminals, &quiet, Source::Fresh));
    steps.push(fresh("tmpfs", "/dev/shm", &[("mode", "1777"), ("size", "64m")], &silent, Source::Fresh));
    let messages = match privileges {
        Privileges::UserNamespace if !namespaces.contains(&Namespace::Ipc) => Source::TheDevices,
        Privileges::UserNamespace | Privileges::Root => Source::Fresh,
    };
    steps.push(fresh("mqueue", "/dev/mqueue", &[], &silent, messages));
    match &conf.console {
        Console::Path(path) => {
            steps.push(bind(path.as_ref().to_owned(), "/dev/console", &[], Create::File, Need::Required));
        }
        Console::Terminal | Console::Absent if has_console(&conf.console) => steps.push(SetupStep::Console),
        Console::Terminal | Console::Absent => {}
    }
}
