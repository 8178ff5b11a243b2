//! What going from one revision to another would do.

use hyper::StatusCode;
use model::ids::RevisionId;
use model::report::FailureKind;

use super::Backend;
use super::answer::{self, Answer};
use super::recalled::Page;
use super::render::json;
use super::route::query_value;

/// GET /plan. `fetch` is only what the device lacks.
pub(super) async fn plan(backend: &Backend, query: Option<&str>) -> Answer {
    let Some((from, to)) = asked(backend, query) else {
        return answer::bad_request("Request must name two steps: ?from=REV&to=REV");
    };
    let page = Page::Plan(from.clone(), to.clone());
    let planned = backend.recalled(page, move |store, _| {
        let (from, to) = (store.load_revision(&from)?, store.load_revision(&to)?);
        let mut plan = engine::diff(&from, &to);
        plan.fetch.retain(|digest| store.object_size(digest).is_none());
        Ok(json(&plan))
    });
    match planned.await {
        Err(failure) if failure.kind == FailureKind::Permanent => {
            answer::error(StatusCode::UNPROCESSABLE_ENTITY, &format!("failed to {}", failure.detail))
        }
        planned => answer::read(planned),
    }
}

/// From where to where.
pub(super) fn asked(backend: &Backend, query: Option<&str>) -> Option<(RevisionId, RevisionId)> {
    let from = match query_value(query, "from").as_deref() {
        None | Some("current") => backend.report().revision.clone()?,
        Some(name) => name.parse().ok()?,
    };
    Some((from, query_value(query, "to")?.parse().ok()?))
}
