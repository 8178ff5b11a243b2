//! The agent as the child of PID 1: everything that a device needs before its containers can be thought of.
//!
//! ```text
//! goalpost-init (PID 1) ── starts ──> goalpost: modules, network, storage, clock, watchdog, then the ordinary start
//!        ▲                                │
//!        └── exit code: restart, off ─────┘ (containers stopped in order by then; PID 1 unmounts and reboots)
//! ```
//!
//! An agent that PID 1 starts again finds most of it done; each step is one that may be done twice. What is missing and not
//! needed is said, and gone on without: a device that is up can be asked what is wrong with it.

mod bsp;
pub(crate) mod modules;
mod partition;
mod storage;

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

use host::HostError;
use host::device::{self, Watchdog};
use model::lxc::Ipv4Network;
use model::revision::Revision;
use nix::errno::Errno;

use crate::config::Config;

/// Read in place of the usual file where PID 1 is our parent, and that is there.
pub const CONFIG_PATH: &str = "/etc/goalpost/goalpost.toml";
/// Where the data partition is mounted.
pub const STORAGE: &str = "/storage";
/// Exit code that asks PID 1 for a restart. Its `main.rs` has the same two numbers, and the same path.
pub(crate) const RESTART: u8 = 100;
/// Exit code that asks PID 1 to switch the device off.
pub(crate) const POWER_OFF: u8 = 101;
const ARGUMENT: &str = "/run/goalpost-reboot";
/// So many short lives of the agent running, and something else than what is committed must be tried.
const DEATHS: u32 = 5;
/// How long storage may take: e2fsck repairs some gigabytes a minute on a card.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// What is configured of the device itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The label of the data partition; empty: the root folder is there already.
    pub label: String,
    /// How long to wait for it.
    pub wait: Duration,
    /// Modules to load, by name, in order, between blanks.
    pub modules: String,
    /// The device's own interface.
    pub interface: Option<Interface>,
    /// How long the hardware watchdog waits.
    pub watchdog: Duration,
}

/// An interface with its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    name: String,
    network: Ipv4Network,
    gateway: Option<Ipv4Addr>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            label: "pvdata".to_owned(),
            wait: Duration::from_secs(30),
            modules: String::new(),
            interface: None,
            watchdog: Duration::from_secs(15),
        }
    }
}

/// Why the device cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The data partition did not come.
    #[error("find a partition with the label {label:?} within {} s: is the card in, and is the module for it named in init.modules?", wait.as_secs())]
    NoStorage {
        /// The label.
        label: String,
        /// How long it was waited for.
        wait: Duration,
    },
    /// It cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What PID 1 told.
#[derive(Debug)]
pub struct Parent {
    watchdog: Option<i32>,
    deaths: u32,
}

/// Executes the program that is to be PID 1 in our place, where we are PID 1 ourselves (as by `init=`) and it lies beside us; it
/// starts us again as its child.
pub fn make_way() {
    if std::process::id() != 1 {
        return;
    }
    let Ok(ourselves) = std::env::current_exe() else { return };
    let pid_1 = ourselves.with_file_name("goalpost-init");
    if !pid_1.exists() {
        return;
    }
    let c_text = |text: std::ffi::OsString| std::ffi::CString::new(text.into_encoded_bytes()).ok();
    let all = [pid_1.clone().into(), ourselves.into()].into_iter().chain(std::env::args_os().skip(1));
    let all: Vec<_> = all.filter_map(c_text).collect();
    if let Some(program) = all.first() {
        let Err(errno) = nix::unistd::execv(program, &all);
        log::error!("op=make-way program={} error={errno:?}", pid_1.display());
    }
}

/// What the ordinary start goes on with.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The watchdog, and how long it waits.
    pub(crate) watchdog: Option<(Watchdog, Duration)>,
    /// For the report.
    pub(crate) notes: Vec<Arc<str>>,
    /// Whether the agent died so often that what is committed must not be started once more.
    pub(crate) is_worn_out: bool,
    /// On a device of our own: modules that its first root does not have.
    missing: Option<Vec<String>>,
}

