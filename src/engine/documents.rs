//! Progress documents on their way to disk.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use model::ids::{RequestId, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::report::{Failure, FailureKind};
use model::request::Reply;

use crate::action::Action;
use crate::disk::Disk;
use crate::event::Settings;
use crate::thought::{Saving, Thought};
use crate::time::Time;

/// Between two tries to write a document, at most.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Every document that was decided and not yet seen written; at most one per revision is being written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Documents {
    papers: BTreeMap<RevisionId, Paper>,
}

/// One revision's document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Paper {
    /// What must be on disk in the end.
    progress: Progress,
    writing: Writing,
    /// Who waits for it.
    answers: Vec<RequestId>,
}

/// How far a document is on its way to disk.
///
/// ```text
/// Due --(what it follows is saved: WriteProgress)--> Asked --(written)--> gone, or Due again if another was decided since
///  ^                                                  |
///  +------------------------- Failed <----------------+ (failed, or no answer in time)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Writing {
    Due { delay: Duration },
    Asked { what: Progress, asked: Time, until: Time, delay: Duration },
    Failed { retry_at: Time, delay: Duration },
}

/// Whether DONE may be written: it is last, after the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoneMay {
    BeWritten,
    Wait,
}

impl Documents {
    /// From now on this is the revision's document.
    pub(crate) fn put(&mut self, revision: &RevisionId, progress: Progress, answer: Option<RequestId>) {
        match self.papers.get_mut(revision) {
            Some(paper) => {
                paper.progress = progress;
                paper.answers.extend(answer);
            }
            None => {
                let writing = Writing::Due { delay: Duration::ZERO };
                let answers = answer.into_iter().collect();
                self.papers.insert(revision.clone(), Paper { progress, writing, answers });
            }
        }
    }

    /// Asks for what is due. A document that lasts is written only after what it follows is on disk.
    pub(crate) fn tend(&mut self, disk: &Disk, settings: &Settings, done: DoneMay, thought: &mut Thought) {
        let now = thought.now;
        for (revision, paper) in &mut self.papers {
            let delay = match &paper.writing {
                Writing::Asked { until, delay, .. } if *until <= now => {
                    paper.writing = failed(now, *delay, settings);
                    continue;
                }
                Writing::Failed { retry_at, delay } if *retry_at <= now => *delay,
                Writing::Due { delay } => *delay,
                Writing::Asked { .. } | Writing::Failed { .. } => continue,
            };
            let lasts = disk.durable().unwritten.get(revision);
            let on_disk = thought.saving == Saving::Required || disk.saved().unwritten.get(revision) == lasts;
            let held = paper.progress.status == UpdateStatus::Done && done == DoneMay::Wait;
            if !on_disk || held {
                continue;
            }
            let (what, until) = (paper.progress.clone(), now + settings.effect_deadline);
            let (revision, progress) = (revision.clone(), what.clone());
            thought.act(Action::WriteProgress { revision, progress, asked: now });
            paper.writing = Writing::Asked { what, asked: now, until, delay };
        }
    }

    /// Those that are not on disk yet.
    pub(crate) fn unwritten(&self) -> impl Iterator<Item = (RevisionId, Progress)> {
        self.papers.iter().map(|(revision, paper)| (revision.clone(), paper.progress.clone()))
    }

    /// Whether a document of this revision is not on disk yet.
    pub(crate) fn concern(&self, revision: &RevisionId) -> bool {
        self.papers.contains_key(revision)
    }

    /// Whether a write of this revision's document that was asked at `of` is waited for.
    pub(crate) fn awaits(&self, revision: &RevisionId, of: Time) -> bool {
        let writing = self.papers.get(revision).map(|paper| &paper.writing);
        matches!(writing, Some(Writing::Asked { asked, .. }) if *asked == of)
    }

    /// `ProgressWritten` was reported of the write that is waited for.
    pub(crate) fn written(
        &mut self,
        revision: &RevisionId,
        outcome: Result<(), Failure>,
        disk: &mut Disk,
        settings: &Settings,
        thought: &mut Thought,
    ) {
        let Some(paper) = self.papers.get_mut(revision) else { return };
        let Writing::Asked { what, delay, .. } = &paper.writing else { return };
        let (what, delay) = (what.clone(), *delay);
        for request in core::mem::take(&mut paper.answers) {
            thought.act(Action::Reply { request, reply: Reply::Done });
        }
        match outcome {
            // A trail that is gone has no place for a document.
            Ok(()) | Err(Failure { kind: FailureKind::Missing, .. }) => {
                if paper.progress == what {
                    self.papers.remove(revision);
                    if disk.durable().unwritten.contains_key(revision) {
                        disk.change().unwritten.remove(revision);
                    }
                } else {
                    paper.writing = Writing::Due { delay: Duration::ZERO };
                }
            }
            Err(failure) => {
                thought.note(alloc::format!("progress of {revision}: failed to {}", failure.detail));
                paper.writing = failed(thought.now, delay, settings);
            }
        }
    }

    /// The next time at which something is due again.
    pub(crate) fn wakes(&self) -> impl Iterator<Item = (Time, &'static str)> {
        self.papers.values().filter_map(|paper| match &paper.writing {
            Writing::Due { .. } => None,
            Writing::Asked { until, .. } => Some((*until, "a progress document takes too long")),
            Writing::Failed { retry_at, .. } => {
                Some((*retry_at, "the next try to write a progress document"))
            }
        })
    }
}

fn failed(now: Time, delay: Duration, settings: &Settings) -> Writing {
    let delay = delay.saturating_mul(2).max(settings.save_retry).min(LONGEST_RETRY);
    Writing::Failed { retry_at: now + delay, delay }
}
