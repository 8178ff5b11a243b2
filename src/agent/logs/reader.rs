//! Reading what a container said, from its files and on.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use host::file::{Folder, errno_of};
use model::report::{Failure, FailureKind};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::stamp::LENGTH;
use super::writer::path;
use super::{LogLimits, Position, Source, number_of_files, stamp};
use crate::store::kind_of;

/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Whether reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// With what is stored now.
    Stored,
    /// Never: what is said later is read when it is said.
    Follow,
}

/// How much of what is stored is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct What {
    /// Only the last lines, this many.
    pub tail: Option<usize>,
    /// Only lines stamped then or later.
    pub since: Option<SystemTime>,
}

/// What a container said, in order. Holds no text between two calls.
#[derive(Debug)]
pub struct LogReader {
    folder: Folder,
    source: Arc<Source>,
    written: watch::Receiver<u64>,
    reading: Reading,
    /// Those still to be read; the first is being read.
    files: VecDeque<OneFile>,
    /// The newest file that was ever opened.
    newest: u64,
}

#[derive(Debug)]
struct OneFile {
    file: Arc<File>,
    at: u64,
}

pub(super) async fn open(
    folder: Folder,
    source: Arc<Source>,
    written: watch::Receiver<u64>,
    fallback: String,
    reading: Reading,
    limits: LogLimits,
) -> Result<LogReader, Failure> {
    if reading == Reading::Follow {
        source.followers.fetch_add(1, Ordering::Relaxed);
        source.wanted.notify_one();
    }
    let mut reader = LogReader { folder, source, written, reading, files: VecDeque::new(), newest: 0 };
    blocking(move || {
        reader.open_stored(&fallback, limits);
        Ok(reader)
    })
    .await
    .and_then(|reader| match (reader.reading, reader.files.is_empty()) {
        (Reading::Stored, true) => {
            Err(Failure::new(FailureKind::Missing, "read output: nothing was captured"))
        }
        (Reading::Stored | Reading::Follow, _) => Ok(reader),
    })
}

impl LogReader {
    /// The same, but only so much of what is stored.
    pub async fn only(mut self, what: What) -> Result<LogReader, Failure> {
        blocking(move || {
            if let Some(since) = what.since {
                self.skip_before(stamp(since).as_bytes())?;
            }
            if let Some(lines) = what.tail {
                self.skip_to_last(lines)?;
            }
            Ok(self)
        })
        .await
    }

    /// The next bytes; `None` at the end. Nothing is lost if this is cancelled.
    pub async fn next(&mut self) -> Option<Result<Vec<u8>, Failure>> {
        loop {
            // Seen before the file is read: what is written meanwhile wakes the wait below at once.
            self.written.mark_unchanged();
            let written = self.source.written();
            if let Some(current) = self.files.front_mut() {
                let (file, at) = (Arc::clone(&current.file), current.at);
                match blocking(move || read_at(&file, at, CHUNK)).await {
                    Err(failure) => return Some(Err(failure)),
                    Ok(bytes) if !bytes.is_empty() => {
                        current.at += u64::try_from(bytes.len()).unwrap_or(0);
                        return Some(Ok(bytes));
                    }
                    Ok(_) => {}
                }
            }
            if self.files.len() > 1 {
                self.files.pop_front();
                continue;
            }
            if self.reading == Reading::Stored {
                return None;
            }
            let more =
                written.file > self.newest || (self.files.is_empty() && written != Position::default());
            if more && self.open_next() {
                continue;
            }
            while self.source.written() == written {
                if self.written.changed().await.is_err() {
                    return None;
                }
            }
        }
    }

    /// The files that are there, oldest first.
    fn open_stored(&mut self, fallback: &str, limits: LogLimits) {
        let files = self.source.files.lock().unwrap_or_else(PoisonError::into_inner);
        let place = if files.folder.is_empty() { fallback } else { &*files.folder };
        self.newest = self.source.written().file;
        for age in (0..number_of_files(limits)).rev() {
            if let Ok(file) = self.folder.open_file(&path(place, age)) {
                self.files.push_back(OneFile { file: Arc::new(file), at: 0 });
            }
        }
    }

    /// Goes on with the files that came after the newest one read; some may be gone already. A follower who came before
    /// anything was said has none.
    fn open_next(&mut self) -> bool {
        let files = self.source.files.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.source.written().file;
        let next = if self.files.is_empty() { newest } else { self.newest + 1 };
        let mut found = VecDeque::new();
        for number in next.max(files.first)..=newest {
            if let Ok(file) = self.folder.open_file(&path(&files.folder, newest - number)) {
                let at = self
                    .files
                    .front()
                    .filter(|former| is_same(&former.file, &file))
                    .map_or(0, |former| former.at);
                found.push_back(OneFile { file: Arc::new(file), at });
            }
        }
        self.newest = newest;
        if found.is_empty() {
            return false;
        }
        self.files = found;
        true
    }

    fn skip_before(&mut self, since: &[u8]) -> Result<(), Failure> {
        while let Some(current) = self.files.front_mut() {
            let text = read_all(&current.file)?;
            let mut at = 0;
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                // A line without a stamp is of us, and stays with what follows it.
                if line.len() >= LENGTH && line[4] == b'-' && &line[..LENGTH] >= since {
                    current.at = u64::try_from(at).unwrap_or(0);
                    return Ok(());
                }
                at += line.len();
            }
            current.at = u64::try_from(at).unwrap_or(0);
            if self.files.len() == 1 {
                return Ok(());
            }
            self.files.pop_front();
        }
        Ok(())
    }

    fn skip_to_last(&mut self, lines: usize) -> Result<(), Failure> {
        let mut wanted = lines;
        for index in (0..self.files.len()).rev() {
            let from = self.files[index].at;
            let text = read_all(&self.files[index].file)?;
            let text = text.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
            let mut starts: Vec<usize> = Vec::new();
            let mut at = 0;
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                starts.push(at);
                at += line.len();
            }
            if starts.len() >= wanted {
                let start = starts.get(starts.len() - wanted).copied().unwrap_or(text.len());
                self.files[index].at = from + u64::try_from(start).unwrap_or(0);
                self.files.drain(..index);
                return Ok(());
            }
            wanted -= starts.len();
        }
        Ok(())
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        if self.reading == Reading::Follow {
            self.source.followers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A file that a former agent left is written on by this one.
fn is_same(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |file: &File| file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

fn unread(error: &std::io::Error) -> Failure {
    Failure::new(kind_of(errno_of(error)), format!("read output: {error}"))
}

fn read_at(file: &File, at: u64, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; most];
    let length = file.read_at(&mut bytes, at).map_err(|error| unread(&error))?;
    bytes.truncate(length);
    Ok(bytes)
}

/// A file is bounded by its rotation.
fn read_all(file: &File) -> Result<Vec<u8>, Failure> {
    let length = file.metadata().map_err(|error| unread(&error))?.len();
    read_at(file, 0, usize::try_from(length).unwrap_or(0))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Failure::new(FailureKind::Transient, "read output: the agent is ending")))
}
