//! What follows the end of a container that was not asked to end.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use model::recovery::{AutoRecovery, BackoffPolicy, RecoveryPolicy};
use model::report::{Exit, Failure};

use crate::container::Stakes;
use crate::event::Settings;

/// Retry delays that are computed never exceed this.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A retry delay of zero is taken as this, from the third try on.
const SHORTEST_LATER_DELAY: Duration = Duration::from_secs(1);
/// What unlimited tries are while an update is tried or tested.
const TRIES_IN_A_TRIAL: u32 = 5;

/// How a life, or the attempt to begin one, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its first process ended.
    Exited(Exit),
    /// It could not be mounted.
    NotMounted(Failure),
    /// It could not be started.
    NotStarted(Failure),
    /// An effect did not answer in time.
    Overdue(&'static str),
}

impl Ending {
    /// For people.
    pub(crate) fn text(&self) -> String {
        match self {
            Ending::Exited(Exit::Code(code)) => format!("it exited with code {code}"),
            Ending::Exited(Exit::Signal(signal)) => format!("it was killed by signal {signal}"),
            Ending::Exited(Exit::Unknown) => "it ended".to_string(),
            Ending::NotMounted(failure) | Ending::NotStarted(failure) => {
                format!("failed to {}", failure.detail)
            }
            Ending::Overdue(text) => (*text).to_string(),
        }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is tried again after `after`; so many tries are then used up.
    Retry {
        /// How long it recovers.
        after: Duration,
        /// Tries used up, this one included.
        retries: u32,
    },
    /// Nothing.
    GiveUp,
    /// A fresh start of everything, if any is left.
    Reboot,
}

/// Rules 2 to 5 of the specification's recovery, for an end that met no goal.
pub(crate) fn after_end(recovery: &AutoRecovery, retries: u32, lived: Duration, stakes: Stakes) -> Next {
    if recovery.policy == RecoveryPolicy::No {
        return give_up(recovery, stakes);
    }
    let long_life = !recovery.reset_window.is_zero() && lived > recovery.reset_window;
    let retries = if long_life && stakes == Stakes::Ordinary { 0 } else { retries };
    let limit = match (recovery.max_retries, stakes) {
        (0, Stakes::Trying | Stakes::Testing) => TRIES_IN_A_TRIAL,
        (0, Stakes::Ordinary) => u32::MAX,
        (limit, _) => limit,
    };
    if retries < limit {
        let retries = retries.saturating_add(1);
        return Next::Retry { after: delay(recovery, retries), retries };
    }
    give_up(recovery, stakes)
}

fn give_up(recovery: &AutoRecovery, stakes: Stakes) -> Next {
    match (stakes, recovery.backoff_policy) {
        (Stakes::Trying | Stakes::Testing, _) | (Stakes::Ordinary, BackoffPolicy::Never) => Next::GiveUp,
        (Stakes::Ordinary, BackoffPolicy::Reboot) => Next::Reboot,
        (Stakes::Ordinary, BackoffPolicy::After(after)) => {
            Next::Retry { after: after.max(SHORTEST_LATER_DELAY), retries: 0 }
        }
    }
}

/// Before the try with this number, counted from 1.
fn delay(recovery: &AutoRecovery, number: u32) -> Duration {
    let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let delay = match recovery.ladder.get(index).or(recovery.ladder.last()) {
        Some(rung) => *rung,
        None => grown(recovery.retry_delay, recovery.backoff_factor, number),
    };
    if delay.is_zero() && number >= 3 { SHORTEST_LATER_DELAY } else { delay }
}

/// `first × (factor / 1000)^(number - 1)`, capped.
fn grown(first: Duration, factor: u32, number: u32) -> Duration {
    let mut delay = first.min(LONGEST_DELAY);
    // Each turn either changes the delay or ends the loop: a factor of 1.0 is one turn, growth meets the cap soon.
    for _ in 1..number {
        let micros = delay.as_micros().saturating_mul(u128::from(factor)) / 1000;
        let next = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).min(LONGEST_DELAY);
        if next == delay {
            break;
        }
        delay = next;
    }
    delay
}

/// Before the next fresh start that a policy decides; none is left after so many.
pub(crate) fn policy_reboot_delay(settings: &Settings, so_far: u32) -> Option<Duration> {
    if so_far >= settings.policy_reboots {
        return None;
    }
    Some(settings.policy_reboot_delay.saturating_mul(1 << so_far.min(16)))
}
