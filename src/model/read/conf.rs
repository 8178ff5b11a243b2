//! The lines of an `lxc.container.conf`.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::cgroup;
use super::mounts;
use super::network::{Interfaces, interface};
use super::words;
use crate::errors::{Findings, Place, quoted};
use crate::lxc::{
    Access, AutoMounts, Capabilities, Capability, CapabilitySet, CgroupValue, CgroupVersion, Console, Dev,
    DeviceAccess, DeviceRule, Devices, Force, LxcConf, MountEntry, Namespace, NamespaceSet, NewPrivileges,
    Profiles, Resource, ResourceLimit, Rootfs, StopSignal, Verdict,
};

const MOST_BYTES: usize = 256 << 10;
const MOST_LINES: usize = 4096;

const KNOWN: &str = "a key that is known: lxc.rootfs.path, lxc.init.cmd, .cwd, .uid, .gid, lxc.environment, \
    lxc.namespace.keep, .clone, lxc.uts.name, lxc.mount.auto, .entry, lxc.cap.drop, .keep, lxc.cgroup.*, lxc.cgroup2.*, \
    lxc.tty.max, lxc.pty.max, lxc.console.path, lxc.autodev, lxc.net.N.type, .link, .flags, .name, .ipv4.address, \
    .ipv4.gateway, lxc.signal.halt, .stop, lxc.prlimit.*, lxc.no_new_privs, lxc.seccomp.profile, lxc.apparmor.profile, \
    lxc.selinux.context; lxc.log.* is ignored";

/// One `key = value`.
pub(crate) struct Line<'t> {
    file: &'t str,
    pub(crate) number: u32,
    pub(crate) key: &'t str,
    pub(crate) value: &'t str,
}

impl Line<'_> {
    fn place(&self) -> Place {
        let key = self.key.chars().take(80).collect::<String>();
        Place::Line { number: self.number, key: key.into() }
    }

    /// Says that the value is not what it should be.
    pub(crate) fn refuse(&self, findings: &mut Findings, allowed: impl Into<Cow<'static, str>>) {
        self.refuse_found(findings, quoted(self.value), allowed);
    }

    pub(crate) fn refuse_found(
        &self,
        findings: &mut Findings,
        found: impl Into<String>,
        allowed: impl Into<Cow<'static, str>>,
    ) {
        findings.error(self.file, self.place(), found, allowed);
    }

    pub(crate) fn warn(&self, findings: &mut Findings, text: impl Into<String>) {
        findings.warn(self.file, self.place(), text);
    }

    /// Says that it asks for what this version cannot do.
    fn unsupported(&self, findings: &mut Findings, why: &str) {
        findings.unsupported(format!(
            "{}, line {}: {} = {}: {why}",
            self.file, self.number, self.key, self.value
        ));
    }

    pub(crate) fn whole(&self, findings: &mut Findings, most: u32) -> Option<u32> {
        let value = self.value.parse().ok().filter(|value| *value <= most);
        if value.is_none() {
            self.refuse(findings, format!("a whole number from 0 to {most}"));
        }
        value
    }

    fn switch(&self, findings: &mut Findings) -> Option<Switch> {
        match self.value {
            "0" => Some(Switch::Off),
            "1" => Some(Switch::On),
            _ => {
                self.refuse(findings, "0 or 1");
                None
            }
        }
    }

    fn filled(&self, findings: &mut Findings) -> Option<Box<str>> {
        if self.value.is_empty() {
            self.refuse_found(findings, "nothing", "a value");
            return None;
        }
        Some(self.value.into())
    }
}

enum Switch {
    Off,
    On,
}

