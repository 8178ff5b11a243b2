//! One life of a container: a task from its start to its end, which carries out the stops that come in between.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use engine::{Event, Former, FormerReady, Report, StopHow};
use host::HostError;
use host::keeping::Kept;
use host::process::{Ending, Process, StartTime};
use model::ids::{ContainerName, Generation};
use model::report::{Exit, Failure, FailureKind};
use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::start::{self, Order, Progress, Regained, Running};
use super::stops::Stops;
use super::{Device, World};
use crate::inputs::descriptor::awaited;
use crate::record::{Identity, Known, Life, Noted, Stage};

/// A life of a former agent, found again.
#[derive(Debug)]
pub(crate) struct Alive {
    /// Its note in the runtime record.
    note: Life,
    /// Its first process.
    process: Process,
    /// What it takes to go on with it; nothing if it can only be ended.
    regained: Option<(Known, Regained)>,
    ready: FormerReady,
}

/// Looks for the lives of a former agent: those whose process is still there, and in its control group.
///
/// # Errors
/// No descriptor is left.
pub(crate) fn find(lives: Vec<Noted>, device: &Device, mut kept: Kept) -> Result<Vec<Alive>, HostError> {
    let mut alive = Vec::new();
    for Noted { life: note, ready } in lives {
        let (Stage::Made(identity) | Stage::Running(identity) | Stage::Stopping(identity)) = note.stage
        else {
            continue;
        };
        let Some(process) = Process::find(identity.pid, StartTime(identity.started))? else { continue };
        if !device.holds(&note.container, identity.pid) {
            log::warn!("op=find-life container={} error=\"not in its control group\"", note.container);
            continue;
        }
        let console = kept.iter().position(|(name, _)| name == note.container.as_str());
        let console = console.map(|index| kept.swap_remove(index).1);
        let regained = match (note.stage, note.known.clone()) {
            (Stage::Running(_), Some(known)) => {
                let regained = start::regain(device, &note.container, console);
                let regained = regained.map_err(|failure| {
                    log::warn!("op=attach container={} error={:?}", note.container, failure.detail);
                });
                regained.ok().map(|regained| (known, regained))
            }
            (Stage::Starting | Stage::Made(_) | Stage::Running(_) | Stage::Stopping(_) | Stage::Ended, _) => {
                None
            }
        };
        alive.push(Alive { note, process, regained, ready });
    }
    Ok(alive)
}

impl Alive {
    /// Whose life it is.
    pub(crate) fn key(&self) -> (ContainerName, Generation) {
        (self.note.container.clone(), self.note.generation)
    }

    /// As the engine is told of it.
    pub(crate) fn former(&self) -> Former {
        match &self.regained {
            Some((known, _)) => Former::Runs {
                pid: self.process.pid(),
                fingerprint: known.fingerprint,
                ready: self.ready,
                mounted_of: known.mounted_of.clone(),
            },
            None => Former::Unfit,
        }
    }
}

/// Whom a life reports to.
struct Reporter {
    world: Arc<World>,
    events: mpsc::Sender<Event>,
    note: Life,
}

/// Starts a container and stays with it until nothing of it is left.
pub(super) async fn live(world: Arc<World>, events: mpsc::Sender<Event>, order: Order, stops: Stops) {
    let note = Life {
        container: order.container.clone(),
        generation: order.generation,
        revision: order.revision.clone(),
        stage: Stage::Starting,
        known: None,
    };
    let mut reporter = Reporter { world, events, note };
    // Boxed, here and below: what a start, a stop or a report needs is more than what a life that runs does, and is given back.
    match Box::pin(begin(&mut reporter, order, &stops)).await {
        Ok(running) => {
            Box::pin(reporter.started(Ok(running.process.pid()))).await;
            let exit = reporter.watch(&running.process, &stops).await;
            // Its socket closes, its control group goes, before anybody hears that nothing is left.
            running.clear(&reporter.world, &reporter.note.container);
            Box::pin(reporter.exited(exit)).await;
        }
        Err(failure) => {
            reporter.write(Stage::Ended);
            Box::pin(reporter.started(Err(failure))).await;
        }
    }
}

/// Watches a life that a former agent started. Its program is not our child: its exit status is unknown.
pub(super) async fn watch_adopted(
    world: Arc<World>,
    events: mpsc::Sender<Event>,
    alive: Alive,
    stops: Stops,
) {
    let mut reporter = Reporter { world, events, note: alive.note };
    let exit = match alive.regained {
        Some((known, regained)) => {
            let world = &reporter.world;
            let running = start::go_on(world, &reporter.note, known.role, regained, alive.process);
            let exit = reporter.watch(&running.process, &stops).await;
            running.clear(&reporter.world, &reporter.note.container);
            exit
        }
        None => reporter.watch(&alive.process, &stops).await,
    };
    start::remove_group(&reporter.world, &reporter.note.container);
    reporter.exited(exit).await;
}

