//! What one event leads to, while it is being thought.

use alloc::sync::Arc;
use alloc::vec::Vec;

use model::report::Happening;

use crate::action::Action;
use crate::time::Time;

/// Collects a step.
#[derive(Debug)]
pub(crate) struct Thought {
    /// When the event came.
    pub(crate) now: Time,
    /// What must go out, in order.
    pub(crate) actions: Vec<Action>,
    /// What happened, in order.
    pub(crate) happenings: Vec<Happening>,
    /// Whether and why this step saves.
    pub(crate) saving: Saving,
    /// Whether anything moved since the last look, so that another look is worth it.
    pub(crate) moved: Moved,
}

/// Whether a step saves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saving {
    /// It may: decisions that must be saved first can be taken.
    Allowed,
    /// It does: such a decision was taken, and no action comes out before it is on disk.
    Required,
    /// It cannot: the disk failed a moment ago. Facts are taken in, such decisions are not taken.
    Impossible,
}

/// Whether anything moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Something did.
    Yes,
    /// Nothing did.
    No,
}

impl Thought {
    pub(crate) fn new(now: Time, saving: Saving) -> Thought {
        Thought { now, actions: Vec::new(), happenings: Vec::new(), saving, moved: Moved::Yes }
    }

    /// Whether a decision that must be saved before it is acted on can be taken now.
    pub(crate) fn may_decide(&self) -> bool {
        self.saving != Saving::Impossible
    }

    /// Such a decision was taken.
    pub(crate) fn decided(&mut self) {
        debug_assert!(self.may_decide(), "decided where nothing can be saved");
        self.saving = Saving::Required;
        self.moved = Moved::Yes;
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
        self.moved = Moved::Yes;
    }

    pub(crate) fn tell(&mut self, happening: Happening) {
        self.happenings.push(happening);
    }

    pub(crate) fn note(&mut self, text: impl Into<Arc<str>>) {
        self.tell(Happening::Note { text: text.into() });
    }
}
