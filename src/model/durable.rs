//! What survives a power cut, with its format version.
//!
//! One value, saved whole before anything it says is acted on. The store keeps two copies with a generation and a checksum.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{ContainerName, RevisionId};
use crate::progress::Progress;
use crate::unknown::Unknown;

/// Everything the engine must remember across power cuts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durable {
    /// The rollback point: the last revision that was committed. The factory revision until the first commit.
    pub committed: RevisionId,
    /// Whether `committed` ever met all its goals (false only for a factory revision that has not yet).
    pub proven: bool,
    /// The rollback point before this one, whole and pinned.
    pub previous: Option<RevisionId>,
    /// The update under way.
    pub trial: Option<Trial>,
    /// Revisions that failed, with how; they are not tried again by themselves. Bounded to the 32 latest.
    pub failures: BTreeMap<RevisionId, FailureRecord>,
    /// Goals missed outside an update, on the committed revision. Bounded to one per container.
    pub missed: BTreeMap<ContainerName, String>,
    /// Progress documents that were decided and not yet seen written. DONE is written last.
    pub unwritten: BTreeMap<RevisionId, Progress>,
    /// Starts of the agent on `committed` that ended before it settled, running on.
    pub unsettled_starts: u32,
    /// Reboots (or fresh starts) that a backoff policy decided since all goals were last met.
    pub policy_reboots: u32,
    /// Fallbacks to `previous` because the agent kept dying (at most one until something commits).
    pub fell_back: bool,
    /// Members that a newer agent wrote. This one keeps them and writes them back.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// An update that was begun and not finished.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trial {
    /// The revision being tried.
    pub revision: RevisionId,
    /// The revision that a rollback returns to; verified whole before the trial began, and pinned.
    pub fallback: RevisionId,
    /// Whether its commit point is the boot loader's write or `Durable`'s.
    pub kind: TrialKind,
    /// How far it got.
    pub stage: TrialStage,
    /// How often it was interrupted, running on.
    pub interruptions: u32,
    /// How long its revision may stay. An agent that does not know this takes the trial for one that was interrupted, and rolls it
    /// back: which is right.
    #[serde(default)]
    pub term: Term,
}

/// How long a trial's revision may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// For good: once it has proved stable it is the rollback point.
    #[default]
    Lasting,
    /// Until the next boot or request; it has not proved stable yet.
    Once,
    /// Likewise; it has, and runs on.
    OnceProved,
}

/// What an update needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialKind {
    /// The changed containers restart.
    Restart,
    /// Everything stops, and the new revision is booted as a try.
    Reboot,
}

/// How far a trial got.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialStage {
    /// Saved, not booted or started yet.
    Begun,
    /// A reboot trial: its one boot has happened.
    Booted,
    /// Decided good; the boot loader, then the progress document, follow.
    Committing,
    /// Decided bad, with how; the fallback is coming back.
    RollingBack(FailureRecord),
}

/// How a revision failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The field's sentence: `Status goal not reached`, …
    pub message: String,
    /// Which container, which step, which errno: a line each.
    pub details: Vec<String>,
    /// How often it was merely interrupted; counted as failed only after three.
    pub interruptions: u32,
    /// Whether it counts as failed (LOCAL_RUN answers 409 unless forced).
    pub final_: bool,
}

impl Durable {
    /// The format this version reads and writes.
    pub const VERSION: u32 = 1;

    /// A device that has just been made, with its factory revision in the store.
    pub fn factory() -> Durable {
        Durable {
            committed: RevisionId::factory(),
            proven: false,
            previous: None,
            trial: None,
            failures: BTreeMap::new(),
            missed: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            unsettled_starts: 0,
            policy_reboots: 0,
            fell_back: false,
            unknown: Unknown::default(),
        }
    }

    /// Longer than any that is written, or read: 256 KiB.
    pub const MAX_BYTES: usize = 256 * 1024;

    /// As bytes for the disk: JSON with `version`, and with every member that [`Durable::from_bytes`] did not know.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadDurable> {
        let mut value = serde_json::to_value(self).map_err(BadDurable::malformed)?;
        self.unknown.write_back(&mut value);
        value[VERSION_KEY] = Durable::VERSION.into();
        let bytes = serde_json::to_vec(&value).map_err(BadDurable::malformed)?;
        if bytes.len() > Durable::MAX_BYTES { Err(BadDurable::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads what [`Durable::to_bytes`] wrote, in this version of the agent or another that writes the same format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Durable, BadDurable> {
        if bytes.len() > Durable::MAX_BYTES {
            return Err(BadDurable::TooLong(bytes.len()));
        }
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(BadDurable::malformed)?;
        match value.get(VERSION_KEY).and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(Durable::VERSION) => {}
            Some(version) => return Err(BadDurable::OtherVersion(version)),
            None => return Err(BadDurable::NoVersion),
        }
        let mut durable = Durable::deserialize(&value).map_err(BadDurable::malformed)?;
        let mut known = serde_json::to_value(&durable).map_err(BadDurable::malformed)?;
        known[VERSION_KEY] = Durable::VERSION.into();
        durable.unknown = Unknown::of(value, &known);
        Ok(durable)
    }
}

const VERSION_KEY: &str = "version";

/// Why bytes are not a `Durable`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDurable {
    /// Not JSON, or a member is missing, or not what it must be.
    #[error("malformed: {0}")]
    Malformed(String),
    /// No `version`.
    #[error("it has no version")]
    NoVersion,
    /// Written by an agent whose format this one does not know.
    #[error("its format is version {0}, this agent knows version {v}", v = Durable::VERSION)]
    OtherVersion(u64),
    /// Longer than [`Durable::MAX_BYTES`].
    #[error("its {0} bytes are more than the {max} allowed", max = Durable::MAX_BYTES)]
    TooLong(usize),
}

