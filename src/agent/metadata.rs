//! User and device metadata: kept on disk, answered from memory, shown to containers as files.
//!
//! ```text
//! PUT, DELETE ──> store, synced ──> values ──┬─> GET
//! report, kernel ─> provided.rs ─────────────┤   <run>/meta/<kind>/<key>                          bound into each mgmt container
//!                                            └─> <run>/containers/<c>/pantavisor/<kind>/<key>     of a key <c>.<key>
//! ```
//!
//! Nothing here runs by itself: values change when somebody asks for it, what the agent provides is looked at when it is asked
//! for, and soon after the device's status changes. A file that a container sees is always a whole value, the former or the new one.

mod provided;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use host::file::{FileError, Folder, Readers};
use hyper::body::Bytes;
use model::ids::ContainerName;
use model::report::{DeviceReport, Failure, FailureKind};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::json;
use crate::store::{Meta, Store, Values, failure};

/// In the run dir: the files that every container of role `mgmt` sees.
pub(crate) const FOLDER: &str = "meta";
/// What was measured is answered for so long again.
const FRESH: Duration = Duration::from_millis(100);

/// So long after the device's status changed it is looked at: what starts, and whoever waits for it, goes first.
const SOON: Duration = Duration::from_millis(100);

/// All metadata of the device.
#[derive(Debug)]
pub struct Metadata {
    store: Arc<Store>,
    report: watch::Receiver<Arc<DeviceReport>>,
    /// Held over a change, disk and all. The values below are never held while the disk is written.
    changing: Arc<tokio::sync::Mutex<()>>,
    values: Mutex<All>,
}

#[derive(Debug)]
struct All {
    run: Folder,
    user: Page,
    device: Page,
    /// Of the device, by the agent: what never changes in its life.
    fixed: Vec<(&'static str, String)>,
    /// What was seen last.
    seen: BTreeMap<&'static str, String>,
    /// When, and what the device was doing then.
    looked: Option<(Instant, Arc<DeviceReport>)>,
}

/// What was set, with the answer that was made of it.
#[derive(Debug, Default)]
struct Page {
    set: Values,
    rendered: Option<Bytes>,
}

/// What is done one after the other.
#[derive(Debug)]
enum Turn {
    Look,
    Change { kind: Meta, key: String, value: Option<String> },
}

impl Meta {
    /// The folder in a container's `/pantavisor`.
    pub(crate) fn shown_as(self) -> &'static str {
        match self {
            Meta::User => "user-meta",
            Meta::Device => "device-meta",
        }
    }
}

impl Metadata {
    /// Reads what is kept, and shows it beneath `run_dir`.
    pub fn open(
        store: Arc<Store>,
        run_dir: &Path,
        report: watch::Receiver<Arc<DeviceReport>>,
    ) -> Result<Arc<Metadata>, Failure> {
        let page = |kind| store.meta(kind).map(|set| Page { set, rendered: None });
        let all = All {
            run: Folder::open(run_dir, None).map_err(failure)?,
            user: page(Meta::User)?,
            device: page(Meta::Device)?,
            fixed: provided::fixed(),
            seen: provided::status(&report.borrow())
                .into_iter()
                .chain(provided::measured(store.root()))
                .collect(),
            looked: None,
        };
        for kind in Meta::ALL {
            all.show_whole(kind).map_err(failure)?;
        }
        Ok(Arc::new(Metadata { store, report, changing: Arc::default(), values: Mutex::new(all) }))
    }

    fn values(&self) -> MutexGuard<'_, All> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of a kind as JSON, if that needs no look at the device.
    pub fn at_hand(&self, kind: Meta) -> Option<Bytes> {
        let mut all = self.values();
        let is_fresh = |(at, report): &(Instant, Arc<DeviceReport>)| {
            at.elapsed() < FRESH && Arc::ptr_eq(report, &self.report.borrow())
        };
        match kind {
            Meta::Device if !all.looked.as_ref().is_some_and(is_fresh) => None,
            Meta::User | Meta::Device => Some(all.rendered(kind)),
        }
    }

    /// All of a kind as JSON, as it is now.
    pub async fn now(self: &Arc<Self>, kind: Meta) -> Result<Bytes, Failure> {
        self.in_turn(Turn::Look).await?;
        Ok(self.values().rendered(kind))
    }

    /// Looks at what the agent provides whenever the device's status has changed.
    pub async fn follow(self: Arc<Self>) {
        let mut report = self.report.clone();
        // Only an agent that ends hears, or looks, no more.
        while report.changed().await.is_ok() {
            let status = provided::status(&report.borrow_and_update());
            if self.values().is_news(&status) {
                let _ = timeout(SOON, std::future::pending::<()>()).await;
                let _ = self.in_turn(Turn::Look).await;
            }
        }
    }