impl Parent {
    /// PID 1, if it is our parent and says so.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Option<Parent> {
        variable("GOALPOST_INIT").filter(|_| std::os::unix::process::parent_id() == 1)?;
        let number = |name: &str| variable(name).and_then(|text| text.parse().ok());
        let deaths = variable("GOALPOST_DEATHS").and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(Parent { watchdog: number("GOALPOST_WATCHDOG"), deaths })
    }

    /// Makes the device ready. Blocks: no thread, no runtime is there yet.
    ///
    /// # Errors
    /// There is no storage.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, InitError> {
        let mut prepared = Prepared { is_worn_out: self.deaths >= DEATHS, ..Prepared::default() };
        let options = &config.init;
        let (loaded, missing) = load(options.modules.split_ascii_whitespace());
        loaded.into_iter().for_each(|outcome| prepared.note(outcome));
        prepared.missing = Some(missing);
        prepared.note(device::loopback_up());
        if let Some(Interface { name, network, gateway }) = &options.interface {
            prepared.note(device::configure_interface(name, *network, *gateway));
        }
        // Counted from the first moment: whatever hangs from here on ends in a restart.
        prepared.watchdog = self.watchdog(options.watchdog, &mut prepared);
        if !options.label.is_empty() {
            let watchdog = prepared.watchdog.take();
            let floor =
                fed(watchdog.as_ref(), || storage::make_ready(options, Path::new(STORAGE), &mut prepared))?;
            prepared.watchdog = watchdog;
            prepared.note(device::set_clock_floor(floor.max(build_time())));
        }
        Ok(prepared)
    }

    fn watchdog(&self, length: Duration, prepared: &mut Prepared) -> Option<(Watchdog, Duration)> {
        let found = match self.watchdog {
            Some(number) => Watchdog::inherited(number),
            None => Watchdog::open(),
        };
        let made = found.and_then(|watchdog| {
            watchdog.feed()?;
            let length = watchdog.set_length(length)?;
            Ok((watchdog, length))
        });
        // Of the device's start, not of this agent's.
        if self.deaths == 0 && made.as_ref().is_ok_and(|(watchdog, _)| watchdog.has_bitten()) {
            prepared.say("the hardware watchdog restarted the device: it was not fed in time");
        }
        made.map_err(|error| prepared.say(&format!("no hardware watchdog: failed to {error}"))).ok()
    }
}

/// Feeds the watchdog while storage takes longer than it waits: a card comes late, a file system is repaired or grows. What takes
/// longer than [`PATIENCE`] hangs, and is ended by a restart.
fn fed<T>(watchdog: Option<&(Watchdog, Duration)>, work: impl FnOnce() -> T) -> T {
    let Some((watchdog, length)) = watchdog else { return work() };
    let half = (*length / 2).max(Duration::from_millis(1));
    let meals = PATIENCE.as_millis() / half.as_millis();
    let (done, is_done) = mpsc::channel::<()>();
    let feed_now = || {
        if let Err(error) = watchdog.feed() {
            log::error!("op=feed-watchdog error={:?}", error.to_string());
        }
    };
    let feed = move || {
        for _ in 0..meals {
            if is_done.recv_timeout(half) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            feed_now();
        }
    };
    // Gone when this returns: until the launcher is started the agent must be of one thread.
    thread::scope(|scope| {
        if let Err(error) = thread::Builder::new().spawn_scoped(scope, feed) {
            log::error!("op=feed-watchdog error={error:?}");
        }
        let outcome = work();
        drop(done);
        // The agent's start has all of its length.
        feed_now();
        outcome
    })
}

/// How each went, and those that were not found.
fn load<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<Result<(), HostError>>, Vec<String>) {
    let (mut outcomes, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        match modules::load(name) {
            Err(error) if error.errno == Errno::ENOENT => missing.push(name.to_owned()),
            outcome => outcomes.push(outcome),
        }
    }
    (outcomes, missing)
}

impl Prepared {
    /// Goes on once it is known which revision was booted, whose files lie in `trail`: its modules and firmware are shown to the
    /// kernel, then what was missing is looked for again. For the report, what went wrong.
    pub(crate) fn show_bsp(&self, revision: Option<&Revision>, trail: &Path) -> Vec<Arc<str>> {
        let Some(missing) = &self.missing else { return Vec::new() };
        let bsp = revision.and_then(|revision| revision.device().bsp.as_ref());
        let shown = bsp.map(|bsp| bsp::show(bsp, &trail.join("bsp"))).unwrap_or_default();
        let (loaded, missing) = load(missing.iter().map(String::as_str));
        let failed =
            shown.into_iter().chain(loaded).filter_map(Result::err).map(|error| format!("failed to {error}"));
        let missing = missing.into_iter().map(|name| format!("failed to find module {name}"));
        let notes: Vec<Arc<str>> = failed.chain(missing).map(Arc::from).collect();
        notes.iter().for_each(|note| log::warn!("op=init error={note:?}"));
        notes
    }

