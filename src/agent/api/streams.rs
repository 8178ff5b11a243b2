//! Answers that go on: events, captured output.

use std::io;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{HeaderMap, StatusCode};
use model::ids::ContainerName;
use model::report::{FailureKind, Phase};
use tokio::sync::watch;

use super::Backend;
use super::answer::{self, Answer, Known, NextPiece, Source};
use super::route::{Segment, query_value};
use crate::history::{History, Since};
use crate::logs::{LogReader, Reading, What, unstamp};

/// GET /events.
pub(super) fn events(backend: &Backend, query: Option<&str>, headers: &HeaderMap) -> Answer {
    let last_seen = || headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let asked_since = query_value(query, "since").or_else(last_seen);
    let seen = match asked_since.map(|since| since.trim().parse::<u64>()) {
        None => backend.history.last(),
        Some(Ok(seen)) => seen,
        Some(Err(_)) => return answer::bad_request("Request has bad since"),
    };
    let end = match query_value(query, "follow").as_deref() {
        Some("0") => End::WhenRead,
        Some(_) | None => End::Never,
    };
    let follower = Follower { news: backend.history.watch(), history: backend.history.clone(), seen, end };
    answer::stream(follower, "text/event-stream")
}

/// GET /logs/{container}, of the revision that runs.
pub(super) async fn logs(backend: &Backend, name: &Segment, query: Option<&str>) -> Answer {
    let Some(container) = name.name().and_then(|name| name.parse::<ContainerName>().ok()) else {
        return answer::error(StatusCode::NOT_FOUND, "Container not found");
    };
    let report = backend.report();
    let Some(revision) = &report.revision else {
        return match report.phase {
            Phase::Booting => answer::not_ready(),
            Phase::Running
            | Phase::Verifying
            | Phase::Trying
            | Phase::Testing
            | Phase::RollingBack
            | Phase::OnlyAnswering
            | Phase::ShuttingDown => answer::error(StatusCode::NOT_FOUND, "Container not found"),
        };
    };
    let only = match what(query) {
        Ok(only) => only,
        Err(text) => return answer::bad_request(text),
    };
    let reading = match query_value(query, "follow").as_deref() {
        None | Some("0") => Reading::Stored,
        Some(_) => Reading::Follow,
    };
    if !report.containers.iter().any(|known| known.name == container) {
        return answer::error(StatusCode::NOT_FOUND, "Container not found");
    }
    let reader = match backend.logs.read(revision, &container, reading).await {
        Ok(reader) => reader.only(only).await,
        Err(failure) => Err(failure),
    };
    match reader {
        Ok(reader) => answer::stream(Output { reader }, "text/plain; charset=utf-8"),
        // A container that has said nothing yet is no error.
        Err(failure) if failure.kind == FailureKind::Missing => Known::text(Bytes::new()).answer(),
        Err(failure) => answer::failed(&failure),
    }
}

fn what(query: Option<&str>) -> Result<What, &'static str> {
    let tail = query_value(query, "tail").map(|tail| tail.parse().map_err(|_| "Request has bad tail"));
    let since = query_value(query, "since").filter(|since| !since.is_empty());
    let since = since.map(|since| unstamp(&since).ok_or("Request has bad since"));
    Ok(What { tail: tail.transpose()?, since: since.transpose()? })
}

/// What a container says, as it was captured.
struct Output {
    reader: LogReader,
}

impl Source for Output {
    fn next(mut self: Box<Self>) -> NextPiece {
        Box::pin(async move {
            match self.reader.next().await {
                None => Ok(None),
                Some(Ok(bytes)) => Ok(Some((Bytes::from(bytes), self as Box<dyn Source>))),
                Some(Err(failure)) => Err(io::Error::other(&*failure.detail)),
            }
        })
    }
}

/// One reader of the history. It holds a position, never what it has not read yet.
struct Follower {
    history: Arc<History>,
    news: watch::Receiver<u64>,
    seen: u64,
    end: End,
}

enum End {
    WhenRead,
    Never,
}

impl Source for Follower {
    fn next(mut self: Box<Self>) -> NextPiece {
        Box::pin(async move {
            let text = self.read().await;
            Ok::<_, io::Error>(text.map(|text| (text, self as Box<dyn Source>)))
        })
    }
}

impl Follower {
    async fn read(&mut self) -> Option<Bytes> {
        loop {
            let last = *self.news.borrow_and_update();
            match (self.history.since(self.seen), &self.end) {
                (Since::Events { text, to }, _) => {
                    self.seen = to;
                    return Some(text);
                }
                (Since::Nothing, End::WhenRead) => return None,
                (Since::Nothing, End::Never) => {
                    self.seen = last;
                    self.news.changed().await.ok()?;
                }
            }
        }
    }
}
