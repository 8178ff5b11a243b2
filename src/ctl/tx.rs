//! `goalctl tx`: a revision is changed on the device itself, part by part, between a beginning and an end.
//!
//! What a transaction has come to is two files of its folder: `current.json`, the state so far, with `.status`, how far it
//! is. Each is replaced whole. The state is written before the status that speaks of it, so that a run that was cut off
//! leaves the step before it, or this one done.

mod queue;
mod status;
mod trail;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::ids::{Digest, RevisionId};

use crate::address;
use crate::bundle::{Bundle, hash, hash_file, named_objects, set_of, unreadable};
use crate::cli;
use crate::client::Client;
use crate::deliver;
use crate::failed::Failed;
use crate::keys::{EMPTY, Keys};
use crate::meter::Meter;
use crate::output::Output;
use crate::whole::{self, unwritable};
use status::{Objects, Phase, Status};

/// The folder that transactions live in. While it is held, no other run changes it.
#[derive(Debug)]
pub(crate) struct Transactions {
    folder: PathBuf,
    _lock: File,
}

pub(crate) async fn run(client: &Client, output: &Output, command: cli::Tx) -> Result<(), Failed> {
    let here = Transactions::open(folder())?;
    match command {
        cli::Tx::Begin { base, objects } => here.begin(client, &base, objects.as_deref()).await,
        cli::Tx::Add { file } => here.add(client, &file).await,
        cli::Tx::Remove { part } => here.remove(&part),
        cli::Tx::Show => output.line(&String::from_utf8_lossy(&here.show()?)),
        cli::Tx::Abort => here.abort(),
        cli::Tx::Commit { name } => output.line(here.commit(client, name.as_deref()).await?.as_str()),
        cli::Tx::Deploy { folder } => here.deploy(&folder),
        cli::Tx::Queue { command } => match command {
            cli::tx::Queue::New { queue, objects } => here.queue_new(&queue, &objects),
            cli::tx::Queue::Remove { part } => here.queue_remove(&part),
            cli::tx::Queue::Unpack { file } => here.queue_unpack(&file).await,
            cli::tx::Queue::Process { base, queue, objects } => {
                let other = queue.as_deref().zip(objects.as_deref());
                here.queue_process(client, base.as_deref(), other).await
            }
        },
    }
}

fn folder() -> PathBuf {
    const OF_ROOT: &str = "/var/cache/pvtx";
    let named = |variable| std::env::var_os(variable).filter(|path| !path.is_empty());
    if let Some(folder) = named("PVTXDIR") {
        return folder.into();
    }
    match named("HOME") {
        Some(home) if !nix::unistd::geteuid().is_root() => Path::new(&home).join(".local/share/pvtx"),
        Some(_) | None => OF_ROOT.into(),
    }
}

pub(crate) fn refused(code: u8, text: impl Into<String>) -> Failed {
    Failed::Transaction { code, text: text.into() }
}

/// With the exit code that this command has for it.
fn nothing_begun(code: u8) -> Failed {
    refused(code, "no active transaction. Start a transaction first.")
}

impl Transactions {
    fn open(folder: PathBuf) -> Result<Transactions, Failed> {
        whole::make_folder(&folder)?;
        let path = folder.join(".lock");
        let lock = File::create(&path).map_err(|cause| unwritable(&path, &cause))?;
        lock.lock().map_err(|cause| unwritable(&path, &cause))?;
        Ok(Transactions { folder, _lock: lock })
    }

    async fn begin(&self, client: &Client, base: &str, objects: Option<&Path>) -> Result<(), Failed> {
        // A status that is none is of no transaction.
        let before = self.status().ok().flatten();
        let queue = match before {
            Some(Status { phase: Phase::Active, .. }) => {
                return Err(refused(
                    255,
                    "a transaction is already in progress\nrun 'abort' to discard it or 'commit'/'deploy' to finalize it",
                ));
            }
            Some(set @ Status { phase: Phase::Set, .. }) => Some(set),
            Some(Status { phase: Phase::Aborted | Phase::Committed | Phase::Deployed, .. }) | None => None,
        };
        let objects = match objects {
            Some(folder) => Objects::Into(absolute(folder)?),
            None => Objects::ToTheAgent,
        };
        let status = match queue {
            Some(set) => Status { phase: Phase::Active, ..set },
            None => Status { phase: Phase::Active, objects, queue: None },
        };
        let state = base_state(client, base).await?;
        // Until the new status is there, there is no transaction.
        whole::remove(&self.folder.join(".status"))?;
        self.save_state(&state)?;
        self.save(&status)
    }

    async fn add(&self, client: &Client, file: &Path) -> Result<(), Failed> {
        let status = self.active(1)?;
        let spooled = self.spool(file)?;
        let bundle = Bundle::open(spooled.as_ref().map_or(file, |spooled| &spooled.0))?;
        let package = Keys::parse(&format!("read {}", file.display()), &bundle.state)?;
        let state = self.state()?.with(&package);
        match &status.objects {
            Objects::ToTheAgent => {
                let there = deliver::on_device(client).await?;
                let sizes = bundle.sizes();
                let lacking = named_objects(&bundle.state).into_values();
                let mut lacking =
                    lacking.filter(|digest| sizes.contains_key(digest) && !there.contains(digest));
                let lacking = set_of(&mut lacking);
                deliver::send(client, &bundle, &lacking).await?;
            }
            Objects::Into(folder) => keep_objects(&bundle, folder).await?,
        }
        self.save_state(&state)
    }

    fn remove(&self, part: &str) -> Result<(), Failed> {
        self.active(3)?;
        self.save_state(&self.state()?.without(part))
    }

    fn show(&self) -> Result<Vec<u8>, Failed> {
        self.active(11)?;
        self.state_bytes()
    }

