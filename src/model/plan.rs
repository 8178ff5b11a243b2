//! What going from one revision to another would do.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, Digest, RevisionId};

/// What an update would stop, start, restart, mount and fetch. Serialised for GET `/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// What runs.
    pub from: RevisionId,
    /// What is to run.
    pub to: RevisionId,
    /// What it takes.
    pub needs: Needs,
    /// Only if it takes a reboot: the keys that ask for it, a line each.
    pub reboot_because: Vec<String>,
    /// Containers that are no more.
    pub stop: Vec<ContainerName>,
    /// Containers that are new.
    pub start: Vec<ContainerName>,
    /// Containers that are stopped and started anew.
    pub restart: Vec<ContainerName>,
    /// Containers whose process stays.
    pub stay: Vec<ContainerName>,
    /// Containers whose volumes are mounted anew.
    pub mount: Vec<ContainerName>,
    /// Objects that `to` names and `from` does not; those not on the device must be fetched.
    pub fetch: Vec<Digest>,
}

/// What an update takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    /// Nothing is stopped or started.
    Nothing,
    /// Some containers are stopped or started; the others never notice.
    Restart,
    /// Everything stops, and the new revision is booted.
    Reboot,
}
