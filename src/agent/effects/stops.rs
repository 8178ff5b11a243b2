//! Stops on their way to a life, of which only the strongest counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use engine::StopHow;
use tokio::sync::Notify;

const NONE: u8 = 0;
const ASK: u8 = 1;
const FORCE: u8 = 2;

/// What the loop has for a life: every container has one all its life, so it is small.
#[derive(Debug, Default)]
struct Wanted {
    how: AtomicU8,
    told: Notify,
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Stopper(Arc<Wanted>);

/// The life's end.
#[derive(Debug)]
pub(super) struct Stops(Arc<Wanted>);

/// Two ends.
pub(super) fn pair() -> (Stopper, Stops) {
    let wanted = Arc::new(Wanted::default());
    (Stopper(Arc::clone(&wanted)), Stops(wanted))
}

impl Stopper {
    /// Stops the life; asking one that is to be forced already changes nothing.
    pub(super) fn stop(&self, how: StopHow) {
        let how = match how {
            StopHow::Ask => ASK,
            StopHow::Force => FORCE,
        };
        self.0.how.fetch_max(how, Ordering::AcqRel);
        self.0.told.notify_one();
    }

    /// Whether the life has ended.
    pub(super) fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Stops {
    /// Waits for a stop. Cancel-safe.
    pub(super) async fn next(&self) -> StopHow {
        loop {
            match self.0.how.swap(NONE, Ordering::AcqRel) {
                ASK => return StopHow::Ask,
                FORCE => return StopHow::Force,
                _ => self.0.told.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll(stops: &Stops) -> Poll<StopHow> {
        pin!(stops.next()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_stop_waits_for_its_life_and_a_force_replaces_it() {
        let (stopper, stops) = pair();
        assert_eq!(poll(&stops), Poll::Pending);
        stopper.stop(StopHow::Ask);
        assert_eq!(poll(&stops), Poll::Ready(StopHow::Ask));
        assert_eq!(poll(&stops), Poll::Pending);
        stopper.stop(StopHow::Force);
        stopper.stop(StopHow::Ask);
        assert_eq!(poll(&stops), Poll::Ready(StopHow::Force));
        assert_eq!(poll(&stops), Poll::Pending);
        assert!(!stopper.is_closed());
        drop(stops);
        assert!(stopper.is_closed());
    }
}
