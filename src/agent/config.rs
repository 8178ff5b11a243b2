//! What the device is configured to: a small TOML file, then the environment, then the command line, each over the former.

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::init;
use engine::Settings;
use model::recovery::Role;
use model::revision::Defaults;
use toml::de::{DeTable, DeValue};

use crate::boot;

/// Read when `--config` names no other; it may be absent.
pub const DEFAULT_PATH: &str = "/etc/goalpost.toml";

/// Every setting of the agent, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Holds objects, trails, disks, logs and what survives a power cut.
    pub root: PathBuf,
    /// Holds sockets and the runtime record; empty after each boot of the machine.
    pub run_dir: PathBuf,
    /// The control tool to bind into containers; beside the agent's own binary if not given.
    pub goalctl: Option<PathBuf>,
    /// What the engine goes by.
    pub settings: Settings,
    /// How the device is booted.
    pub boot: boot::Options,
    /// What a decided reboot or power-off does.
    pub power: Power,
    /// What a container without `roles` may ask.
    pub default_role: Role,
    /// How much of a container's output is kept.
    pub logs: LogLimits,
    /// A revision that was posted and never run is kept at least this long.
    pub gc_age: Duration,
    /// Group id that may use the host socket, beside its owner.
    pub socket_group: Option<u32>,
    /// What is done to the device itself, where PID 1 is our parent.
    pub init: init::Options,
    /// The command line that starts this agent over: the program's name first.
    pub start_over_as: Vec<OsString>,
}

/// What a decided reboot or power-off does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It reboots or powers off the machine: the agent owns the power.
    Own,
    /// PID 1 does, which is our parent and learns it from our exit code.
    Init,
    /// The agent's life starts over; a power-off ends the agent.
    Restart,
}

/// How much of a container's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one file before it is rotated.
    pub file_bytes: u64,
    /// Rotated files beside the current one.
    pub files: u32,
    /// Bytes per second that are kept; what is beyond is counted and dropped.
    pub rate: u64,
}

/// Why the configuration was refused; names the place, the key, what was found and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read, or was named and is not there.
    #[error("read {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("read {place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// No setting has this name.
    #[error("understand {place}: key {key:?} is not known; known keys are {}", known_keys())]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key as found.
        key: String,
    },
    /// A setting cannot have this value.
    #[error("understand {place}: key {key:?} is {found:?}, but must be {allowed}")]
    BadValue {
        /// Where.
        place: Place,
        /// Which key.
        key: &'static str,
        /// What was found, cut to 80 characters.
        found: String,
        /// What would have been allowed.
        allowed: &'static str,
    },
}

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// This line of this file.
    Line(PathBuf, usize),
    /// This environment variable.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(path, line) => write!(f, "{} line {line}", path.display()),
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::CommandLine => f.write_str("command line"),
        }
    }
}

/// One setting: its name, what it is for, how its text is taken in (or what would have been allowed).
struct Key {
    name: &'static str,
    about: &'static str,
    set: fn(&mut Config, &str) -> Result<(), &'static str>,
}

const PATH: &str = "an absolute path";
const DURATION: &str = "a length of time such as 25, 500ms, 25s, 10min, 1h or 7d";
const COUNT: &str = "a number from 0 to 4294967295";
const SIZE: &str = "a number of bytes such as 65536, 64K, 1M or 1G";

