//! The loop: take an event, think on a copy, save, swap, act, publish, note.
//!
//! ```text
//! signals, timer, reports, exits, requests ──> Event ──> Engine (a copy) ──> Step
//!                                                                             │ what must last: saved, synced
//!      engine := copy <───────────────────────────────────────────────────────┤ (not saved: the copy is dropped,
//!      actions begun as effects, each of which reports <──────────────────────┤  Event::SaveFailed is thought instead)
//!      report, happenings published <─────────────────────────────────────────┘
//! ```

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;

use engine::{Action, Engine, Event, Report, Step, Time};
use model::durable::Durable;
use model::report::{DeviceReport, Failure, Happening};
use model::request::{AfterShutdown, Request};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ask::Question;
use crate::effects::Effects;
use crate::effects::leave::{self, Left};
use crate::history::History;
use crate::inputs::clock::{self, Timer};
use crate::inputs::questions::Questions;
use crate::inputs::signals::{Asked, Signals};
use crate::inputs::supervisor::Supervisor;
use crate::journal::{Entry, Journal, Saved};
use crate::serving::Serving;
use crate::store::Store;
use crate::words::Line;

/// Steps that are published together at most.
const MOST_HELD_BACK: usize = 32;

/// One life of the agent: whatever the loop owns.
#[derive(Debug)]
pub struct Agent {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<Store>,
    pub(crate) effects: Effects,
    pub(crate) report: watch::Sender<Arc<DeviceReport>>,
    pub(crate) history: Arc<History>,
    /// What happened in each step since the last report was published.
    pub(crate) unpublished: Vec<(Time, Vec<Happening>)>,
    pub(crate) journal: Journal,
    pub(crate) inputs: Inputs,
    /// Answers the host socket, then the device endpoint, where there is one.
    pub(crate) _serving: Vec<Serving>,
}

/// Whatever the loop waits for.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) signals: Signals,
    pub(crate) timer: Timer,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) asked: mpsc::Receiver<Question>,
    pub(crate) questions: Questions,
    pub(crate) supervisor: Supervisor,
    pub(crate) turning: Turning,
}

impl Agent {
    /// Lives until an action says to leave; the code that its process is to end with.
    pub async fn live(mut self) -> u8 {
        // Who answers, and watches deadlines, does not wait for what it watches.
        host::process::serve_first();
        let mut ended = self.turn(Event::Booted).await;
        self.inputs.supervisor.ready();
        loop {
            if let Some(Ended(code)) = ended {
                return code;
            }
            ended = match self.inputs.next().await {
                Next::Event(event) => self.turn(event).await,
                Next::Left => {
                    self.close().await;
                    return 0;
                }
            };
        }
    }

    /// One event, whatever it is, and when to wake up without another.
    async fn turn(&mut self, event: Event) -> Option<Ended> {
        let ended = match self.step(event).await {
            Some(then) => self.leave(then).await,
            None => None,
        };
        self.arm();
        ended
    }

    /// Thinks about one event and begins what follows from it.
    async fn step(&mut self, event: Event) -> Option<AfterShutdown> {
        let now = clock::now();
        let mut thought = self.engine.clone();
        let step = thought.handle(now, event.clone());
        let happenings = step.happenings().to_vec();
        let save = if step.to_save().is_some() { Saved::Yes } else { Saved::Nothing };
        match self.after_saving(step).await {
            Ok(actions) => {
                self.engine = thought;
                self.conclude(now, &Thought { event, save, happenings, actions }).await
            }
            Err(failure) => {
                log::error!("op=save-state error={:?}", failure.detail);
                self.step_unsaved(now, event).await
            }
        }
    }

    async fn after_saving(&self, step: Step) -> Result<Vec<Action>, Failure> {
        step.after_saving(async |durable: &Durable| {
            let (store, durable) = (Arc::clone(&self.store), durable.clone());
            let saved = tokio::task::spawn_blocking(move || store.save_durable(&durable)).await;
            saved.unwrap_or_else(|error| {
                Err(Failure::new(model::report::FailureKind::Transient, format!("save the state: {error}")))
            })
        })
        .await
    }

