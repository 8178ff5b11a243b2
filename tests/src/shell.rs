//! The shell's protocol around the engine: think on a copy, save, swap, act. Broken ones too, to test the checker.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use engine::{Action, Engine, Event, Time};
use model::durable::Durable;
use model::report::Happening;

use crate::choice::Save;
use crate::disk::Disk;

/// Which shell the device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shell {
    /// As the agent's.
    Honest,
    /// Its saves are never synced.
    NeverSyncs,
    /// Begins the actions before the save that they depend on.
    ActsFirst,
    /// Believes after a boot that what must be redone was done.
    ForgetsToRedo,
    /// Unmounts a container while it is still being mounted.
    UnmountsBesideMounts,
}

/// What came of one event.
#[derive(Debug)]
pub struct Taken {
    pub actions: Vec<Action>,
    pub happenings: Vec<Happening>,
    pub asked_to_save: SaveAsked,
    pub after: After,
}

/// Whether a save was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SaveAsked {
    No,
    /// And is on disk, as far as the shell knows.
    Saved(Box<Durable>),
    Failed,
    /// The step for a failed save asked for one, which it must never do.
    Twice,
}

/// Whether there is still power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    PowerOn,
    PowerCut,
}

enum SaveError {
    Failed,
    Cut,
}

impl Shell {
    /// Has the engine take in one event, and carries the step as far as `save` lets it.
    pub fn take(self, engine: &mut Engine, now: Time, event: &Event, disk: &mut Disk, save: Save) -> Taken {
        let mut thought = engine.clone();
        let step = thought.handle(now, event.clone());
        let happenings = step.happenings().to_vec();
        let wanted = step.to_save().cloned();
        let early = self == Shell::ActsFirst;
        let saved = ready(step.after_saving(async |durable| match early {
            true => Ok(()),
            false => self.save(disk, durable, save),
        }));
        let (actions, saved) = match (saved, &wanted) {
            (Ok(actions), Some(durable)) if early => (actions, self.save(disk, durable, save)),
            (Ok(actions), _) => (actions, Ok(())),
            (Err(error), _) => (Vec::new(), Err(error)),
        };
        match saved {
            Ok(()) => {
                *engine = thought;
                let asked_to_save =
                    wanted.map_or(SaveAsked::No, |durable| SaveAsked::Saved(Box::new(durable)));
                Taken { actions, happenings, asked_to_save, after: After::PowerOn }
            }
            Err(SaveError::Cut) => Taken {
                actions,
                happenings: Vec::new(),
                asked_to_save: SaveAsked::Failed,
                after: After::PowerCut,
            },
            Err(SaveError::Failed) => tell_failed(engine, now, event, actions),
        }
    }

    fn save(self, disk: &mut Disk, durable: &Durable, save: Save) -> Result<(), SaveError> {
        match save {
            Save::Works => {
                disk.write(durable);
                if self != Shell::NeverSyncs {
                    disk.sync();
                }
                disk.trust();
                Ok(())
            }
            Save::Fails => Err(SaveError::Failed),
            Save::FailsInDoubt => {
                disk.write(durable);
                Err(SaveError::Failed)
            }
            Save::CutBefore => {
                disk.tear();
                Err(SaveError::Cut)
            }
            Save::CutAfter => {
                disk.write(durable);
                disk.sync();
                disk.trust();
                Err(SaveError::Cut)
            }
        }
    }
}

fn tell_failed(engine: &mut Engine, now: Time, event: &Event, mut actions: Vec<Action>) -> Taken {
    let step = engine.handle(now, Event::SaveFailed { event: Box::new(event.clone()) });
    let happenings = step.happenings().to_vec();
    let asked_to_save = step.to_save().map_or(SaveAsked::Failed, |_| SaveAsked::Twice);
    let more = ready(step.after_saving(async |_| Ok::<(), ()>(())));
    actions.extend(more.unwrap_or_default());
    Taken { actions, happenings, asked_to_save, after: After::PowerOn }
}

/// Nothing in the simulation waits.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a simulated save ends at once"),
    }
}
