//! What a container says over its log sockets: `pv-ctrl-log`, a stream, with `/dev/log`, datagrams.
//!
//! ```text
//! sockets of all containers ──► one epoll ──► one task ──► a task for what is ready: letters, callers ──► listens again
//!                                                            └──► a task for each connection, to its end
//! ```
//!
//! A container that says nothing has its two descriptors here, and a few words about it: no task, no buffer. What a flood costs
//! is a bounded share of the loop, and the one who makes it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::capture::{REST, TELL, line_stamp, since_boot};
use super::frames::{self, Frame, Rest};
use super::lines::Lines;
use super::message;
use super::writer::Shape;
use super::{Logs, Source};
use crate::inputs::descriptor::awaited;

/// Connections of one container that are read at once; further ones are closed.
const CONNECTIONS: usize = 32;
/// Datagrams that are read in one go: as many as the kernel lets wait, several times over.
const AT_ONCE: usize = 64;
/// Sockets that are looked at in one go.
const EVENTS: usize = 32;
/// After a read that completed no message: whoever sends by the byte is heard by the handful.
const HALF_SAID: Duration = Duration::from_millis(20);
/// How long the end of a message may be missing before it counts as said.
const UNENDED: Duration = Duration::from_secs(1);

/// The two sockets of one life of a container, not blocking.
#[derive(Debug)]
pub struct LogSockets {
    /// `pv-ctrl-log`, which listens.
    pub stream: OwnedFd,
    /// `/dev/log`.
    pub datagrams: OwnedFd,
}

/// One life's sockets. Dropped when the life is over: what is waiting in them is read then.
#[derive(Debug)]
pub struct Listening {
    ears: Arc<Ears>,
    ear: Arc<Ear>,
}

/// The sockets of all containers that nobody reads right now.
#[derive(Debug)]
pub(super) struct Ears {
    epoll: AsyncFd<OwnedFd>,
    by_key: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last: u64,
    ears: HashMap<u64, Arc<Ear>>,
}

/// What all sockets of one life share.
#[derive(Debug)]
struct Ear {
    key: u64,
    sockets: LogSockets,
    logs: Arc<Logs>,
    source: Arc<Source>,
    folder: Arc<str>,
    lines: Mutex<Lines>,
    /// Connections that are read.
    open: AtomicUsize,
    /// Somebody waits to tell what was dropped.
    telling: AtomicBool,
    /// The life is over.
    over: AtomicBool,
}

/// One of the two sockets, as epoll's data has it beside the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Stream = 0,
    Datagrams = 1,
}

/// How a read went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// At least one whole message.
    Message,
    /// More than the rate allows.
    TooMuch,
    /// Part of a message, or nothing that says anything.
    Part,
    /// The other side is gone.
    End,
}

/// Whether letters are still waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    MayBeMore,
    NoMore,
}

