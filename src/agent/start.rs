//! How the agent's life begins: folders, state, what is still alive, the sockets, then the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Engine, Observed, Settings, setup};
use host::HostError;
use host::keeping::Kept;
use model::boot::BootedAs;
use model::durable::Durable;
use model::ids::{ContainerName, Generation, RevisionId};
use model::report::{Failure, FailureKind};
use model::revision::Revision;
use nix::unistd::geteuid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use crate::api::{self, Backend};
use crate::ask;
use crate::boot::{BootError, Loader};
use crate::config::{Config, ConfigError};
use crate::effects::{self, Alive, Device, Effects, Launches, Revisions, World};
use crate::endpoint::{self, EndpointError};
use crate::history::History;
use crate::init::Prepared;
use crate::inputs::clock::{self, Timer};
use crate::inputs::questions::Questions;
use crate::inputs::signals::Signals;
use crate::inputs::supervisor::Supervisor;
use crate::journal::Journal;
use crate::logs::Logs;
use crate::metadata::{self, Metadata};
use crate::record::{Record, Stage};
use crate::run::{Agent, Inputs, Turning};
use crate::serving::Serving;
use crate::store::Store;

/// Reports and exits that may wait for the loop; effects beyond that wait in their own tasks.
const WAITING: usize = 256;

/// Why the agent could not begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device endpoint would not be safe.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A file, folder or socket.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was tried.
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another agent lives in the same run dir.
    #[error("use {}: another agent does", .0.display())]
    InUse(PathBuf),
    /// The store cannot be used.
    #[error("open the store: {}", .0.detail)]
    Store(Failure),
    /// The metadata cannot be read or shown.
    #[error("open the metadata: failed to {}", .0.detail)]
    Metadata(Failure),
    /// The boot loader's variables cannot be used.
    #[error("learn how this device was booted: {0}")]
    Boot(#[from] BootError),
    /// An ordinary user may not make containers here.
    #[error(
        "{0}; run as root, or let ordinary users make user namespaces: sysctl user.max_user_namespaces=15000, and where \
             they exist kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0"
    )]
    NoUserNamespace(HostError),
    /// The kernel refused what no container can be started without.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The runtime's own inputs.
    #[error("listen to {what}: {source}")]
    Input {
        /// To what.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// The control tool beside our own binary.
pub fn goalctl_beside_us() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.parent()?.join("goalctl");
    beside.is_file().then_some(beside)
}

