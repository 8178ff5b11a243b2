//! What the disk told, kept until a name on it changes or another report is published: who asks again waits for no thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use model::ids::RevisionId;
use model::report::DeviceReport;

/// Bytes that are kept at once; what does not fit is read each time.
const ROOM: usize = 64 * 1024;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    Steps,
    Step(RevisionId),
    Progress(RevisionId),
    Objects,
    Plan(RevisionId, RevisionId),
}

/// What a page was true of: taken before the disk is read, so that a change meanwhile makes it out of date.
#[derive(Debug, Clone)]
pub(super) struct Then {
    /// [`crate::store::Store::names`].
    pub(super) names: u64,
    pub(super) report: Arc<DeviceReport>,
}

impl PartialEq for Then {
    fn eq(&self, other: &Then) -> bool {
        self.names == other.names && Arc::ptr_eq(&self.report, &other.report)
    }
}

#[derive(Debug, Default)]
pub(super) struct Recalled(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    then: Then,
    pages: Vec<(Page, Bytes)>,
}

impl Recalled {
    pub(super) fn find(&self, page: &Page, now: &Then) -> Option<Bytes> {
        let kept = self.kept();
        let kept = kept.as_ref().filter(|kept| kept.then == *now)?;
        kept.pages.iter().find(|(known, _)| known == page).map(|(_, text)| text.clone())
    }

    pub(super) fn keep(&self, page: Page, then: Then, text: Bytes) {
        let mut kept = self.kept();
        let kept = match &mut *kept {
            Some(kept) if kept.then == then => kept,
            other => other.insert(Kept { then, pages: Vec::new() }),
        };
        let used: usize = kept.pages.iter().map(|(_, text)| text.len()).sum();
        if used + text.len() <= ROOM && kept.pages.iter().all(|(known, _)| *known != page) {
            kept.pages.push((page, text));
        }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