    /// The thought about `event` was thrown away; the engine takes in that it was.
    async fn step_unsaved(&mut self, now: Time, event: Event) -> Option<AfterShutdown> {
        let event = Event::SaveFailed { event: Box::new(event) };
        let step = self.engine.handle(now, event.clone());
        let happenings = step.happenings().to_vec();
        let actions = without_saving(step);
        self.conclude(now, &Thought { event, save: Saved::Failed, happenings, actions }).await
    }

    /// Acts, publishes, answers, then notes. Nothing of what is begun gets its turn before all is published, but it does before those
    /// who follow the report; whoever gets an answer finds in the report what it was answered for.
    async fn conclude(&mut self, now: Time, thought: &Thought) -> Option<AfterShutdown> {
        let (mut leaving, mut replies) = (None, Vec::new());
        for action in &thought.actions {
            match action {
                Action::Reply { request, reply } => replies.push((*request, reply)),
                Action::Leave(then) => leaving = Some(*then),
                Action::Install { revision, request } => {
                    self.effects.install(revision.clone(), self.inputs.questions.staged(*request));
                }
                Action::Mount { .. }
                | Action::Unmount { .. }
                | Action::Start { .. }
                | Action::Stop { .. }
                | Action::NoteReady { .. }
                | Action::Verify { .. }
                | Action::SetBoot { .. }
                | Action::WriteProgress { .. }
                | Action::MakeFactory { .. }
                | Action::Collect { .. } => self.effects.begin(action.clone()),
            }
        }
        self.publish(now, thought);
        for (request, reply) in replies {
            self.inputs.questions.answer(request, reply.clone());
        }
        // Words take longer than what was begun needs to get under way; in a burst that goes on beside the loop already.
        if self.inputs.events.is_empty() {
            tokio::task::yield_now().await;
        }
        let report = Arc::clone(&self.report.borrow());
        self.inputs.supervisor.follow(&report);
        let told = Entry {
            now,
            event: &thought.event,
            save: thought.save,
            happenings: &thought.happenings,
            actions: &thought.actions,
        }
        .told();
        thought.log(now, &told);
        self.journal.add(&told);
        leaving
    }

    /// While more events wait to be thought about, and nobody gets an answer, their steps are published together: a report is of
    /// every container, and a hundred of them start at once.
    fn publish(&mut self, now: Time, thought: &Thought) {
        self.unpublished.push((now, thought.happenings.clone()));
        let answers =
            thought.actions.iter().any(|action| matches!(action, Action::Reply { .. } | Action::Leave(_)));
        if !answers && !self.inputs.events.is_empty() && self.unpublished.len() < MOST_HELD_BACK {
            return;
        }
        let report = self.engine.report();
        if let Some(revision) = &report.revision
            && self.report.borrow().revision.as_ref() != Some(revision)
        {
            self.effects.name_current(revision.clone());
        }
        self.report.send_if_modified(|published| {
            let changed = **published != report;
            if changed {
                *published = Arc::new(report);
            }
            changed
        });
        for (at, happenings) in self.unpublished.drain(..) {
            self.history.record(at, &happenings);
        }
    }

    fn arm(&mut self) {
        let at = self.engine.next_wakeup().map(|wakeup| wakeup.at);
        if let Err(error) = self.inputs.timer.arm(at) {
            log::error!("op=arm-timer error={error:?}");
        }
    }

    /// What is written last.
    async fn close(self) {
        self.journal.close().await;
        self.effects.remove_groups();
    }

    /// Leaves, or tells the engine why not.
    async fn leave(&mut self, then: AfterShutdown) -> Option<Ended> {
        let folder = self.effects.journal_folder();
        mem::replace(&mut self.journal, Journal::open(folder)).close().await;
        match leave::leave(then, self.effects.config(), self.effects.loader()) {
            Ok(Left::Now(code)) => {
                self.effects.remove_groups();
                Some(Ended(code))
            }
            // Whoever asked for it hears that it is accepted; the loop goes on until the device's end is certain.
            Ok(Left::After(owner, turn)) => {
                let argument = self.effects.loader().reboot_argument();
                self.inputs.turning.begin(owner.carry_out(turn, argument));
                None
            }
            Err(failure) => {
                log::error!("op=leave error={:?}", failure.detail);
                Box::pin(self.turn(Event::Report(Report::LeaveFailed { failure }))).await
            }
        }
    }
}

