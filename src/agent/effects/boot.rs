//! Setting the boot loader's variables.

use engine::{Report, Time};
use model::boot::BootVars;
use model::report::{Failure, FailureKind};

use super::World;
use crate::boot::selfexec::BootError;

pub(super) fn set(world: &World, vars: &BootVars, asked: Time) -> Report {
    let set = world.store.essential(BootError::is_full, || world.loader.set(vars));
    let outcome = set.map_err(|error| Failure::new(FailureKind::Transient, error.to_string()));
    Report::BootSet { asked, outcome }
}
