//! The one table of settings: for each its name, its type with bounds, where it goes in [`Config`], what it is for.
//!
//! A default is what [`Config::default`] has; how a value reads is the type's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use model::recovery::Role;

use super::{Config, Power};
use crate::boot;
use crate::init::Interface;

/// One setting.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    kind: Kind,
    pub(super) secrecy: Secrecy,
    /// One sentence.
    pub(super) about: &'static str,
}

/// Whether a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// It may.
    Open,
    /// Only that there is one.
    Secret,
}

/// Its type, with its place.
#[derive(Debug)]
enum Kind {
    Path(At<PathBuf>),
    PathOrNone(At<Option<PathBuf>>),
    Time(At<Duration>, RangeInclusive<Duration>),
    Count(At<u32>, RangeInclusive<u32>),
    CountOrNone(At<Option<u32>>),
    Bytes(At<u64>, RangeInclusive<u64>),
    AddressOrNone(At<Option<SocketAddr>>),
    Power(At<Power>),
    /// Of at most so many bytes.
    Text(At<String>, usize),
    Interface(At<Option<Interface>>),
    Role(At<Role>),
    Loader(At<boot::Kind>),
    Place(At<boot::Place>),
}

type At<T> = fn(&mut Config) -> &mut T;

const fn seconds(from: u64, to: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(from)..=Duration::from_secs(to)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const POWERS: [(&str, Power); 2] = [("own", Power::Own), ("restart", Power::Restart)];
const LOADERS: [(&str, boot::Kind); 5] = [
    ("self", boot::Kind::SelfExec),
    ("tryboot", boot::Kind::Tryboot),
    ("uboot", boot::Kind::UBoot),
    ("grub", boot::Kind::Grub),
    ("none", boot::Kind::None),
];
const ROLES: [(&str, Role); 2] = [("mgmt", Role::Mgmt), ("nobody", Role::Nobody)];

const fn key(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, secrecy: Secrecy::Open, about }
}

/// Every setting there is.
pub(super) static KEYS: &[Key] = &[
    key("root", Kind::Path(|config| &mut config.root), "Where objects, trails, disks, logs and state are."),
    key("run_dir", Kind::Path(|config| &mut config.run_dir), "Where sockets and the runtime record are."),
    key(
        "goalctl",
        Kind::PathOrNone(|config| &mut config.goalctl),
        "The control tool to show to containers; if empty, the one beside goalpost.",
    ),
    key(
        "commit_delay",
        Kind::Time(|config| &mut config.settings.commit_delay, seconds(0, DAY)),
        "How long a revision is watched after its goals were met.",
    ),
    key(
        "stop_grace",
        Kind::Time(|config| &mut config.settings.stop_grace, seconds(0, HOUR)),
        "How long a container may take to obey a stop.",
    ),
    key(
        "effect_deadline",
        Kind::Time(
            |config| &mut config.settings.effect_deadline,
            Duration::from_millis(100)..=Duration::from_secs(HOUR),
        ),
        "How long a mount, start or check may take.",
    ),
    key(
        "save_retry",
        Kind::Time(
            |config| &mut config.settings.save_retry,
            Duration::from_millis(10)..=Duration::from_secs(MINUTE),
        ),
        "Between two tries to write state, doubling up to a minute.",
    ),
    key(
        "policy_reboots",
        Kind::Count(|config| &mut config.settings.policy_reboots, 0..=1000),
        "How many reboots backoff policies may decide in a row.",
    ),
    key(
        "policy_reboot_delay",
        Kind::Time(|config| &mut config.settings.policy_reboot_delay, seconds(0, DAY)),
        "How long before the first of them, doubling.",
    ),
    key(
        "unsettled_starts",
        Kind::Count(|config| &mut config.settings.unsettled_starts, 1..=1000),
        "How many starts of the agent may end unsettled before it falls back.",
    ),
    key(
        "power",
        Kind::Power(|config| &mut config.power),
        "Whether reboots are the machine's (own) or the agent starts over (restart).",
    ),
    key(
        "boot.loader",
        Kind::Loader(|config| &mut config.boot.kind),
        "What tries a revision once that needs a reboot.",
    ),
    key(
        "boot.first",
        Kind::Place(|config| &mut config.boot.slots[0]),
        "A partition of the disk that root is on, or a folder, with a kernel.",
    ),
    key("boot.second", Kind::Place(|config| &mut config.boot.slots[1]), "The other one."),
    key(
        "boot.variables",
        Kind::Place(|config| &mut config.boot.variables),
        "That with autoboot.txt or grubenv, or the path of U-Boot's fw_env.config.",
    ),
    key(
        "boot.modules",
        Kind::Text(|config| &mut config.boot.modules, 4096),
        "Kernel modules for the file system of these partitions, loaded in order when one is opened.",
    ),
    key(
        "roles.default",
        Kind::Role(|config| &mut config.default_role),
        "The role of a container that names none.",
    ),
    key(
        "logs.file_size",
        Kind::Bytes(|config| &mut config.logs.file_bytes, 4 << 10..=1 << 30),
        "Bytes of a container's log file before it is rotated.",
    ),
    key(
        "logs.files",
        Kind::Count(|config| &mut config.logs.files, 0..=1000),
        "Rotated files kept beside it.",
    ),
    key(
        "logs.rate",
        Kind::Bytes(|config| &mut config.logs.rate, 1 << 10..=1 << 30),
        "Bytes per second kept of a container's output.",
    ),
    key(
        "gc.age",
        Kind::Time(|config| &mut config.gc_age, seconds(0, 3650 * DAY)),
        "How long a posted revision that never ran is kept.",
    ),
    key(
        "socket.group",
        Kind::CountOrNone(|config| &mut config.socket_group),
        "Number of the group that may use the host socket; if empty, none.",
    ),
    key(
        "init.label",
        Kind::Text(|config| &mut config.init.label, 16),
        "Where PID 1 is goalpost-init: the data partition's label; if empty, none is mounted.",
    ),
    key(
        "init.wait",
        Kind::Time(|config| &mut config.init.wait, seconds(0, HOUR)),
        "How long to wait for the data partition.",
    ),
    key(
        "init.modules",
        Kind::Text(|config| &mut config.init.modules, 4096),
        "Kernel modules to load first, by name, between blanks.",
    ),
    key(
        "init.interface",
        Kind::Interface(|config| &mut config.init.interface),
        "The device's own interface: NAME ADDRESS/PREFIX [GATEWAY]; if empty, none.",
    ),
    key(
        "init.watchdog",
        Kind::Time(|config| &mut config.init.watchdog, seconds(2, HOUR)),
        "How long the hardware watchdog waits before it restarts the device.",
    ),
    key(
        "device.listen",
        Kind::AddressOrNone(|config| &mut config.device_listen),
        "Where pvr and goalctl --host are answered; if empty, nowhere.",
    ),
    key(
        "device.token_file",
        Kind::PathOrNone(|config| &mut config.device_token),
        "File with the token that they must know, needed beyond loopback; if empty, none.",
    ),
];