    fn abort(&self) -> Result<(), Failed> {
        whole::remove(&self.folder.join(".status"))?;
        whole::remove(&self.folder.join("current.json"))
    }

    async fn commit(&self, client: &Client, name: Option<&str>) -> Result<RevisionId, Failed> {
        let status = self.active(11)?;
        if status.objects != Objects::ToTheAgent {
            return Err(refused(12, "this is a local transaction; use 'deploy DIR' to finalize it"));
        }
        let state = self.state_bytes()?;
        let name = name.map_or_else(|| own_name(&state), str::to_owned);
        let revision = address::revision(&name)?;
        if !revision.is_local() {
            return Err(Failed::Usage {
                text: format!("{name}: only locals/NAME can be given on the device"),
            });
        }
        deliver::put_step(client, &revision, &state).await?;
        self.save(&Status { phase: Phase::Committed, ..status })?;
        Ok(revision)
    }

    fn deploy(&self, folder: &Path) -> Result<(), Failed> {
        let status = self.active(11)?;
        let Objects::Into(objects) = &status.objects else {
            return Err(refused(255, "this is a remote transaction; use 'commit' to finalize it"));
        };
        trail::write(&self.state_bytes()?, &self.state()?, objects, folder)?;
        self.save(&Status { phase: Phase::Deployed, ..status })
    }

    fn status(&self) -> Result<Option<Status>, Failed> {
        let path = self.folder.join(".status");
        match std::fs::read(&path) {
            Ok(bytes) => match Status::decode(&bytes) {
                Some(status) => Ok(Some(status)),
                None => Err(crate::bundle::bad(&path, "not the status of a transaction; 'abort' clears it")),
            },
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(unreadable(&path, &cause)),
        }
    }

    fn active(&self, otherwise: u8) -> Result<Status, Failed> {
        let status = self.status()?.filter(|status| status.phase == Phase::Active);
        status.ok_or_else(|| nothing_begun(otherwise))
    }

    fn save(&self, status: &Status) -> Result<(), Failed> {
        let path = self.folder.join(".status");
        let bytes = status.encode().ok_or_else(|| unwritable(&path, &"a folder's path is too long"))?;
        whole::write(&path, &bytes)
    }

    fn state_bytes(&self) -> Result<Vec<u8>, Failed> {
        let path = self.folder.join("current.json");
        std::fs::read(&path).map_err(|cause| unreadable(&path, &cause))
    }

    fn state(&self) -> Result<Keys, Failed> {
        Keys::parse(&format!("read {}", self.folder.join("current.json").display()), &self.state_bytes()?)
    }

    /// Only a state whose keys can all lie on a disk together.
    fn save_state(&self, state: &[u8]) -> Result<(), Failed> {
        Keys::parse("change the state", state)?;
        whole::write(&self.folder.join("current.json"), state)
    }

    /// What comes on standard input, as a file: a package is read twice, once to be believed.
    fn spool(&self, file: &Path) -> Result<Option<Spooled>, Failed> {
        if file != Path::new("-") {
            return Ok(None);
        }
        let spooled = Spooled(self.folder.join(".package"));
        whole::fill(&spooled.0, &mut std::io::stdin().lock(), &mut |_| {})?;
        Ok(Some(spooled))
    }
}

/// Gone when nobody reads it any more.
#[derive(Debug)]
struct Spooled(PathBuf);

impl Drop for Spooled {
    fn drop(&mut self) {
        // One that cannot be removed is overwritten by the next.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The paths are read by other programs, from other folders.
fn absolute(folder: &Path) -> Result<PathBuf, Failed> {
    std::path::absolute(folder).map_err(|cause| unreadable(folder, &cause))
}

async fn base_state(client: &Client, base: &str) -> Result<Vec<u8>, Failed> {
    match base {
        "current" => client.get("/steps/current").await,
        "empty" => Ok(EMPTY.to_vec()),
        path => {
            let found = |path: &&PathBuf| path.is_file();
            let candidates = ["", "json", ".pvr/json"].map(|name| match name {
                "" => PathBuf::from(path),
                name => Path::new(path).join(name),
            });
            let Some(state) = candidates.iter().find(found) else {
                return Err(refused(
                    255,
                    format!("no state JSON found at '{path}'; expected a revision directory or a json file"),
                ));
            };
            crate::bundle::read_state(state)
        }
    }
}

/// As the field's tool makes it: when, what, and a number in case both are the same.
fn own_name(state: &[u8]) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let digest = hash(&mut &*state).map(|(digest, _)| digest.to_string()).unwrap_or_default();
    format!("locals/pvtx-{}-{}-{}", now.as_secs(), &digest[..8], now.subsec_micros() % 1000)
}

/// The bundle's objects as files of a folder, each under its name only once it is whole.
async fn keep_objects(bundle: &Bundle, folder: &Path) -> Result<(), Failed> {
    whole::make_folder(folder)?;
    let sizes = bundle.sizes();
    let named = named_objects(&bundle.state).into_values();
    let mut lacking = BTreeSet::new();
    let mut bytes = 0;
    for digest in named.filter(|digest| !is_kept(folder, digest)) {
        if let Some(size) = sizes.get(&digest).filter(|_| lacking.insert(digest)) {
            bytes += size;
        }
    }
    let mut meter = Meter::new(bytes);
    let kept = bundle
        .take(&lacking, &mut |digest, _, source| {
            whole::fill(&folder.join(digest.to_string()), source, &mut |count| meter.advance(count))
        })
        .await;
    meter.clear();
    kept
}

fn is_kept(folder: &Path, digest: &Digest) -> bool {
    hash_file(&folder.join(digest.to_string())).is_ok_and(|(found, _)| found == *digest)
}
