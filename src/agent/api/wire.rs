//! One connection's bytes on their way to hyper: cleaned heads, deadlines for whoever keeps us waiting, no unread rest.
//!
//! ```text
//!            head cleaned                  body passed
//!  Head ----------------------> Body{left} ------------> Head
//!   |  \---- chunked body ----> Rest                      (whatever follows is for hyper: such a connection ends with its answer)
//!   |
//!   +--- refused head: hyper is given a request of our own, which the service answers with the problem ---> Ended
//!   +--- the client stopped sending, or kept us waiting ---> Ended
//! ```

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Buf, Bytes};
use hyper::rt::ReadBufCursor;
use tokio::io::AsyncWrite;
use tokio::io::unix::AsyncFd;

use super::caller::Listener;
use super::head::{Cleaned, Framing, Head, Problem, clean_head};
use super::inbox::{Inbox, Patience};
use super::stream::{Origin, Stream};
use crate::inputs::descriptor::awaited_for_hang_up;

/// A request's head, from its first byte (on a new connection from the beginning).
const FOR_HEAD: Duration = Duration::from_secs(10);
/// Between two requests of a connection.
const FOR_NEXT_REQUEST: Duration = Duration::from_secs(30);
/// Between two pieces of a body, and until a client takes a piece of its answer.
const FOR_PIECE: Duration = Duration::from_secs(30);
/// After an answer, for what the client is still sending.
const FOR_REST: Duration = Duration::from_secs(5);
/// Bytes that are taken in after an answer at most.
const MOST_REST: usize = 64 * 1024 * 1024;

/// What hyper's parser is given for a head that was refused.
const IN_PLACE_OF_REFUSED: &[u8] = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";

/// What the connection and its service tell each other.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) origin: Origin,
    /// Set before hyper is given the request that stands for a refused head; nothing follows it.
    pub(super) refused: OnceLock<Problem>,
    /// Whether the answer being written is a stream, which may be silent for as long as it likes.
    pub(super) streams: AtomicBool,
}

impl Talk {
    pub(super) fn new(origin: Origin) -> Talk {
        Talk { origin, refused: OnceLock::new(), streams: AtomicBool::new(false) }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    talk: Arc<Talk>,
    /// Knows answers that need no hyper.
    listener: Arc<Listener>,
    inbox: Inbox,
    place: Place,
    turn: Turn,
    /// What is left of such an answer.
    known: [Bytes; 2],
    /// Bytes for hyper before anything of the inbox: a rewritten head.
    rewritten: Vec<u8>,
    /// Bytes of the inbox that are a clean head.
    passing: usize,
    served: Served,
    patience: Patience,
    /// A second descriptor of a streaming connection that reports nothing but the client's end.
    hang_up: Option<AsyncFd<OwnedFd>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body { left: u64 },
    Rest,
    Ended,
}

/// Whether hyper has everything behind it that it was given: only then may an answer pass it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing was given to it, or its answer is out.
    Ours,
    /// It has a head, and has written nothing.
    Asked,
    /// Of what it writes something may still be with it.
    Writing,
}

#[derive(Debug, Clone, Copy)]
enum Served {
    Nothing,
    Something,
}

impl Wire {
    pub(super) fn new(stream: Stream, talk: Arc<Talk>, listener: Arc<Listener>) -> Wire {
        Wire {
            stream,
            talk,
            listener,
            inbox: Inbox::default(),
            place: Place::Head,
            turn: Turn::Ours,
            known: [Bytes::new(), Bytes::new()],
            rewritten: Vec::new(),
            passing: 0,
            served: Served::Nothing,
            patience: Patience::default(),
            hang_up: None,
        }
    }

