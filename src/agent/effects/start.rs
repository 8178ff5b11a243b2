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
use tokio::io::unix::AsyncFd;

use super::control::Sockets;
use super::{Device, World, control, output, place};
use crate::api;
use crate::inputs::descriptor::awaited;
use crate::logs::{Listening, LogSockets};
use crate::record::{Identity, Known, Life};
use crate::serving::Serving;

/// What is to be started.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) container: ContainerName,
    pub(super) revision: RevisionId,
    pub(super) generation: Generation,
    /// The revision whose trail its mounts use.
    pub(super) mounted_of: RevisionId,
}

/// A start under way.
pub(super) struct Starting {
    pending: Pending,
    readable: AsyncFd<OwnedFd>,
    noted: Noted,
    has_own_network: bool,
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
    Made(Identity),
    /// Its program runs.
    Executed(Spawned),
}

/// What a life has for itself, and gives back at its end.
struct Kit {
    _group: Option<Group>,
    _serving: Serving,
    _listening: Option<Listening>,
    console: Console,
}

/// Whether the launcher keeps our side of a console.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Console {
    Kept,
    None,
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

/// What the next agent must know of it.
pub(super) fn known(world: &World, order: &Order) -> Result<Known, Failure> {
    let place = place::of(world, &order.container, &order.revision)?;
    Ok(Known {
        fingerprint: place.container.fingerprint(),
        halt: place.halt_signal(),
        role: place.container.role,
        mounted_of: order.mounted_of.clone(),
    })
}

/// Asks the launcher for its process, and makes what the life has for itself, without which its program does not run.
pub(super) async fn prepare(world: &Arc<World>, order: &Order) -> Result<Starting, Failure> {
    let place = place::of(world, &order.container, &order.revision)?;
    let plan = place.start()?;
    let (output, output_end) = output::make(&place.folder())?;
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
    drop(output_end);
    // While the process is being made and set up, what only its program needs.
    let rest = || {
        match place.container.role {
            // It sees all of it, by a mount of its plan.
            Role::Mgmt => {}
            Role::Nobody => world.metadata.show_to(&order.container)?,
        }
        let sockets = control::sockets(&place.control_folder())?;
        let serving = Serving::begin(api::serve_container(
            sockets.control,
            order.container.clone(),
            order.generation,
            place.container.role,
            Arc::clone(&world.backend),
        ));
        let listening = listen(world, &order.revision, &order.container, sockets.logs)?;
        capture(world, &order.revision, &order.container, output)?;
        let readable = watched(&pending)?;
        pending.let_go();
        Ok((serving, listening, readable))
    };
    match rest() {
        Ok((serving, listening, readable)) => {
            let kit =
                Kit { _group: group, _serving: serving, _listening: Some(listening), console: Console::None };
            let has_own_network = place.has_own_network();
            Ok(Starting { pending, readable, noted: Noted::No, has_own_network, kit })
        }
        Err(failure) => {
            // Blocks for as long as the process needs to end; its control group goes after it.
            let _ = tokio::task::spawn_blocking(move || pending.abandon()).await;
            drop(group);
            Err(failure)
        }
    }
}

fn listen(
    world: &World,
    revision: &RevisionId,
    container: &ContainerName,
    sockets: LogSockets,
) -> Result<Listening, Failure> {
    world.logs.listen(revision, container, sockets).map_err(|error| {
        Failure::new(FailureKind::Transient, format!("listen to the log of {container}: {error}"))
    })
}

fn capture(
    world: &World,
    revision: &RevisionId,
    container: &ContainerName,
    output: OwnedFd,
) -> Result<(), Failure> {
    let captured = world.logs.capture(revision, container, output);
    captured.map(drop).map_err(|error| {
        Failure::new(FailureKind::Transient, format!("capture the output of {container}: {error}"))
    })
}

fn watched(pending: &Pending) -> Result<AsyncFd<OwnedFd>, Failure> {
    let watch = || awaited(pending.as_fd().try_clone_to_owned()?);
    watch().map_err(|error: io::Error| {
        Failure::new(FailureKind::Transient, format!("wait for the start: {error}"))
    })
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
                return Ok(Progress::Made(Identity::of(process)));
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
        let mut kit = self.kit;
        // It may be started again.
        if self.has_own_network {
            world.launcher.expect_network();
        }
        if let Some(console) = spawned.console {
            kit.console = attach_console(world, &order.revision, &order.container, console);
        }
        Running { process: spawned.process, kit }
    }
}

/// Captures what comes out of a console, which the launcher keeps for the next agent.
fn attach_console(
    world: &World,
    revision: &RevisionId,
    container: &ContainerName,
    console: OwnedFd,
) -> Console {
    world.launcher.keep(container, Some(console.as_fd()));
    if let Err(failure) = capture(world, revision, container, console) {
        log::warn!("op=capture-console container={container} error={:?}", failure.detail);
    }
    Console::Kept
}

impl Running {
    /// Gives back what the life had for itself.
    pub(super) fn clear(self, world: &World, container: &ContainerName) {
        if self.kit.console == Console::Kept {
            world.launcher.keep(container, None);
        }
    }
}

/// What a life that a former agent started needs of this one.
#[derive(Debug)]
pub(crate) struct Regained {
    sockets: Sockets,
    output: OwnedFd,
    console: Option<OwnedFd>,
}

/// Makes its socket anew, and opens its pipe again.
pub(super) fn regain(
    device: &Device,
    container: &ContainerName,
    console: Option<OwnedFd>,
) -> Result<Regained, Failure> {
    let control = device.control_folder(container);
    let output = output::find(control.parent().unwrap_or(&control))?;
    Ok(Regained { sockets: control::sockets(&control)?, output, console })
}

/// Goes on with such a life: its socket is answered, its output captured.
pub(super) fn go_on(
    world: &Arc<World>,
    note: &Life,
    role: Role,
    regained: Regained,
    process: Process,
) -> Running {
    let Regained { sockets: Sockets { control, logs }, output, console } = regained;
    // It may have changed since.
    if role == Role::Nobody
        && let Err(failure) = world.metadata.show_to(&note.container)
    {
        log::warn!("op=show-metadata container={} error={:?}", note.container, failure.detail);
    }
    let serving = api::serve_container(
        control,
        note.container.clone(),
        note.generation,
        role,
        Arc::clone(&world.backend),
    );
    if let Err(failure) = capture(world, &note.revision, &note.container, output) {
        log::warn!("op=capture-output container={} error={:?}", note.container, failure.detail);
    }
    let listening = listen(world, &note.revision, &note.container, logs);
    let listening = listening.map_err(|failure| {
        log::warn!("op=listen-to-log container={} error={:?}", note.container, failure.detail);
    });
    let console = console
        .map_or(Console::None, |console| attach_console(world, &note.revision, &note.container, console));
    Running {
        process,
        kit: Kit { _group: None, _serving: Serving::begin(serving), _listening: listening.ok(), console },
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
