//! What the device is configured to: a small TOML file, then the environment, then the command line, each over the former.

mod keys;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::init;
use engine::Settings;
use model::recovery::Role;
use model::revision::Defaults;
use toml::de::{DeTable, DeValue};

pub use self::keys::Secrecy;
use self::keys::{KEYS, Key};

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
    /// What is done to the device itself, where PID 1 is ours.
    pub init: init::Options,
    /// Whose PID 1 is.
    pub pid_1: Pid1,
    /// Where `pvr` and `goalctl --host` are answered; nowhere if not given.
    pub device_listen: Option<SocketAddr>,
    /// A file with the token that they must know.
    pub device_token: Option<PathBuf>,
    /// The command line that starts this agent over: the program's name first.
    pub start_over_as: Vec<OsString>,
    /// Where the settings came from that are not as they are by default.
    pub places: BTreeMap<&'static str, Place>,
}

/// What a decided reboot or power-off does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It reboots or powers off the machine: the agent owns the power.
    Own,
    /// The agent's life starts over; a power-off ends the agent.
    Restart,
}

/// Whose PID 1 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pid1 {
    /// It is goalpost-init, our parent, which learns from our exit code what becomes of the device.
    Ours,
    /// Another.
    Foreign,
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
    #[error("understand {place}: key {key:?} is not known; {}", suggestion(key))]
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
        allowed: String,
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

/// A setting as it is told to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// Its value as it would be written; of a secret, whether there is one.
    pub value: String,
    /// What it would be otherwise.
    pub default: String,
    /// Where it came from; `None`: it is the default.
    pub place: Option<Place>,
    /// What would be allowed.
    pub allowed: String,
    /// What it is for, in a sentence.
    pub about: &'static str,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            root: PathBuf::from("/var/lib/goalpost"),
            run_dir: PathBuf::from("/run/goalpost"),
            goalctl: None,
            settings: Settings::default(),
            power: Power::Restart,
            default_role: Role::Mgmt,
            logs: LogLimits { file_bytes: 1 << 20, files: 2, rate: 256 << 10 },
            gc_age: Duration::from_secs(7 * 24 * 3600),
            socket_group: None,
            init: init::Options::default(),
            pid_1: Pid1::Foreign,
            device_listen: None,
            device_token: None,
            start_over_as: Vec::new(),
            places: BTreeMap::new(),
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

    /// What is usual where PID 1 is ours.
    pub fn of_device() -> Config {
        Config {
            root: PathBuf::from(init::STORAGE),
            power: Power::Own,
            pid_1: Pid1::Ours,
            ..Config::default()
        }
    }

    /// Every setting, in the order of the table.
    pub fn listed(&self) -> Vec<Setting> {
        let (mut own, mut plain) = (self.clone(), Config::default());
        let settings = KEYS.iter().map(|key| Setting {
            name: key.name,
            value: key.tell(&mut own),
            default: key.show(&mut plain),
            place: self.places.get(key.name).cloned(),
            allowed: key.allowed(),
            about: key.about,
        });
        settings.collect()
    }

    /// From a file (`None`: the default one, if it is there), the environment, then `arguments` (key and value).
    ///
    /// # Errors
    /// The first thing that cannot be read or understood.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
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
        environment: impl IntoIterator<Item = (String, String)>,
        arguments: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        let mut config = defaults;
        if let Some((path, text)) = read(file)? {
            config.take_file(&path, &text)?;
        }
        for (name, value) in environment {
            let Some(suffix) = name.strip_prefix(PREFIX) else { continue };
            if NOT_SETTINGS.contains(&suffix) {
                continue;
            }
            let place = || Place::Environment(name.clone());
            let key = KEYS.iter().find(|key| variable(key.name) == name);
            let key = key.ok_or_else(|| ConfigError::UnknownKey { place: place(), key: as_key(suffix) })?;
            config.take(key, &value, place)?;
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
            let is_its_folder =
                |key: &Key| key.name.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'));
            if value == NOTHING && KEYS.iter().any(is_its_folder) {
                continue;
            }
            self.take(find(&name, || place(offset))?, &value, || place(offset))?;
        }
        Ok(())
    }

    fn take(&mut self, key: &Key, value: &str, place: impl Fn() -> Place) -> Result<(), ConfigError> {
        key.set(self, value).map_err(|allowed| ConfigError::BadValue {
            place: place(),
            key: key.name,
            found: match key.secrecy {
                Secrecy::Open => value.chars().take(80).collect(),
                Secrecy::Secret => "(a secret)".to_owned(),
            },
            allowed,
        })?;
        self.places.insert(key.name, place());
        Ok(())
    }
}

