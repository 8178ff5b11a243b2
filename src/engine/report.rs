//! The state for outsiders.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::goal::Status;
use model::report::{ContainerReport, DeviceReport, GoalReport, GroupReport, Phase};
use model::revision::{Group, Revision, Signatures};

use crate::Engine;
use crate::container::{Fate, Goal, Slot};
use crate::course::Course;
use crate::disk::Health;

impl Engine {
    /// The state for outsiders.
    pub fn report(&self) -> DeviceReport {
        let durable = self.disk.durable();
        let groups = self.group_reports();
        DeviceReport {
            revision: self.current.as_ref().map(|current| current.id().clone()),
            fallback: durable.committed.clone(),
            fallback_proven: durable.proven,
            phase: self.course.phase(),
            status: self
                .current
                .as_ref()
                .map(|_| lowest(groups.iter().map(|(group, met)| (group.status, *met)))),
            documents: self.documents.unwritten().collect(),
            update: self.update.clone(),
            groups: groups.into_iter().map(|(group, _)| group).collect(),
            containers: self.slots.values().filter_map(|slot| self.container_report(slot)).collect(),
            notes: self.all_notes(),
        }
    }

    fn group_reports(&self) -> Vec<(GroupReport, Meets)> {
        let Some(current) = &self.current else { return Vec::new() };
        let group_of = |(index, group): (usize, &Group)| {
            let members = || self.slots.values().filter(|slot| slot.aim().group == index && counts(slot));
            let meets = if members().all(Slot::meets_goal) { Meets::Yes } else { Meets::No };
            let report = GroupReport {
                name: group.name.clone(),
                status: lowest(members().map(|slot| (slot.status(), meets_of(slot)))),
                status_goal: group.status_goal,
                restart_policy: group.restart_policy,
                recovery: group.recovery.clone(),
            };
            (report, meets)
        };
        current.groups().iter().enumerate().map(group_of).collect()
    }

    fn container_report(&self, slot: &Slot) -> Option<ContainerReport> {
        let container = slot.aim();
        let revision = match &slot.fate {
            Fate::Replace(next) => &next.revision,
            Fate::Stay | Fate::Rest | Fate::Again | Fate::Remove | Fate::Depart => &slot.spec.revision,
        };
        Some(ContainerReport {
            name: container.name.clone(),
            group: group_name(revision, container.group)?,
            status: slot.status(),
            status_goal: container.status_goal,
            goal: goal_report(slot.goal),
            restart_policy: container.restart_policy,
            role: container.role,
            recovery: container.recovery.clone(),
            retries: slot.retries,
            stable: crate::trial::stable_at(slot).is_some_and(|at| at <= self.clock),
            user_stopped: slot.fate == Fate::Rest,
            generation: slot.generation(),
            pid: slot.pid(),
            reason: Arc::clone(&slot.reason),
        })
    }

    fn all_notes(&self) -> Vec<Arc<str>> {
        let mut notes: Vec<Arc<str>> = self.notes.to_vec();
        let durable = self.disk.durable();
        if let Course::OnlyAnswering(why) = &self.course {
            notes.push(Arc::from(format!("nothing is started: {why}")));
        }
        if let (Course::Once(_), Some(current)) = (&self.course, &self.current) {
            notes.push(Arc::from(format!(
                "revision {} is tried once: the next boot, or LOCAL_RUN of {}, brings that back",
                current.id(),
                durable.committed
            )));
        }
        if let Health::Failing { .. } = self.disk.health() {
            notes.push(Arc::from("the disk cannot be written: updates wait, containers run on"));
        }
        if !durable.proven {
            notes.push(Arc::from("fallback unproven"));
        }
        for (container, missed) in &durable.missed {
            notes.push(Arc::from(format!("{container}: {missed}")));
        }
        if let Some(current) = &self.current {
            if let Signatures::NotVerified(_) = current.signatures() {
                notes.push(Arc::from("signatures: not verified"));
            }
            notes.extend(current.warnings().iter().map(|warning| Arc::from(format!("{warning}"))));
        }
        notes
    }

    /// What the device is doing.
    pub fn phase(&self) -> Phase {
        self.course.phase()
    }
}

/// Whether a member, or a group, meets its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    Yes,
    No,
}

fn meets_of(slot: &Slot) -> Meets {
    if slot.meets_goal() { Meets::Yes } else { Meets::No }
}

/// A container that was stopped on request, or that is to be no more, is left out.
fn counts(slot: &Slot) -> bool {
    !matches!(slot.fate, Fate::Rest | Fate::Remove)
}

/// READY if every one meets its goal, else the lowest of those that do not.
fn lowest(members: impl Iterator<Item = (Status, Meets)>) -> Status {
    members.filter(|(_, meets)| *meets == Meets::No).map(|(status, _)| status).min().unwrap_or(Status::Ready)
}

fn group_name(revision: &Revision, index: usize) -> Option<model::ids::GroupName> {
    revision.groups().get(index).map(|group| group.name.clone())
}

fn goal_report(goal: Goal) -> GoalReport {
    match goal {
        Goal::Waiting => GoalReport::Waiting,
        Goal::Pending { .. } => GoalReport::Pending,
        Goal::Met { .. } => GoalReport::Met,
        Goal::Lost { .. } => GoalReport::Lost,
        Goal::Missed => GoalReport::Missed,
    }
}