    /// Keeps a value, then shows it. `Permanent`: there cannot be such a key or value. `NoSpace`: there are too many.
    pub async fn put(self: &Arc<Self>, kind: Meta, key: String, value: String) -> Result<(), Failure> {
        refuse_provided(kind, &key, FailureKind::Permanent)?;
        self.in_turn(Turn::Change { kind, key, value: Some(value) }).await
    }

    /// Forgets a key. `Missing`: there is none.
    pub async fn remove(self: &Arc<Self>, kind: Meta, key: String) -> Result<(), Failure> {
        refuse_provided(kind, &key, FailureKind::Missing)?;
        self.in_turn(Turn::Change { kind, key, value: None }).await
    }

    /// One after the other, so that at most one of the few blocking threads waits for the disk because of metadata, however
    /// many ask.
    async fn in_turn(self: &Arc<Self>, what: Turn) -> Result<(), Failure> {
        let (metadata, turn) = (Arc::clone(self), Arc::clone(&self.changing).lock_owned().await);
        let done = tokio::task::spawn_blocking(move || {
            // Held here: who asked may be gone before it is done.
            let _turn = turn;
            match what {
                Turn::Look => metadata.look_now(),
                Turn::Change { kind, key, value } => return metadata.change(kind, &key, value.as_deref()),
            }
            Ok(())
        });
        let ending = |_| Failure::new(FailureKind::Transient, "keep metadata: the agent is ending");
        done.await.map_err(ending)?
    }

    fn change(&self, kind: Meta, key: &str, value: Option<&str>) -> Result<(), Failure> {
        let known = {
            let mut all = self.values();
            let set = &all.page(kind).set;
            match (set.get(key).map(String::as_str), value) {
                (None, None) => {
                    let key: String = key.chars().take(80).collect();
                    return Err(Failure::new(FailureKind::Missing, format!("find {} {key:?}", kind.name())));
                }
                (kept, value) if kept == value => return Ok(()),
                (_, _) => set.clone(),
            }
        };
        let changed = match value {
            Some(value) => self.store.put_meta(kind, key, value, &known),
            None => self.store.remove_meta(kind, key),
        };
        match changed {
            Ok(()) => self.values().set(kind, key, value),
            Err(_) => self.as_on_disk(kind, key),
        }
        changed
    }

    fn look_now(&self) {
        let measured = provided::measured(self.store.root());
        let mut all = self.values();
        let report = self.report.borrow().clone();
        all.see(provided::status(&report).into_iter().chain(measured));
        all.looked = Some((Instant::now(), report));
    }

    /// A change that failed may be on the disk all the same: what is answered is what the next start would find.
    fn as_on_disk(&self, kind: Meta, key: &str) {
        if let Ok(found) = self.store.meta(kind) {
            let mut all = self.values();
            let found = found.get(key).map(String::as_str);
            if all.page(kind).set.get(key).map(String::as_str) != found {
                all.set(kind, key, found);
            }
        }
    }

    /// Shows a container of a lesser role what is its own.
    pub(crate) fn show_to(&self, container: &ContainerName) -> Result<(), Failure> {
        let all = self.values();
        Meta::ALL.iter().try_for_each(|kind| all.show_own(*kind, container)).map_err(failure)
    }
}

/// What the agent itself says of the device is nobody else's to say.
fn refuse_provided(kind: Meta, key: &str, as_what: FailureKind) -> Result<(), Failure> {
    if kind == Meta::Device && provided::KEYS.contains(&key) {
        return Err(Failure::new(
            as_what,
            format!("change device meta {key:?}: the agent itself provides it"),
        ));
    }
    Ok(())
}

impl All {
    fn page(&mut self, kind: Meta) -> &mut Page {
        match kind {
            Meta::User => &mut self.user,
            Meta::Device => &mut self.device,
        }
    }

    fn set(&mut self, kind: Meta, key: &str, value: Option<&str>) {
        let page = self.page(kind);
        page.rendered = None;
        match value {
            Some(value) => _ = page.set.insert(key.to_owned(), value.to_owned()),
            None => _ = page.set.remove(key),
        }
        self.show(kind, key, value);
    }