/// Every key with its default and what it is for, for `--help`.
pub fn describe_keys() -> String {
    let line =
        |setting: Setting| format!("  {:<20} {:<18} {}\n", setting.name, setting.default, setting.about);
    Config::default().listed().into_iter().map(line).collect()
}

/// What whoever wrote an unknown key may have meant.
fn suggestion(unknown: &str) -> String {
    let far = |known: &str| {
        let is_its_end = known.strip_suffix(unknown).is_some_and(|start| start.ends_with('.'));
        if is_its_end { 0 } else { distance(known, unknown) }
    };
    match KEYS.iter().map(|key| (far(key.name), key.name)).min() {
        Some((far, nearest)) if far <= unknown.len() / 2 => format!("did you mean {nearest:?}?"),
        Some(_) | None => {
            let known: Vec<_> = KEYS.iter().map(|key| key.name).collect();
            format!("known keys are {}", known.join(", "))
        }
    }
}

/// How many letters must be added, left out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], at + 1);
        for (index, against) in other.chars().enumerate() {
            let changed = corner + usize::from(letter != against);
            corner = row[index + 1];
            row[index + 1] = changed.min(corner + 1).min(row[index] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

fn find(name: &str, place: impl Fn() -> Place) -> Result<&'static Key, ConfigError> {
    KEYS.iter()
        .find(|key| key.name == name)
        .ok_or_else(|| ConfigError::UnknownKey { place: place(), key: name.chars().take(80).collect() })
}

/// Of every environment variable that is a setting.
const PREFIX: &str = "GOALPOST_";
/// Variables with that beginning that are none: how much is logged, where goalctl asks, what PID 1 tells.
const NOT_SETTINGS: [&str; 5] = ["LOG", "SOCKET", "INIT", "DEATHS", "WATCHDOG"];

/// `roles.default` is `GOALPOST_ROLES_DEFAULT`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// As near as an unknown variable comes to a key.
fn as_key(suffix: &str) -> String {
    suffix.chars().take(80).collect::<String>().to_lowercase()
}

fn read(file: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_PATH));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The value of a table with nothing in it.
const NOTHING: &str = "(nothing)";