/// Whether this process may do what only the machine's own root may.
pub(crate) fn is_privileged() -> bool {
    // The machine's own user namespace maps every user onto itself.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Becomes able to make containers: an ordinary user does so in a user namespace of its own.
///
/// # Errors
/// The kernel refuses.
pub fn become_capable() -> Result<(), StartError> {
    if geteuid().is_root() {
        return Ok(());
    }
    host::namespace::enter_user_namespace().map_err(StartError::NoUserNamespace)
}

/// Begins. When it returns, the host socket takes connections; [`Agent::live`] answers them.
///
/// # Errors
/// Whatever the agent cannot do without.
pub async fn start(config: Config) -> Result<Agent, StartError> {
    start_with(config, Prepared::default()).await
}

/// Begins on a device that was made ready before.
///
/// # Errors
/// Whatever the agent cannot do without.
pub async fn start_with(config: Config, prepared: Prepared) -> Result<Agent, StartError> {
    make_folder(&config.root)?;
    make_folder(&config.run_dir)?;
    let lock = lock(&config.run_dir)?;
    make_private_folder(&config.run_dir.join("containers"))?;
    make_private_folder(&config.run_dir.join(metadata::FOLDER))?;
    let store = Arc::new(Store::open_with(&config.root, config.defaults(), None).map_err(StartError::Store)?);
    let record = at("make", &config.run_dir.join("lives"), Record::open(&config.run_dir))?;
    let loader = Loader::new(&config.boot, &config.root);
    let mounts = config.run_dir.join("mounts");
    make_folder(&mounts)?;
    // First, so that the launcher is in the control group that the agent has moved to.
    let device = Device::look(&config, &mounts)?;
    let (launcher, kept) = Launches::start(mounts)?;
    raise_descriptor_limit();
    let mut notes = device.notes();
    notes.extend(prepared.notes.iter().cloned());
    let endpoint = endpoint::open(&config, &mut notes)?;
    let see = See {
        config: &config,
        store: &store,
        record: &record,
        loader: &loader,
        device: &device,
        prepared: &prepared,
    };
    let seen = see.see(notes, kept)?;
    if seen.wants_network {
        launcher.expect_network();
    }

    let (asker, asked) = ask::channel();
    let (to_loop, events) = mpsc::channel(WAITING);
    let revisions = Revisions::default();
    seen.observed.revisions.values().flatten().for_each(|revision| revisions.keep(revision));
    let engine = Engine::new(seen.durable, seen.observed);
    let (report, reports) = watch::channel(Arc::new(engine.report()));
    let history = History::new(clock::now());
    let logs = Logs::new(Arc::clone(&store), config.logs)
        .map_err(|source| StartError::Input { what: "what containers print", source })?;
    let metadata = Metadata::open(Arc::clone(&store), &config.run_dir, reports.clone());
    let metadata = metadata.map_err(StartError::Metadata)?;
    let backend = Backend::new(
        Arc::clone(&store),
        asker,
        reports,
        Arc::clone(&history),
        Arc::clone(&logs),
        Arc::clone(&metadata),
        &config,
    );
    let mut serving = vec![
        Serving::begin(api::serve_host(bind_host(&config)?, Arc::clone(&backend))),
        Serving::begin(Arc::clone(&metadata).follow()),
    ];
    if let Some(endpoint) = endpoint {
        let served = endpoint.serve(Arc::clone(&backend));
        serving.push(served.map_err(|source| StartError::Input { what: "the device endpoint", source })?);
    }
    let journal = Journal::open(config.journal_folder());
    let world = World {
        config,
        store: Arc::clone(&store),
        launcher,
        device,
        loader,
        record,
        logs,
        metadata,
        backend,
        revisions,
        _lock: lock,
    };
    let mut effects = Effects::new(Arc::new(world), to_loop);
    effects.end(&seen.cut_off);
    effects.adopt(seen.alive);
    let inputs = Inputs {
        signals: Signals::listen().map_err(|source| StartError::Input { what: "signals", source })?,
        timer: Timer::new().map_err(|source| StartError::Input { what: "the timer", source })?,
        events,
        asked,
        questions: Questions::default(),
        supervisor: Supervisor::from_environment(prepared.watchdog),
        turning: Turning::default(),
    };
    let unpublished = Vec::new();
    Ok(Agent { engine, store, effects, report, history, unpublished, journal, inputs, _serving: serving })
}

/// Looks at the device before anything is decided.
struct See<'a> {
    config: &'a Config,
    store: &'a Store,
    record: &'a Record,
    loader: &'a Loader,
    device: &'a Device,
    prepared: &'a Prepared,
}

/// What was seen.
struct Seen {
    durable: Durable,
    observed: Observed,
    alive: Vec<Alive>,
    /// Whose start was cut off before its process number was known.
    cut_off: Vec<ContainerName>,
    /// Nothing lives, and a container of the revision that was booted has a network of its own.
    wants_network: bool,
}

