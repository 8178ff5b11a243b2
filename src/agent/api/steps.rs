//! Steps: listed, read, posted, described.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use model::ids::RevisionId;
use model::json::Limits;
use model::progress::Progress;
use model::report::{DeviceReport, Failure, FailureKind};
use model::request::{Refusal, Reply};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Backend;
use super::answer::{self, Answer};
use super::body::{self, BodyProblem};
use super::caller::unread;
use super::recalled::Page;
use super::render::{document, json};
use super::route::StepName;
use crate::logs::stamp;
use crate::store::Store;

const BAD_NAME: &str = "Request has bad step name";
const BAD_STATE: &str = "Parser: State JSON has bad format";
const LONGEST_MESSAGE: usize = 256;

#[derive(Serialize)]
struct Listed {
    name: RevisionId,
    date: String,
    commitmsg: String,
    progress: Box<RawValue>,
}

/// GET /steps.
pub(super) async fn list(backend: &Backend) -> Answer {
    let read = |store: &Store, report: &DeviceReport| {
        let steps = store.steps()?.into_iter().map(|step| Listed {
            date: stamp(step.posted),
            commitmsg: step.commit_message,
            progress: decided(report, &step.revision)
                .or(step.progress.as_ref())
                .map_or_else(no_document, document),
            name: step.revision,
        });
        Ok(json(&steps.collect::<Vec<_>>()))
    };
    answer::read(backend.recalled(Page::Steps, read).await)
}

/// A document that was decided: whoever heard of it must not read the former one from a disk that does not have it yet.
fn decided<'a>(report: &'a DeviceReport, revision: &RevisionId) -> Option<&'a Progress> {
    report.documents.iter().find(|(id, _)| id == revision).map(|(_, document)| document)
}

fn no_document() -> Box<RawValue> {
    RawValue::from_string("{}".into()).expect("an empty object is JSON")
}

/// GET /steps/{rev}: the state as posted.
pub(super) async fn get(backend: &Backend, name: &StepName) -> Answer {
    let revision = match found(backend, name) {
        Ok(revision) => revision,
        Err(none) => return none.answer(),
    };
    let page = Page::Step(revision.clone());
    answer::read(backend.recalled(page, move |store, _| store.state_bytes(&revision).map(Bytes::from)).await)
}

/// GET /steps/{rev}/progress.
pub(super) async fn progress(backend: &Backend, name: &StepName) -> Answer {
    let revision = match found(backend, name) {
        Ok(revision) => revision,
        Err(none) => return none.answer(),
    };
    let page = Page::Progress(revision.clone());
    let read = move |store: &Store, report: &DeviceReport| match decided(report, &revision) {
        Some(decided) => Ok(Bytes::from(decided.to_json())),
        None => Ok(Bytes::from(store.progress(&revision)?.to_json())),
    };
    answer::read(backend.recalled(page, read).await)
}

/// PUT /steps/{rev}/commitmsg.
pub(super) async fn put_message(backend: &Backend, name: &StepName, body: &mut Incoming) -> Answer {
    let revision = match found(backend, name) {
        Ok(revision) => revision,
        Err(none) => return none.answer(),
    };
    let text = match body::read(body, LONGEST_MESSAGE).await {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(problem) => return unread(problem),
    };
    let kept = backend.on_disk(move |store| match store.step(&revision) {
        Some(_) => store.write_commit_message(&revision, &text),
        None => Err(Failure::new(FailureKind::Missing, format!("find revision {revision}"))),
    });
    match kept.await {
        Ok(()) => answer::done(),
        Err(failure) => answer::failed(&failure),
    }
}

/// PUT /steps/locals/{x}. Nothing changes unless all of it is well.
pub(super) async fn put(backend: &Backend, name: &StepName, body: &mut Incoming) -> Answer {
    let revision = match name {
        StepName::Named(name) => name.parse::<RevisionId>().ok().filter(RevisionId::is_local),
        StepName::Current | StepName::Bad => None,
    };
    let Some(revision) = revision else { return answer::bad_request(BAD_NAME) };
    let state: Arc<[u8]> = match body::read(body, Limits::STATE.bytes).await {
        Ok(state) => Arc::from(&*state),
        Err(problem @ (BodyProblem::TooLarge | BodyProblem::EndedEarly)) => return unread(problem),
    };
    match store(backend, &revision, state).await {
        Ok(()) => answer::done(),
        Err(answer) => answer,
    }
}

/// Checks a state, then has it stored under that name.
pub(super) async fn store(backend: &Backend, revision: &RevisionId, state: Arc<[u8]>) -> Result<(), Answer> {
    let (posted, checked) = (revision.clone(), state.clone());
    let checked = backend.on_disk(move |store| store.check_posted(&posted, &checked)).await;
    checked.map_err(|failure| refused(&failure))?;
    match backend.ask.post(revision.clone(), state).await {
        Reply::Done | Reply::Collected { .. } => Ok(()),
        Reply::Refused(Refusal::Failed(failure)) => Err(refused(&failure)),
        Reply::Refused(refusal) => Err(answer::refused(&refusal)),
    }
}

fn refused(failure: &Failure) -> Answer {
    match failure.kind {
        FailureKind::Permanent => {
            answer::error_because(StatusCode::UNPROCESSABLE_ENTITY, BAD_STATE, &failure.detail)
        }
        FailureKind::Missing => {
            answer::error(StatusCode::UNPROCESSABLE_ENTITY, &format!("failed to {}", failure.detail))
        }
        FailureKind::Transient
        | FailureKind::NoSpace
        | FailureKind::Denied
        | FailureKind::Corrupt
        | FailureKind::Unsupported => answer::failed(failure),
    }
}

/// Why a path names no revision.
pub(super) enum NoStep {
    BadName,
    Unknown,
}

impl NoStep {
    fn answer(&self) -> Answer {
        match self {
            NoStep::BadName => answer::bad_request(BAD_NAME),
            NoStep::Unknown => answer::no_resource(),
        }
    }
}

/// The revision that a path names; whether it is on the device is for the disk to say.
pub(super) fn found(backend: &Backend, name: &StepName) -> Result<RevisionId, NoStep> {
    match name {
        StepName::Current => backend.report().revision.clone().ok_or(NoStep::Unknown),
        StepName::Named(name) => name.parse().map_err(|_| NoStep::Unknown),
        StepName::Bad => Err(NoStep::BadName),
    }
}
