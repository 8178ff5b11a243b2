//! Who is BLOCKED by whom: groups are released in order, each goal has its deadline in the walk.

use core::time::Duration;

use model::report::Happening;

use crate::container::{Fate, Goal, Life, Slot, Stakes, StopStage};
use crate::slots::Slots;
use crate::thought::{Moved, Thought};
use crate::time::Time;

/// Brings every goal and every group's release up to date.
///
/// Gating is by *has met in this walk*: a group is released when each member of every earlier one has met its goal since the
/// walk began or, outside a trial, passed its deadline.
pub(crate) fn judge(
    slots: &mut Slots,
    released: &mut usize,
    groups: usize,
    stakes: Stakes,
    thought: &mut Thought,
) {
    let (now, below) = (thought.now, *released);
    slots.change(
        |slot| is_due(slot, below, stakes, now),
        |slot| slot.goal = judge_goal(slot, below, stakes, thought),
    );
    if slots.values().any(|slot| slot.fate == Fate::Remove && may_live(slot)) {
        return;
    }
    while *released < groups && slots.values().all(|slot| lets_pass(slot, *released, stakes)) {
        *released += 1;
        thought.moved = Moved::Yes;
    }
}

/// Whether a container keeps no group after its own from starting.
fn lets_pass(slot: &Slot, group: usize, stakes: Stakes) -> bool {
    if slot.aim().group >= group || matches!(slot.fate, Fate::Remove | Fate::Depart) {
        return true;
    }
    is_decided(slot, stakes)
}

/// Whether a container's part of the walk is over.
pub(crate) fn is_decided(slot: &Slot, stakes: Stakes) -> bool {
    match (&slot.fate, slot.goal) {
        (Fate::Rest, _) | (_, Goal::Met { .. } | Goal::Lost { .. }) => true,
        (_, Goal::Missed) => stakes == Stakes::Ordinary,
        (_, Goal::Waiting | Goal::Pending { .. }) => false,
    }
}

/// Whether [`judge_goal`] has anything to say.
fn is_due(slot: &Slot, released: usize, stakes: Stakes, now: Time) -> bool {
    match (&slot.fate, slot.goal) {
        (Fate::Remove | Fate::Depart, _) => false,
        (Fate::Rest, goal) => goal != Goal::Waiting,
        (Fate::Stay | Fate::Again | Fate::Replace(_), Goal::Waiting) => {
            slot.meets_goal() || (slot.aim().group < released && former_life_is_gone(slot))
        }
        (_, Goal::Pending { until, .. }) => until <= now || slot.meets_goal(),
        (_, Goal::Met { .. }) => !slot.meets_goal(),
        (_, Goal::Lost { until }) => slot.meets_goal() || (stakes != Stakes::Ordinary && until <= now),
        (_, Goal::Missed) => stakes == Stakes::Ordinary && slot.meets_goal(),
    }
}

fn judge_goal(slot: &Slot, released: usize, stakes: Stakes, thought: &mut Thought) -> Goal {
    if slot.fate == Fate::Rest {
        return Goal::Waiting;
    }
    thought.moved = Moved::Yes;
    let (now, met) = (thought.now, slot.meets_goal());
    let length = slot.aim().deadline;
    match slot.goal {
        Goal::Waiting | Goal::Pending { .. } if met => met_goal(slot, now, length, thought),
        Goal::Missed if met && stakes == Stakes::Ordinary => met_goal(slot, now, length, thought),
        Goal::Waiting if slot.aim().group < released && former_life_is_gone(slot) => {
            Goal::Pending { since: now, until: now + length }
        }
        Goal::Pending { until, .. } if until <= now => missed_goal(slot, length, thought),
        Goal::Met { at, until } if met => Goal::Met { at, until },
        // While it is tried, a goal lost before its deadline keeps that one.
        Goal::Met { until, .. } if stakes == Stakes::Trying && until > now => Goal::Lost { until },
        Goal::Met { .. } => Goal::Lost { until: now + length },
        Goal::Lost { until } if met => met_goal(slot, now, until - now, thought),
        Goal::Lost { until } if stakes != Stakes::Ordinary && until <= now => {
            missed_goal(slot, length, thought)
        }
        same @ (Goal::Waiting | Goal::Pending { .. } | Goal::Lost { .. } | Goal::Missed) => same,
    }
}

fn met_goal(slot: &Slot, now: Time, left: Duration, thought: &mut Thought) -> Goal {
    let (after, until) = match slot.goal {
        Goal::Pending { since, until } => (now - since, until),
        Goal::Waiting | Goal::Met { .. } | Goal::Lost { .. } | Goal::Missed => (Duration::ZERO, now + left),
    };
    let goal = slot.spec.container.status_goal;
    thought.tell(Happening::GoalMet { container: slot.name().clone(), goal, after });
    Goal::Met { at: now, until }
}

fn missed_goal(slot: &Slot, deadline: Duration, thought: &mut Thought) -> Goal {
    let goal = slot.aim().status_goal;
    thought.tell(Happening::GoalMissed { container: slot.name().clone(), goal, deadline });
    Goal::Missed
}

/// Whether a process of it may be there still, and is not past hope.
fn may_live(slot: &Slot) -> bool {
    match slot.life {
        Life::Starting { .. } | Life::Running { .. } => true,
        Life::Stopping { stage, .. } => stage != StopStage::Hopeless,
        Life::Installed
        | Life::Mounting { .. }
        | Life::Mounted { .. }
        | Life::Blocked { .. }
        | Life::Unmounting { .. }
        | Life::Recovering { .. }
        | Life::Stopped(_) => false,
    }
}

/// In an update, a deadline runs from the reaping of the former generation, or from giving up on it.
fn former_life_is_gone(slot: &Slot) -> bool {
    !(matches!(slot.fate, Fate::Replace(_) | Fate::Again) && may_live(slot))
}
