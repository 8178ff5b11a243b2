//! Who works on the objects just now: many may bring some, or one may collect them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Occupancy {
    who: Mutex<Who>,
    changed: Condvar,
}

#[derive(Debug, Default)]
enum Who {
    #[default]
    Nobody,
    Bringing(usize),
    Collecting,
}

/// Somebody brings objects, or a trail that names some, until this is dropped.
#[derive(Debug)]
pub(super) struct Bringing(Arc<Occupancy>);

/// Objects are being collected until this is dropped.
#[derive(Debug)]
pub(super) struct Collecting(Arc<Occupancy>);

impl Occupancy {
    fn who(&self) -> MutexGuard<'_, Who> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a collection to end.
    pub(super) fn bring(self: &Arc<Self>) -> Bringing {
        let mut who = self.who();
        loop {
            match *who {
                Who::Nobody => *who = Who::Bringing(1),
                Who::Bringing(count) => *who = Who::Bringing(count + 1),
                Who::Collecting => {
                    who = self.changed.wait(who).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            return Bringing(Arc::clone(self));
        }
    }

    /// `None` while somebody brings objects, or another collects.
    pub(super) fn collect(self: &Arc<Self>) -> Option<Collecting> {
        let mut who = self.who();
        let Who::Nobody = *who else { return None };
        *who = Who::Collecting;
        Some(Collecting(Arc::clone(self)))
    }
}

impl Drop for Bringing {
    fn drop(&mut self) {
        let mut who = self.0.who();
        *who = match *who {
            Who::Bringing(count) if count > 1 => Who::Bringing(count - 1),
            Who::Bringing(_) | Who::Nobody | Who::Collecting => Who::Nobody,
        };
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        *self.0.who() = Who::Nobody;
        self.0.changed.notify_all();
    }
}
