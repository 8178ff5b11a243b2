//! User and device metadata: listed, set, removed.

use hyper::StatusCode;
use hyper::body::Incoming;
use model::report::FailureKind;

use super::Backend;
use super::answer::{self, Answer};
use super::body;
use super::caller::unread;
use super::route::Segment;
use crate::store::{LONGEST_VALUE, Meta};

/// GET /user-meta, GET /device-meta.
pub(super) async fn list(backend: &Backend, kind: Meta) -> Answer {
    if let Some(page) = backend.metadata.at_hand(kind) {
        return answer::json(page);
    }
    match backend.metadata.now(kind).await {
        Ok(page) => answer::json(page),
        Err(failure) => answer::failed(&failure),
    }
}

/// PUT /user-meta/{key}, PUT /device-meta/{key}.
pub(super) async fn put(backend: &Backend, kind: Meta, key: &Segment, body: &mut Incoming) -> Answer {
    let value = match body::read(body, LONGEST_VALUE).await {
        Ok(value) => value,
        Err(problem) => return unread(problem),
    };
    let Some(key) = key.name().map(str::to_owned) else { return refused(kind, "the key is no name") };
    let Ok(value) = String::from_utf8(value.into()) else { return refused(kind, "the value is not UTF-8") };
    if value.is_empty() {
        return refused(kind, "the value is empty");
    }
    match backend.metadata.put(kind, key, value).await {
        Ok(()) => answer::done(),
        Err(failure) if failure.kind == FailureKind::Permanent => refused(kind, &failure.detail),
        Err(failure) => answer::failed(&failure),
    }
}

/// DELETE /user-meta/{key}, DELETE /device-meta/{key}.
pub(super) async fn delete(backend: &Backend, kind: Meta, key: &Segment) -> Answer {
    let Some(key) = key.name().map(str::to_owned) else { return missing(kind, "the key is no name") };
    match backend.metadata.remove(kind, key).await {
        Ok(()) => answer::done(),
        Err(failure) if failure.kind == FailureKind::Missing => missing(kind, &failure.detail),
        Err(failure) => answer::failed(&failure),
    }
}

fn refused(kind: Meta, why: &str) -> Answer {
    let text = match kind {
        Meta::User => "Cannot add or update user meta",
        Meta::Device => "Cannot add or update device meta",
    };
    answer::error_because(StatusCode::BAD_REQUEST, text, why)
}

fn missing(kind: Meta, why: &str) -> Answer {
    let text = match kind {
        Meta::User => "User meta does not exist",
        Meta::Device => "Device meta does not exist",
    };
    answer::error_because(StatusCode::NOT_FOUND, text, why)
}
