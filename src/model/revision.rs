//! A revision: everything the device runs, parsed from its state JSON.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::goal::StatusGoal;
use crate::ids::{ContainerName, GroupName, RevisionId};
use crate::recovery::{AutoRecovery, Lifetime, RestartPolicy, Role};

/// One complete description of what the device runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revision {
    id: RevisionId,
    groups: Vec<Group>,
    containers: BTreeMap<ContainerName, Arc<Container>>,
}

/// Containers that start together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// The default of its members.
    pub status_goal: StatusGoal,
    /// The default of its members.
    pub restart_policy: RestartPolicy,
    /// The default of its members: how long a container may take to meet its goal.
    pub timeout: Duration,
    /// The default of its members.
    pub recovery: AutoRecovery,
}

/// One container of a revision, its group's defaults already filled in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// Its name.
    pub name: ContainerName,
    /// Index of its group in [`Revision::groups`], which is the start order.
    pub group: usize,
    /// Where it must get to.
    pub status_goal: StatusGoal,
    /// What an update of it needs.
    pub restart_policy: RestartPolicy,
    /// How long it may take.
    pub deadline: Duration,
    /// When it is tried again.
    pub recovery: AutoRecovery,
    /// Whether it is meant to end.
    pub lifetime: Lifetime,
    /// What it may ask.
    pub role: Role,
}

impl Revision {
    /// Its name.
    pub fn id(&self) -> &RevisionId {
        &self.id
    }

    /// In start order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// In key order.
    pub fn containers(&self) -> impl ExactSizeIterator<Item = &Arc<Container>> {
        self.containers.values()
    }

    /// The container of that name.
    pub fn container(&self, name: &ContainerName) -> Option<&Arc<Container>> {
        self.containers.get(name)
    }
}