impl BadDurable {
    #[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
    fn malformed(error: serde_json::Error) -> BadDurable {
        BadDurable::Malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::UpdateStatus;
    use alloc::vec;

    fn full() -> Durable {
        let record =
            FailureRecord { message: "m".into(), details: vec!["d".into()], interruptions: 2, final_: true };
        let (x, y): (RevisionId, RevisionId) = ("locals/x".parse().unwrap(), "7".parse().unwrap());
        let progress =
            Progress { status: UpdateStatus::Error, message: "m".into(), retries: 1, logs: "l".into() };
        Durable {
            previous: Some(y.clone()),
            trial: Some(Trial {
                revision: x.clone(),
                fallback: y,
                kind: TrialKind::Reboot,
                stage: TrialStage::RollingBack(record.clone()),
                interruptions: 1,
                term: Term::Once,
            }),
            failures: [(x.clone(), record)].into(),
            missed: [("app".parse().unwrap(), "READY".into())].into(),
            unwritten: [(x, progress)].into(),
            ..Durable::factory()
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for durable in [Durable::factory(), full()] {
            assert_eq!(Durable::from_bytes(&durable.to_bytes().unwrap()).unwrap(), durable);
        }
    }

    #[test]
    fn members_of_a_newer_agent_are_written_back() {
        let mut value: serde_json::Value = serde_json::from_slice(&full().to_bytes().unwrap()).unwrap();
        value["new"] = serde_json::json!({"deep": [1, "two", null]});
        value["trial"]["new"] = true.into();
        value["trial"]["stage"]["rolling-back"]["new"] = "x".into();
        value["failures"]["locals/x"]["new"] = 18_446_744_073_709_551_615_u64.into();
        let read = Durable::from_bytes(&serde_json::to_vec(&value).unwrap()).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&read.to_bytes().unwrap()).unwrap();
        assert_eq!(written, value);
    }

    #[test]
    fn a_trial_of_an_older_agent_is_lasting() {
        let mut value: serde_json::Value = serde_json::from_slice(&full().to_bytes().unwrap()).unwrap();
        value["trial"].as_object_mut().unwrap().remove("term");
        let read = Durable::from_bytes(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert_eq!(read.trial.unwrap().term, Term::Lasting);
    }

    #[test]
    fn unknown_members_go_with_what_they_belonged_to() {
        let mut value: serde_json::Value = serde_json::from_slice(&full().to_bytes().unwrap()).unwrap();
        value["trial"]["new"] = true.into();
        value["failures"]["locals/x"]["new"] = true.into();
        let mut read = Durable::from_bytes(&serde_json::to_vec(&value).unwrap()).unwrap();
        read.trial.as_mut().unwrap().revision = "8".parse().unwrap();
        read.failures.clear();
        let written: serde_json::Value = serde_json::from_slice(&read.to_bytes().unwrap()).unwrap();
        assert_eq!(written["trial"].get("new"), None);
        assert_eq!(written["failures"], serde_json::json!({}));
    }

    #[test]
    fn what_is_not_a_durable_is_refused_with_its_reason() {
        let refused = |text: &str| Durable::from_bytes(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(refused("{}"), "it has no version");
        assert_eq!(refused("[]"), "it has no version");
        assert_eq!(refused(r#"{"version":2}"#), "its format is version 2, this agent knows version 1");
        assert_eq!(
            refused(r#"{"version":1,"committed":"../x"}"#),
            "malformed: revision \"../x\": must be a decimal number, or locals/NAME with NAME of 1 to 64 characters of [A-Za-z0-9._-], not . or .."
        );
        assert!(refused(&"[".repeat(100_000)).starts_with("malformed: recursion limit"));
        assert_eq!(refused(&" ".repeat(300_000)), "its 300000 bytes are more than the 262144 allowed");
    }

    #[test]
    fn no_cut_or_flipped_byte_panics() {
        let whole = full().to_bytes().unwrap();
        for at in 0..whole.len() {
            assert!(Durable::from_bytes(&whole[..at]).is_err());
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                if let Ok(durable) = Durable::from_bytes(&flipped) {
                    assert_eq!(Durable::from_bytes(&durable.to_bytes().unwrap()).unwrap(), durable);
                }
            }
        }
    }
}
