//! What can come in.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use model::boot::BootedAs;
use model::ids::{ContainerName, Generation, RequestId, RevisionId};
use model::report::{Exit, Failure};
use model::request::Request;
use model::revision::Revision;

use crate::time::Time;

/// Something that happened outside the engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The agent's life begins. What was seen is in [`Observed`], given to `Engine::new`.
    Booted,
    /// An effect has ended.
    Report(Report),
    /// A container's life has ended: its first process was reaped, and nothing of it is left.
    Exited {
        /// Which container.
        container: ContainerName,
        /// Which life.
        generation: Generation,
        /// How it ended.
        exit: Exit,
    },
    /// Somebody asks. Answered by exactly one `Action::Reply`.
    Asked {
        /// Goes back with the reply.
        request: RequestId,
        /// What is asked.
        what: Request,
    },
    /// The time that `next_wakeup` named has come.
    Woke,
    /// The save that the step for `event` asked for failed; the engine is as it was before `event`. This step never saves.
    SaveFailed {
        /// The event whose step was thrown away.
        event: Box<Event>,
    },
}

/// How an effect went. Each answers one `Action`, which it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Report {
    /// Of `Action::Mount`.
    Mounted {
        /// Which container.
        container: ContainerName,
        /// For which life its mounts were made.
        generation: Generation,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// Of `Action::Unmount`: nothing of its mounts is left, or what is left and why (never waited for again).
    Unmounted {
        /// Which container.
        container: ContainerName,
        /// For which life its mounts were made.
        generation: Generation,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// Of `Action::Start`. After `Ok` an `Event::Exited` follows one day; after `Err` none does, and nothing is left.
    Started {
        /// Which container.
        container: ContainerName,
        /// Which life.
        generation: Generation,
        /// Its first process as the host numbers it: exec succeeded.
        outcome: Result<u32, Failure>,
    },
    /// Of `Action::Stop` only if it could not be carried out; otherwise `Event::Exited` or the engine's deadline answers.
    StopFailed {
        /// Which container.
        container: ContainerName,
        /// Which life.
        generation: Generation,
        /// Why.
        failure: Failure,
    },
    /// Of `Action::Verify`. The kind of a failure says what the update is refused with: `Missing`: there is no such trail;
    /// `Permanent`: its state does not parse; `Corrupt`: an object is not there, or not what its name says; `Unsupported`: it
    /// requires what this device cannot do; any other: it could not be read.
    Verified {
        /// Which revision.
        revision: RevisionId,
        /// Parsed, every object present, its sha256 right.
        outcome: Result<Arc<Revision>, Failure>,
    },
    /// Of `Action::Install`.
    Installed {
        /// Which revision.
        revision: RevisionId,
        /// Whether its trail is on disk, whole, and what it is beside what its name stood for.
        outcome: Result<Content, Failure>,
    },
    /// Of `Action::SetBoot`.
    BootSet {
        /// As given to `SetBoot`.
        asked: Time,
        /// Whether the boot loader's variables are on disk, read back.
        outcome: Result<(), Failure>,
    },
    /// Of `Action::WriteProgress`. `Missing`: its trail is gone, and nothing is written for it any more.
    ProgressWritten {
        /// Which revision.
        revision: RevisionId,
        /// As given to `WriteProgress`.
        asked: Time,
        /// Whether the document is on disk.
        outcome: Result<(), Failure>,
    },
    /// Of `Action::Collect`.
    Collected {
        /// Bytes given back.
        outcome: Result<u64, Failure>,
    },
    /// Of `Action::MakeFactory`.
    FactoryMade {
        /// Whether the new factory revision is on disk, whole, in the place of the former one.
        outcome: Result<(), Failure>,
    },
    /// Of `Action::Leave` only if it could not be carried out.
    LeaveFailed {
        /// Why.
        failure: Failure,
    },
}

/// What the shell saw when the agent's life began.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observed {
    /// How this life was booted.
    pub booted: BootedAs,
    /// Every revision that `Durable` names (committed, previous, trial, its fallback) and the factory one: parsed and with
    /// every object there, or why not.
    pub revisions: BTreeMap<RevisionId, Result<Arc<Revision>, Failure>>,
    /// Lives of a former agent that are still there. The shell is already watching them: each ends in an `Exited`.
    pub alive: Vec<((ContainerName, Generation), Former)>,
    /// Greater than every generation of the runtime record.
    pub next_generation: Generation,
    /// What the device is configured to.
    pub settings: Settings,
    /// For the report: what the shell knows that no status shows.
    pub notes: Vec<Arc<str>>,
}

/// A life of a former agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Former {
    /// Its program runs, nobody asked it to stop, and the shell has its output and its socket again. Its own mounts are not
    /// held any more: what it sees of them goes with it.
    Runs {
        /// Its first process as the host numbers it.
        pid: u32,
        /// Of the container that it was started as.
        fingerprint: u64,
        /// Whether it said that it is ready, as far as `Action::NoteReady` got.
        ready: FormerReady,
        /// The revision whose trail its mounts use.
        mounted_of: RevisionId,
    },
    /// It was being started or stopped: it can only be ended.
    Unfit,
}

/// Whether a former life said that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FormerReady {
    /// That was noted.
    Said,
    /// Nothing was.
    NotSaid,
}

/// What the device is configured to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long a revision is watched after all its goals were met. Default 25 s.
    pub commit_delay: Duration,
    /// How long a container may take to obey a stop before it is forced. Default 10 s.
    pub stop_grace: Duration,
    /// How long an effect may take before its container or update is judged without it. Default 60 s.
    pub effect_deadline: Duration,
    /// Between two tries to save, at first; doubles up to a minute. Default 1 s.
    pub save_retry: Duration,
    /// How many reboots (or fresh starts) backoff policies may decide before the device stays up as it is. Default 5.
    pub policy_reboots: u32,
    /// Before the first of them; doubles each time. Default 30 s.
    pub policy_reboot_delay: Duration,
    /// How many starts of the agent may end unsettled before it falls back. Default 5.
    pub unsettled_starts: u32,
    /// Whether a reboot update is possible here (a boot loader, or the agent's own re-execution), or why not.
    pub reboot_updates: Result<(), Arc<str>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            commit_delay: Duration::from_secs(25),
            stop_grace: Duration::from_secs(10),
            effect_deadline: Duration::from_secs(60),
            save_retry: Duration::from_secs(1),
            policy_reboots: 5,
            policy_reboot_delay: Duration::from_secs(30),
            unsettled_starts: 5,
            reboot_updates: Ok(()),
        }
    }
}

/// What was stored under a name, beside what lay there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Something else: what is known of the name is not known of it.
    Other,
    /// The same; or nothing lay there to compare it with.
    MayBeTheSame,
}
