//! What a container says over its log sockets: `pv-ctrl-log`, a stream, with `/dev/log`, datagrams.
//!
//! One task for each life of a container, and one for each of its connections, none of which holds a buffer while nothing is
//! half said. What a flood costs is a bounded share of the loop, and the one who makes it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
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
/// Bytes that are still read of each socket when the container has ended.
const LAST_WORDS: usize = 64 * 1024;
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

/// Dropped when the life is over.
#[derive(Debug)]
pub struct Listening(#[expect(dead_code, reason = "its end is what is listened for")] watch::Sender<()>);

/// What all sockets of one life share.
struct Ear {
    logs: Arc<Logs>,
    source: Arc<Source>,
    folder: Arc<str>,
    lines: Mutex<Lines>,
    flooded: Notify,
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

pub(super) fn listen(
    logs: Arc<Logs>,
    source: Arc<Source>,
    folder: Arc<str>,
    sockets: LogSockets,
) -> io::Result<Listening> {
    let lines = Mutex::new(Lines::new(logs.limits.rate));
    let (stream, datagrams) = (awaited(sockets.stream)?, awaited(sockets.datagrams)?);
    let ear = Arc::new(Ear { logs, source, folder, lines, flooded: Notify::new() });
    let (life, ended) = watch::channel(());
    tokio::spawn(async move {
        tokio::join!(connections(&ear, stream, ended.clone()), letters(&ear, datagrams, ended));
        ear.end();
    });
    Ok(Listening(life))
}

/// Whether a wait was ended by the container's end.
async fn until_end<T>(ended: &mut watch::Receiver<()>, wait: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = ended.changed() => None,
        waited = wait => Some(waited),
    }
}

/// A rest that the end of the container cuts short.
async fn rest(ended: &mut watch::Receiver<()>, length: Duration) {
    let _ = timeout(length, ended.changed()).await;
}

/// Reads datagrams, each of which is a message; tells what all of the container's sockets dropped.
async fn letters(ear: &Arc<Ear>, socket: AsyncFd<OwnedFd>, mut ended: watch::Receiver<()>) {
    while let Some(ready) = until_end(&mut ended, ear.letter_or_quiet(&socket)).await {
        match ready {
            Waited::For(mut ready) => {
                let (heard, letters) = ear.read_letters(&socket, AT_ONCE);
                if letters == Letters::NoMore {
                    ready.clear_ready();
                }
                if heard == Heard::TooMuch {
                    rest(&mut ended, REST).await;
                }
            }
            Waited::Flooded => {}
            Waited::Quiet => ear.tell(),
            Waited::InVain => return,
        }
    }
    ear.read_letters(&socket, LAST_WORDS / 1024);
}

/// What a wait for a letter came to.
enum Waited<'a> {
    For(AsyncFdReadyGuard<'a, OwnedFd>),
    /// Another socket of the container has dropped something.
    Flooded,
    /// Nothing came since something was dropped.
    Quiet,
    /// The runtime is ending.
    InVain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letters {
    MayBeMore,
    NoMore,
}

/// Accepts connections until the container has ended, then whoever is still waiting.
async fn connections(ear: &Arc<Ear>, socket: AsyncFd<OwnedFd>, mut ended: watch::Receiver<()>) {
    let mut open = JoinSet::new();
    while let Some(ready) = until_end(&mut ended, socket.readable()).await {
        let Ok(mut ready) = ready else { break };
        while open.try_join_next().is_some() {}
        match accept(&socket) {
            Ok(Some(connection)) if open.len() < CONNECTIONS => {
                open.spawn(connection_of(Arc::clone(ear), connection, ended.clone()));
            }
            Ok(Some(_)) => {}
            Ok(None) => ready.clear_ready(),
            // No descriptor is left: who waits in the backlog would wake this loop again at once.
            Err(error) => {
                log::warn!("accept on a log socket: {error}");
                rest(&mut ended, TELL).await;
            }
        }
    }
    while let Ok(Some(connection)) = accept(&socket) {
        if open.len() >= CONNECTIONS {
            break;
        }
        open.spawn(connection_of(Arc::clone(ear), connection, ended.clone()));
    }
    while open.join_next().await.is_some() {}
}

fn accept(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<AsyncFd<OwnedFd>>> {
    match accept_with(socket.get_ref(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(connection) => awaited(connection).map(Some),
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

async fn connection_of(ear: Arc<Ear>, socket: AsyncFd<OwnedFd>, mut ended: watch::Receiver<()>) {
    let mut half = Vec::new();
    loop {
        let read = async {
            if half.is_empty() {
                Some(ear.read(&socket, &mut half).await)
            } else {
                timeout(UNENDED, ear.read(&socket, &mut half)).await.ok()
            }
        };
        match until_end(&mut ended, read).await {
            Some(Some(Heard::Message)) => {}
            Some(Some(Heard::TooMuch)) => rest(&mut ended, REST).await,
            Some(Some(Heard::Part)) => rest(&mut ended, HALF_SAID).await,
            Some(None) => {
                ear.take_in(&mut half, &[], Rest::Nothing);
            }
            Some(Some(Heard::End)) => break,
            None => {
                ear.read_last(&socket, &mut half);
                break;
            }
        }
    }
    ear.take_in(&mut half, &[], Rest::Nothing);
}

impl Ear {
    async fn letter_or_quiet<'a>(&self, socket: &'a AsyncFd<OwnedFd>) -> Waited<'a> {
        let is_told = self.lines().dropped() == 0;
        let letter = async { socket.readable().await.map_or(Waited::InVain, Waited::For) };
        if is_told {
            return tokio::select! {
                letter = letter => letter,
                () = self.flooded.notified() => Waited::Flooded,
            };
        }
        timeout(TELL, letter).await.unwrap_or(Waited::Quiet)
    }

    /// Says what was dropped, if it is time to.
    fn tell(&self) {
        let mut out = Vec::new();
        self.lines().tell_dropped(since_boot(), &line_stamp(), &mut out);
        self.pass(out);
    }

    /// Reads at most `most` letters, as long as there are any.
    fn read_letters(&self, socket: &AsyncFd<OwnedFd>, most: usize) -> (Heard, Letters) {
        let mut said = Vec::new();
        let mut letters = Letters::MayBeMore;
        let mut buffer = self.logs.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..most {
            match recv(socket.get_ref(), &mut **buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
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

    /// Waits for bytes of a connection, and takes them in. Cancel-safe: what was read was taken in.
    async fn read(&self, socket: &AsyncFd<OwnedFd>, half: &mut Vec<u8>) -> Heard {
        loop {
            let Ok(mut ready) = socket.readable().await else { return Heard::End };
            match self.read_now(socket, half) {
                Ok(heard) => return heard,
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Heard::End,
            }
        }
    }

    fn read_now(&self, socket: &AsyncFd<OwnedFd>, half: &mut Vec<u8>) -> Result<Heard, Errno> {
        let mut buffer = self.logs.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let length = rustix::io::read(socket.get_ref(), &mut **buffer)?;
        if length == 0 { Ok(Heard::End) } else { Ok(self.take_in(half, &buffer[..length], Rest::ToCome)) }
    }

    /// What a container said before it ended.
    fn read_last(&self, socket: &AsyncFd<OwnedFd>, half: &mut Vec<u8>) {
        for _ in 0..LAST_WORDS / 1024 {
            if !matches!(self.read_now(socket, half), Ok(Heard::Message | Heard::TooMuch | Heard::Part)) {
                return;
            }
        }
    }

    /// Cuts what was half said, with what came now, into messages.
    fn take_in(&self, half: &mut Vec<u8>, new: &[u8], rest: Rest) -> Heard {
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

    fn say(&self, said: &[u8]) -> Heard {
        if said.is_empty() {
            return Heard::Part;
        }
        let mut out = Vec::with_capacity(said.len() + 256);
        let mut lines = self.lines();
        let dropped = lines.dropped();
        lines.cut(said, since_boot(), &line_stamp(), &mut out);
        let is_too_much = lines.dropped() > dropped;
        drop(lines);
        self.pass(out);
        if is_too_much {
            self.flooded.notify_one();
            Heard::TooMuch
        } else {
            Heard::Message
        }
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