const KEYS: &[Key] = &[
    Key {
        name: "root",
        about: "objects, trails, disks, logs, state (default /var/lib/goalpost)",
        set: |config, text| path(text).map(|path| config.root = path),
    },
    Key {
        name: "run_dir",
        about: "sockets and the runtime record (default /run/goalpost)",
        set: |config, text| path(text).map(|path| config.run_dir = path),
    },
    Key {
        name: "goalctl",
        about: "the control tool to show to containers (default: beside goalpost)",
        set: |config, text| path(text).map(|path| config.goalctl = Some(path)),
    },
    Key {
        name: "commit_delay",
        about: "how long a revision is watched after its goals were met (default 25s)",
        set: |config, text| duration(text).map(|length| config.settings.commit_delay = length),
    },
    Key {
        name: "stop_grace",
        about: "how long a container may take to obey a stop (default 10s)",
        set: |config, text| duration(text).map(|length| config.settings.stop_grace = length),
    },
    Key {
        name: "effect_deadline",
        about: "how long a mount, start or check may take (default 60s)",
        set: |config, text| duration(text).map(|length| config.settings.effect_deadline = length),
    },
    Key {
        name: "save_retry",
        about: "between two tries to write state, doubling up to a minute (default 1s)",
        set: |config, text| duration(text).map(|length| config.settings.save_retry = length),
    },
    Key {
        name: "policy_reboots",
        about: "reboots that backoff policies may decide in a row (default 5)",
        set: |config, text| count(text).map(|number| config.settings.policy_reboots = number),
    },
    Key {
        name: "policy_reboot_delay",
        about: "before the first of them, doubling (default 30s)",
        set: |config, text| duration(text).map(|length| config.settings.policy_reboot_delay = length),
    },
    Key {
        name: "unsettled_starts",
        about: "starts of the agent that may end unsettled before it falls back (default 5)",
        set: |config, text| count(text).map(|number| config.settings.unsettled_starts = number),
    },
    Key {
        name: "power",
        about: "own: reboots are the machine's; restart: the agent starts over (default)",
        set: |config, text| power(text).map(|power| config.power = power),
    },
    Key {
        name: "boot.loader",
        about: "self (default), tryboot, uboot, grub or none: what tries a revision once",
        set: |config, text| loader(text).map(|kind| config.boot.kind = kind),
    },
    Key {
        name: "boot.first",
        about: "partition of the disk of root, or a folder, with a kernel (default 2)",
        set: |config, text| place(text).map(|place| config.boot.slots[0] = place),
    },
    Key {
        name: "boot.second",
        about: "the other one (default 3)",
        set: |config, text| place(text).map(|place| config.boot.slots[1] = place),
    },
    Key {
        name: "boot.variables",
        about: "that with autoboot.txt or grubenv (default 1), or fw_env.config's path",
        set: |config, text| place(text).map(|place| config.boot.variables = place),
    },
    Key {
        name: "roles.default",
        about: "mgmt (default) or nobody: the role of a container that names none",
        set: |config, text| role(text).map(|role| config.default_role = role),
    },
    Key {
        name: "logs.file_size",
        about: "bytes of a container's log file before it is rotated (default 1M)",
        set: |config, text| size(text).map(|bytes| config.logs.file_bytes = bytes),
    },
    Key {
        name: "logs.files",
        about: "rotated files kept beside it (default 2)",
        set: |config, text| count(text).map(|number| config.logs.files = number),
    },
    Key {
        name: "logs.rate",
        about: "bytes per second kept of a container's output (default 256K)",
        set: |config, text| size(text).map(|bytes| config.logs.rate = bytes),
    },
    Key {
        name: "gc.age",
        about: "a posted revision that never ran is kept this long (default 7d)",
        set: |config, text| duration(text).map(|length| config.gc_age = length),
    },
    Key {
        name: "socket.group",
        about: "number of the group that may use the host socket (default: none)",
        set: |config, text| count(text).map(|number| config.socket_group = Some(number)),
    },
    Key {
        name: "init.label",
        about: "as child of PID 1: label of the data partition (default pvdata)",
        set: |config, text| label(text).map(|label| config.init.label = label),
    },
    Key {
        name: "init.wait",
        about: "how long to wait for it (default 30s)",
        set: |config, text| duration(text).map(|length| config.init.wait = length),
    },
    Key {
        name: "init.modules",
        about: "kernel modules to load before, by name, between blanks",
        set: |config, text| modules(text).map(|modules| config.init.modules = modules),
    },
    Key {
        name: "init.interface",
        about: "the device's own: NAME ADDRESS/PREFIX [GATEWAY]",
        set: |config, text| interface(text).map(|interface| config.init.interface = Some(interface)),
    },
    Key {
        name: "init.watchdog",
        about: "how long the hardware watchdog waits (default 15s)",
        set: |config, text| duration(text).map(|length| config.init.watchdog = length),
    },
];

impl Default for Config {
    fn default() -> Config {
        Config {
            root: PathBuf::from("/var/lib/goalpost"),
            run_dir: PathBuf::from("/run/goalpost"),
            goalctl: None,
            settings: Settings::default(),
            boot: boot::Options::default(),
            power: Power::Restart,
            default_role: Role::Mgmt,
            logs: LogLimits { file_bytes: 1 << 20, files: 2, rate: 256 << 10 },
            gc_age: Duration::from_secs(7 * 24 * 3600),
            socket_group: None,
            init: init::Options::default(),
            start_over_as: Vec::new(),
        }
    }
}

