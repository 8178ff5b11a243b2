//! What may be asked of the device, and when.

use alloc::format;

use model::durable::Term;
use model::ids::{ContainerName, Generation, RequestId};
use model::recovery::RestartPolicy;
use model::report::Happening;
use model::request::{AfterShutdown, Control, Refusal, Reply, Request, Signal};

use crate::Engine;
use crate::action::Action;
use crate::container::{Fate, Life};
use crate::course::{Course, LeaveStage, Why};
use crate::thought::{Moved, Thought};
use crate::update::Wanted;

/// Whether the device is in the middle of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Updating {
    Yes,
    No,
}

impl Engine {
    /// Somebody asks. Answered by exactly one reply, now or when it is done.
    pub(crate) fn asked(&mut self, request: RequestId, what: Request, thought: &mut Thought) {
        if matches!(self.course, Course::Booting(_)) {
            return self.refuse(request, Refusal::NotBooted, thought);
        }
        match what {
            Request::Post { .. } | Request::Collect if self.is_leaving() => self.busy(request, thought),
            Request::Post { revision } => self.post(request, revision, thought),
            Request::Run { revision, force } => {
                self.run(request, Wanted { revision, force, term: Term::Lasting }, thought);
            }
            Request::TryOnce { revision, force } => {
                self.run(request, Wanted { revision, force, term: Term::Once }, thought);
            }
            Request::MakeFactory { revision } => self.make_factory(request, revision, thought),
            Request::Control { container, control } => self.control(request, &container, control, thought),
            Request::Signal { container, generation, signal } => {
                self.signal(request, &container, generation, signal, thought);
            }
            Request::Collect if self.updating() == Updating::Yes => self.busy(request, thought),
            Request::Collect if self.factory.is_under_way() => {
                self.refuse(request, Refusal::CommandUnderWay, thought);
            }
            Request::Collect => self.collect(request, thought),
            Request::ShutDown { then } => self.shut_down(request, then, thought),
        }
    }

    /// The save that a request's step asked for failed. What a container says is a fact, and a stop must always be possible;
    /// everything else is refused.
    pub(crate) fn asked_unsaved(&mut self, request: RequestId, what: Request, thought: &mut Thought) {
        match what {
            Request::Signal { .. } | Request::ShutDown { .. } => self.asked(request, what, thought),
            Request::Post { .. }
            | Request::Run { .. }
            | Request::TryOnce { .. }
            | Request::MakeFactory { .. }
            | Request::Control { .. }
            | Request::Collect => self.refuse(request, Refusal::NotSaved, thought),
        }
    }

    pub(crate) fn refuse(&mut self, request: RequestId, refusal: Refusal, thought: &mut Thought) {
        thought.note(format!("refused: {refusal}"));
        thought.act(Action::Reply { request, reply: Reply::Refused(refusal) });
    }

    pub(crate) fn busy(&mut self, request: RequestId, thought: &mut Thought) {
        self.refuse(request, Refusal::Busy(self.course.phase()), thought);
    }

    fn updating(&self) -> Updating {
        match self.course {
            Course::Running | Course::OnlyAnswering(_) | Course::Once(_) => Updating::No,
            Course::Booting(_)
            | Course::Verifying(_)
            | Course::Trying { .. }
            | Course::Testing { .. }
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => Updating::Yes,
        }
    }

    fn is_leaving(&self) -> bool {
        matches!(self.course, Course::Departing(_))
    }

    fn control(
        &mut self,
        request: RequestId,
        container: &ContainerName,
        control: Control,
        thought: &mut Thought,
    ) {
        let phase = self.course.phase();
        let calm = matches!(self.course, Course::Running | Course::Once(_) | Course::Verifying(_));
        let outcome = match self.slots.get_mut(container) {
            None => Err(Refusal::NoSuchContainer(container.clone())),
            Some(slot) if slot.spec.container.restart_policy == RestartPolicy::System => {
                Err(Refusal::NotControllable(container.clone()))
            }
            Some(_) if !calm => Err(Refusal::Busy(phase)),
            Some(slot) => fate_after(control, &slot.fate, &slot.life).map(|fate| slot.fate = fate),
        };
        match outcome {
            Ok(()) => {
                thought.moved = Moved::Yes;
                thought.act(Action::Reply { request, reply: Reply::Done });
            }
            Err(refusal) => self.refuse(request, refusal, thought),
        }
    }

    fn signal(
        &mut self,
        request: RequestId,
        container: &ContainerName,
        generation: Generation,
        signal: Signal,
        thought: &mut Thought,
    ) {
        let slot = self.slots.get_mut(container).filter(|slot| slot.living() == Some(generation));
        let outcome = match (signal, slot) {
            (Signal::Alive, _) => Err("no heartbeat is expected"),
            (Signal::Ready, None) => Err("it is of a former life"),
            (Signal::Ready, Some(slot)) => slot.says_ready(thought).map(|()| "ready"),
        };
        let text = outcome.unwrap_or_else(|why| why);
        let container = container.clone();
        thought.tell(Happening::Signal { container, generation, outcome: text.into() });
        let reply = if outcome.is_ok() { Reply::Done } else { Reply::Refused(Refusal::UnexpectedSignal) };
        thought.act(Action::Reply { request, reply });
    }

    fn shut_down(&mut self, request: RequestId, then: AfterShutdown, thought: &mut Thought) {
        if let Course::Departing(departure) = &mut self.course
            && (departure.then, then) == (AfterShutdown::Restart, AfterShutdown::End)
            && !matches!(departure.stage, LeaveStage::Leaving { .. })
            && departure.why == Why::Asked
        {
            // Whoever ends it does not want it back.
            departure.then = then;
            if matches!(departure.stage, LeaveStage::Staying { .. }) {
                self.at_stage(LeaveStage::Telling, thought);
            }
            return thought.act(Action::Reply { request, reply: Reply::Done });
        }
        let leaving = matches!(&self.course, Course::Departing(departure)
            if departure.why == Why::Asked || matches!(departure.stage, LeaveStage::Leaving { .. }));
        let waits = then != AfterShutdown::End && self.updating() == Updating::Yes;
        if leaving || waits {
            return self.busy(request, thought);
        }
        // This start does not end by dying.
        if self.disk.durable().unsettled_starts != 0 {
            let durable = self.disk.change();
            durable.unsettled_starts = durable.unsettled_starts.saturating_sub(1);
        }
        thought.act(Action::Reply { request, reply: Reply::Done });
        self.leave(Why::Asked, then, "on request", thought);
    }
}

/// What a container's fate is after a request, or why the request is refused.
fn fate_after(control: Control, fate: &Fate, life: &Life) -> Result<Fate, Refusal> {
    let resting = matches!(life, Life::Stopped(_));
    match control {
        Control::Start if *fate == Fate::Rest => Ok(Fate::Again),
        Control::Start if resting || matches!(life, Life::Stopping { .. } | Life::Recovering { .. }) => {
            Ok(Fate::Again)
        }
        Control::Start => Err(Refusal::CannotStart),
        Control::Stop if *fate == Fate::Rest => Ok(Fate::Rest),
        Control::Stop | Control::Restart if resting => Err(Refusal::CannotStop),
        Control::Stop => Ok(Fate::Rest),
        Control::Restart if matches!(life, Life::Stopping { .. }) => Err(Refusal::CannotStop),
        Control::Restart => Ok(Fate::Again),
    }
}
