//! Actions into the world: each begins without waiting, and ends in the report that it names.

mod boot;
mod control;
mod launches;
pub(crate) mod leave;
mod life;
mod mount;
mod output;
mod place;
mod start;
mod steps;
mod stops;
mod turns;
mod unpack;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Action, Event, Report, StopHow};
use host::cgroup::Cgroups;
use model::ids::{ContainerName, Generation, RevisionId};
use model::report::Failure;
use model::revision::Revision;
use tokio::sync::mpsc;

use crate::api::Backend;
use crate::boot::Loader;
use crate::config::Config;
use crate::logs::Logs;
use crate::metadata::Metadata;
use crate::record::Record;
use crate::store::Store;

pub(crate) use self::launches::Launches;
pub(crate) use self::life::{Alive, find};
use self::mount::Mounts;
pub(crate) use self::place::Device;
use self::stops::Stopper;
use self::turns::{Place, Turns};

/// Begins actions. Owned by the loop, so that what it remembers needs no lock.
#[derive(Debug)]
pub(crate) struct Effects {
    world: Arc<World>,
    events: mpsc::Sender<Event>,
    lives: BTreeMap<(ContainerName, Generation), Stopper>,
    mounts: Mounts,
    turns: Turns<ContainerName>,
    documents: Turns<RevisionId>,
}

/// What effects act on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) launcher: Launches,
    pub(crate) device: Device,
    pub(crate) loader: Loader,
    pub(crate) record: Record,
    pub(crate) logs: Arc<Logs>,
    pub(crate) metadata: Arc<Metadata>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) revisions: Revisions,
    /// Held for as long as the agent lives.
    pub(crate) _lock: File,
}

/// The parsed revisions that something may still be mounted or started from.
#[derive(Debug, Default)]
pub(crate) struct Revisions(Mutex<BTreeMap<RevisionId, Arc<Revision>>>);

impl Revisions {
    /// Remembers a revision as it was verified.
    pub(crate) fn keep(&self, revision: &Arc<Revision>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(revision.id().clone(), Arc::clone(revision));
    }

    /// A name may get new content.
    fn forget(&self, revision: &RevisionId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(revision);
    }

    fn find(&self, revision: &RevisionId) -> Option<Arc<Revision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(revision).cloned()
    }
}

impl World {
    /// A revision as it was verified or, after that, as it lies in the store.
    fn revision(&self, revision: &RevisionId) -> Result<Arc<Revision>, Failure> {
        if let Some(found) = self.revisions.find(revision) {
            return Ok(found);
        }
        let loaded = self.store.load_revision(revision)?;
        self.revisions.keep(&loaded);
        Ok(loaded)
    }
}