impl Key {
    /// Takes a value in, or says what would have been allowed.
    pub(super) fn set(&self, config: &mut Config, text: &str) -> Result<(), String> {
        let allowed = || self.allowed();
        match &self.kind {
            Kind::Path(at) => *at(config) = path(text).ok_or_else(allowed)?,
            Kind::PathOrNone(at) => *at(config) = or_none(text, path).ok_or_else(allowed)?,
            Kind::Time(at, bounds) => *at(config) = within(time(text), bounds).ok_or_else(allowed)?,
            Kind::Count(at, bounds) => *at(config) = within(text.parse().ok(), bounds).ok_or_else(allowed)?,
            Kind::CountOrNone(at) => {
                *at(config) = or_none(text, |text| text.parse().ok()).ok_or_else(allowed)?;
            }
            Kind::Bytes(at, bounds) => *at(config) = within(bytes(text), bounds).ok_or_else(allowed)?,
            Kind::AddressOrNone(at) => *at(config) = or_none(text, address).ok_or_else(allowed)?,
            Kind::Power(at) => *at(config) = word(text, &POWERS).ok_or_else(allowed)?,
            Kind::Role(at) => *at(config) = word(text, &ROLES).ok_or_else(allowed)?,
            Kind::Loader(at) => *at(config) = word(text, &LOADERS).ok_or_else(allowed)?,
            Kind::Place(at) => *at(config) = place(text).ok_or_else(allowed)?,
            Kind::Text(at, most) => {
                *at(config) = Some(text).filter(|text| text.len() <= *most).ok_or_else(allowed)?.to_owned();
            }
            Kind::Interface(at) => *at(config) = or_none(text, Interface::parse).ok_or_else(allowed)?,
        }
        Ok(())
    }

    /// Its value as anybody may see it.
    pub(super) fn tell(&self, config: &mut Config) -> String {
        let value = self.show(config);
        match self.secrecy {
            Secrecy::Secret if !value.is_empty() => "(set)".to_owned(),
            Secrecy::Open | Secrecy::Secret => value,
        }
    }

    /// Its value as it would be written.
    pub(super) fn show(&self, config: &mut Config) -> String {
        match &self.kind {
            Kind::Path(at) => at(config).display().to_string(),
            Kind::PathOrNone(at) => {
                at(config).as_ref().map_or_else(String::new, |path| path.display().to_string())
            }
            Kind::Time(at, _) => show_time(*at(config)),
            Kind::Count(at, _) => at(config).to_string(),
            Kind::CountOrNone(at) => at(config).map_or_else(String::new, |number| number.to_string()),
            Kind::Bytes(at, _) => show_bytes(*at(config)),
            Kind::AddressOrNone(at) => at(config).map_or_else(String::new, |address| address.to_string()),
            Kind::Power(at) => show_word(at(config), &POWERS),
            Kind::Role(at) => show_word(at(config), &ROLES),
            Kind::Loader(at) => show_word(at(config), &LOADERS),
            Kind::Place(at) => match at(config) {
                boot::Place::Partition(number) => number.to_string(),
                boot::Place::Path(path) => path.display().to_string(),
            },
            Kind::Text(at, _) => at(config).clone(),
            Kind::Interface(at) => at(config).as_ref().map_or_else(String::new, Interface::to_string),
        }
    }