impl Config {
    /// Where the journal is written.
    pub fn journal_folder(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// What parsing a state goes by.
    pub fn defaults(&self) -> Defaults {
        Defaults { role_when_absent: self.default_role }
    }

    /// What is usual where PID 1 is our parent.
    pub fn of_device() -> Config {
        Config { root: PathBuf::from(init::STORAGE), power: Power::Init, ..Config::default() }
    }

    /// From a file (`None`: the default one, if it is there), the environment, then `arguments` (key and value).
    ///
    /// # Errors
    /// The first thing that cannot be read or understood.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        arguments: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        Config::load_over(Config::default(), file, environment, arguments)
    }

    /// Likewise, with other defaults.
    ///
    /// # Errors
    /// The first thing that cannot be read or understood.
    pub fn load_over(
        defaults: Config,
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        arguments: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        let mut config = defaults;
        if let Some((path, text)) = read(file)? {
            config.take_file(&path, &text)?;
        }
        for key in KEYS {
            let name = variable(key.name);
            if let Some(value) = environment(&name) {
                config.take(key, &value, || Place::Environment(name.clone()))?;
            }
        }
        for (name, value) in arguments {
            config.take(find(name, || Place::CommandLine)?, value, || Place::CommandLine)?;
        }
        Ok(config)
    }

    fn take_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let place = |offset: usize| Place::Line(path.to_owned(), line_of(text, offset));
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (offset, name, value) in flatten(table.get_ref()) {
            self.take(find(&name, || place(offset))?, &value, || place(offset))?;
        }
        Ok(())
    }

    fn take(&mut self, key: &Key, value: &str, place: impl Fn() -> Place) -> Result<(), ConfigError> {
        (key.set)(self, value).map_err(|allowed| ConfigError::BadValue {
            place: place(),
            key: key.name,
            found: value.chars().take(80).collect(),
            allowed,
        })
    }
}

/// Every key with what it is for, for `--help`.
pub fn describe_keys() -> String {
    KEYS.iter().map(|key| format!("  {:<20} {}\n", key.name, key.about)).collect()
}

fn known_keys() -> String {
    KEYS.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

fn find(name: &str, place: impl Fn() -> Place) -> Result<&'static Key, ConfigError> {
    KEYS.iter()
        .find(|key| key.name == name)
        .ok_or_else(|| ConfigError::UnknownKey { place: place(), key: name.chars().take(80).collect() })
}

/// `roles.default` is `GOALPOST_ROLES_DEFAULT`.
fn variable(key: &str) -> String {
    format!("GOALPOST_{}", key.replace('.', "_").to_uppercase())
}

fn read(file: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_PATH));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The table's leaves in the order of the file: where, dotted key, value as text.
fn flatten(table: &DeTable<'_>) -> Vec<(usize, String, String)> {
    let mut leaves = Vec::new();
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(inner) => {
                let inner = flatten(inner).into_iter();
                leaves
                    .extend(inner.map(|(at, name, value)| (at, format!("{}.{name}", key.get_ref()), value)));
            }
            DeValue::String(text) => {
                leaves.push((key.span().start, key.get_ref().to_string(), text.to_string()))
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => {
                leaves.push((key.span().start, key.get_ref().to_string(), text_of(value.get_ref())))
            }
        }
    }
    leaves.sort_by_key(|(offset, ..)| *offset);
    leaves
}

fn text_of(value: &DeValue<'_>) -> String {
    if let Some(number) = value.as_integer() {
        number.as_str().to_owned()
    } else if let Some(number) = value.as_float() {
        number.as_str().to_owned()
    } else if let Some(truth) = value.as_bool() {
        truth.to_string()
    } else {
        format!("({})", value.type_str())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn path(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(PATH) }
}

fn count(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| COUNT)
}

fn size(text: &str) -> Result<u64, &'static str> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(SIZE),
    };
    digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or(SIZE)
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let (digits, unit) = split_unit(text);
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(DURATION),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    number.map(Duration::from_millis).ok_or(DURATION)
}

fn split_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()))
}

