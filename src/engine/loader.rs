//! The boot loader's variables: what they are, what they should be.

use core::time::Duration;

use model::boot::{BootVars, BootedAs};
use model::durable::{Durable, TrialKind};
use model::report::Failure;

use crate::action::Action;
use crate::event::Settings;
use crate::thought::{Moved, Thought};
use crate::time::Time;

/// Between two tries to write the variables, at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What is known of the boot loader's variables.
///
/// ```text
/// Unknown, Known(other) --(wanted, saved: SetBoot)--> Setting --(BootSet)--> Known
///         ^                                             |
///         +------------- Failed <-----------------------+ (failed, or no answer in time)
///
/// Known --(BootSet of what was given up)--> Unknown
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Loader {
    /// There is none: `Durable` alone tells what runs.
    Absent,
    /// Not read back in this life.
    Unknown,
    /// They are this.
    Known(BootVars),
    /// `SetBoot` is asked.
    Setting { vars: BootVars, asked: Time, until: Time, delay: Duration },
    /// They are not known, since a write failed.
    Failed { retry_at: Time, delay: Duration },
}

impl Loader {
    /// What the way this life was booted tells. It tells nothing of a candidate that a former agent may have set since.
    pub(crate) fn new(booted: &BootedAs, durable: &Durable) -> Loader {
        let candidate_may_wait = durable.trial.as_ref().is_some_and(|trial| trial.kind == TrialKind::Reboot);
        match booted {
            BootedAs::NoLoader => Loader::Absent,
            BootedAs::Trying(_) => Loader::Unknown,
            BootedAs::Committed(_) if candidate_may_wait => Loader::Unknown,
            BootedAs::Committed(committed) => {
                Loader::Known(BootVars { committed: committed.clone(), candidate: None })
            }
        }
    }

    /// Whether they are as wanted.
    pub(crate) fn is(&self, wanted: &BootVars) -> bool {
        match self {
            Loader::Absent => true,
            Loader::Known(vars) => vars == wanted,
            Loader::Unknown | Loader::Setting { .. } | Loader::Failed { .. } => false,
        }
    }

    /// Whether the last try to write them failed.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Loader::Failed { .. })
    }

    /// Asks for what is wanted, which is saved.
    pub(crate) fn tend(&mut self, wanted: &BootVars, settings: &Settings, thought: &mut Thought) {
        let now = thought.now;
        if let Loader::Setting { until, delay, .. } = self
            && *until <= now
        {
            *self = failed(now, *delay, settings);
            thought.moved = Moved::Yes;
        }
        let delay = match self {
            Loader::Absent | Loader::Setting { .. } => return,
            Loader::Known(vars) if vars == wanted => return,
            Loader::Failed { retry_at, .. } if *retry_at > now => return,
            Loader::Known(_) | Loader::Unknown => Duration::ZERO,
            Loader::Failed { delay, .. } => *delay,
        };
        thought.act(Action::SetBoot { vars: wanted.clone(), asked: now });
        let until = now + settings.effect_deadline;
        *self = Loader::Setting { vars: wanted.clone(), asked: now, until, delay };
    }

    /// `BootSet` was reported, of what was asked at `of`.
    pub(crate) fn set(
        &mut self,
        of: Time,
        outcome: Result<(), Failure>,
        settings: &Settings,
        thought: &mut Thought,
    ) {
        let (vars, delay) = match self {
            Loader::Setting { vars, asked, delay, .. } if *asked == of => (vars, delay),
            Loader::Absent
            | Loader::Unknown
            | Loader::Known(_)
            | Loader::Setting { .. }
            | Loader::Failed { .. } => return self.set_late(thought),
        };
        *self = match outcome {
            Ok(()) => Loader::Known(vars.clone()),
            Err(failure) => {
                thought.note(alloc::format!("boot loader: failed to {}", failure.detail));
                failed(thought.now, *delay, settings)
            }
        };
    }

    /// What was given up may have overwritten what was written since.
    fn set_late(&mut self, thought: &mut Thought) {
        thought.note("a late report of the boot loader was dropped");
        if let Loader::Known(_) = self {
            *self = Loader::Unknown;
        }
    }

    pub(crate) fn wakes(&self) -> Option<(Time, &'static str)> {
        match self {
            Loader::Absent | Loader::Unknown | Loader::Known(_) => None,
            Loader::Setting { until, .. } => Some((*until, "the boot loader takes too long")),
            Loader::Failed { retry_at, .. } => {
                Some((*retry_at, "the next try to write the boot loader's variables"))
            }
        }
    }
}

fn failed(now: Time, delay: Duration, settings: &Settings) -> Loader {
    let delay = delay.saturating_mul(2).max(settings.save_retry).min(LONGEST_RETRY);
    Loader::Failed { retry_at: now + delay, delay }
}
