//! What happened lately, kept for whoever follows the event stream.
//!
//! A bounded ring of rendered happenings, each with an id that only grows. A follower holds nothing here but the id it has
//! seen, so a slow one costs nothing: when the ring has moved past it, its next read begins with how many it lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Time;
use hyper::body::Bytes;
use model::report::Happening;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::words;

/// Happenings kept at most.
const MOST: usize = 1024;
/// Bytes kept at most: a walk of 100 containers is 600 happenings of 150 to 200 bytes.
const MOST_BYTES: usize = 120 * 1024;
/// Bytes that the ring grows by.
const ROOM: usize = 16 * 1024;
/// Bytes that one read returns at most (at least one happening).
const PER_READ: usize = 16 * 1024;

/// The bounded history. The loop writes; any number of followers read.
#[derive(Debug)]
pub struct History {
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    /// The id that this agent's first happening got.
    first: u64,
    /// The id that the next happening gets.
    next: u64,
    /// The happenings as the stream shows them, one after the other: an allocation for each would cost as much again.
    text: VecDeque<u8>,
    /// How long each is.
    lengths: VecDeque<usize>,
}

/// What a follower gets for the id it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Nothing happened since.
    Nothing,
    /// Server-sent events, one or more, that bring the follower to id `to`. If it lost some, the first of them says so.
    Events {
        /// Ready to be written to the follower.
        text: Bytes,
        /// The id it has seen after them.
        to: u64,
    },
}

impl History {
    /// Empty. Ids begin at the agent's start in microseconds since boot, so that a follower of a former agent of this boot
    /// cannot take its own last id for one of ours.
    pub fn new(started: Time) -> Arc<History> {
        let next = started.as_micros().max(1);
        Arc::new(History {
            ring: Mutex::new(Ring { first: next, next, text: VecDeque::new(), lengths: VecDeque::new() }),
            last: watch::Sender::new(next - 1),
        })
    }

    /// Takes in what one step brought. Publish the step's report first: whoever then reads the report, and after it
    /// [`History::last`], misses nothing.
    pub fn record(&self, now: Time, happenings: &[Happening]) {
        if happenings.is_empty() {
            return;
        }
        let last = {
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            for happening in happenings {
                ring.push(now, happening);
            }
            ring.next - 1
        };
        self.last.send_replace(last);
    }

    /// The id of the latest happening; before any, the one before the first.
    pub fn last(&self) -> u64 {
        *self.last.borrow()
    }

    /// Wakes whenever something was recorded.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// What happened after the happening with id `seen`; 0 asks for all that is kept, which loses nothing.
    pub fn since(&self, seen: u64) -> Since {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).since(seen)
    }
}

impl Ring {
    fn push(&mut self, now: Time, happening: &Happening) {
        let rendered = render(self.next, now, happening);
        self.next += 1;
        while self.lengths.len() >= MOST || self.text.len() + rendered.len() > MOST_BYTES {
            // Longer than all that is kept.
            let Some(oldest) = self.lengths.pop_front() else { return };
            self.text.drain(..oldest);
        }
        let length = self.text.len() + rendered.len();
        if length > self.text.capacity() {
            self.text.reserve_exact(length.next_multiple_of(ROOM) - self.text.len());
        }
        self.text.extend(rendered.as_bytes());
        self.lengths.push_back(rendered.len());
    }

    fn oldest(&self) -> u64 {
        self.next - self.lengths.len() as u64
    }

    fn since(&self, seen: u64) -> Since {
        let (from, text) = match seen {
            0 => (self.oldest(), String::new()),
            // How many a former agent had that its follower has not seen, nobody knows.
            _ if seen >= self.next || seen + 1 < self.first => {
                let lost = self.oldest() - self.first;
                (self.oldest(), gap(self.oldest() - 1, lost, "that id is of another boot or agent"))
            }
            _ if seen + 1 < self.oldest() => {
                let lost = self.oldest() - seen - 1;
                (self.oldest(), gap(self.oldest() - 1, lost, "the history no longer has them"))
            }
            _ => (seen + 1, String::new()),
        };
        let skip = usize::try_from(from - self.oldest()).unwrap_or(usize::MAX);
        let begin: usize = self.lengths.iter().take(skip).sum();
        let (mut end, mut to) = (begin, from - 1);
        for length in self.lengths.iter().skip(skip) {
            if to >= from && text.len() + end - begin + length > PER_READ {
                break;
            }
            end += length;
            to += 1;
        }
        let mut text = text.into_bytes();
        text.extend(self.text.range(begin..end));
        if text.is_empty() { Since::Nothing } else { Since::Events { text: Bytes::from(text), to } }
    }
}

