//! The decisions of Goalpost: an event and the time go in, a step comes out.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;

mod action;
mod boot;
mod container;
mod course;
mod disk;
mod documents;
mod event;
mod factory;
mod groups;
mod leftover;
mod life;
#[cfg(test)]
mod lives;
mod loader;
mod plan;
mod recovery;
mod report;
mod requests;
mod settle;
pub mod setup;
mod shutdown;
mod slots;
mod store;
mod thought;
mod time;
mod trial;
mod update;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::durable::Durable;
use model::ids::{ContainerName, Generation, RevisionId};
use model::progress::Progress;
use model::report::Happening;
use model::revision::Revision;

pub use action::{Action, StopHow};
pub use event::{Content, Event, Former, FormerReady, Observed, Report, Settings};
pub use plan::diff;
pub use time::Time;

use alloc::collections::BTreeMap;
use container::{Rules, Slot, Starts};
use course::{Check, Course};
use disk::Disk;
use documents::{Documents, DoneMay};
use factory::Factory;
use leftover::{Hope, Leftover};
use loader::Loader;
use slots::Slots;
use store::Store;
use thought::{Moved, Saving, Thought};

/// Decides everything; can do nothing.
///
/// ```text
///  Event ----> take in: one subject moves (container.rs, update.rs, loader.rs, documents.rs, store.rs, requests.rs)
///                |
///                v                      looked at again until nothing moves:
///              advance  --> containers walk (container.rs, life.rs) --> goals, groups (groups.rs) --> the course (course.rs,
///                |          boot.rs, update.rs, trial.rs, settle.rs, shutdown.rs) --> boot loader, documents, store
///                v
///  Step <---- what must be saved (disk.rs), what goes out, what happened
/// ```
///
/// Whatever must be on disk before it is acted on is decided only where a save is possible, from what is remembered; so nothing
/// is lost where a save fails, and it is decided later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Engine {
    /// The time of the last event; it never goes back.
    clock: Time,
    settings: Arc<Settings>,
    disk: Disk,
    course: Course,
    /// What runs, or should.
    current: Option<Arc<Revision>>,
    slots: Slots,
    /// Groups of `current` below this index are released in this walk.
    released: usize,
    leftovers: BTreeMap<(ContainerName, Generation), Leftover>,
    next_generation: Generation,
    loader: Loader,
    documents: Documents,
    store: Store,
    factory: Factory,
    /// The update under way, or the last one of this boot.
    update: Option<(RevisionId, Progress)>,
    notes: Arc<[Arc<str>]>,
}

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

/// In one step, each container passes a handful of states at most; the bound only makes that plain.
const LOOKS: usize = 64;

impl Engine {
    /// Remembers; decides nothing.
    pub fn new(durable: Durable, observed: Observed) -> Engine {
        Engine {
            clock: Time::ZERO,
            settings: Arc::new(observed.settings.clone()),
            current: None,
            slots: Slots::default(),
            released: 0,
            leftovers: BTreeMap::new(),
            next_generation: observed.next_generation,
            loader: Loader::new(&observed.booted, &durable),
            disk: Disk::new(durable),
            documents: Documents::default(),
            store: Store::default(),
            factory: Factory::default(),
            update: None,
            notes: Arc::from(observed.notes.as_slice()),
            course: Course::Booting(Arc::new(observed)),
        }
    }

    /// Takes in one event. Total: never panics, never blocks.
    pub fn handle(&mut self, now: Time, event: Event) -> Step {
        self.clock = self.clock.max(now);
        let saving = if self.disk.may_save(self.clock) { Saving::Allowed } else { Saving::Impossible };
        let mut thought = Thought::new(self.clock, saving);
        self.take(event, &mut thought);
        self.advance(&mut thought);
        let save = if thought.saving == Saving::Required { self.disk.save() } else { None };
        Step { save, actions: thought.actions, happenings: thought.happenings }
    }

    /// When `Event::Woke` is wanted; `None` while nothing is waited for by time.
    pub fn next_wakeup(&self) -> Option<Wakeup> {
        // What was due already and has not moved waits for something else: for a save above all.
        let later = self.timers().filter(|(at, _)| *at > self.clock);
        let next = later.chain(self.disk.wakes(self.clock)).min_by_key(|(at, _)| *at);
        next.map(|(at, why)| Wakeup { at, why })
    }