fn label(text: &str) -> Result<String, &'static str> {
    if text.len() <= 16 {
        Ok(text.to_owned())
    } else {
        Err("at most 16 characters; none: no partition is mounted")
    }
}

fn modules(text: &str) -> Result<Vec<String>, &'static str> {
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

fn interface(text: &str) -> Result<init::Interface, &'static str> {
    init::interface(text)
        .ok_or("a name, an IPv4 address with its prefix, perhaps a gateway: eth0 10.0.2.15/24 10.0.2.2")
}

fn power(text: &str) -> Result<Power, &'static str> {
    match text {
        "own" => Ok(Power::Own),
        "restart" => Ok(Power::Restart),
        _ => Err("own or restart"),
    }
}

fn loader(text: &str) -> Result<boot::Kind, &'static str> {
    match text {
        "self" => Ok(boot::Kind::SelfExec),
        "tryboot" => Ok(boot::Kind::Tryboot),
        "uboot" => Ok(boot::Kind::UBoot),
        "grub" => Ok(boot::Kind::Grub),
        "none" => Ok(boot::Kind::None),
        _ => Err("self, tryboot, uboot, grub or none"),
    }
}

fn place(text: &str) -> Result<boot::Place, &'static str> {
    match text.parse() {
        Ok(number @ 1..=9) => Ok(boot::Place::Partition(number)),
        Ok(_) | Err(_) => {
            path(text).map(boot::Place::Path).map_err(|_| "a partition from 1 to 9, or an absolute path")
        }
    }
}

fn role(text: &str) -> Result<Role, &'static str> {
    match text {
        "mgmt" => Ok(Role::Mgmt),
        "nobody" => Ok(Role::Nobody),
        _ => Err("mgmt or nobody"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)], arguments: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("goalpost.toml");
        std::fs::write(&file, text).unwrap();
        let arguments: Vec<_> =
            arguments.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let variable =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
        Config::load(Some(&file), variable, &arguments)
            .map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn the_command_line_wins_over_the_environment_wins_over_the_file() {
        let config = load(
            "root = '/a'\nrun_dir = '/a'\ncommit_delay = 3\nroles.default = 'nobody'\n[logs]\nrate = '64K'\n",
            &[("GOALPOST_RUN_DIR", "/b"), ("GOALPOST_COMMIT_DELAY", "500ms")],
            &[("commit_delay", "1h")],
        )
        .unwrap();
        assert_eq!(config.root, PathBuf::from("/a"));
        assert_eq!(config.run_dir, PathBuf::from("/b"));
        assert_eq!(config.settings.commit_delay, Duration::from_secs(3600));
        assert_eq!(config.default_role, Role::Nobody);
        assert_eq!(config.logs.rate, 65536);
    }

    #[test]
    fn an_error_names_file_line_key_and_what_is_allowed() {
        assert_eq!(
            load("root = '/a'\n\n[roles]\ndefault = 'root'\n", &[], &[]).unwrap_err(),
            "understand DIR/goalpost.toml line 4: key \"roles.default\" is \"root\", but must be mgmt or nobody"
        );
        let unknown = load("# nothing\nrooot = '/a'\n", &[], &[]).unwrap_err();
        assert!(
            unknown.starts_with("understand DIR/goalpost.toml line 2: key \"rooot\" is not known"),
            "{unknown}"
        );
        let syntax = load("root = '/a'\nrun_dir = /b\n", &[], &[]).unwrap_err();
        assert!(syntax.starts_with("read DIR/goalpost.toml line 2: "), "{syntax}");
        assert_eq!(
            load("commit_delay = true", &[], &[]).unwrap_err(),
            "understand DIR/goalpost.toml line 1: key \"commit_delay\" is \"true\", but must be a length of time such as 25, \
             500ms, 25s, 10min, 1h or 7d"
        );
        assert_eq!(
            load("", &[("GOALPOST_POWER", "mine")], &[]).unwrap_err(),
            "understand environment variable GOALPOST_POWER: key \"power\" is \"mine\", but must be own or restart"
        );
    }

    #[test]
    fn a_named_file_must_be_there_while_the_default_one_may_be_absent() {
        let missing = Config::load(Some(Path::new("/nonexistent/goalpost.toml")), |_| None, &[]).unwrap_err();
        assert!(missing.to_string().starts_with("read /nonexistent/goalpost.toml: "), "{missing}");
    }
}
