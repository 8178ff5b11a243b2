//! Answers that go on: events.

use std::io;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::watch;

use super::Backend;
use super::answer::{self, Answer, NextPiece, Source};
use super::route::query_value;
use crate::history::{History, Since};

/// GET /events.
pub(super) fn events(backend: &Backend, query: Option<&str>, last_event: Option<&str>) -> Answer {
    let asked_since = query_value(query, "since").or_else(|| last_event.map(str::to_owned));
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