/// Reads a conf, which is `file`. What is wrong goes to `findings`.
pub(crate) fn conf(file: &str, bytes: &[u8], findings: &mut Findings) -> LxcConf {
    let Some(text) = text_of(file, bytes, findings) else { return LxcConf::default() };
    let mut draft = Draft::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            let line = Line { file, number, key: line, value: "" };
            line.refuse_found(findings, "a line without =", "key = value");
            continue;
        };
        draft.line(&Line { file, number, key: key.trim_end(), value: value.trim_start() }, findings);
    }
    draft.finish(file, findings)
}

fn text_of<'b>(file: &str, bytes: &'b [u8], findings: &mut Findings) -> Option<&'b str> {
    if bytes.len() > MOST_BYTES {
        let found = format!("{} bytes", bytes.len());
        findings.error(file, Place::File, found, format!("at most {MOST_BYTES} bytes"));
        return None;
    }
    let Ok(text) = core::str::from_utf8(bytes) else {
        findings.error(file, Place::File, "bytes that are not UTF-8", "lines of UTF-8");
        return None;
    };
    if text.contains('\0') {
        findings.error(file, Place::File, "a NUL", "lines of text");
        return None;
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        findings.error(file, Place::File, format!("{lines} lines"), format!("at most {MOST_LINES} lines"));
        return None;
    }
    Some(text)
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    conf: LxcConf,
    environment: Vec<(Box<str>, Box<str>)>,
    keep: Option<NamespaceSet>,
    clone: Option<NamespaceSet>,
    mounts: Vec<MountEntry>,
    cap_drop: Option<CapabilitySet>,
    cap_keep: Option<CapabilitySet>,
    devices: Vec<DeviceRule>,
    cgroup: Vec<CgroupValue>,
    interfaces: Interfaces,
    limits: Vec<ResourceLimit>,
    profiles: Profiles,
    halt: Option<StopSignal>,
    /// The last line of each key that `finish` may speak of.
    lines: BTreeMap<Box<str>, u32>,
}

impl Draft {
    fn line(&mut self, line: &Line<'_>, findings: &mut Findings) {
        self.lines.insert(line.key.into(), line.number);
        match line.key {
            "lxc.init.cmd" => self.command(line, findings),
            _ => self.unquoted_line(&unquoted(line), findings),
        }
    }

    fn unquoted_line(&mut self, line: &Line<'_>, findings: &mut Findings) {
        let conf = &mut self.conf;
        match line.key {
            "lxc.rootfs.path" => conf.rootfs = rootfs(line, findings),
            "lxc.init.cwd" => conf.working_folder = absolute(line, findings),
            "lxc.init.uid" => conf.uid = line.whole(findings, u32::MAX - 1).unwrap_or(0),
            "lxc.init.gid" => conf.gid = line.whole(findings, u32::MAX - 1).unwrap_or(0),
            "lxc.environment" => self.environment(line, findings),
            "lxc.namespace.keep" => self.keep = namespaces(line, findings),
            "lxc.namespace.clone" => self.clone = namespaces(line, findings),
            "lxc.uts.name" => conf.host_name = host_name(line, findings),
            "lxc.mount.auto" => auto_mounts(&mut conf.auto_mounts, line, findings),
            "lxc.mount.entry" if line.value.is_empty() => self.mounts.clear(),
            "lxc.mount.entry" => self.mounts.extend(mounts::entry(line, findings)),
            "lxc.cap.drop" => capabilities(&mut self.cap_drop, line, findings),
            "lxc.cap.keep" => capabilities(&mut self.cap_keep, line, findings),
            "lxc.tty.max" => conf.tty_max = terminals(line, findings),
            "lxc.pty.max" => conf.pty_max = line.whole(findings, 1 << 20),
            "lxc.console.path" => conf.console = console(line, findings),
            "lxc.autodev" => {
                conf.dev =
                    if matches!(line.switch(findings), Some(Switch::Off)) { Dev::Left } else { Dev::Made };
            }
            "lxc.signal.halt" => self.halt = signal(line, findings).or(self.halt),
            "lxc.signal.stop" => conf.stop = signal(line, findings).unwrap_or(conf.stop),
            "lxc.no_new_privs" => {
                conf.new_privileges = match line.switch(findings) {
                    Some(Switch::On) => NewPrivileges::Refused,
                    Some(Switch::Off) | None => NewPrivileges::Allowed,
                };
            }
            "lxc.seccomp.profile" => self.profiles.seccomp = system_calls(line, findings),
            "lxc.apparmor.profile" => self.profiles.apparmor = apparmor(line, findings),
            "lxc.selinux.context" => self.profiles.selinux = line.filled(findings),
            _ => self.prefixed(line, findings),
        }
    }