impl See<'_> {
    fn see(&self, mut notes: Vec<Arc<str>>, kept: Kept) -> Result<Seen, StartError> {
        let mut durable = self.durable(&mut notes);
        if self.prepared.is_worn_out {
            // It never got as far as to count by itself.
            durable.unsettled_starts = durable.unsettled_starts.max(self.config.settings.unsettled_starts);
        }
        let booted = self.store.essential(BootError::is_full, || self.loader.boot(&durable.committed))?;
        let lives = at("read", &self.config.run_dir.join("lives"), self.record.read())?;
        let next_generation = lives.last().map_or(Generation(1), |noted| noted.life.generation.next());
        let begun = lives.iter().filter(|noted| noted.life.stage == Stage::Starting);
        let cut_off = begun.map(|noted| noted.life.container.clone()).collect();
        let alive = effects::find(lives, self.device, kept)?;
        let revisions = self.revisions(&durable, &booted);
        let id = match &booted {
            BootedAs::Committed(revision) | BootedAs::Trying(revision) => revision,
            BootedAs::NoLoader => &durable.committed,
        };
        let revision = revisions.get(id).and_then(|found| found.as_deref().ok());
        let wants_network = alive.is_empty()
            && revision
                .is_some_and(|revision| revision.containers().any(|each| setup::has_own_network(each)));
        notes.extend(self.prepared.show_bsp(revision, &self.store.trail_path(id)));
        let observed = Observed {
            revisions,
            booted,
            alive: alive.iter().map(|life| (life.key(), life.former())).collect(),
            next_generation,
            settings: Settings {
                reboot_updates: self.loader.reboot_updates(),
                ..self.config.settings.clone()
            },
            notes,
        };
        Ok(Seen { durable, observed, alive, cut_off, wants_network })
    }

    /// A device without state was just made. One whose state is lost in both copies goes by its boot loader, and says so.
    fn durable(&self, notes: &mut Vec<Arc<str>>) -> Durable {
        match self.store.load_durable() {
            Ok(Some(durable)) => durable,
            Ok(None) => Durable::factory(),
            Err(failure) => {
                log::error!("op=load-state error={:?}", failure.detail);
                notes.push(Arc::from(format!("the saved state is lost, failed to {}", failure.detail)));
                Durable::factory()
            }
        }
    }

    /// Every revision that the state or the boot loader names, and the factory one.
    fn revisions(
        &self,
        durable: &Durable,
        booted: &BootedAs,
    ) -> BTreeMap<RevisionId, Result<Arc<Revision>, Failure>> {
        let mut named = BTreeSet::from([RevisionId::factory(), durable.committed.clone()]);
        named.extend(durable.previous.clone());
        named.extend(durable.trial.iter().flat_map(|trial| [trial.revision.clone(), trial.fallback.clone()]));
        match booted {
            BootedAs::Committed(revision) | BootedAs::Trying(revision) => _ = named.insert(revision.clone()),
            BootedAs::NoLoader => {}
        }
        named.into_iter().map(|id| (id.clone(), whole(self.store, &id))).collect()
    }
}

/// A revision that can be parsed and has every object; their sha256 is looked at when it is to be tried.
fn whole(store: &Store, id: &RevisionId) -> Result<Arc<Revision>, Failure> {
    let revision = store.load_revision(id)?;
    let missing = revision.objects().find(|(_, digest)| !store.has_object(digest));
    match missing {
        None => Ok(revision),
        Some((key, digest)) => {
            Err(Failure::new(FailureKind::Missing, format!("find object {digest} of revision {id}, {key}")))
        }
    }
}

fn bind_host(config: &Config) -> Result<UnixListener, StartError> {
    let path = config.run_dir.join("pv-ctrl");
    // Whoever holds the lock owns the name; what is there is a former agent's.
    let _ = fs::remove_file(&path);
    let listener = at("listen on", &path, UnixListener::bind(&path))?;
    let mode = if config.socket_group.is_some() { 0o660 } else { 0o600 };
    at("set the mode of", &path, fs::set_permissions(&path, Permissions::from_mode(mode)))?;
    if let Some(group) = config.socket_group {
        at("set the group of", &path, std::os::unix::fs::chown(&path, None, Some(group)))?;
    }
    Ok(listener)
}

fn make_folder(path: &Path) -> Result<(), StartError> {
    at("make", path, fs::create_dir_all(path))
}

/// What is in it lets a container speak, or is its own: no other user of the device gets there.
fn make_private_folder(path: &Path) -> Result<(), StartError> {
    make_folder(path)?;
    at("set the mode of", path, fs::set_permissions(path, Permissions::from_mode(0o700)))
}

/// Held for as long as the agent lives.
fn lock(run_dir: &Path) -> Result<File, StartError> {
    let path = run_dir.join("lock");
    let file = at("open", &path, File::create(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(run_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(StartError::File { op: "lock", path, source }),
    }
}

fn at<T>(op: &'static str, path: &Path, outcome: io::Result<T>) -> Result<T, StartError> {
    outcome.map_err(|source| StartError::File { op, path: path.to_owned(), source })
}

/// Eight descriptors per container are more than the usual 1024 allow for 200 of them. The launcher was started before, so that
/// containers get the usual limit.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("op=raise-descriptor-limit error={error:?}");
    }
}
