//! A revision: everything the device runs, parsed from its state JSON.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

pub use crate::device::Device;
pub use crate::errors::{ParseError, ParseErrors, Place, Warning};
use crate::goal::StatusGoal;
use crate::ids::{ContainerName, Digest, GroupName, RevisionId};
pub use crate::key::{Part, PartValue, Weight};
use crate::lxc::LxcConf;
use crate::read::state;
use crate::recovery::{AutoRecovery, Lifetime, RestartPolicy, Role};
use crate::run::RunSpec;

/// One complete description of what the device runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub(crate) id: RevisionId,
    /// Of the whole canonical state.
    pub(crate) fingerprint: u64,
    pub(crate) groups: Box<[Group]>,
    pub(crate) containers: BTreeMap<ContainerName, Arc<Container>>,
    pub(crate) device: Device,
    pub(crate) device_parts: Box<[Part]>,
    pub(crate) signatures: Signatures,
    pub(crate) warnings: Box<[Warning]>,
    pub(crate) unsupported: Box<[Box<str>]>,
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
    /// What it is made of.
    pub run: RunSpec,
    /// What its `lxc.container.conf` asks for; none: it has no program, and its goal is MOUNTED.
    pub conf: Option<Box<LxcConf>>,
    /// Every key that it owns, `_config/<name>/…` too, sorted.
    pub parts: Box<[Part]>,
}

/// Whether the state carries signatures, and what came of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signatures {
    /// There is no `_sigs/…` key.
    Absent,
    /// This many, well-formed; this version does not verify them.
    NotVerified(u32),
}

/// What the device decides where a state says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Defaults {
    /// The role of a container without `roles`: `mgmt` in the field.
    pub role_when_absent: Role,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults { role_when_absent: Role::Mgmt }
    }
}

/// Reads an object of a state, given its key and its sha256: a file of the trail, of a folder, of a package. The error is a
/// sentence that reads well after "failed to".
pub type ObjectReader<'a> = &'a mut dyn FnMut(&str, &Digest) -> Result<Vec<u8>, String>;

impl Container {
    /// A number that another container has only by chance, if anything differs whose change needs a restart: what a later
    /// agent knows a life's container by.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::default();
        self.parts
            .iter()
            .filter(|part| part.weight() != Weight::Nothing)
            .for_each(|part| part.hash(&mut hash));
        hash.finish()
    }

    /// Whether `/volumes/<its name>/<volume>` is something.
    pub(crate) fn has_volume(&self, volume: &str) -> bool {
        self.run.root.iter().chain(&self.run.volumes).any(|image| &*image.file == volume)
            || self.run.storage.iter().any(|storage| &*storage.key == volume)
    }
}

impl Revision {
    /// Parses a state. `object` is asked for those files that parsing needs (`lxc.container.conf`, `run.json` where it is an
    /// object), not for images.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place, what was found and what is allowed.
    pub fn parse(
        id: RevisionId,
        state: &[u8],
        defaults: Defaults,
        object: ObjectReader<'_>,
    ) -> Result<Revision, ParseErrors> {
        state::parse(id, state, defaults, object)
    }

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

    /// What it says about the device itself.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Every key that no container owns, sorted.
    pub fn device_parts(&self) -> &[Part] {
        &self.device_parts
    }

    /// Every object of the state with its key. One object may be at several keys.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &Digest)> {
        let of_containers = self.containers.values().flat_map(|container| container.parts.iter());
        self.device_parts.iter().chain(of_containers).filter_map(|part| match &part.value {
            PartValue::Object(digest) => Some((&*part.path, digest)),
            PartValue::Inline(_) | PartValue::Inert => None,
        })
    }

    /// Whether it is signed.
    pub fn signatures(&self) -> Signatures {
        self.signatures
    }

    /// What is odd about it, and no error.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What it requires and this version cannot do, a sentence each. Such a revision must not be run without it.
    pub fn unsupported(&self) -> &[Box<str>] {
        &self.unsupported
    }
}

/// FNV-1a, 64 bits: the same for the same bytes in every process.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// By name and fingerprint: a revision is hashed often (it is part of every state that the model checker visits).
impl Hash for Revision {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.id.hash(hasher);
        self.fingerprint.hash(hasher);
    }
}