    /// Keys of which only the beginning is fixed.
    fn prefixed(&mut self, line: &Line<'_>, findings: &mut Findings) {
        if let Some(file) = line.key.strip_prefix("lxc.cgroup.") {
            self.cgroup(CgroupVersion::V1, file, line, findings);
        } else if let Some(file) = line.key.strip_prefix("lxc.cgroup2.") {
            self.cgroup(CgroupVersion::V2, file, line, findings);
        } else if let Some(rest) = line.key.strip_prefix("lxc.net.") {
            if interface(&mut self.interfaces, rest, line, findings).is_none() {
                line.refuse_found(findings, "an unknown key", KNOWN);
            }
        } else if let Some(name) = line.key.strip_prefix("lxc.prlimit.") {
            self.limits.extend(limit(name, line, findings));
        } else if line.key.starts_with("lxc.log.") {
            line.warn(findings, "ignored: the agent keeps the logs");
        } else {
            line.refuse_found(findings, "an unknown key", KNOWN);
        }
    }

    fn command(&mut self, line: &Line<'_>, findings: &mut Findings) {
        match words::command(line.value) {
            Ok(words) if words.is_empty() => self.conf.command = LxcConf::default().command,
            Ok(words) if words[0].is_empty() => line.refuse(findings, "a program, then its arguments"),
            Ok(words) => self.conf.command = words,
            Err(allowed) => line.refuse(findings, allowed),
        }
    }

    fn environment(&mut self, line: &Line<'_>, findings: &mut Findings) {
        if line.value.is_empty() {
            self.environment.clear();
            return;
        }
        match line.value.split_once('=') {
            Some((name, value)) if !name.is_empty() => self.environment.push((name.into(), value.into())),
            Some(_) | None => line.refuse(findings, "NAME=VALUE"),
        }
    }

    fn cgroup(&mut self, version: CgroupVersion, file: &str, line: &Line<'_>, findings: &mut Findings) {
        match file {
            "devices.allow" => self.devices.extend(device_rule(Verdict::Allow, line, findings)),
            "devices.deny" => self.devices.extend(device_rule(Verdict::Deny, line, findings)),
            _ if is_cgroup_file(file) => {
                self.cgroup.extend(line.filled(findings).map(|value| cgroup_value(version, file, value)));
            }
            _ => line.refuse_found(
                findings,
                "an unknown key",
                "a file of a cgroup, such as lxc.cgroup2.memory.max",
            ),
        }
    }

    fn finish(mut self, file: &str, findings: &mut Findings) -> LxcConf {
        self.conf.namespaces = self.own_namespaces(file, findings);
        self.conf.capabilities = self.capabilities(file, findings);
        self.conf.net = self.interfaces.finish(file, findings);
        LxcConf {
            halt: self.halt.unwrap_or_else(|| StopSignal::that_halts(&self.conf.command)),
            environment: self.environment.into(),
            mounts: self.mounts.into(),
            devices: self.devices.into(),
            cgroup: self.cgroup.into(),
            limits: self.limits.into(),
            profiles: (self.profiles != Profiles::default()).then(|| Box::new(self.profiles)),
            ..self.conf
        }
    }

    fn place(&self, key: &str) -> Place {
        Place::Line { number: self.lines.get(key).copied().unwrap_or(0), key: key.into() }
    }

