//! What the device offers to containers, with the plans that come of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::setup::{self, Context, Places, Privileges, ProcessLimiting};
use host::HostError;
use host::cgroup::{self, Cgroups};
use model::ids::{ContainerName, RevisionId};
use model::report::{Failure, FailureKind};
use model::revision::Container;
use model::run::VolumeSource;
use model::setup::{MountStep, StartPlan};
use nix::sys::signal::Signal;

use super::World;
use crate::config::Config;
use crate::start;
use crate::store::Store;

/// What this device offers, as it was found when the agent's life began.
#[derive(Debug)]
pub(crate) struct Device {
    places: Places,
    privileges: Privileges,
    /// Where containers' control groups are, if this host has any that we may use.
    pub(super) cgroups: Option<Cgroups>,
    processes: ProcessLimiting,
}

impl Device {
    /// Looks around. `hold` is where the launcher puts mounts.
    pub(crate) fn look(config: &Config, hold: &Path) -> Result<Device, HostError> {
        let text = |path: &Path| path.display().to_string();
        // Below the same group as other agents of this machine, each with its own run dir.
        let name = format!("goalpost{}", text(&config.run_dir).replace('/', "-"));
        let cgroups = Cgroups::open(&name)?;
        let processes = match Cgroups::process_limiting(cgroups.as_ref()) {
            cgroup::ProcessLimiting::Controller => ProcessLimiting::Controller,
            cgroup::ProcessLimiting::PidNamespace => ProcessLimiting::PidNamespace,
            cgroup::ProcessLimiting::Impossible => ProcessLimiting::Impossible,
        };
        let goalctl = config.goalctl.clone().or_else(start::goalctl_beside_us);
        let places = Places {
            store: text(&config.root),
            run: text(&config.run_dir),
            hold: text(hold),
            exports: text(&config.root.join("exports")),
            goalctl: goalctl.as_deref().map(text),
        };
        let privileges = if start::is_privileged() { Privileges::Root } else { Privileges::UserNamespace };
        Ok(Device { places, privileges, cgroups, processes })
    }

    /// The folder that a container sees as `/pantavisor`.
    pub(super) fn control_folder(&self, container: &ContainerName) -> PathBuf {
        PathBuf::from(self.places.pantavisor(container.as_str()))
    }

    /// Whether a process is in that container's control group, as far as there are any.
    pub(super) fn holds(&self, container: &ContainerName, pid: u32) -> bool {
        self.cgroups.as_ref().is_none_or(|groups| groups.holds(container.as_str(), pid))
    }

    /// What an operator should know of it.
    pub(crate) fn notes(&self) -> Vec<Arc<str>> {
        let mut notes = Vec::new();
        let mut note = |text: &str| notes.push(Arc::from(text));
        if self.processes == ProcessLimiting::Impossible {
            note("pids: not limited");
        }
        if self.cgroups.is_none() {
            note("control groups: none that this agent may use");
        }
        if self.privileges == Privileges::UserNamespace {
            note("unprivileged: containers live in a user namespace");
        }
        if self.places.goalctl.is_none() {
            note("goalctl: not found beside goalpost, so containers do not have it");
        }
        notes
    }
}

/// A container of a revision, on this device.
pub(super) struct Placed<'a> {
    pub(super) container: Arc<Container>,
    device: &'a Device,
    context: Context,
}

pub(super) fn of<'a>(
    world: &'a World,
    name: &ContainerName,
    revision: &RevisionId,
) -> Result<Placed<'a>, Failure> {
    let missing =
        || Failure::new(FailureKind::Permanent, format!("find container {name} in revision {revision}"));
    let container = world.revision(revision)?.container(name).cloned().ok_or_else(missing)?;
    Ok(at(world, container, revision))
}

/// A container that is known already.
pub(super) fn at<'a>(world: &'a World, container: Arc<Container>, revision: &RevisionId) -> Placed<'a> {
    let device = &world.device;
    let path = |groups: &Cgroups| groups.path(container.name.as_str()).display().to_string();
    let cgroup = device.cgroups.as_ref().map(path);
    let context = Context {
        revision: revision.clone(),
        places: device.places.clone(),
        privileges: device.privileges,
        cgroup,
        processes: device.processes,
    };
    Placed { container, device, context }
}

impl Placed<'_> {
    /// The signal that asks it to end.
    pub(super) fn halt_signal(&self) -> u8 {
        self.container.conf.as_ref().map_or(Signal::SIGPWR as u8, |conf| conf.halt.number())
    }

    /// Its own mounts.
    pub(super) fn mounts(&self) -> Result<Vec<MountStep>, Failure> {
        setup::mounts(&self.container, &self.context)
    }

    /// Whether it is given a network namespace.
    pub(super) fn has_own_network(&self) -> bool {
        setup::has_own_network(&self.container)
    }

    /// Images that this agent cannot mount, with the folders that stand in for them.
    pub(super) fn to_unpack(&self, store: &Store) -> Vec<(PathBuf, PathBuf)> {
        match self.device.privileges {
            Privileges::Root => return Vec::new(),
            Privileges::UserNamespace => {}
        }
        let volumes = self.container.run.root.iter().chain(&self.container.run.volumes);
        let images = volumes.filter_map(|volume| match volume.source {
            VolumeSource::Image(digest) => Some(digest),
            VolumeSource::Folder | VolumeSource::Verity(_) => None,
        });
        let places = &self.device.places;
        images.map(|digest| (store.object_path(&digest), PathBuf::from(places.unpacked(&digest)))).collect()
    }

    /// Everything up to its program.
    pub(super) fn start(&self) -> Result<StartPlan, Failure> {
        setup::start(&self.container, &self.context)
    }

    /// What is its own under the run dir.
    pub(super) fn folder(&self) -> PathBuf {
        let control = self.control_folder();
        control.parent().unwrap_or(&control).to_owned()
    }

    /// The folder that it sees as `/pantavisor`.
    pub(super) fn control_folder(&self) -> PathBuf {
        self.device.control_folder(&self.container.name)
    }
}

/// Whatever a former start of this container left in its control group is ended.
pub(super) fn kill_group(device: &Device, container: &ContainerName) -> io::Result<()> {
    let Some(groups) = &device.cgroups else { return Ok(()) };
    match std::fs::write(groups.path(container.as_str()).join("cgroup.kill"), "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
