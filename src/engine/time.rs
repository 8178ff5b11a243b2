//! Time as the engine knows it: passed in, never read.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// CLOCK_MONOTONIC since boot, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The moment of boot.
    pub const ZERO: Time = Time(0);

    /// So many microseconds after boot.
    pub fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since boot.
    pub fn as_micros(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    /// Saturates at the end of time, which is then never reached.
    fn add(self, length: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// How long after `earlier`; zero if it is not after it.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