    fn is_news(&self, provided: &[(&'static str, String)]) -> bool {
        provided.iter().any(|(key, value)| self.seen.get(key) != Some(value))
    }

    /// Takes in what is provided now, and shows what changed of it.
    fn see(&mut self, provided: impl IntoIterator<Item = (&'static str, String)>) {
        for (key, value) in provided {
            if self.seen.get(key) != Some(&value) {
                self.show(Meta::Device, key, Some(&value));
                self.seen.insert(key, value);
                self.device.rendered = None;
            }
        }
    }

    /// Every key once; nobody else has set what the agent provides.
    fn pairs(&self, kind: Meta) -> Vec<(&str, &str)> {
        let mut pairs = Vec::new();
        match kind {
            Meta::User => {
                pairs.extend(self.user.set.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            }
            Meta::Device => {
                let set = self.device.set.iter().filter(|(key, _)| !provided::KEYS.contains(&key.as_str()));
                pairs.extend(set.map(|(key, value)| (key.as_str(), value.as_str())));
                pairs.extend(self.fixed.iter().map(|(key, value)| (*key, value.as_str())));
                pairs.extend(self.seen.iter().map(|(key, value)| (*key, value.as_str())));
            }
        }
        pairs
    }

    fn rendered(&mut self, kind: Meta) -> Bytes {
        if let Some(rendered) = &self.page(kind).rendered {
            return rendered.clone();
        }
        // A value that is JSON is given as JSON.
        let given = |value: &str| match serde_json::from_str::<&RawValue>(value) {
            Ok(json) => json.get().to_owned(),
            Err(_) => json::text(value),
        };
        let pairs = self.pairs(kind).into_iter().map(|(key, value)| (key, given(value)));
        let rendered = Bytes::from(json::object(&pairs.collect::<Vec<_>>()));
        self.page(kind).rendered = Some(rendered.clone());
        rendered
    }

    /// Everything of a kind, and nothing else.
    fn show_whole(&self, kind: Meta) -> Result<(), FileError> {
        self.fill(&format!("{FOLDER}/{}", kind.shown_as()), &self.pairs(kind))
    }

    /// What is a container's own of a kind, and nothing else.
    fn show_own(&self, kind: Meta, container: &ContainerName) -> Result<(), FileError> {
        let mut wanted = self.pairs(kind);
        wanted.retain(|(key, _)| own_key(container, key).is_some());
        for (key, _) in &mut wanted {
            *key = own_key(container, key).unwrap_or(key);
        }
        self.fill(&own_folder(kind, container), &wanted)
    }

    fn fill(&self, folder: &str, wanted: &[(&str, &str)]) -> Result<(), FileError> {
        self.run.make_folders(folder)?;
        for entry in self.run.list(folder)? {
            let name = entry.name.to_string_lossy();
            if !wanted.iter().any(|(key, _)| *key == name) {
                self.run.remove(&format!("{folder}/{name}"))?;
            }
        }
        wanted.iter().try_for_each(|(key, value)| self.place(&format!("{folder}/{key}"), value))
    }

    /// One key of a kind, wherever it is seen. What cannot be shown is told: it is kept all the same.
    fn show(&self, kind: Meta, key: &str, value: Option<&str>) {
        let mut places = vec![format!("{FOLDER}/{}/{key}", kind.shown_as())];
        for (at, _) in key.match_indices('.') {
            let Ok(container) = key[..at].parse::<ContainerName>() else { continue };
            let folder = own_folder(kind, &container);
            if let Some(own) = own_key(&container, key)
                && self.run.stat(&folder).is_ok()
            {
                places.push(format!("{folder}/{own}"));
            }
        }
        for place in places {
            let shown = match value {
                Some(value) => self.place(&place, value),
                None => self.run.remove(&place),
            };
            if let Err(error) = shown {
                log::warn!("op=show-meta error={:?}", error.to_string());
            }
        }
    }

    /// Whoever reads it reads the former or the new value. The run dir need not outlast a power cut: nothing is synced.
    fn place(&self, path: &str, value: &str) -> Result<(), FileError> {
        let new = format!("{FOLDER}/.new");
        self.run.remove(&new)?;
        self.run.create(&new, Readers::All)?.write(value.as_bytes())?;
        self.run.rename(&new, path)
    }
}

fn own_folder(kind: Meta, container: &ContainerName) -> String {
    format!("containers/{container}/pantavisor/{}", kind.shown_as())
}

/// `<container>.<key>` is the container's `<key>`, where that can be a file's name.
fn own_key<'a>(container: &ContainerName, key: &'a str) -> Option<&'a str> {
    let own = key.strip_prefix(container.as_str())?.strip_prefix('.')?;
    (!matches!(own, "" | "." | "..")).then_some(own)
}
