//! A life of a former agent, until it is seen gone.

use crate::time::Time;

/// It was forced to end; until then that may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Leftover {
    pub(crate) until: Time,
    pub(crate) hope: Hope,
}

/// Whether the others still wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hope {
    Left,
    /// It did not end in time: only its own container waits on, and it is forced again from time to time.
    Gone,
}

impl Leftover {
    pub(crate) fn new(until: Time) -> Leftover {
        Leftover { until, hope: Hope::Left }
    }

    pub(crate) fn is_hopeless(self) -> bool {
        self.hope == Hope::Gone
    }
}
