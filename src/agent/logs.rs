//! What containers say: captured, stamped, kept in bounds, read by followers.
//!
//! ```text
//! container ──pipe──► capture (a task each) ──bounded channel──► writer (one thread) ──► logs/<rev>/<container>/console.log
//!                     stamps, drops a flood                       rotates, drops when        console.log.1 …
//!                                                                 the disk is full                  │
//!                     wakes the capture ◄───────────── LogReader (one per follower) ◄───────────────┘
//! container ──pv-ctrl-log, /dev/log──► sockets (read when ready) ──same channel──► same writer, same files
//! ```
//!
//! A container never waits for the disk, nor does the loop: what the writer cannot take is dropped, counted, and said in a
//! line. The pipe is the only buffer that a quiet container has.

mod capture;
mod frames;
mod lines;
mod message;
mod reader;
mod sockets;
mod stamp;
mod writer;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use model::ids::{ContainerName, RevisionId};
use model::report::Failure;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use self::reader::{LogReader, Reading, What};
pub use self::sockets::{Listening, LogSockets};
pub use self::stamp::{stamp, unstamp};
pub use crate::config::LogLimits;

use self::sockets::Ears;
use self::writer::{Files, Message, Shape};
use crate::store::Store;

/// Chunks that may wait for the writer, of all containers together.
const WAITING: usize = 32;
/// Bytes read from a pipe at a time; one buffer serves all containers.
const CHUNK: usize = 16 * 1024;

/// Everything about captured output.
#[derive(Debug)]
pub struct Logs {
    store: Arc<Store>,
    limits: LogLimits,
    sources: Mutex<HashMap<ContainerName, Arc<Source>>>,
    buffer: Mutex<Box<[u8]>>,
    /// None before the first container's sockets.
    ears: Mutex<Option<Arc<Ears>>>,
    to_writer: SyncSender<Message>,
    /// Changes whenever something was written, of whatever container: followers are few, containers many.
    written: Arc<watch::Sender<u64>>,
}

/// A container's output, over all its lives.
#[derive(Debug)]
struct Source {
    followers: AtomicUsize,
    /// A follower came, who wants at once what lies in the pipe.
    wanted: Notify,
    /// How far the files got. Locked for a moment only, while the files are for as long as a disk takes.
    written: Mutex<Position>,
    files: Mutex<Files>,
}

/// A place in a container's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    /// Counts the files that a container's output ever went to.
    file: u64,
    /// Bytes in that file.
    length: u64,
}

impl Logs {
    /// With a thread that writes; it sleeps while nothing is said.
    pub fn new(store: Arc<Store>, limits: LogLimits) -> std::io::Result<Arc<Logs>> {
        let (to_writer, messages) = std::sync::mpsc::sync_channel(WAITING);
        let folder = store.folder().clone();
        let written = Arc::new(watch::Sender::new(0));
        let told = Arc::clone(&written);
        std::thread::Builder::new()
            .name("logs".into())
            .stack_size(128 * 1024)
            .spawn(move || writer::run(&folder, limits, &messages, &told))?;
        let buffer = Mutex::new(vec![0; CHUNK].into());
        Ok(Arc::new(Logs {
            store,
            limits,
            sources: Mutex::default(),
            buffer,
            ears: Mutex::default(),
            to_writer,
            written,
        }))
    }

    /// Captures what comes out of `output` (the read end of a pipe, or a terminal's master) until all its writers are gone.
    /// The task ends when all of it is with the writer.
    pub fn capture(
        self: &Arc<Self>,
        revision: &RevisionId,
        container: &ContainerName,
        output: OwnedFd,
    ) -> std::io::Result<JoinHandle<()>> {
        let source = self.source(container);
        let folder = format!("logs/{revision}/{container}").into();
        let mut capture = capture::Capture::new(Arc::clone(self), source, folder, output)?;
        Ok(tokio::spawn(async move { capture.run().await }))
    }

    /// Reads what one life of a container says over its log sockets, until what is returned is dropped; what was said before
    /// that is still read.
    pub fn listen(
        self: &Arc<Self>,
        revision: &RevisionId,
        container: &ContainerName,
        sockets: LogSockets,
    ) -> std::io::Result<Listening> {
        let source = self.source(container);
        let folder = format!("logs/{revision}/{container}").into();
        self.ears()?.listen(Arc::clone(self), source, folder, sockets)
    }

    fn ears(&self) -> std::io::Result<Arc<Ears>> {
        let mut ears = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ears) = &*ears {
            return Ok(Arc::clone(ears));
        }
        Ok(Arc::clone(ears.insert(Ears::open()?)))
    }

    /// Gives bytes to the writer, which is not waited for; returns how many it could not take.
    fn pass(&self, source: &Arc<Source>, folder: &Arc<str>, shape: Shape, bytes: Vec<u8>) -> usize {
        self.offer(source, folder, shape, bytes).map_or_else(|back| back.len(), |()| 0)
    }

    /// The same; returns what it could not take.
    fn offer(
        &self,
        source: &Arc<Source>,
        folder: &Arc<str>,
        shape: Shape,
        bytes: Vec<u8>,
    ) -> Result<(), Vec<u8>> {
        if bytes.is_empty() {
            return Ok(());
        }
        let message = Message::Write { source: Arc::clone(source), folder: Arc::clone(folder), shape, bytes };
        match self.to_writer.try_send(message) {
            Err(TrySendError::Full(Message::Write { bytes, .. })) => Err(bytes),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Nothing more comes for now. A writer that has fallen behind keeps one file open a little longer.
    fn close(&self, source: &Arc<Source>) {
        let _ = self.to_writer.try_send(Message::Close { source: Arc::clone(source) });
    }

    /// Reads what a container said; `revision` is where to look if nothing was captured since the agent started.
    /// Missing if there is nothing, and nobody follows.
    pub async fn read(
        self: &Arc<Self>,
        revision: &RevisionId,
        container: &ContainerName,
        reading: Reading,
    ) -> Result<LogReader, Failure> {
        let fallback = format!("logs/{revision}/{container}");
        let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner).get(container).cloned();
        let source = match (known, reading) {
            (Some(source), _) => source,
            (None, Reading::Follow) => self.source(container),
            (None, Reading::Stored) => Arc::new(Source::new()),
        };
        let written = self.written.subscribe();
        reader::open(self.store.folder().clone(), source, written, fallback, reading, self.limits).await
    }

    /// Waits until all that was captured so far is in its files.
    pub async fn flush(&self) {
        let (done, flushed) = tokio::sync::oneshot::channel();
        let to_writer = self.to_writer.clone();
        let sent = tokio::task::spawn_blocking(move || to_writer.send(Message::Flush(done))).await;
        if matches!(sent, Ok(Ok(()))) {
            // The writer lives as long as anybody can send to it.
            let _ = flushed.await;
        }
    }

    fn source(&self, container: &ContainerName) -> Arc<Source> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sources.entry(container.clone()).or_insert_with(|| Arc::new(Source::new())))
    }
}

impl Source {
    fn new() -> Source {
        Source {
            followers: AtomicUsize::new(0),
            wanted: Notify::new(),
            written: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// How far the files got.
    fn written(&self) -> Position {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_followed(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }
}

/// The current one, and those rotated.
fn number_of_files(limits: LogLimits) -> u64 {
    u64::from(limits.files) + 1
}