    /// Ends the connection so that the client gets its answer: our side is closed, then what it still sends is taken in,
    /// within bounds. Closing with unread bytes would take the answer away from it (ECONNRESET).
    pub(super) async fn close(mut self) {
        if std::future::poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await.is_err() {
            return;
        }
        if self.inbox.is_closed {
            return;
        }
        let rest = async {
            let mut taken = 0;
            while taken < MOST_REST {
                self.inbox.clear();
                match std::future::poll_fn(|cx| self.inbox.poll_fill(cx, &mut self.stream)).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => taken += count,
                }
            }
        };
        // Whoever still sends after this has had its answer for long enough.
        let _ = tokio::time::timeout(FOR_REST, pin!(rest)).await;
    }

    /// Takes the next head if it is answered from memory.
    fn answers(&mut self, cleaned: &Cleaned) -> bool {
        if self.turn != Turn::Ours || cleaned.rewritten.is_some() || cleaned.body != Framing::Sized(0) {
            return false;
        }
        let Some(answer) = self.listener.answer_to(&self.inbox.unread()[cleaned.from..cleaned.to]) else {
            return false;
        };
        self.inbox.skip(cleaned.to);
        self.known = answer;
        self.served = Served::Something;
        self.patience.rest();
        true
    }

    /// Writes what is left of an answer from memory.
    fn poll_known(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.known.iter().any(|piece| !piece.is_empty()) {
            let pieces = [io::IoSlice::new(&self.known[0]), io::IoSlice::new(&self.known[1])];
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, &pieces);
            let mut count = ready!(self.poll_written(cx, written))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            for piece in &mut self.known {
                let out = count.min(piece.len());
                piece.advance(out);
                count -= out;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Brings the next head in, or finds that there is none.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_known(cx))?;
            match clean_head(self.inbox.unread()) {
                Head::Complete(cleaned) if self.answers(&cleaned) => continue,
                Head::Complete(cleaned) => {
                    self.turn = Turn::Asked;
                    self.inbox.skip(cleaned.from);
                    match cleaned.rewritten {
                        None => self.passing = cleaned.to - cleaned.from,
                        Some(rewritten) => {
                            self.rewritten = rewritten;
                            self.inbox.skip(cleaned.to - cleaned.from);
                        }
                    }
                    self.place = match cleaned.body {
                        Framing::Sized(0) => Place::Head,
                        Framing::Sized(left) => Place::Body { left },
                        Framing::Chunked => Place::Rest,
                    };
                    self.served = Served::Something;
                    self.patience.rest();
                    return Poll::Ready(Ok(()));
                }
                Head::Refused(problem) => {
                    self.refuse(problem);
                    return Poll::Ready(Ok(()));
                }
                Head::Incomplete => {}
            }
            let has_begun = self.inbox.unread().iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
            match self.inbox.poll_fill(cx, &mut self.stream)? {
                Poll::Ready(0) if has_begun => self.refuse(Problem::EndedEarly),
                Poll::Ready(0) => self.place = Place::Ended,
                Poll::Ready(_) => {
                    if !has_begun {
                        self.patience.rest();
                    }
                    continue;
                }
                Poll::Pending => {
                    let limit = match self.served {
                        Served::Something if self.inbox.unread().is_empty() => FOR_NEXT_REQUEST,
                        Served::Nothing | Served::Something => FOR_HEAD,
                    };
                    ready!(self.patience.poll_spent(cx, limit));
                    if has_begun { self.refuse(Problem::TooSlow) } else { self.place = Place::Ended }
                }
            }
            return Poll::Ready(Ok(()));
        }
    }

    /// Lets the service answer `problem`, whatever else comes.
    pub(super) fn refuse(&mut self, problem: Problem) {
        // Set once: nothing is read any more after it.
        let _ = self.talk.refused.set(problem);
        self.rewritten = IN_PLACE_OF_REFUSED.to_vec();
        self.inbox.clear();
        self.place = Place::Ended;
    }

    /// Passes up to `most` bytes of what the client sends; nothing if it stopped sending, or did for too long.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut ReadBufCursor<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if self.inbox.unread().is_empty() {
            match self.inbox.poll_fill(cx, &mut self.stream)? {
                Poll::Ready(0) => self.place = Place::Ended,
                Poll::Ready(_) => self.patience.rest(),
                Poll::Pending => {
                    ready!(self.patience.poll_spent(cx, FOR_PIECE));
                    self.place = Place::Ended;
                }
            }
        }
        let unread = self.inbox.unread();
        let count = unread.len().min(most).min(to.remaining());
        to.put_slice(&unread[..count]);
        self.inbox.skip(count);
        Poll::Ready(Ok(count))
    }

    fn poll_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience.rest();
            return written;
        }
        if self.talk.streams.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        ready!(self.patience.poll_spent(cx, FOR_PIECE));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether the client of a stream is gone. A client that only closed its sending side (netcat's `-N`) is not. With
    /// half-closing allowed hyper does not look, and a silent stream would keep its place for ever.
    fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.hang_up.is_none() {
            let copy = self.stream.as_fd().try_clone_to_owned()?;
            self.hang_up = Some(awaited_for_hang_up(copy)?);
        }
        match self.hang_up.as_ref().map(|copy| copy.poll_read_ready(cx).map_ok(|_| ())) {
            Some(Poll::Ready(Ok(()))) => Err(io::ErrorKind::BrokenPipe.into()),
            Some(Poll::Ready(Err(error))) => Err(error),
            Some(Poll::Pending) | None => Ok(()),
        }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        loop {
            if !wire.rewritten.is_empty() {
                let count = wire.rewritten.len().min(to.remaining());
                to.put_slice(&wire.rewritten[..count]);
                wire.rewritten.drain(..count);
                return Poll::Ready(Ok(()));
            }
            if wire.passing > 0 {
                let count = wire.passing.min(to.remaining());
                to.put_slice(&wire.inbox.unread()[..count]);
                wire.inbox.skip(count);
                wire.passing -= count;
                return Poll::Ready(Ok(()));
            }
            match wire.place {
                Place::Ended => return Poll::Ready(Ok(())),
                Place::Head => ready!(wire.poll_head(cx))?,
                Place::Rest => return wire.poll_pass(cx, &mut to, usize::MAX).map_ok(|_| ()),
                Place::Body { left } => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let count = ready!(wire.poll_pass(cx, &mut to, most))?;
                    match left - count as u64 {
                        0 => wire.place = Place::Head,
                        left if count > 0 => wire.place = Place::Body { left },
                        _ => {}
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.turn = Turn::Writing;
        let written = Pin::new(&mut self.stream).poll_write(cx, from);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.turn = Turn::Writing;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Hyper flushes when nothing is left with it, also before it has written anything.
        if self.turn == Turn::Writing {
            self.turn = Turn::Ours;
        }
        if self.talk.streams.load(Ordering::Relaxed) {
            self.poll_hang_up(cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