    fn note(&mut self, outcome: Result<(), HostError>) {
        if let Err(error) = outcome {
            self.say(&format!("failed to {error}"));
        }
    }

    fn say(&mut self, text: &str) {
        log::warn!("op=init error={text:?}");
        self.notes.push(Arc::from(text));
    }
}

/// Leaves what a boot loader must be told for PID 1, which restarts the device with it.
pub(crate) fn leave_argument(argument: Option<&CStr>) -> Result<(), HostError> {
    match argument {
        Some(argument) => fs::write(ARGUMENT, argument.to_bytes()).map_err(HostError::at("write", ARGUMENT)),
        None => Ok(()),
    }
}

impl Interface {
    /// `NAME ADDRESS/PREFIX [GATEWAY]`.
    pub(crate) fn parse(text: &str) -> Option<Interface> {
        let mut words = text.split_ascii_whitespace();
        let (name, network) = (words.next()?, words.next()?);
        let (address, prefix) = network.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let network = Ipv4Network { address: address.parse().ok()?, prefix };
        let gateway = match words.next() {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        words.next().is_none().then(|| Interface { name: name.to_owned(), network, gateway })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.name, self.network.address, self.network.prefix)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, " {gateway}"))
    }
}

/// Our own file is as old as what it came with.
fn build_time() -> Duration {
    fs::metadata("/proc/self/exe").and_then(|file| file.modified()).map_or(Duration::ZERO, since_1970)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The newest change among a folder's own entries.
fn newest(folder: &Path) -> Duration {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let times = entries.filter_map(|entry| entry.metadata().and_then(|file| file.modified()).ok());
    times.map(since_1970).max().unwrap_or_default()
}

/// The file that configures an agent whose parent is PID 1, if it is there.
pub fn config_path() -> Option<PathBuf> {
    Some(PathBuf::from(CONFIG_PATH)).filter(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_while_storage_takes_its_time() {
        use std::io::Read;
        use std::os::fd::IntoRawFd;
        let (mut meals, writer) = std::io::pipe().unwrap();
        let watchdog = Watchdog::inherited(writer.into_raw_fd()).unwrap();
        let watchdog = (watchdog, Duration::from_millis(4));
        let mut three = [1; 3];
        let outcome = fed(Some(&watchdog), || {
            meals.read_exact(&mut three).unwrap();
            "done"
        });
        assert_eq!((outcome, three), ("done", [0; 3]));
        let (mut meals, writer) = std::io::pipe().unwrap();
        let watchdog = (Watchdog::inherited(writer.into_raw_fd()).unwrap(), PATIENCE);
        assert_eq!(fed(Some(&watchdog), || "at once"), "at once");
        drop(watchdog);
        let mut last = Vec::new();
        meals.read_to_end(&mut last).unwrap();
        assert_eq!(last, [0], "what comes next has all of its length");
        assert_eq!(fed(None, || "unwatched"), "unwatched");
    }

    #[test]
    fn an_interface_reads_as_it_is_written() {
        let read = Interface::parse("eth0 10.0.2.15/24 10.0.2.2").unwrap();
        assert_eq!(read.to_string(), "eth0 10.0.2.15/24 10.0.2.2");
        assert_eq!((read.name.as_str(), read.network.prefix), ("eth0", 24));
        assert_eq!(read.gateway, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert!(Interface::parse("eth0 10.0.2.15/24").is_some());
        for wrong in [
            "",
            "eth0",
            "eth0 10.0.2.15",
            "eth0 10.0.2.15/33",
            "eth0 10.0.2.15/24 x",
            "a 1.2.3.4/8 1.2.3.4 x",
        ] {
            assert_eq!(Interface::parse(wrong), None, "{wrong:?}");
        }
    }
}
