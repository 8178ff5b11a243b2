//! What a connection reads into, with how long it waits for its client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::head;
use super::stream::Stream;

/// What came in and was not passed on yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    begin: usize,
    end: usize,
    pub(super) is_closed: bool,
}

impl Inbox {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.begin..self.end]
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.begin += count;
        if self.begin == self.end {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        (self.begin, self.end) = (0, 0);
    }

    /// Reads once; 0 when the client has stopped sending. There is room: a head that fills the inbox is refused before.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; head::LONGEST].into_boxed_slice();
        }
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        let mut room = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.is_closed = count == 0;
        self.end += count;
        Poll::Ready(Ok(count))
    }
}

/// How long this client has kept us waiting. The timer is set when a wait begins and looked at again only when it fires, so a
/// busy connection does not touch it.
#[derive(Debug, Default)]
pub(super) struct Patience {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// The client did something.
    pub(super) fn rest(&mut self) {
        self.since = None;
    }

    /// Ready once the client has kept us waiting for `limit`.
    pub(super) fn poll_spent(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let until = *self.since.get_or_insert_with(Instant::now) + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
