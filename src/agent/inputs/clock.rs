//! The one timer, armed for the engine's next wake-up; disarmed, it costs nothing.

use std::io;
use std::os::fd::OwnedFd;

use engine::Time;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::inputs::descriptor::awaited;

/// CLOCK_MONOTONIC, which stands still while the device is suspended.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
    Time::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A timer of the kernel that the runtime can wait for.
#[derive(Debug)]
pub struct Timer {
    descriptor: AsyncFd<OwnedFd>,
    armed: Option<Time>,
}

impl Timer {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// The kernel gives none, or the runtime cannot wait for it.
    pub fn new() -> io::Result<Timer> {
        let descriptor =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Timer { descriptor: awaited(descriptor)?, armed: None })
    }

    /// Arms it for that moment in place of any other; one that has passed rings at once. `None` disarms it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn arm(&mut self, at: Option<Time>) -> io::Result<()> {
        if at == self.armed {
            return Ok(());
        }
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval: none, it_value: at.map_or(none, moment) };
        timerfd_settime(self.descriptor.get_ref(), TimerfdTimerFlags::ABSTIME, &value)?;
        self.armed = at;
        Ok(())
    }

    /// Waits until it rings; it is disarmed then. Cancel-safe: a ring that nobody took is there the next time.
    pub async fn rung(&mut self) {
        loop {
            let Ok(mut ready) = self.descriptor.readable().await else {
                return std::future::pending().await;
            };
            let mut count = [0; 8];
            let taken = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?));
            if matches!(taken, Ok(Ok(_))) {
                break;
            }
        }
        self.armed = None;
    }
}

/// A zero would disarm, so the first microsecond of a boot stands for it.
fn moment(at: Time) -> Timespec {
    let micros = i64::try_from(at.as_micros()).unwrap_or(i64::MAX).max(1);
    Timespec { tv_sec: micros / 1_000_000, tv_nsec: micros % 1_000_000 * 1_000 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_rings_once_when_its_time_has_come_and_at_once_for_the_past() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut timer = Timer::new().unwrap();
            let at = now() + Duration::from_millis(5);
            timer.arm(Some(at)).unwrap();
            timer.rung().await;
            assert!(now() >= at);
            timer.arm(Some(Time::ZERO)).unwrap();
            timer.rung().await;
        });
    }
}