    fn own_namespaces(&self, file: &str, findings: &mut Findings) -> NamespaceSet {
        match (self.keep, self.clone) {
            (None, None) => NamespaceSet::CONTAINER,
            (Some(kept), None) if kept.contains(Namespace::Mount) => {
                let allowed = "any namespace but mnt, which is always the container's own";
                findings.error(file, self.place("lxc.namespace.keep"), "mnt", allowed);
                NamespaceSet::CONTAINER
            }
            (Some(kept), None) => kept.iter().fold(NamespaceSet::CONTAINER, NamespaceSet::without),
            (None, Some(own)) => own.with(Namespace::Mount),
            (Some(_), Some(_)) => {
                let found = "lxc.namespace.keep as well";
                findings.error(file, self.place("lxc.namespace.clone"), found, "one of the two");
                NamespaceSet::CONTAINER
            }
        }
    }

    fn capabilities(&self, file: &str, findings: &mut Findings) -> Capabilities {
        match (self.cap_drop, self.cap_keep) {
            (None, None) => Capabilities::Drop(CapabilitySet::EMPTY),
            (Some(dropped), None) => Capabilities::Drop(dropped),
            (None, Some(kept)) => Capabilities::Keep(kept),
            (Some(_), Some(_)) => {
                findings.error(file, self.place("lxc.cap.keep"), "lxc.cap.drop as well", "one of the two");
                Capabilities::Drop(CapabilitySet::EMPTY)
            }
        }
    }
}

/// LXC takes one pair of quotes off a value, except that a command must keep them.
fn unquoted<'t>(line: &Line<'t>) -> Line<'t> {
    let inner = ['"', '\''].iter().find_map(|quote| line.value.strip_prefix(*quote)?.strip_suffix(*quote));
    Line { value: inner.unwrap_or(line.value), ..*line }
}

fn rootfs(line: &Line<'_>, findings: &mut Findings) -> Option<Rootfs> {
    const ALLOWED: &str =
        "overlayfs:LOWER[:LOWER]:UPPER, dir:PATH or PATH, each path absolute and without ..";
    let overlay = line.value.strip_prefix("overlayfs:").or_else(|| line.value.strip_prefix("overlay:"));
    let parsed = match overlay {
        Some(layers) => overlay_of(layers),
        None => {
            let path = line.value.strip_prefix("dir:").unwrap_or(line.value);
            is_absolute(path).then(|| Rootfs::Folder(path.into()))
        }
    };
    if parsed.is_none() {
        line.refuse(findings, ALLOWED);
    }
    parsed
}

fn overlay_of(layers: &str) -> Option<Rootfs> {
    let layers: Vec<&str> = layers.split(':').collect();
    let (upper, lower) = layers.split_last()?;
    let good = !lower.is_empty() && lower.len() <= 64 && layers.iter().all(|path| is_absolute(path));
    good.then(|| Rootfs::Overlay {
        lower: lower.iter().map(|path| Box::from(*path)).collect(),
        upper: (*upper).into(),
    })
}

/// Whether it begins with a slash and never goes up.
pub(crate) fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 4095 && !path.split('/').any(|segment| segment == "..")
}

fn absolute(line: &Line<'_>, findings: &mut Findings) -> Option<Box<str>> {
    if line.value.is_empty() {
        return None;
    }
    if !is_absolute(line.value) {
        line.refuse(findings, "an absolute path without ..");
        return None;
    }
    Some(line.value.into())
}

fn namespaces(line: &Line<'_>, findings: &mut Findings) -> Option<NamespaceSet> {
    const ALLOWED: &str = "words of pid, uts, ipc, net, user, cgroup, time, mnt";
    let mut set = NamespaceSet::EMPTY;
    for word in line.value.split_whitespace() {
        match Namespace::ALL.into_iter().find(|namespace| namespace.name() == word) {
            Some(namespace) => set = set.with(namespace),
            None => line.refuse_found(findings, quoted(word), ALLOWED),
        }
    }
    (!line.value.is_empty()).then_some(set)
}