/// A happening as the stream shows it: its words, each with a reason.
fn render(id: u64, now: Time, happening: &Happening) -> String {
    let mut fields = words::happening(happening);
    fields["reason"] = match happening {
        Happening::Status { reason, .. } | Happening::Phase { reason, .. } => json!(&**reason),
        Happening::Signal { outcome, .. } => json!(&**outcome),
        Happening::GoalMet { .. } => json!("its goal was met"),
        Happening::GoalMissed { .. } => json!("its deadline passed first"),
        Happening::Update { progress, .. } => json!(progress.message),
        Happening::Note { text } => json!(&**text),
    };
    fields["boot_us"] = json!(now.as_micros());
    event(id, fields)
}

/// What a follower is told in place of happenings that it cannot get.
fn gap(id: u64, lost: u64, reason: &str) -> String {
    event(id, json!({"kind": "gap", "lost": lost, "reason": reason}))
}

fn event(id: u64, mut fields: Value) -> String {
    fields["id"] = json!(id);
    let name = fields["kind"].as_str().unwrap_or_default();
    format!("id: {id}\nevent: {name}\ndata: {fields}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Happening {
        Happening::Note { text: Arc::from(text) }
    }

    fn text(since: Since) -> String {
        match since {
            Since::Nothing => String::new(),
            Since::Events { text, .. } => String::from_utf8(text.to_vec()).unwrap(),
        }
    }

    #[test]
    fn a_follower_that_comes_back_gets_what_it_has_not_seen() {
        let history = History::new(Time::from_micros(100));
        history.record(Time::from_micros(150), &[note("a"), note("b")]);
        assert_eq!(history.last(), 101);
        assert_eq!(
            history.since(100),
            Since::Events {
                text: Bytes::from_static(
                    b"id: 101\nevent: note\ndata: {\"boot_us\":150,\"id\":101,\"kind\":\"note\",\"reason\":\"b\",\"text\":\"b\"}\n\n"
                ),
                to: 101
            }
        );
        assert_eq!(history.since(101), Since::Nothing);
    }

    #[test]
    fn a_follower_that_was_away_too_long_is_told_how_many_it_lost() {
        let history = History::new(Time::from_micros(1));
        for _ in 0..MOST + 10 {
            history.record(Time::ZERO, &[note("x")]);
        }
        let told = text(history.since(3));
        assert!(
            told.starts_with("id: 10\nevent: gap\ndata: {\"id\":10,\"kind\":\"gap\",\"lost\":7,"),
            "{told}"
        );
        assert!(told.contains("\n\nid: 11\n"), "{told}");
    }

    #[test]
    fn an_id_of_another_boot_or_agent_is_told_from_ours() {
        let history = History::new(Time::from_micros(5_000_000));
        history.record(Time::ZERO, &[note("x")]);
        for seen in [9_000_000, 2] {
            let told = text(history.since(seen));
            assert!(told.starts_with("id: 4999999\nevent: gap\n"), "{told}");
            assert!(told.contains("\"lost\":0,"), "{told}");
            assert!(told.contains("\n\nid: 5000000\n"), "{told}");
        }
    }

    #[test]
    fn zero_asks_for_everything_in_pieces_of_bounded_size() {
        let history = History::new(Time::from_micros(1));
        for _ in 0..500 {
            history.record(Time::ZERO, &[note("twenty characters ok")]);
        }
        let (mut seen, mut reads) = (0, 0);
        while let Since::Events { text, to } = history.since(seen) {
            assert!(text.len() <= PER_READ);
            assert!(!text.starts_with(b"id: 0\nevent: gap"));
            (seen, reads) = (to, reads + 1);
        }
        assert_eq!(seen, 500);
        assert!(reads > 1);
    }

    #[test]
    fn the_ring_is_bounded_in_bytes() {
        let history = History::new(Time::from_micros(1));
        for _ in 0..100 {
            history.record(Time::ZERO, &[note(&"y".repeat(10_000))]);
        }
        let ring = history.ring.lock().unwrap();
        assert!(ring.text.len() <= MOST_BYTES && ring.text.capacity() <= MOST_BYTES + ROOM);
        assert_eq!(ring.text.len(), ring.lengths.iter().sum::<usize>());
    }
}