    /// What its type is, and its bounds.
    pub(super) fn allowed(&self) -> String {
        let words = |words: &[&str]| words.join(" or ");
        match &self.kind {
            Kind::Path(_) => "an absolute path".to_owned(),
            Kind::PathOrNone(_) => "an absolute path, or empty".to_owned(),
            Kind::Time(_, bounds) => format!(
                "a length of time such as 25, 500ms, 25s, 10min, 1h or 7d, from {} to {}",
                show_time(*bounds.start()),
                show_time(*bounds.end())
            ),
            Kind::Count(_, bounds) => format!("a number from {} to {}", bounds.start(), bounds.end()),
            Kind::CountOrNone(_) => format!("a number from 0 to {}, or empty", u32::MAX),
            Kind::Bytes(_, bounds) => format!(
                "a number of bytes such as 65536, 64K, 1M or 1G, from {} to {}",
                show_bytes(*bounds.start()),
                show_bytes(*bounds.end())
            ),
            Kind::AddressOrNone(_) => {
                "an address and port such as 127.0.0.1:12368 or [::]:12368, a port alone, or empty".to_owned()
            }
            Kind::Power(_) => words(&POWERS.map(|(word, _)| word)),
            Kind::Role(_) => words(&ROLES.map(|(word, _)| word)),
            Kind::Loader(_) => words(&LOADERS.map(|(word, _)| word)),
            Kind::Place(_) => "a partition from 1 to 9, or an absolute path".to_owned(),
            Kind::Text(_, most) => format!("at most {most} bytes of text"),
            Kind::Interface(_) => {
                "NAME ADDRESS/PREFIX [GATEWAY], such as eth0 10.0.2.15/24 10.0.2.2, or empty".to_owned()
            }
        }
    }
}

fn within<T: PartialOrd>(value: Option<T>, bounds: &RangeInclusive<T>) -> Option<T> {
    value.filter(|value| bounds.contains(value))
}

fn or_none<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { read(text).map(Some) }
}

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

fn show_word<T: PartialEq>(value: &T, words: &[(&str, T)]) -> String {
    words.iter().find(|(_, known)| known == value).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

fn place(text: &str) -> Option<boot::Place> {
    match text.parse() {
        Ok(number @ 1..=9) => Some(boot::Place::Partition(number)),
        Ok(_) | Err(_) => path(text).map(boot::Place::Path),
    }
}

fn path(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text)).filter(|path| path.is_absolute())
}

/// A port alone is one of this device.
fn address(text: &str) -> Option<SocketAddr> {
    let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    text.parse().map(here).or_else(|_| text.parse()).ok()
}

/// The first one counts for a number without a unit.
const TIMES: [(&str, u64); 5] =
    [("s", 1000), ("ms", 1), ("min", MINUTE * 1000), ("h", HOUR * 1000), ("d", DAY * 1000)];
const SIZES: [(&str, u64); 4] = [("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];

fn time(text: &str) -> Option<Duration> {
    number(text, &TIMES).map(Duration::from_millis)
}

fn bytes(text: &str) -> Option<u64> {
    number(text, &SIZES)
}

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = if unit.is_empty() { Some(units[0].1) } else { word(unit, units) }?;
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_time(time: Duration) -> String {
    match u64::try_from(time.as_millis()) {
        Ok(0) => "0s".to_owned(),
        Ok(milliseconds) => in_largest(milliseconds, &TIMES),
        Err(_) => format!("{}s", time.as_secs()),
    }
}

fn show_bytes(bytes: u64) -> String {
    in_largest(bytes, &SIZES)
}

fn in_largest(value: u64, units: &[(&str, u64)]) -> String {
    let fitting = units.iter().filter(|(_, factor)| value.is_multiple_of(*factor) && value >= *factor);
    let (unit, factor) = fitting.max_by_key(|(_, factor)| *factor).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_only_that_it_is_there_is_told() {
        let path = Kind::PathOrNone(|config| &mut config.goalctl);
        let secret = Key { name: "token", kind: path, secrecy: Secrecy::Secret, about: "A secret." };
        let mut config = Config::default();
        assert_eq!(secret.tell(&mut config), "");
        secret.set(&mut config, "/hunter2").unwrap();
        assert_eq!(secret.tell(&mut config), "(set)");
    }
}
