//! When the agent is started again: at once, then after ever longer pauses, and not for ever.

/// A life of at least so many seconds is not held against the agent.
const LONG: i64 = 60;
/// Pauses in seconds after the first, second, … short life running; the last one repeats.
const PAUSES: [i64; 6] = [0, 1, 2, 4, 8, 16];
/// After so many short lives running, only another boot may help: the boot loader may have another base to go back to.
const MOST: u32 = 10;

/// The agent's lives so far, by the seconds of CLOCK_MONOTONIC.
pub(crate) struct Lives {
    deaths: u32,
    began: i64,
    due: Option<i64>,
}

/// What follows a death.
pub(crate) enum Next {
    Again,
    GiveUp,
}

impl Lives {
    pub(crate) fn new() -> Lives {
        Lives { deaths: 0, began: 0, due: None }
    }

    /// Short lives running.
    pub(crate) fn deaths(&self) -> u32 {
        self.deaths
    }

    pub(crate) fn started(&mut self, now: i64) {
        self.began = now;
        self.due = None;
    }

    pub(crate) fn ended(&mut self, now: i64) -> Next {
        if now - self.began >= LONG {
            self.deaths = 0;
        }
        self.deaths += 1;
        let index = usize::try_from(self.deaths - 1).unwrap_or(usize::MAX);
        let pause = PAUSES.get(index).or(PAUSES.last()).copied().unwrap_or(0);
        self.due = Some(now + pause);
        if self.deaths > MOST { Next::GiveUp } else { Next::Again }
    }

    /// Seconds until the next start, if one is due some time.
    pub(crate) fn pause_left(&self, now: i64) -> Option<i64> {
        self.due.map(|due| (due - now).max(0))
    }

    pub(crate) fn is_due(&self, now: i64) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}