impl Effects {
    pub(crate) fn new(world: Arc<World>, events: mpsc::Sender<Event>) -> Effects {
        Effects {
            world,
            events,
            lives: BTreeMap::new(),
            mounts: Mounts::default(),
            turns: Turns::new(),
            documents: Turns::new(),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.world.config
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.world.loader
    }

    /// At the end of an orderly stop: no control group stays behind.
    pub(crate) fn remove_groups(&self) {
        let outcome = self.world.device.cgroups.as_ref().map_or(Ok(()), Cgroups::remove);
        for error in outcome.err().into_iter().flatten() {
            log::warn!("op=remove-control-groups error={:?}", error.to_string());
        }
    }

    pub(crate) fn journal_folder(&self) -> PathBuf {
        self.world.config.journal_folder()
    }

    /// Ends what former starts left that never got as far as a process number.
    pub(crate) fn end(&self, cut_off: &[ContainerName]) {
        for container in cut_off {
            if let Err(error) = place::kill_group(&self.world.device, container) {
                log::warn!("op=end-cut-off-start container={container} error={error:?}");
            }
        }
    }

    /// Watches the lives that a former agent left.
    pub(crate) fn adopt(&mut self, alive: Vec<Alive>) {
        for life in alive {
            let (stop, stops) = stops::pair();
            self.lives.insert(life.key(), stop);
            tokio::spawn(life::watch_adopted(Arc::clone(&self.world), self.events.clone(), life, stops));
        }
    }

    /// Begins an action that needs nothing but itself. Replies and leaving are the loop's own.
    pub(crate) fn begin(&mut self, action: Action) {
        match action {
            Action::Mount { container, revision, generation } => self.mount(container, revision, generation),
            Action::Unmount { container, generation } => self.unmount(container, generation),
            Action::Start { container, revision, generation } => self.start(container, revision, generation),
            Action::Stop { container, generation, how } => self.stop(container, generation, how),
            Action::NoteReady { container, generation } => self.note_ready(&container, generation),
            Action::Verify { revision } => self.blocking(move |world| steps::verify(world, revision)),
            Action::SetBoot { vars, asked } => self.blocking(move |world| boot::set(world, &vars, asked)),
            Action::WriteProgress { revision, progress, asked } => {
                let place = self.documents.place(&revision);
                self.blocking_in(place, move |world| {
                    steps::write_progress(world, revision, &progress, asked)
                });
            }
            Action::Collect { keep } => self.blocking(move |world| steps::collect(world, keep)),
            Action::MakeFactory { from } => self.blocking(move |world| steps::make_factory(world, &from)),
            Action::Install { .. } | Action::Reply { .. } | Action::Leave(_) => {
                log::error!("op=begin error=\"this action is the loop's own\"");
            }
        }
    }

    /// Installs a step that is staged; one without bytes was never posted.
    pub(crate) fn install(&self, revision: RevisionId, state: Option<Arc<[u8]>>) {
        self.blocking(move |world| steps::install(world, revision, state.as_deref()));
    }

    /// For whoever looks at the disk: `trails/current` names what runs. Nothing waits for it.
    pub(crate) fn name_current(&self, revision: RevisionId) {
        let store = Arc::clone(&self.world.store);
        tokio::task::spawn_blocking(move || {
            if let Err(failure) = store.set_current(&revision) {
                log::warn!("op=name-current revision={revision} error={:?}", failure.detail);
            }
        });
    }

    fn mount(&mut self, container: ContainerName, revision: RevisionId, generation: Generation) {
        let (world, events) = (Arc::clone(&self.world), self.events.clone());
        let plan = self.mounts.plan(&world, &container, &revision, generation);
        let place = self.turns.place(&container);
        tokio::spawn(async move {
            let turn = place.turn().await;
            let outcome = match plan {
                Ok(plan) => mount::make(&world, &container, &revision, &plan).await,
                Err(failure) => Err(failure),
            };
            drop(turn);
            let _ = events.send(Event::Report(Report::Mounted { container, generation, outcome })).await;
        });
    }

    fn unmount(&mut self, container: ContainerName, generation: Generation) {
        let (world, events) = (Arc::clone(&self.world), self.events.clone());
        let plan = self.mounts.take(&container, generation);
        let place = self.turns.place(&container);
        tokio::spawn(async move {
            let turn = place.turn().await;
            let outcome = match plan {
                Some(plan) => mount::take_away(&world, plan).await,
                None => Ok(()),
            };
            drop(turn);
            let _ = events.send(Event::Report(Report::Unmounted { container, generation, outcome })).await;
        });
    }

    fn start(&mut self, container: ContainerName, revision: RevisionId, generation: Generation) {
        let (stop, stops) = stops::pair();
        self.lives.retain(|_, stop| !stop.is_closed());
        self.lives.insert((container.clone(), generation), stop);
        let mounted_of = self.mounts.revision(&container).unwrap_or(&revision).clone();
        let order = start::Order { container, revision, generation, mounted_of };
        tokio::spawn(life::live(Arc::clone(&self.world), self.events.clone(), order, stops));
    }

    /// A note that cannot be written costs the next agent some certainty, not this container its life.
    fn note_ready(&self, container: &ContainerName, generation: Generation) {
        if let Err(error) = self.world.record.write_ready(container, generation) {
            log::warn!("op=note-ready container={container} error={error:?}");
        }
    }

    /// A life that is not there any more needs no stop: its exit is on its way.
    fn stop(&mut self, container: ContainerName, generation: Generation, how: StopHow) {
        if let Some(life) = self.lives.get(&(container, generation)) {
            life.stop(how);
        }
    }

    /// On a blocking thread, of which there are few and which end when they idle.
    fn blocking(&self, effect: impl FnOnce(&World) -> Report + Send + 'static) {
        self.blocking_in(None, effect);
    }

    /// The same, when it is its turn.
    fn blocking_in(
        &self,
        place: impl Into<Option<Place>>,
        effect: impl FnOnce(&World) -> Report + Send + 'static,
    ) {
        let (world, events, place) = (Arc::clone(&self.world), self.events.clone(), place.into());
        tokio::spawn(async move {
            let _turn = match place {
                Some(place) => Some(place.turn().await),
                None => None,
            };
            match tokio::task::spawn_blocking(move || effect(&world)).await {
                Ok(report) => {
                    let _ = events.send(Event::Report(report)).await;
                }
                Err(error) => log::error!("op=effect error={error:?}"),
            }
        });
    }
}
