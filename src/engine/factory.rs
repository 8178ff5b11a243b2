//! The factory revision, replaced on request.

use alloc::format;
use alloc::sync::Arc;

use model::ids::{RequestId, RevisionId};
use model::report::{Failure, FailureKind};
use model::request::{Refusal, Reply};

use crate::Engine;
use crate::action::Action;
use crate::course::Course;
use crate::thought::{Moved, Thought};
use crate::time::Time;
use crate::update::LONG_EFFECT;

/// A new factory revision on its way to disk.
///
/// ```text
/// Idle --(MAKE_FACTORY)--> Waiting --(the disk and the boot loader are at rest: MakeFactory)--> Asked --(FactoryMade)--> Idle
///                             | too long: refused                                             | too long: refused
///                             v                                                               v
///                            Idle                                                          Overdue --(FactoryMade)--> Idle
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) enum Factory {
    /// Nobody asks for one.
    #[default]
    Idle,
    /// What is being written or collected could concern it.
    Waiting { request: RequestId, from: RevisionId, until: Time },
    /// `MakeFactory` is asked.
    Asked { request: RequestId, until: Time },
    /// It was given up, and may still happen.
    Overdue,
}

impl Factory {
    /// Whether somebody waits for it.
    pub(crate) fn is_under_way(&self) -> bool {
        matches!(self, Factory::Waiting { .. } | Factory::Asked { .. })
    }

    /// Whether this revision's content may change any time.
    pub(crate) fn may_still_change(&self, revision: &RevisionId) -> bool {
        *self != Factory::Idle && *revision == RevisionId::factory()
    }

    pub(crate) fn wakes(&self) -> Option<(Time, &'static str)> {
        match self {
            Factory::Idle | Factory::Overdue => None,
            Factory::Waiting { until, .. } | Factory::Asked { until, .. } => {
                Some((*until, "a new factory revision takes too long"))
            }
        }
    }
}

impl Engine {
    /// MAKE_FACTORY. Only what ran well here can become what everything falls back to in the end, and only while nothing runs,
    /// is tried or would be fallen back to under the name that gets new content.
    pub(crate) fn make_factory(
        &mut self,
        request: RequestId,
        revision: Option<RevisionId>,
        thought: &mut Thought,
    ) {
        match self.may_make_factory(revision) {
            Ok(from) => {
                let until = thought.now + self.settings.effect_deadline.saturating_mul(LONG_EFFECT);
                self.factory = Factory::Waiting { request, from, until };
                thought.moved = Moved::Yes;
            }
            Err(refusal) => self.refuse(request, refusal, thought),
        }
    }

    fn may_make_factory(&self, revision: Option<RevisionId>) -> Result<RevisionId, Refusal> {
        let cannot = |why| Err(Refusal::Unsupported(Arc::from(why)));
        match self.course {
            Course::Running | Course::Once(_) => {}
            Course::OnlyAnswering(_) => {
                return cannot("nothing runs on this device, so nothing has proved itself");
            }
            Course::Booting(_)
            | Course::Verifying(_)
            | Course::Trying { .. }
            | Course::Testing { .. }
            | Course::Committing
            | Course::RollingBack
            | Course::Departing(_) => return Err(Refusal::Busy(self.course.phase())),
        }
        if self.factory != Factory::Idle {
            return Err(Refusal::CommandUnderWay);
        }
        let (durable, factory) = (self.disk.durable(), RevisionId::factory());
        let current = self.current.as_ref().map(|current| current.id());
        let Some(from) = revision.or_else(|| current.cloned()) else {
            return cannot("nothing runs on this device, so nothing has proved itself");
        };
        if from == factory {
            return cannot("revision 0 is the factory revision already");
        }
        let trial = durable.trial.iter().flat_map(|trial| [&trial.revision, &trial.fallback]);
        if [&durable.committed].into_iter().chain(current).chain(trial).any(|used| *used == factory) {
            return cannot(
                "this device runs revision 0, or would return to it: LOCAL_RUN another revision first",
            );
        }
        if (from == durable.committed && durable.proven) || durable.previous.as_ref() == Some(&from) {
            return Ok(from);
        }
        let committed = &durable.committed;
        cannot(&*format!(
            "revision {from} has not proved itself: only the rollback point, which is {committed}, or the one before it can \
             become the factory revision"
        ))
    }

    /// Asks for what is due, gives up on what takes too long. What is being written of the former one is waited for, so that it
    /// does not end up in the new one.
    pub(crate) fn tend_factory(&mut self, thought: &mut Thought) {
        let now = thought.now;
        let overdue =
            || Refusal::Failed(Failure::new(FailureKind::Transient, "make the factory revision in time"));
        match self.factory.clone() {
            Factory::Waiting { request, until, .. } if until <= now => {
                self.factory = Factory::Idle;
                self.refuse(request, overdue(), thought);
            }
            Factory::Asked { request, until } if until <= now => {
                self.factory = Factory::Overdue;
                self.refuse(request, overdue(), thought);
            }
            Factory::Waiting { request, from, until } => {
                let at_rest = !self.store.is_collecting()
                    && !self.documents.concern(&RevisionId::factory())
                    && self.loader.is(&self.wanted_boot());
                if at_rest && matches!(self.course, Course::Running | Course::Once(_)) {
                    self.factory = Factory::Asked { request, until };
                    thought.act(Action::MakeFactory { from });
                }
            }
            Factory::Idle | Factory::Asked { .. } | Factory::Overdue => {}
        }
    }

    /// `FactoryMade` was reported. What failed under the name before is not what it names now.
    pub(crate) fn factory_made(&mut self, outcome: Result<(), Failure>, thought: &mut Thought) {
        let request = match core::mem::take(&mut self.factory) {
            Factory::Asked { request, .. } => Some(request),
            Factory::Overdue => None,
            waiting @ (Factory::Idle | Factory::Waiting { .. }) => {
                self.factory = waiting;
                return thought.note("a late report of a factory revision was dropped");
            }
        };
        let factory = RevisionId::factory();
        if outcome.is_ok() && self.disk.durable().failures.contains_key(&factory) {
            self.disk.change().failures.remove(&factory);
        }
        match (request, outcome) {
            (Some(request), Ok(())) => thought.act(Action::Reply { request, reply: Reply::Done }),
            (Some(request), Err(failure)) => self.refuse(request, Refusal::Failed(failure), thought),
            (None, Ok(())) => thought.note("the factory revision was replaced, late"),
            (None, Err(failure)) => thought.note(format!("failed to {}", failure.detail)),
        }
    }
}
