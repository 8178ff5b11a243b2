//! Setting the boot loader's variables.

use engine::{Report, Time};
use model::boot::BootVars;
use model::report::{Failure, FailureKind};

use super::World;

pub(super) fn set(world: &World, vars: &BootVars, asked: Time) -> Report {
    let outcome =
        world.loader.set(vars).map_err(|error| Failure::new(FailureKind::Transient, error.to_string()));
    Report::BootSet { asked, outcome }
}