async fn begin(reporter: &mut Reporter, order: Order, stops: &Stops) -> Result<Box<Running>, Failure> {
    reporter.note.known = Some(start::known(&reporter.world, &order)?);
    // Noted before the process exists: an agent that is killed in between finds out at its next start.
    reporter.note_start()?;
    let mut starting = start::prepare(&reporter.world, &order).await?;
    let spawned = loop {
        tokio::select! {
            biased;
            progress = starting.advance() => match progress? {
                Progress::Made(identity) => reporter.write(Stage::Made(identity)),
                Progress::Executed(spawned) => break spawned,
            },
            _ = stops.next() => starting.stop(),
        }
    };
    let identity = Identity::of(&spawned.process);
    let running = Box::new(starting.run(&reporter.world, &order, spawned));
    // Only now: whoever finds this note can go on with the life, console and all.
    reporter.write(Stage::Running(identity));
    Ok(running)
}

impl Reporter {
    fn note_start(&mut self) -> Result<(), Failure> {
        self.note.stage = Stage::Starting;
        self.world.record.write(&self.note).map_err(|error| {
            Failure::new(
                FailureKind::Transient,
                format!("note the start of {} in the runtime record: {error}", self.note.container),
            )
        })
    }

    /// A note that cannot be written costs the next agent some certainty, not this container its life.
    fn write(&mut self, stage: Stage) {
        self.note.stage = stage;
        if let Err(error) = self.world.record.write(&self.note) {
            log::warn!("op=note-life container={} error={error:?}", self.note.container);
        }
    }

    async fn started(&self, outcome: Result<u32, Failure>) {
        let (container, generation) = (self.note.container.clone(), self.note.generation);
        self.report(Event::Report(Report::Started { container, generation, outcome })).await;
    }

    async fn exited(mut self, exit: Exit) {
        self.write(Stage::Ended);
        let (container, generation) = (self.note.container.clone(), self.note.generation);
        self.report(Event::Exited { container, generation, exit }).await;
    }

    /// A loop that is not there any more is leaving, and takes no reports.
    async fn report(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    /// Waits for the end, and carries out stops until then.
    async fn watch(&mut self, process: &Process, stops: &Stops) -> Exit {
        let descriptor = match watched(process) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                // Without a way to see its end it must not live.
                Box::pin(self.stop_failed(&error)).await;
                Box::pin(self.stop(process, StopHow::Force)).await;
                return process.wait_for_end().unwrap_or(Exit::Unknown);
            }
        };
        loop {
            tokio::select! {
                biased;
                exit = ended(&descriptor, process) => return exit,
                how = stops.next() => Box::pin(self.stop(process, how)).await,
            }
        }
    }

    async fn stop(&mut self, process: &Process, how: StopHow) {
        // Noted first: an agent that comes later must not go on with what is about to end.
        self.write(Stage::Stopping(Identity::of(process)));
        let halt = self.note.known.as_ref().map_or(Signal::SIGPWR as u8, |known| known.halt);
        let signalled = match how {
            StopHow::Ask => process.signal(halt),
            StopHow::Force => process.signal(Signal::SIGKILL as u8),
        };
        if let Err(error) = signalled {
            self.stop_failed(&error.failure()).await;
        }
    }

    async fn stop_failed(&self, failure: &Failure) {
        let (container, generation) = (self.note.container.clone(), self.note.generation);
        self.report(Event::Report(Report::StopFailed { container, generation, failure: failure.clone() }))
            .await;
    }
}

fn watched(process: &Process) -> Result<AsyncFd<OwnedFd>, Failure> {
    let watch = || awaited(process.as_fd().try_clone_to_owned()?);
    watch().map_err(|error: std::io::Error| {
        Failure::new(FailureKind::Transient, format!("watch process {}: {error}", process.pid()))
    })
}

/// Waits for the end. Cancel-safe.
async fn ended(descriptor: &AsyncFd<OwnedFd>, process: &Process) -> Exit {
    loop {
        let Ok(mut ready) = descriptor.readable().await else { return std::future::pending().await };
        match process.ending() {
            Ok(Ending::Ended(exit)) => return exit,
            Ok(Ending::Running) => ready.clear_ready(),
            Err(error) => {
                log::error!("op=wait error={:?}", HostError::to_string(&error));
                return Exit::Unknown;
            }
        }
    }
}
