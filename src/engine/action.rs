//! What must go out.

use alloc::collections::BTreeSet;

use model::boot::BootVars;
use model::ids::{ContainerName, Generation, RequestId, RevisionId};
use model::progress::Progress;
use model::request::{AfterShutdown, Reply};

use crate::time::Time;

/// Something that the shell must do. Each ends in the [`Report`](crate::Report) it names, an exit, or a deadline of the
/// engine; at most one is outstanding per subject (a container, a revision, the boot loader, the collection).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Mount the container's own images, writable layer and `_config`. → `Mounted`
    Mount {
        /// Which container.
        container: ContainerName,
        /// Of which revision.
        revision: RevisionId,
        /// For its next life (mounts outlive a recovery: they are made once until `Unmount`).
        generation: Generation,
    },
    /// Take its mounts away; it has no life. Also those of a `Mount` that has not reported yet: what is asked of one
    /// container's mounts is done in the order in which it was asked, however late. → `Unmounted`
    Unmount {
        /// Which container.
        container: ContainerName,
        /// As given to `Mount`.
        generation: Generation,
    },
    /// Carry out its set-up plan and execute its program. → `Started`, later `Exited`
    Start {
        /// Which container.
        container: ContainerName,
        /// Of which revision.
        revision: RevisionId,
        /// Its new life; the runtime record has it before the process exists.
        generation: Generation,
    },
    /// End a life. → `Exited` (or `StopFailed`)
    Stop {
        /// Which container.
        container: ContainerName,
        /// Which life; also one that has not reported `Started` yet.
        generation: Generation,
        /// Ask or force.
        how: StopHow,
    },
    /// Note in the runtime record that a life said that it is ready, for an agent that comes later. Nothing reports.
    NoteReady {
        /// Which container.
        container: ContainerName,
        /// Which life.
        generation: Generation,
    },
    /// Read, parse and check a revision: its trail, every object's presence and sha256. → `Verified`
    Verify {
        /// Which revision.
        revision: RevisionId,
    },
    /// Write the step that is staged under `request` as a trail. → `Installed`
    Install {
        /// Its name.
        revision: RevisionId,
        /// Where its bytes are staged.
        request: RequestId,
    },
    /// Write the boot loader's variables, and read them back. → `BootSet`
    SetBoot {
        /// What they are to be.
        vars: BootVars,
        /// When it was asked: no two that could be mistaken for each other are asked at the same time.
        asked: Time,
    },
    /// Write a revision's progress document. → `ProgressWritten`
    WriteProgress {
        /// Which revision.
        revision: RevisionId,
        /// The document.
        progress: Progress,
        /// When it was asked: no two of a revision that could be mistaken for each other are asked at the same time.
        asked: Time,
    },
    /// Remove trails that are not kept, then objects that no trail links. → `Collected`
    Collect {
        /// Trails that must stay whatever their age.
        keep: BTreeSet<RevisionId>,
    },
    /// Check a revision, then lay it down as the factory revision: whole beside the former one, then in its place. What is still
    /// mounted of the former one stays. → `FactoryMade`
    MakeFactory {
        /// Whose content it gets.
        from: RevisionId,
    },
    /// Answer a request. Nothing reports.
    Reply {
        /// Which.
        request: RequestId,
        /// With what.
        reply: Reply,
    },
    /// End this life of the agent; nothing of any container is left. → `LeaveFailed`, or nobody is there to report to
    Leave(AfterShutdown),
}

/// How a life is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopHow {
    /// Ask: the container's halt signal.
    Ask,
    /// Force: kill everything in it.
    Force,
}
