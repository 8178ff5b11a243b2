//! What the boot loader is told, with what it answers by the way it booted.

use crate::ids::RevisionId;

/// The boot loader's two variables, as the agent sets them. Changed in one write, which is a reboot update's commit point.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct BootVars {
    /// `pv_rev`: booted unless a candidate is waiting for its one try.
    pub committed: RevisionId,
    /// `pv_try`: booted once, on the next boot.
    pub candidate: Option<RevisionId>,
}

/// How this life of the device was booted, from the kernel command line or from whatever stands in for a boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BootedAs {
    /// The committed revision.
    Committed(RevisionId),
    /// The candidate, on its one try.
    Trying(RevisionId),
    /// Nothing on this device tells: the agent is started by another init and decides by `Durable` alone.
    NoLoader,
}