fn host_name(line: &Line<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=64).contains(&line.value.len()) || !line.value.bytes().all(plain) {
        line.refuse(findings, "1 to 64 characters of [A-Za-z0-9._-]");
        return None;
    }
    Some(line.value.into())
}

fn auto_mounts(mounts: &mut AutoMounts, line: &Line<'_>, findings: &mut Findings) {
    if line.value.is_empty() {
        *mounts = AutoMounts::default();
    }
    for word in line.value.split_whitespace() {
        match word {
            "proc" | "proc:mixed" => mounts.proc = Some(Access::Mixed),
            "proc:rw" => mounts.proc = Some(Access::ReadWrite),
            "sys" | "sys:mixed" => mounts.sys = Some(Access::Mixed),
            "sys:ro" => mounts.sys = Some(Access::ReadOnly),
            "sys:rw" => mounts.sys = Some(Access::ReadWrite),
            _ => match cgroup_mount(word) {
                Some((access, force)) => (mounts.cgroup, mounts.cgroup_force) = (Some(access), force),
                None => line.refuse_found(
                    findings,
                    quoted(word),
                    "words of proc[:mixed|rw], sys[:ro|mixed|rw], cgroup[:ro|mixed|rw][:force]",
                ),
            },
        }
    }
}

fn cgroup_mount(word: &str) -> Option<(Access, Force)> {
    let (word, force) = match word.strip_suffix(":force") {
        Some(rest) => (rest, Force::Yes),
        None => (word, Force::No),
    };
    match word {
        "cgroup" | "cgroup:mixed" => Some((Access::Mixed, force)),
        "cgroup:ro" => Some((Access::ReadOnly, force)),
        "cgroup:rw" => Some((Access::ReadWrite, force)),
        _ => None,
    }
}

fn capabilities(set: &mut Option<CapabilitySet>, line: &Line<'_>, findings: &mut Findings) {
    if line.value.is_empty() {
        *set = None;
        return;
    }
    for word in line.value.split_whitespace() {
        match Capability::by_name(word) {
            Some(capability) => set.get_or_insert(CapabilitySet::EMPTY).insert(capability),
            // As LXC reads it: what stood before in the list is forgotten.
            None if word == "none" && line.key == "lxc.cap.keep" => *set = Some(CapabilitySet::EMPTY),
            None => line.refuse_found(
                findings,
                quoted(word),
                "names of capabilities in lower case, such as net_admin",
            ),
        }
    }
}

fn device_rule(verdict: Verdict, line: &Line<'_>, findings: &mut Findings) -> Option<DeviceRule> {
    let parsed = devices_of(line.value).map(|(devices, access)| DeviceRule { verdict, devices, access });
    if parsed.is_none() {
        line.refuse(findings, "a, or c|b MAJOR:MINOR ACCESS with * for any number and ACCESS of r, w, m");
    }
    parsed
}

fn devices_of(text: &str) -> Option<(Devices, DeviceAccess)> {
    let mut words = text.split_whitespace();
    let sort = words.next()?;
    if sort == "a" {
        let rest: Vec<&str> = words.collect();
        return matches!(*rest, [] | ["*:*", "rwm"]).then_some((Devices::All, DeviceAccess::ALL));
    }
    let (major, minor) = words.next()?.split_once(':')?;
    let (major, minor) = (device_number(major)?, device_number(minor)?);
    let access = DeviceAccess::parse(words.next()?)?;
    let devices = match sort {
        "c" => Devices::Character(major, minor),
        "b" => Devices::Block(major, minor),
        _ => return None,
    };
    words.next().is_none().then_some((devices, access))
}