    fn take(&mut self, event: Event, thought: &mut Thought) {
        match event {
            Event::Booted => self.booted(thought),
            Event::Report(report) => self.reported(report, thought),
            Event::Exited { container, generation, exit } => {
                if self.leftovers.remove(&(container.clone(), generation)).is_some() {
                    thought.note(format!("{container}: its former life {generation} is gone"));
                } else {
                    self.with_life(&container, generation, thought, |slot, rules, thought| {
                        slot.exited(exit, rules, thought);
                    });
                }
            }
            Event::Asked { request, what } => self.asked(request, what, thought),
            Event::Woke => {
                let failing = self.disk.health() != disk::Health::Fine;
                if thought.may_decide() && (failing || self.disk.is_dirty()) {
                    thought.decided();
                }
            }
            Event::SaveFailed { event } => self.save_failed(*event, thought),
        }
    }

    fn save_failed(&mut self, event: Event, thought: &mut Thought) {
        thought.saving = Saving::Impossible;
        self.disk.failed(thought.now, &self.settings);
        thought.note("what was decided could not be saved");
        match event {
            Event::Asked { request, what } => self.asked_unsaved(request, what, thought),
            // The engine never asks for a save in a step that takes in such an event.
            Event::SaveFailed { .. } => {}
            fact @ (Event::Booted | Event::Report(_) | Event::Exited { .. } | Event::Woke) => {
                self.take(fact, thought)
            }
        }
    }

    fn booted(&mut self, thought: &mut Thought) {
        let Course::Booting(observed) = &self.course else {
            return thought.note("booted twice");
        };
        let observed = Arc::clone(observed);
        self.boot(&observed, thought);
    }

    fn reported(&mut self, report: Report, thought: &mut Thought) {
        match report {
            Report::Mounted { container, generation, outcome } => {
                self.with_slot(&container, generation, thought, |slot, rules, thought| {
                    let expected = matches!(slot.life, container::Life::Mounting { generation: of, .. } if of == generation);
                    if expected {
                        slot.mounted(outcome, rules, thought);
                    }
                    expected
                });
            }
            Report::Unmounted { container, generation, outcome } => {
                self.with_slot(&container, generation, thought, |slot, _, thought| {
                    let expected =
                        matches!(slot.life, container::Life::Unmounting { generation: of, .. } if of == generation);
                    if let (true, Err(failure)) = (expected, &outcome) {
                        thought.note(format!("{}: failed to {}", slot.name(), failure.detail));
                    }
                    if expected {
                        slot.unmounted(thought);
                    }
                    expected
                });
            }
            Report::Started { container, generation, outcome } => {
                self.with_life(&container, generation, thought, |slot, rules, thought| {
                    slot.started(outcome, rules, thought);
                });
            }
            Report::StopFailed { container, generation, failure } => {
                thought.note(format!("{container}: failed to {}", failure.detail));
                self.with_life(&container, generation, thought, container::Slot::stop_failed);
            }
            Report::Verified { revision, outcome } => self.verified(&revision, &outcome, thought),
            Report::Installed { revision, outcome } => self.installed(&revision, outcome, thought),
            Report::BootSet { asked, outcome } => {
                let settings = Arc::clone(&self.settings);
                self.loader.set(asked, outcome, &settings, thought);
            }
            Report::ProgressWritten { revision, asked, outcome } => {
                let settings = Arc::clone(&self.settings);
                if self.documents.awaits(&revision, asked) {
                    self.documents.written(&revision, outcome, &mut self.disk, &settings, thought);
                } else {
                    thought.note(format!("a late report of the progress of {revision} was dropped"));
                }
            }
            Report::Collected { outcome } => self.collected(&outcome, thought),
            Report::FactoryMade { outcome } => self.factory_made(outcome, thought),
            Report::LeaveFailed { failure } => self.leave_failed(&failure, thought),
        }
    }

    /// Hands something to the container whose life is `generation`; what concerns a former life is dropped by name.
    fn with_life(
        &mut self,
        container: &ContainerName,
        generation: Generation,
        thought: &mut Thought,
        take: impl FnOnce(&mut Slot, Rules<'_>, &mut Thought),
    ) {
        self.with_slot(container, generation, thought, |slot, rules, thought| {
            let expected = slot.living() == Some(generation);
            if expected {
                take(slot, rules, thought);
            }
            expected
        });
    }

    fn with_slot(
        &mut self,
        container: &ContainerName,
        generation: Generation,
        thought: &mut Thought,
        take: impl FnOnce(&mut Slot, Rules<'_>, &mut Thought) -> bool,
    ) {
        let settings = Arc::clone(&self.settings);
        let rules = self.rules(&settings);
        let slot = self.slots.get_mut(container);
        let expected = slot.is_some_and(|slot| take(slot, rules, thought));
        if !expected && !self.leftovers.contains_key(&(container.clone(), generation)) {
            thought.note(format!("{container}: a late report of its life {generation} was dropped"));
        }
    }

    fn rules<'a>(&self, settings: &'a Settings) -> Rules<'a> {
        let leaving = matches!(self.course, Course::Departing(_));
        let haunted = self.leftovers.values().any(|left| !left.is_hopeless());
        Rules {
            settings,
            stakes: self.course.stakes(),
            starts: if leaving || haunted { Starts::Forbidden } else { Starts::Allowed },
            released: self.released,
            policy_reboots: self.disk.durable().policy_reboots,
        }
    }

