//! Setting the boot loader's variables, with the kernels that they name.

use engine::{Report, Time};
use model::boot::BootVars;
use model::ids::RevisionId;
use model::report::{Failure, FailureKind};

use super::World;
use crate::boot::{self, BootError};

pub(super) fn set(world: &World, vars: &BootVars, asked: Time) -> Report {
    let bsp = |revision: &RevisionId| {
        let problem = |failure: Failure| BootError::Revision {
            revision: revision.clone(),
            problem: failure.detail.to_string(),
        };
        let loaded = world.revision(revision).map_err(problem)?;
        boot::bsp_files(&loaded, &world.store.trail_path(revision))
    };
    let set = world.store.essential(BootError::is_full, || world.loader.set(vars, &bsp));
    let outcome = set.map_err(|error| Failure::new(FailureKind::Transient, error.to_string()));
    Report::BootSet { asked, outcome }
}
