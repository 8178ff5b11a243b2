//! What is believed with what is on disk: when to save, when to try again.

use alloc::sync::Arc;
use core::time::Duration;

use model::durable::Durable;

use crate::event::Settings;
use crate::time::Time;

/// Between two tries to save, at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What is to last, and whether it does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    believed: Arc<Durable>,
    saved: Arc<Durable>,
    health: Health,
}

/// Whether saves work.
///
/// ```text
/// Fine --(SaveFailed)--> Failing --(retry_at passed, and the next save works)--> Fine
///                          ^  |
///                          +--+ SaveFailed again: twice the delay, at most a minute
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Health {
    /// The last one did.
    Fine,
    /// The last one did not; until then no decision that must be saved is taken.
    Failing { retry_at: Time, delay: Duration },
}

impl Disk {
    pub(crate) fn new(durable: Durable) -> Disk {
        let saved = Arc::new(durable);
        Disk { believed: Arc::clone(&saved), saved, health: Health::Fine }
    }

    /// What is believed.
    pub(crate) fn durable(&self) -> &Durable {
        &self.believed
    }

    /// What is on disk.
    pub(crate) fn saved(&self) -> &Durable {
        &self.saved
    }

    /// To change what is believed.
    pub(crate) fn change(&mut self) -> &mut Durable {
        Arc::make_mut(&mut self.believed)
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !Arc::ptr_eq(&self.believed, &self.saved) && self.believed != self.saved
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// Whether a save can be asked for at `now`.
    pub(crate) fn may_save(&self, now: Time) -> bool {
        match self.health {
            Health::Fine => true,
            Health::Failing { retry_at, .. } => retry_at <= now,
        }
    }

    /// Everything believed is handed out to be saved. The engine that called this lives on only if that works.
    pub(crate) fn save(&mut self) -> Option<Durable> {
        // A save that failed may have reached the disk all the same: only another one tells what a boot will find.
        let in_doubt = self.health != Health::Fine;
        self.health = Health::Fine;
        let is_due = in_doubt || self.is_dirty();
        self.saved = Arc::clone(&self.believed);
        is_due.then(|| Durable::clone(&self.saved))
    }

    /// A save failed.
    pub(crate) fn failed(&mut self, now: Time, settings: &Settings) {
        let delay = match self.health {
            Health::Fine => settings.save_retry,
            Health::Failing { delay, .. } => delay.saturating_mul(2).min(LONGEST_RETRY),
        };
        self.health = Health::Failing { retry_at: now + delay, delay };
    }

    /// When the next save is wanted.
    pub(crate) fn wakes(&self, now: Time) -> Option<(Time, &'static str)> {
        match self.health {
            Health::Failing { retry_at, .. } => Some((retry_at.max(now), "the next try to save")),
            Health::Fine if self.is_dirty() => Some((now, "a record to save")),
            Health::Fine => None,
        }
    }
}
