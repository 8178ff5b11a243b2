//! One life of a container: a task from its start to its end, which carries out the stops that come in between.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use engine::{Event, Report, StopHow};
use host::HostError;
use host::process::{Ending, Process};
use model::report::{Exit, Failure, FailureKind};
use nix::sys::signal::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::start::{self, Order, Progress, Running};
use super::stops::Stops;
use super::{World, place};
use crate::inputs::descriptor::awaited;
use crate::record::{Life, Stage};

/// A life of a former agent, found again.
#[derive(Debug)]
pub(crate) struct Alive {
    /// Its note in the runtime record.
    pub(crate) note: Life,
    /// Its first process.
    pub(crate) process: Process,
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
    };
    let mut reporter = Reporter { world, events, note };
    // Boxed: what a start needs is more than what a life that runs does, and is given back.
    match Box::pin(begin(&mut reporter, order, &stops)).await {
        Ok(running) => {
            reporter.started(Ok(running.process.pid())).await;
            let exit = reporter.watch(&running.process, &stops, running.halt()).await;
            // Its socket closes, its control group goes, before anybody hears that nothing is left.
            drop(running);
            reporter.exited(exit).await;
        }
        Err(failure) => {
            reporter.write(Stage::Ended);
            reporter.started(Err(failure)).await;
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
    let reporter = Reporter { world, events, note: alive.note };
    let halt = place::halt_signal_of(&reporter.world, &reporter.note.container, &reporter.note.revision);
    let exit = reporter.watch(&alive.process, &stops, halt).await;
    start::remove_group(&reporter.world, &reporter.note.container);
    reporter.exited(exit).await;
}

async fn begin(reporter: &mut Reporter, order: Order, stops: &Stops) -> Result<Running, Failure> {
    // Noted before the process exists: an agent that is killed in between finds out at its next start.
    reporter.note_start()?;
    let mut starting = start::prepare(&reporter.world, &order).await?;
    let spawned = loop {
        tokio::select! {
            biased;
            progress = starting.advance() => match progress? {
                Progress::Made(stage) => reporter.write(stage),
                Progress::Executed(spawned) => break spawned,
            },
            _ = stops.next() => starting.stop(),
        }
    };
    if let Stage::Starting = reporter.note.stage {
        reporter.write(Stage::running(spawned.process.pid(), spawned.process.started()));
    }
    Ok(starting.run(&reporter.world, &order, spawned))
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
    async fn watch(&self, process: &Process, stops: &Stops, halt: u8) -> Exit {
        let descriptor = match watched(process) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                // Without a way to see its end it must not live.
                self.stop_failed(&error).await;
                self.stop(process, StopHow::Force, halt).await;
                return process.wait_for_end().unwrap_or(Exit::Unknown);
            }
        };
        loop {
            tokio::select! {
                biased;
                exit = ended(&descriptor, process) => return exit,
                how = stops.next() => self.stop(process, how, halt).await,
            }
        }
    }

    async fn stop(&self, process: &Process, how: StopHow, halt: u8) {
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
