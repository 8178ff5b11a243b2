//! What is done when a container ends: whether it is tried again, after how long, how often.

use alloc::vec::Vec;
use core::time::Duration;

/// What an *update* of a container needs; also whether the API may stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartPolicy {
    /// A change needs a reboot; the API may not stop it.
    System,
    /// A change needs only its own restart; the API may stop, start and restart it.
    Container,
}

/// When an ended container is tried again. Only `No` never is; the other three differ in the field alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryPolicy {
    /// Never.
    No,
    /// After every end that was not asked for.
    Always,
    /// After every end that was not asked for (a daemon that leaves with 0 must not stay down).
    OnFailure,
    /// After every end that was not asked for.
    UnlessStopped,
}

/// What follows when no tries are left, outside an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackoffPolicy {
    /// Reboot the device, or start the revision over where the agent does not own the power.
    Reboot,
    /// Leave it.
    Never,
    /// Wait this long, then begin the cycle of tries again.
    After(Duration),
}

/// One container's recovery, as its run.json or else its group gives it (whole, never merged field by field).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AutoRecovery {
    /// Whether to try again at all.
    pub policy: RecoveryPolicy,
    /// How many tries; 0 is unlimited (5 while an update is tried or tested).
    pub max_retries: u32,
    /// Before the first try.
    pub retry_delay: Duration,
    /// Factor from one delay to the next, in thousandths (2.0 is 2000).
    pub backoff_factor: u32,
    /// A life longer than this starts the count over; zero: never.
    pub reset_window: Duration,
    /// How long it must live after meeting its goal before an update is committed.
    pub stable_timeout: Duration,
    /// What follows the last try.
    pub backoff_policy: BackoffPolicy,
    /// Delays in place of `retry_delay` and `backoff_factor`, the last one repeating. Empty: not given.
    pub ladder: Vec<Duration>,
}

impl Default for AutoRecovery {
    fn default() -> AutoRecovery {
        AutoRecovery {
            policy: RecoveryPolicy::No,
            max_retries: 0,
            retry_delay: Duration::ZERO,
            backoff_factor: 1000,
            reset_window: Duration::ZERO,
            stable_timeout: Duration::ZERO,
            backoff_policy: BackoffPolicy::Reboot,
            ladder: Vec::new(),
        }
    }
}

/// Whether a container is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Lifetime {
    /// It runs until it is stopped; every other end is retried.
    #[default]
    Forever,
    /// Exit code 0 meets its goal and leaves it STOPPED.
    Once,
}

/// What a container may ask over its control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The whole control API.
    Mgmt,
    /// Signals about itself only.
    Nobody,
}

impl Role {
    /// As the field writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Mgmt => "mgmt",
            Role::Nobody => "nobody",
        }
    }
}
