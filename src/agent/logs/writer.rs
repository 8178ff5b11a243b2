//! The thread that puts captured output into files.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};

use host::file::{FileError, Folder, OpenFile, Readers};
use tokio::sync::{oneshot, watch};

use super::{LogLimits, Position, Source, number_of_files};

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Message {
    /// Put `bytes`, cut into lines, into the files of `folder`.
    Write { source: Arc<Source>, folder: Arc<str>, shape: Shape, bytes: Vec<u8> },
    /// A container's output has ended: its file need not stay open.
    Close { source: Arc<Source> },
    /// Say when everything before this is written.
    Flush(oneshot::Sender<()>),
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Of a pipe: it goes on where the last one ended.
    Output,
    /// Lines of their own.
    Lines,
}

/// A container's files. Locked by the writer while it writes, by a reader while it opens.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Where they lie; empty before anything was written.
    pub(super) folder: Arc<str>,
    /// The number of the first file of this folder, which readers of a former one go on with.
    pub(super) first: u64,
    open: Option<OpenFile>,
    mid_line: MidLine,
    /// Bytes that could not be written and are not told yet.
    lost: u64,
}

/// A file is left for the next one only between lines.
#[derive(Debug, Default, PartialEq, Eq)]
enum MidLine {
    #[default]
    No,
    Yes,
}

/// A file's path: the one being written, or the `age`-th before it.
pub(super) fn path(folder: &str, age: u64) -> String {
    if age == 0 { format!("{folder}/console.log") } else { format!("{folder}/console.log.{age}") }
}

/// Writes until nobody can ask any more.
pub(super) fn run(
    folder: &Folder,
    limits: LogLimits,
    messages: &Receiver<Message>,
    written: &watch::Sender<u64>,
) {
    while let Ok(message) = messages.recv() {
        match message {
            Message::Write { source, folder: place, shape, bytes } => {
                write(folder, limits, &source, &place, shape, &bytes);
                written.send_modify(|times| *times = times.wrapping_add(1));
            }
            Message::Close { source } => {
                source.files.lock().unwrap_or_else(PoisonError::into_inner).open = None;
            }
            Message::Flush(done) => {
                // Who asked may have left.
                let _ = done.send(());
            }
        }
    }
}

fn write(folder: &Folder, limits: LogLimits, source: &Source, place: &Arc<str>, shape: Shape, bytes: &[u8]) {
    let mut files = source.files.lock().unwrap_or_else(PoisonError::into_inner);
    let mut position = source.written();
    if files.folder != *place {
        files.folder = Arc::clone(place);
        files.open = None;
        position = Position { file: position.file + number_of_files(limits) + 1, length: 0 };
        files.first = position.file;
    }
    match files.append(folder, limits, &mut position, shape, bytes) {
        Ok(()) => {}
        Err(error) => {
            if files.lost == 0 {
                log::warn!("output of a container is lost error={error}");
            }
            files.lost = files.lost.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            files.open = None;
        }
    }
    *source.written.lock().unwrap_or_else(PoisonError::into_inner) = position;
}

impl Files {
    fn append(
        &mut self,
        folder: &Folder,
        limits: LogLimits,
        position: &mut Position,
        shape: Shape,
        bytes: &[u8],
    ) -> Result<(), FileError> {
        let mut file = match self.open.take() {
            Some(file) => file,
            None => open(folder, &self.folder)?,
        };
        if shape == Shape::Lines && self.mid_line == MidLine::Yes {
            // A prompt, or a line whose end is still to come, is left as it is.
            file.write(b"\n")?;
            self.mid_line = MidLine::No;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let full = !file.is_empty() && file.len().saturating_add(length) > limits.file_bytes;
        let mut bytes = bytes;
        if full && self.mid_line == MidLine::Yes {
            // The line that is under way ends in the file that it began in, unless it never does.
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let (line, rest) = bytes.split_at(end);
            file.write(line)?;
            bytes = rest;
            let endless = file.len() > limits.file_bytes.saturating_mul(2);
            self.mid_line = if end > 0 || endless { MidLine::No } else { MidLine::Yes };
        }
        if full && self.mid_line == MidLine::No {
            file = self.rotate(folder, limits)?;
            position.file += 1;
        }
        if self.lost > 0 {
            let note =
                format!("goalpost: {} bytes of output lost here, the disk could not take them\n", self.lost);
            file.write(note.as_bytes())?;
            self.lost = 0;
        }
        file.write(bytes)?;
        self.mid_line = if bytes.ends_with(b"\n") { MidLine::No } else { MidLine::Yes };
        position.length = file.len();
        self.open = Some(file);
        Ok(())
    }

    /// Every file gets one older, the oldest goes.
    fn rotate(&self, folder: &Folder, limits: LogLimits) -> Result<OpenFile, FileError> {
        let oldest = number_of_files(limits) - 1;
        folder.remove(&path(&self.folder, oldest))?;
        for age in (0..oldest).rev() {
            match folder.rename(&path(&self.folder, age), &path(&self.folder, age + 1)) {
                Err(error) if !error.is_missing() => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        folder.create(&path(&self.folder, 0), Readers::All)
    }
}

fn open(folder: &Folder, place: &str) -> Result<OpenFile, FileError> {
    let path = path(place, 0);
    match folder.append(&path) {
        Err(error) if error.is_missing() => {
            folder.make_passing_folders(place)?;
            folder.create(&path, Readers::All)
        }
        opened => opened,
    }
}
