//! The decisions of Goalpost: an event and the time go in, a step comes out.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod action;
mod event;
mod time;

pub use action::{Action, StopHow};
use alloc::vec::Vec;
pub use event::{Event, Observed, Report, Settings};
use model::durable::Durable;
use model::report::{DeviceReport, Happening};
pub use time::Time;

/// Decides everything; can do nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Engine {}

/// What one event leads to. The actions come out only through [`Step::after_saving`].
#[derive(Debug)]
#[must_use]
pub struct Step {
    save: Option<Durable>,
    actions: Vec<Action>,
    happenings: Vec<Happening>,
}

/// When the engine wants to be woken next, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wakeup {
    /// When.
    pub at: Time,
    /// Why, for people.
    pub why: &'static str,
}

impl Step {
    /// What happened, in order, for the log, the event stream and the journal.
    pub fn happenings(&self) -> &[Happening] {
        &self.happenings
    }

    /// What must be saved before the actions come out.
    pub fn to_save(&self) -> Option<&Durable> {
        self.save.as_ref()
    }

    /// The only way to get at the actions: `save` has made what must last last.
    ///
    /// # Errors
    /// Whatever `save` returned; the step is then as if it had never been thought.
    pub async fn after_saving<E>(
        self,
        save: impl AsyncFnOnce(&Durable) -> Result<(), E>,
    ) -> Result<Vec<Action>, E> {
        if let Some(durable) = &self.save {
            save(durable).await?;
        }
        Ok(self.actions)
    }
}

impl Engine {
    /// Remembers; decides nothing.
    pub fn new(_durable: Durable, _observed: Observed) -> Engine {
        Engine {}
    }

    /// Takes in one event. Total: never panics, never blocks.
    pub fn handle(&mut self, _now: Time, _event: Event) -> Step {
        Step { save: None, actions: Vec::new(), happenings: Vec::new() }
    }

    /// When `Event::Woke` is wanted; `None` while nothing is waited for by time.
    pub fn next_wakeup(&self) -> Option<Wakeup> {
        None
    }

    /// The state for outsiders.
    pub fn report(&self) -> DeviceReport {
        unimplemented!()
    }
}