    /// Looks at everything until nothing moves.
    fn advance(&mut self, thought: &mut Thought) {
        for _ in 0..LOOKS {
            if thought.moved == Moved::No {
                return;
            }
            thought.moved = Moved::No;
            self.force_leftovers(thought);
            self.walk(thought);
            self.steer(thought);
            self.tend_loader(thought);
            self.tend_store(thought);
            self.tend_factory(thought);
        }
    }

    fn force_leftovers(&mut self, thought: &mut Thought) {
        let due = thought.now + self.settings.effect_deadline;
        for ((container, generation), left) in &mut self.leftovers {
            if left.until <= thought.now {
                *left = Leftover { until: due, hope: Hope::Gone };
                thought.note(format!("{container}: its former life {generation} does not end"));
                let (container, generation) = (container.clone(), *generation);
                thought.act(Action::Stop { container, generation, how: StopHow::Force });
            }
        }
    }

    fn walk(&mut self, thought: &mut Thought) {
        let settings = Arc::clone(&self.settings);
        let rules = self.rules(&settings);
        let (leftovers, next) = (&self.leftovers, &mut self.next_generation);
        let now = thought.now;
        self.slots.sift(
            |slot| slot.may_move(now, rules),
            |slot| {
                let haunted = leftovers.keys().any(|(former, _)| former == slot.name());
                let rules = if haunted { Rules { starts: Starts::Forbidden, ..rules } } else { rules };
                slot.advance(rules, next, thought)
            },
        );
        if rules.starts == Starts::Allowed {
            let groups = self.current.as_ref().map_or(0, |current| current.groups().len());
            groups::judge(&mut self.slots, &mut self.released, groups, rules.stakes, thought);
        }
    }

    fn tend_loader(&mut self, thought: &mut Thought) {
        if matches!(self.course, Course::Booting(_)) {
            return;
        }
        let (settings, wanted) = (Arc::clone(&self.settings), self.wanted_boot());
        if thought.saving == Saving::Required || !self.disk.is_dirty() {
            self.loader.tend(&wanted, &settings, thought);
        }
        let done = if self.loader.is(&wanted) { DoneMay::BeWritten } else { DoneMay::Wait };
        self.documents.tend(&self.disk, &settings, done, thought);
    }

    /// Every time that something waits for.
    fn timers(&self) -> impl Iterator<Item = (Time, &'static str)> {
        let slots = self.slots.values().flat_map(|slot| [slot.wakes(), self.goal_wakes(slot)]).flatten();
        let leftovers = self.leftovers.values().map(|left| (left.until, "a former life does not end"));
        let departure = self.departure_wakes().into_iter();
        slots
            .chain(leftovers)
            .chain(departure)
            .chain(self.course_wakes())
            .chain(self.loader.wakes())
            .chain(self.documents.wakes())
            .chain(self.store.wakes())
            .chain(self.factory.wakes())
    }

    fn goal_wakes(&self, slot: &Slot) -> Option<(Time, &'static str)> {
        match slot.goal {
            container::Goal::Pending { until, .. } => Some((until, "a goal's deadline")),
            container::Goal::Lost { until } if self.course.stakes() != container::Stakes::Ordinary => {
                Some((until, "a lost goal's deadline"))
            }
            container::Goal::Waiting
            | container::Goal::Met { .. }
            | container::Goal::Lost { .. }
            | container::Goal::Missed => None,
        }
    }

    fn course_wakes(&self) -> Vec<(Time, &'static str)> {
        let mut wakes = Vec::new();
        match &self.course {
            Course::Testing { since, ceiling, .. } => {
                wakes.push((*since + self.settings.commit_delay, "the commit delay"));
                wakes.push((*ceiling, "the end of testing"));
                wakes.extend(self.stable_at().map(|at| (at, "the containers become stable")));
            }
            Course::Verifying(verifying) => {
                for check in [&verifying.target, &verifying.fallback] {
                    if let Check::Asked { until } = check {
                        wakes.push((*until, "verifying takes too long"));
                    }
                }
            }
            Course::Running if self.disk.durable().policy_reboots != 0 => {
                wakes.push((self.calm_at(), "policies' reboots are forgotten"));
            }
            Course::Booting(_)
            | Course::Running
            | Course::OnlyAnswering(_)
            | Course::Once(_)
            | Course::Trying { .. }
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => {}
        }
        wakes
    }
}