/// The table's leaves in the order of the file: where, dotted key, value as text.
fn flatten(table: &DeTable<'_>) -> Vec<(usize, String, String)> {
    let mut leaves = Vec::new();
    for (key, value) in table {
        match value.get_ref() {
            // Its name may be wrong all the same.
            DeValue::Table(inner) if inner.is_empty() => {
                leaves.push((key.span().start, key.get_ref().to_string(), NOTHING.to_owned()));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)], arguments: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("goalpost.toml");
        std::fs::write(&file, text).unwrap();
        let arguments: Vec<_> =
            arguments.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let environment = environment.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        Config::load(Some(&file), environment, &arguments)
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
        assert_eq!(
            unknown,
            "understand DIR/goalpost.toml line 2: key \"rooot\" is not known; did you mean \"root\"?"
        );
        let syntax = load("root = '/a'\nrun_dir = /b\n", &[], &[]).unwrap_err();
        assert!(syntax.starts_with("read DIR/goalpost.toml line 2: "), "{syntax}");
        assert_eq!(
            load("commit_delay = true", &[], &[]).unwrap_err(),
            "understand DIR/goalpost.toml line 1: key \"commit_delay\" is \"true\", but must be a length of time such as 25, \
             500ms, 25s, 10min, 1h or 7d, from 0s to 1d"
        );
        assert_eq!(
            load("", &[("GOALPOST_POWER", "mine")], &[]).unwrap_err(),
            "understand environment variable GOALPOST_POWER: key \"power\" is \"mine\", but must be own or restart"
        );
    }

    #[test]
    fn the_device_endpoint_is_on_loopback_unless_an_address_says_otherwise() {
        let listen = |text: &str| {
            load("", &[("GOALPOST_DEVICE_LISTEN", text)], &[]).map(|config| config.device_listen)
        };
        assert_eq!(load("", &[], &[]).unwrap().device_listen, None);
        for (text, address) in
            [("12368", "127.0.0.1:12368"), ("0.0.0.0:80", "0.0.0.0:80"), ("[::1]:1", "[::1]:1")]
        {
            assert_eq!(listen(text).unwrap(), Some(address.parse().unwrap()), "{text}");
        }
        assert_eq!(listen("").unwrap(), None);
        assert!(listen("device.lan").unwrap_err().ends_with("a port alone, or empty"));
    }

    #[test]
    fn what_was_meant_is_suggested() {
        let refused = |text: &str| load(text, &[], &[]).unwrap_err();
        assert!(refused("[log]\nrate = 1").ends_with("did you mean \"logs.rate\"?"));
        assert!(refused("\n\n[logz]\n").starts_with("understand DIR/goalpost.toml line 3: key \"logz\""));
        assert!(refused("file_size = 1").ends_with("did you mean \"logs.file_size\"?"));
        assert!(refused("xyzzy = 1").contains("known keys are root, run_dir, goalctl, "));
        let variable = load("", &[("GOALPOST_COMIT_DELAY", "1")], &[]).unwrap_err();
        assert_eq!(
            variable,
            "understand environment variable GOALPOST_COMIT_DELAY: key \"comit_delay\" is not known; did you mean \"commit_delay\"?"
        );
        load("[logs]\n", &[("GOALPOST_LOG", "debug"), ("PATH", "/bin")], &[]).unwrap();
    }

    #[test]
    fn every_default_is_allowed_and_reads_as_it_is_written() {
        for setting in Config::default().listed() {
            let config = load("", &[], &[(setting.name, &setting.value)]).unwrap();
            let again = config.listed().into_iter().find(|again| again.name == setting.name).unwrap();
            assert_eq!((&again.value, &again.value), (&setting.default, &setting.value));
            assert_eq!(again.place, Some(Place::CommandLine));
            assert!(setting.about.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn bounds_are_kept_and_units_are_the_largest_that_fit() {
        for (name, wrong, right, shown) in [
            ("commit_delay", "2d", "90", "90s"),
            ("commit_delay", "x", "1500ms", "1500ms"),
            ("gc.age", "9999d", "24h", "1d"),
            ("unsettled_starts", "0", "7", "7"),
            ("logs.file_size", "1K", "2048K", "2M"),
            ("logs.rate", "99999999999999999999G", "1025", "1025"),
            ("socket.group", "-1", "", ""),
            ("root", "here", "/there", "/there"),
            ("power", "", "own", "own"),
        ] {
            let refused = load("", &[], &[(name, wrong)]).unwrap_err();
            assert!(refused.contains("but must be "), "{refused}");
            let settings = load("", &[], &[(name, right)]).unwrap().listed();
            assert_eq!(settings.iter().find(|one| one.name == name).unwrap().value, shown);
        }
    }

    #[test]
    fn each_setting_says_where_it_came_from() {
        let text = "root = '/a'\n\n[logs]\nrate = '64K'\n";
        let config = load(text, &[("GOALPOST_POWER", "own")], &[("commit_delay", "3")]).unwrap();
        let place = |name: &str| {
            let setting = config.listed().into_iter().find(|one| one.name == name).unwrap();
            setting.place.map(|place| place.to_string())
        };
        assert!(place("root").unwrap().ends_with("/goalpost.toml line 1"));
        assert!(place("logs.rate").unwrap().ends_with("/goalpost.toml line 4"));
        assert_eq!(place("power").as_deref(), Some("environment variable GOALPOST_POWER"));
        assert_eq!(place("commit_delay").as_deref(), Some("command line"));
        assert_eq!(place("gc.age"), None);
    }

    #[test]
    fn a_named_file_must_be_there_while_the_default_one_may_be_absent() {
        let missing = Config::load(Some(Path::new("/nonexistent/goalpost.toml")), [], &[]).unwrap_err();
        assert!(missing.to_string().starts_with("read /nonexistent/goalpost.toml: "), "{missing}");
    }
}