impl Ears {
    /// With a task that spreads the work.
    pub(super) fn open() -> io::Result<Arc<Ears>> {
        let epoll = awaited(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        let ears = Arc::new(Ears { epoll, by_key: Mutex::default() });
        tokio::spawn(spread(Arc::clone(&ears)));
        Ok(ears)
    }

    /// Listens to one life of a container.
    pub(super) fn listen(
        self: &Arc<Self>,
        logs: Arc<Logs>,
        source: Arc<Source>,
        folder: Arc<str>,
        sockets: LogSockets,
    ) -> io::Result<Listening> {
        let lines = Mutex::new(Lines::new(logs.limits.rate));
        let mut known = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        known.last += 1;
        let (key, open) = (known.last, AtomicUsize::new(0));
        let (telling, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let ear = Arc::new(Ear { key, sockets, logs, source, folder, lines, open, telling, over });
        known.ears.insert(key, Arc::clone(&ear));
        drop(known);
        let listening = Listening { ears: Arc::clone(self), ear };
        for which in [Which::Stream, Which::Datagrams] {
            let (socket, data) = listening.ear.socket(which);
            epoll::add(self.epoll.get_ref(), socket, data, once())?;
        }
        Ok(listening)
    }

    fn listen_again(&self, ear: &Ear, which: Which) {
        let (socket, data) = ear.socket(which);
        if let Err(errno) = epoll::modify(self.epoll.get_ref(), socket, data, once()) {
            log::error!("op=listen-again error={errno:?}");
        }
    }

    /// Who has something to say; none if nobody has any more.
    fn ready(&self) -> Option<Vec<(Arc<Ear>, Which)>> {
        let mut events = Vec::with_capacity(EVENTS);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(self.epoll.get_ref(), spare_capacity(&mut events), Some(&at_once)).is_err() {
            return None;
        }
        if events.is_empty() {
            return None;
        }
        let known = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let who = events.iter().filter_map(|event| {
            let data = event.data.u64();
            let which = if data & 1 == Which::Stream as u64 { Which::Stream } else { Which::Datagrams };
            Some((Arc::clone(known.ears.get(&(data >> 1))?), which))
        });
        Some(who.collect())
    }
}

/// One event, then none until it is asked for again: a socket has one reader at a time.
fn once() -> epoll::EventFlags {
    epoll::EventFlags::IN | epoll::EventFlags::ONESHOT
}

async fn spread(ears: Arc<Ears>) {
    while let Ok(mut ready) = ears.epoll.readable().await {
        let Some(who) = ears.ready() else {
            ready.clear_ready();
            continue;
        };
        drop(ready);
        for (ear, which) in who {
            match which {
                Which::Stream => drop(tokio::spawn(callers(Arc::clone(&ears), ear))),
                Which::Datagrams => drop(tokio::spawn(letters(Arc::clone(&ears), ear))),
            }
        }
    }
}

async fn pause(length: Duration) {
    let _ = timeout(length, std::future::pending::<()>()).await;
}

/// Reads datagrams, each of which is a message, until none is left.
async fn letters(ears: Arc<Ears>, ear: Arc<Ear>) {
    loop {
        match ear.read_letters() {
            (Heard::TooMuch, _) => pause(REST).await,
            (_, Letters::MayBeMore) => tokio::task::yield_now().await,
            (_, Letters::NoMore) => break,
        }
    }
    ears.listen_again(&ear, Which::Datagrams);
}

/// Accepts whoever waits.
async fn callers(ears: Arc<Ears>, ear: Arc<Ear>) {
    loop {
        match ear.accept() {
            Ok(Letters::MayBeMore) => pause(REST).await,
            Ok(Letters::NoMore) => break,
            // No descriptor is left: who waits in the backlog would wake us again at once.
            Err(error) => {
                log::warn!("accept on a log socket: {error}");
                pause(TELL).await;
            }
        }
    }
    ears.listen_again(&ear, Which::Stream);
}

/// Reads a connection to its end, which comes at the latest when its container has ended.
async fn connection(ear: Arc<Ear>, socket: AsyncFd<OwnedFd>) {
    let mut half = Vec::new();
    loop {
        let heard = if half.is_empty() {
            Some(ear.read(&socket, &mut half).await)
        } else {
            timeout(UNENDED, ear.read(&socket, &mut half)).await.ok()
        };
        match heard {
            Some(Heard::Message) => {}
            Some(Heard::TooMuch) => pause(REST).await,
            Some(Heard::Part) => pause(HALF_SAID).await,
            Some(Heard::End) => break,
            None => _ = ear.take_in(&mut half, &[], Rest::Nothing),
        }
    }
    ear.take_in(&mut half, &[], Rest::Nothing);
    ear.open.fetch_sub(1, Ordering::Relaxed);
    if ear.over.load(Ordering::Relaxed) {
        ear.logs.close(&ear.source);
    }
}

/// Says what was dropped, once it is time to.
async fn tell(ear: Arc<Ear>) {
    while ear.lines().dropped() > 0 {
        pause(TELL).await;
        let mut out = Vec::new();
        ear.lines().tell_dropped(since_boot(), &line_stamp(), &mut out);
        ear.pass(out);
    }
    ear.telling.store(false, Ordering::Relaxed);
}

impl Drop for Listening {
    fn drop(&mut self) {
        let (ear, known) = (&self.ear, &self.ears.by_key);
        known.lock().unwrap_or_else(PoisonError::into_inner).ears.remove(&ear.key);
        ear.over.store(true, Ordering::Relaxed);
        ear.read_letters();
        // Who cannot be heard any more has nobody to be told.
        let _ = ear.accept();
        ear.end();
    }
}

impl Ear {
    fn socket(&self, which: Which) -> (&OwnedFd, epoll::EventData) {
        let socket = match which {
            Which::Stream => &self.sockets.stream,
            Which::Datagrams => &self.sockets.datagrams,
        };
        (socket, epoll::EventData::new_u64(self.key << 1 | which as u64))
    }

    /// Reads letters, as many as are read in one go.
    fn read_letters(self: &Arc<Self>) -> (Heard, Letters) {
        let mut said = Vec::new();
        let mut letters = Letters::MayBeMore;
        let mut buffer = self.logs.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..AT_ONCE {
            match recv(&self.sockets.datagrams, &mut **buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                Ok((read, length)) => {
                    said.extend(message::line(&buffer[..read]));
                    if length > read {
                        said.pop();
                        said.extend_from_slice(format!(" ({} bytes cut)\n", length - read).as_bytes());
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    letters = Letters::NoMore;
                    break;
                }
            }
        }
        drop(buffer);
        (self.say(&said), letters)
    }

    /// Accepts connections, as many as may be open at once.
    fn accept(self: &Arc<Self>) -> io::Result<Letters> {
        for _ in 0..CONNECTIONS {
            match accept_with(&self.sockets.stream, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(accepted) if self.open.load(Ordering::Relaxed) < CONNECTIONS => {
                    let accepted = awaited(accepted)?;
                    self.open.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(connection(Arc::clone(self), accepted));
                }
                Ok(_) | Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Letters::NoMore),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Letters::MayBeMore)
    }

    /// Waits for bytes of a connection, and takes them in. Cancel-safe: what was read was taken in.
    async fn read(self: &Arc<Self>, socket: &AsyncFd<OwnedFd>, half: &mut Vec<u8>) -> Heard {
        loop {
            let Ok(mut ready) = socket.readable().await else { return Heard::End };
            let mut buffer = self.logs.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            match rustix::io::read(socket.get_ref(), &mut **buffer) {
                Ok(0) => return Heard::End,
                Ok(length) => return self.take_in(half, &buffer[..length], Rest::ToCome),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Heard::End,
            }
        }
    }

    /// Cuts what was half said, with what came now, into messages.
    fn take_in(self: &Arc<Self>, half: &mut Vec<u8>, new: &[u8], rest: Rest) -> Heard {
        let joined;
        let mut bytes = if half.is_empty() {
            new
        } else {
            half.extend_from_slice(new);
            joined = std::mem::take(half);
            &joined
        };
        let mut said = Vec::new();
        while let Some(Frame { message, next }) = frames::first(bytes, rest) {
            said.extend(message::line(&bytes[message]));
            bytes = &bytes[next..];
        }
        *half = bytes.to_vec();
        self.say(&said)
    }

    fn say(self: &Arc<Self>, said: &[u8]) -> Heard {
        if said.is_empty() {
            return Heard::Part;
        }
        let mut out = Vec::with_capacity(said.len() + 256);
        let mut lines = self.lines();
        let dropped = lines.dropped();
        lines.cut(said, since_boot(), &line_stamp(), &mut out);
        drop(lines);
        self.pass(out);
        // Beyond its rate, or beyond what the writer could take.
        if self.lines().dropped() <= dropped {
            return Heard::Message;
        }
        if !self.telling.swap(true, Ordering::Relaxed) {
            tokio::spawn(tell(Arc::clone(self)));
        }
        Heard::TooMuch
    }

    fn pass(&self, out: Vec<u8>) {
        let lost = self.logs.pass(&self.source, &self.folder, Shape::Lines, out);
        self.lines().count_dropped(lost);
    }

    /// Tells what was dropped, and lets the file go.
    fn end(&self) {
        let mut out = Vec::new();
        self.lines().end(&line_stamp(), &mut out);
        self.pass(out);
        self.logs.close(&self.source);
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