#[expect(clippy::option_option, reason = "outside: not a number at all; inside: `*`, which is any number")]
fn device_number(text: &str) -> Option<Option<u32>> {
    if text == "*" { Some(None) } else { text.parse().ok().map(Some) }
}

impl DeviceAccess {
    fn parse(text: &str) -> Option<DeviceAccess> {
        let bit = |letter| match letter {
            b'm' => Some(1),
            b'r' => Some(2),
            b'w' => Some(4),
            _ => None,
        };
        let bits = text.bytes().try_fold(0, |bits, letter| Some(bits | bit(letter)?))?;
        (bits != 0).then_some(DeviceAccess(bits))
    }
}

fn cgroup_value(version: CgroupVersion, file: &str, value: Box<str>) -> CgroupValue {
    let renewed = match version {
        CgroupVersion::V1 => cgroup::of_version_1(file, &value),
        CgroupVersion::V2 => None,
    };
    renewed.unwrap_or_else(|| CgroupValue { version, file: file.into(), value })
}

/// `controller.file`: what would lead elsewhere (`dir`, `relative`, a slash) is not one.
fn is_cgroup_file(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.');
    name.len() <= 128
        && name.bytes().all(plain)
        && name.contains('.')
        && name.split('.').all(|part| !part.is_empty())
        && !name.starts_with("dir.")
        && !name.starts_with("devices.")
        && !name.starts_with("cgroup.")
}

fn console(line: &Line<'_>, findings: &mut Findings) -> Console {
    match line.value {
        "" => Console::Terminal,
        "none" => Console::Absent,
        _ => absolute(line, findings).map_or(Console::Terminal, Console::Path),
    }
}

fn terminals(line: &Line<'_>, findings: &mut Findings) -> Option<u32> {
    let most = line.whole(findings, 4096)?;
    if most > 0 {
        line.warn(findings, "ignored: no terminal but /dev/console is made");
    }
    Some(most)
}

fn signal(line: &Line<'_>, findings: &mut Findings) -> Option<StopSignal> {
    let signal = StopSignal::by_name(line.value);
    if signal.is_none() {
        line.refuse(findings, "a signal: SIGTERM, SIGRTMIN+3, or a number from 1 to 64");
    }
    signal
}

fn limit(name: &str, line: &Line<'_>, findings: &mut Findings) -> Option<ResourceLimit> {
    let Some(resource) = Resource::by_name(name) else {
        line.refuse_found(
            findings,
            "an unknown key",
            "lxc.prlimit.NAME with the name of a limit, such as nofile",
        );
        return None;
    };
    let (soft, hard) = line.value.split_once(':').unwrap_or((line.value, line.value));
    let limit = limit_of(soft).zip(limit_of(hard)).map(|(soft, hard)| ResourceLimit { resource, soft, hard });
    let in_order = |limit: &ResourceLimit| limit.soft.unwrap_or(u64::MAX) <= limit.hard.unwrap_or(u64::MAX);
    let limit = limit.filter(in_order);
    if limit.is_none() {
        line.refuse(
            findings,
            "SOFT:HARD or one for both, each a number or unlimited, the first not above the second",
        );
    }
    limit
}

#[expect(clippy::option_option, reason = "outside: not a limit at all; inside: unlimited")]
fn limit_of(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text == "unlimited" { Some(None) } else { text.parse().ok().map(Some) }
}

/// `none` and `unconfined` ask for nothing.
fn system_calls(line: &Line<'_>, findings: &mut Findings) -> Option<Box<str>> {
    match line.value {
        "none" | "unconfined" => None,
        _ => absolute(line, findings),
    }
}

/// `unconfined` and `unchanged` ask for nothing, `generated` for a profile that LXC would write.
fn apparmor(line: &Line<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let name = line.filled(findings).filter(|name| !matches!(&**name, "unconfined" | "unchanged"))?;
    if &*name == "generated" {
        line.unsupported(findings, "this version writes no profiles, it enters those that are loaded");
    }
    Some(name)
}
