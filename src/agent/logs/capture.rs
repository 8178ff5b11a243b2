//! One container's output, from its pipe to the writer.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::lines::Lines;
use super::writer::Shape;
use super::{Logs, Source, stamp};

/// After a small read, how long the pipe collects before the next, unless somebody follows: one write for many lines.
const GATHER: Duration = Duration::from_millis(200);
/// A read shorter than this is small.
const SMALL: usize = 4 * 1024;
/// After a read of which something was dropped: a flood takes a bounded share of the loop, and costs only who makes it.
pub(super) const REST: Duration = Duration::from_millis(5);
/// While something was dropped and not told, how long to wait for more before telling.
pub(super) const TELL: Duration = Duration::from_secs(1);

/// How long the last words of a container wait for the writer.
const LAST: Duration = Duration::from_secs(10);

pub(super) struct Capture {
    logs: Arc<Logs>,
    source: Arc<Source>,
    folder: Arc<str>,
    output: AsyncFd<OwnedFd>,
    lines: Lines,
}

/// How a read went.
enum Read {
    Some(usize),
    /// All writers are gone.
    End,
}

impl Capture {
    pub(super) fn new(
        logs: Arc<Logs>,
        source: Arc<Source>,
        folder: Arc<str>,
        output: OwnedFd,
    ) -> std::io::Result<Capture> {
        rustix::io::ioctl_fionbio(&output, true)?;
        let output = crate::inputs::descriptor::awaited(output)?;
        let lines = Lines::new(logs.limits.rate);
        Ok(Capture { logs, source, folder, output, lines })
    }

    /// What a container that is quiet, as most are, does not need is boxed: there is a task for each output of each.
    pub(super) async fn run(&mut self) {
        loop {
            let dropped = self.lines.dropped();
            let read = if dropped > 0 {
                let Ok(read) = Box::pin(timeout(TELL, self.read())).await else {
                    self.tell();
                    continue;
                };
                read
            } else {
                self.read().await
            };
            let Read::Some(length) = read else { break };
            if self.lines.dropped() > dropped {
                let _ = Box::pin(timeout(REST, std::future::pending::<()>())).await;
            } else if length < SMALL && !self.source.is_followed() {
                // Whether time or a follower ended it makes no difference.
                let _ = Box::pin(timeout(GATHER, self.source.wanted.notified())).await;
            }
        }
        let mut out = Vec::new();
        self.lines.end(&line_stamp(), &mut out);
        Box::pin(self.send_last(out)).await;
        self.logs.close(&self.source);
    }

    /// Waits for output, and passes it on.
    async fn read(&mut self) -> Read {
        let logs = Arc::clone(&self.logs);
        loop {
            let Ok(mut ready) = self.output.readable().await else { return Read::End };
            let mut buffer = logs.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            match rustix::io::read(self.output.get_ref(), &mut **buffer) {
                Ok(0) => return Read::End,
                Ok(length) => {
                    let mut out = Vec::with_capacity(length + 256);
                    let now = since_boot();
                    self.lines.cut(&buffer[..length], now, &line_stamp(), &mut out);
                    drop((buffer, ready));
                    self.send(out);
                    return Read::Some(length);
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                // EIO: the last one closed the terminal.
                Err(_) => return Read::End,
            }
        }
    }

    /// The last words, with how much was lost before them, wait for a writer that has fallen behind: nothing after them could say
    /// that they were lost.
    async fn send_last(&self, mut bytes: Vec<u8>) {
        let mut written = self.logs.written.subscribe();
        let length = bytes.len();
        let sent = timeout(LAST, async {
            while let Err(back) = self.logs.offer(&self.source, &self.folder, Shape::Output, bytes) {
                bytes = back;
                let _ = written.changed().await;
            }
        });
        if sent.await.is_err() {
            log::warn!(
                "output of a container is lost, the writer is too far behind folder={} bytes={length}",
                self.folder
            );
        }
    }

    fn tell(&mut self) {
        let mut out = Vec::new();
        self.lines.tell_dropped(since_boot(), &line_stamp(), &mut out);
        self.send(out);
    }

    /// A writer that cannot follow is not waited for.
    fn send(&mut self, bytes: Vec<u8>) {
        let lost = self.logs.pass(&self.source, &self.folder, Shape::Output, bytes);
        self.lines.count_dropped(lost);
    }
}

pub(super) fn since_boot() -> Duration {
    Duration::from_micros(crate::inputs::clock::now().as_micros())
}

pub(super) fn line_stamp() -> String {
    let boot = since_boot();
    format!("{} [{}.{:06}] ", stamp(SystemTime::now()), boot.as_secs(), boot.subsec_micros())
}
