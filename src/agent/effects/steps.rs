//! Actions on the store: verify, install, make the factory revision, write progress, collect.

use std::collections::BTreeSet;

use engine::{Content, Report, Time};
use model::ids::RevisionId;
use model::progress::Progress;
use model::report::{Failure, FailureKind};

use super::World;
use crate::store::Keep;

pub(super) fn verify(world: &World, revision: RevisionId) -> Report {
    let outcome = world.store.verify(&revision);
    if let Ok(verified) = &outcome {
        world.revisions.keep(verified);
    }
    Report::Verified { revision, outcome }
}

pub(super) fn install(world: &World, revision: RevisionId, state: Option<&[u8]>) -> Report {
    world.revisions.forget(&revision);
    let outcome = match state {
        Some(state) => {
            let former = world.store.state_bytes(&revision);
            let is_other = former.is_ok_and(|former| former != state);
            let content = if is_other { Content::Other } else { Content::MayBeTheSame };
            world.store.install(&revision, state).map(|()| content)
        }
        None => Err(Failure::new(
            FailureKind::Missing,
            format!("install {revision}: nothing was posted under that name"),
        )),
    };
    Report::Installed { revision, outcome }
}

pub(super) fn make_factory(world: &World, from: &RevisionId) -> Report {
    let outcome = world.store.make_factory(from);
    world.revisions.forget(&RevisionId::factory());
    Report::FactoryMade { outcome }
}

pub(super) fn write_progress(
    world: &World,
    revision: RevisionId,
    progress: &Progress,
    asked: Time,
) -> Report {
    let outcome = world.store.write_progress(&revision, progress);
    Report::ProgressWritten { revision, asked, outcome }
}

pub(super) fn collect(world: &World, keep: BTreeSet<RevisionId>) -> Report {
    let keep = Keep { posted: world.config.gc_age, ..Keep::new(keep) };
    Report::Collected { outcome: world.store.collect(&keep) }
}