/// The agent's process may end.
struct Ended(u8);

/// What comes in next.
enum Next {
    Event(Event),
    /// The init ends the agent, as it was asked to with the device.
    Left,
}

/// The device's end, where somebody else carries it out.
#[derive(Debug, Default)]
pub(crate) enum Turning {
    #[default]
    NotAsked,
    /// Whether it is taken on comes here.
    Asked(oneshot::Receiver<Result<(), Failure>>),
    /// It is: what follows is the init's signal to end, or the engine's patience is over.
    TakenOn,
}

impl Turning {
    fn begin(&mut self, end: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move { answer.send(end.await) });
        *self = Turning::Asked(answered);
    }

    fn is_begun(&self) -> bool {
        !matches!(self, Turning::NotAsked)
    }

    /// Why it is not taken on. Cancel-safe.
    async fn failed(&mut self) -> Failure {
        let Turning::Asked(answered) = self else { return std::future::pending().await };
        match answered.await {
            Ok(Err(failure)) => {
                *self = Turning::NotAsked;
                failure
            }
            Ok(Ok(())) | Err(_) => {
                *self = Turning::TakenOn;
                std::future::pending().await
            }
        }
    }
}

impl Inputs {
    /// The next event. Cancel-safe throughout. In this order, so that a flood of requests delays no exit, deadline or sign of
    /// life; the engine bounds how many of the others there can be.
    async fn next(&mut self) -> Next {
        loop {
            return Next::Event(tokio::select! {
                biased;
                asked = self.signals.next() => match asked {
                    Asked::End if self.turning.is_begun() => return Next::Left,
                    Asked::End | Asked::Restart => self.questions.own(shut_down(asked)),
                },
                () = self.timer.rung() => Event::Woke,
                failure = self.turning.failed() => {
                    log::error!("op=leave error={:?}", failure.detail);
                    Event::Report(Report::LeaveFailed { failure })
                }
                () = self.supervisor.wants_sign_of_life() => {
                    self.supervisor.alive();
                    continue;
                }
                Some(event) = self.events.recv() => event,
                Some(question) = self.asked.recv() => self.questions.take_in(question),
            });
        }
    }
}

fn shut_down(asked: Asked) -> Request {
    let then = match asked {
        Asked::End => AfterShutdown::End,
        Asked::Restart => AfterShutdown::Restart,
    };
    Request::ShutDown { then }
}

/// The actions of a step that itself never saves. One that wants to, against its contract, gets none of its actions.
fn without_saving(step: Step) -> Vec<Action> {
    if step.to_save().is_some() {
        log::error!("op=think error=\"a step after a failed save wanted to save\"");
        return Vec::new();
    }
    let mut future = Box::pin(step.after_saving(async |_: &Durable| Ok::<(), Infallible>(())));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(actions)) => actions,
        std::task::Poll::Pending => Vec::new(),
    }
}

/// One step of the loop, as it is told.
struct Thought {
    event: Event,
    save: Saved,
    happenings: Vec<Happening>,
    actions: Vec<Action>,
}

impl Thought {
    /// One line: what an operator would tell a colleague is INFO, the rest DEBUG.
    fn log(&self, now: Time, told: &Value) {
        let level = if self.happenings.is_empty() { log::Level::Debug } else { log::Level::Info };
        if !log::log_enabled!(level) {
            return;
        }
        log::log!(
            level,
            "t={now} event=[{}] save={} happened=[{}] actions=[{}]",
            Line(&told["event"]),
            self.save.as_str(),
            lines(&told["happenings"]),
            lines(&told["actions"]),
        );
    }
}

fn lines(all: &Value) -> String {
    let all = all.as_array().into_iter().flatten();
    all.map(|fields| Line(fields).to_string()).collect::<Vec<_>>().join("; ")
}
