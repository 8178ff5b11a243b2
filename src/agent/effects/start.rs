//! Starting a container: its folder, its socket, its output, its control group, its plan, then the launcher.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use host::cgroup::Cgroup;
use host::process::Process;
use host::{HostError, Launcher, Pending, Spawned, Start};
use model::ids::{ContainerName, Generation, RevisionId};
use model::recovery::Role;
use model::report::{Failure, FailureKind};
use nix::sys::signal::Signal;
use rustix::pipe::PipeFlags;
use tokio::io::unix::AsyncFd;

use super::{World, control, place};
use crate::api;
use crate::inputs::descriptor::awaited;
use crate::record::Stage;
use crate::serving::Serving;

/// What is to be started.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) container: ContainerName,
    pub(super) revision: RevisionId,
    pub(super) generation: Generation,
}

/// A start under way.
pub(super) struct Starting {
    pending: Pending,
    readable: AsyncFd<OwnedFd>,
    noted: Noted,
    kit: Kit,
}

/// Whether the process was told of, which it is once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    No,
    Yes,
}

/// How far a start got.
pub(super) enum Progress {
    /// Its process exists, and is being set up.
    Made(Stage),
    /// Its program runs.
    Executed(Spawned),
}

/// What a life has for itself, and gives back at its end.
struct Kit {
    halt: u8,
    _group: Option<Group>,
    _serving: Serving,
}

/// A control group that goes with its life, however far that got. What is in it has ended by then.
struct Group {
    container: ContainerName,
    group: Cgroup,
}

impl Drop for Group {
    fn drop(&mut self) {
        note_errors(&self.container, self.group.remove());
    }
}

/// A container that runs.
pub(super) struct Running {
    pub(super) process: Process,
    kit: Kit,
}

/// Makes what the life has for itself, then asks the launcher.
pub(super) async fn prepare(world: &Arc<World>, order: &Order) -> Result<Starting, Failure> {
    let place = place::of(world, &order.container, &order.revision)?;
    let plan = place.start()?;
    let listener = control::listen(&place.control_folder())?;
    match place.container.role {
        // It sees all of it, by a mount of its plan.
        Role::Mgmt => {}
        Role::Nobody => world.metadata.show_to(&order.container)?,
    }
    let serving = Serving::begin(api::serve_container(
        listener,
        order.container.clone(),
        order.generation,
        place.container.role,
        Arc::clone(&world.backend),
    ));
    let (output, output_end) = pipe()?;
    let group = match &world.device.cgroups {
        Some(groups) => {
            let made = groups.make(order.container.as_str(), &plan.cgroup);
            let group = made.map_err(|error| error.failure())?;
            Some(Group { container: order.container.clone(), group })
        }
        None => None,
    };
    let begin = |launcher: &Launcher| {
        launcher.begin_start(&Start {
            plan: &plan,
            output: output_end.as_fd(),
            errors: output_end.as_fd(),
            cgroup: group.as_ref().map(|group| group.group.as_fd()),
        })
    };
    let pending = world.launcher.ask(begin).map_err(|error| error.failure())?;
    capture(world, order, output)?;
    let readable = watched(&pending)?;
    let kit = Kit { halt: place.halt_signal(), _group: group, _serving: serving };
    Ok(Starting { pending, readable, noted: Noted::No, kit })
}

fn capture(world: &World, order: &Order, output: OwnedFd) -> Result<(), Failure> {
    let captured = world.logs.capture(&order.revision, &order.container, output);
    captured.map(drop).map_err(|error| {
        Failure::new(FailureKind::Transient, format!("capture the output of {}: {error}", order.container))
    })
}

fn watched(pending: &Pending) -> Result<AsyncFd<OwnedFd>, Failure> {
    let watch = || awaited(pending.as_fd().try_clone_to_owned()?);
    watch().map_err(|error: io::Error| {
        Failure::new(FailureKind::Transient, format!("wait for the start: {error}"))
    })
}

/// Our end is read without blocking.
fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let made = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).and_then(|(ours, theirs)| {
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((ours, theirs))
    });
    made.map_err(|errno| Failure::new(FailureKind::Transient, format!("make a pipe for its output: {errno}")))
}

impl Starting {
    /// Waits until the start got further. Cancel-safe.
    pub(super) async fn advance(&mut self) -> Result<Progress, Failure> {
        loop {
            if let Some(outcome) = self.pending.advance() {
                return outcome.map(Progress::Executed).map_err(|error| error.failure());
            }
            if let (Noted::No, Some(process)) = (self.noted, self.pending.process()) {
                self.noted = Noted::Yes;
                return Ok(Progress::Made(Stage::running(process.pid(), process.started())));
            }
            let Ok(mut ready) = self.readable.readable().await else { return std::future::pending().await };
            ready.clear_ready();
        }
    }

    /// A program that does not run yet cannot be asked: it is ended either way.
    pub(super) fn stop(&self) {
        if let Some(process) = self.pending.process()
            && let Err(error) = process.signal(Signal::SIGKILL as u8)
        {
            log::warn!("op=stop-start error={:?}", error.to_string());
        }
    }

    /// Its program runs.
    pub(super) fn run(self, world: &Arc<World>, order: &Order, spawned: Spawned) -> Running {
        if let Some(console) = spawned.console
            && let Err(failure) = capture(world, order, console)
        {
            log::warn!("op=capture-console container={} error={:?}", order.container, failure.detail);
        }
        Running { process: spawned.process, kit: self.kit }
    }
}

impl Running {
    /// The signal that asks it to end.
    pub(super) fn halt(&self) -> u8 {
        self.kit.halt
    }
}

/// Of a life that a former agent started.
pub(super) fn remove_group(world: &World, container: &ContainerName) {
    if let Some(groups) = &world.device.cgroups {
        note_errors(container, groups.remove_one(container.as_str()));
    }
}

/// A group that stays is used again by the next life.
fn note_errors(container: &ContainerName, outcome: Result<(), Vec<HostError>>) {
    for error in outcome.err().into_iter().flatten() {
        log::warn!("op=remove-control-group container={container} error={:?}", error.to_string());
    }
}
