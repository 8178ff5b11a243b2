//! A container's own mounts: made once, kept through its recoveries, taken away when it goes.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use host::{HostError, Working};
use model::ids::{ContainerName, Generation, RevisionId};
use model::report::{Failure, FailureKind};
use model::revision::Container;
use model::setup::MountStep;

use super::{World, place, unpack};
use crate::inputs::descriptor::awaited;

/// What is mounted, or being mounted: by the same container the same plan is made again when it is to be taken away.
#[derive(Debug, Default)]
pub(super) struct Mounts(BTreeMap<ContainerName, Mounted>);

/// The mounts of a container of a revision.
#[derive(Debug)]
pub(super) struct Mounted {
    generation: Generation,
    revision: RevisionId,
    container: Arc<Container>,
}

impl Mounts {
    pub(super) fn plan(
        &mut self,
        world: &World,
        name: &ContainerName,
        revision: &RevisionId,
        generation: Generation,
    ) -> Result<Vec<MountStep>, Failure> {
        let placed = place::of(world, name, revision)?;
        let plan = placed.mounts()?;
        let mounted = Mounted { generation, revision: revision.clone(), container: placed.container };
        self.0.insert(name.clone(), mounted);
        Ok(plan)
    }

    /// Of which revision they were made.
    pub(super) fn revision(&self, container: &ContainerName) -> Option<&RevisionId> {
        self.0.get(container).map(|mounted| &mounted.revision)
    }

    /// `None` if they were never made, or are another generation's by now.
    pub(super) fn take(&mut self, name: &ContainerName, generation: Generation) -> Option<Mounted> {
        match self.0.get(name) {
            Some(mounted) if mounted.generation == generation => self.0.remove(name),
            Some(_) | None => None,
        }
    }
}

pub(super) async fn make(
    world: &Arc<World>,
    container: &ContainerName,
    revision: &RevisionId,
    plan: &[MountStep],
) -> Result<(), Failure> {
    unpack(world, container, revision).await?;
    let working = world.launcher.ask(|launcher| launcher.begin_mount(plan));
    if place::of(world, container, revision)?.has_own_network() {
        world.launcher.expect_network();
    }
    finish(working.map_err(|error| error.failure())?).await
}

/// Where images cannot be mounted.
async fn unpack(world: &Arc<World>, container: &ContainerName, revision: &RevisionId) -> Result<(), Failure> {
    for (image, folder) in place::of(world, container, revision)?.to_unpack(&world.store) {
        let unpacked = tokio::task::spawn_blocking(move || unpack::unpack(&image, &folder)).await;
        unpacked.unwrap_or_else(|error| {
            Err(Failure::new(FailureKind::Transient, format!("unpack an image: {error}")))
        })?;
    }
    Ok(())
}

pub(super) async fn take_away(world: &World, mounted: Mounted) -> Result<(), Failure> {
    let plan = place::at(world, mounted.container, &mounted.revision).mounts()?;
    let working = world.launcher.ask(|launcher| launcher.begin_unmount(&plan));
    finish(working.map_err(|error| error.failure())?).await
}

async fn finish(mut working: Working) -> Result<(), Failure> {
    let watch = || awaited(working.as_fd().try_clone_to_owned()?);
    let descriptor = watch().map_err(|error: std::io::Error| {
        Failure::new(FailureKind::Transient, format!("wait for the process that mounts: {error}"))
    })?;
    loop {
        if let Some(outcome) = working.advance() {
            return outcome.map_err(|errors| together(&errors));
        }
        let Ok(mut ready) = descriptor.readable().await else { return std::future::pending().await };
        ready.clear_ready();
    }
}

/// The first decides, the rest is told.
fn together(errors: &[HostError]) -> Failure {
    let kind = errors.first().map_or(FailureKind::Transient, |error| error.failure().kind);
    let details: Vec<String> = errors.iter().map(HostError::to_string).collect();
    Failure::new(kind, details.join("; then failed to "))
}
