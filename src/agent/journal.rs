//! The journal: one line of JSON per step, appended to two files of bounded size that take turns.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use engine::{Action, Event, Time};
use model::report::Happening;

use crate::words;

/// Bytes of the file that is written before it becomes the former one.
const FILE_BYTES: u64 = 1 << 20;
/// Lines that may wait for the disk; a disk that is slower loses lines, never time of the loop.
const WAITING: usize = 512;

/// Takes lines from the loop; a task of its own writes what gathered, so that a burst is one write, idleness none.
#[derive(Debug)]
pub struct Journal {
    lines: mpsc::Sender<String>,
    lost: u64,
    writer: JoinHandle<()>,
}

/// One step of the loop.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When it was thought.
    pub now: Time,
    /// What came in.
    pub event: &'a Event,
    /// What became of what had to be saved.
    pub save: Saved,
    /// What happened.
    pub happenings: &'a [Happening],
    /// What went out.
    pub actions: &'a [Action],
}

/// What became of what a step had to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Nothing had to be.
    Nothing,
    /// It is on disk.
    Yes,
    /// It is not, and the step was thrown away.
    Failed,
}

impl Saved {
    /// As it stands in a line.
    pub fn as_str(self) -> &'static str {
        match self {
            Saved::Nothing => "nothing",
            Saved::Yes => "yes",
            Saved::Failed => "failed",
        }
    }
}

impl Entry<'_> {
    /// The step as named fields.
    pub fn told(&self) -> Value {
        json!({
            "t": self.now.as_micros(),
            "event": words::event(self.event),
            "save": self.save.as_str(),
            "happenings": self.happenings.iter().map(words::happening).collect::<Vec<_>>(),
            "actions": self.actions.iter().map(words::action).collect::<Vec<_>>(),
        })
    }
}

impl Journal {
    /// Writes to `folder/current.jsonl`, and `folder/former.jsonl`.
    pub fn open(folder: PathBuf) -> Journal {
        let (lines, queue) = mpsc::channel(WAITING);
        Journal { lines, lost: 0, writer: tokio::spawn(write_all(folder, queue)) }
    }

    /// Adds a step, as [`Entry::told`].
    pub fn add(&mut self, line: &Value) {
        if self.lines.try_send(format!("{line}\n")).is_err() {
            self.lost += 1;
            if self.lost.is_power_of_two() {
                log::warn!("op=journal lost_lines={}", self.lost);
            }
        }
    }

    /// Writes what is left.
    pub async fn close(self) {
        drop(self.lines);
        let _ = self.writer.await;
    }
}

async fn write_all(folder: PathBuf, mut queue: mpsc::Receiver<String>) {
    let mut batch = Vec::new();
    let mut told = false;
    while queue.recv_many(&mut batch, WAITING).await > 0 {
        let text = batch.concat();
        batch.clear();
        let folder = folder.clone();
        let written = tokio::task::spawn_blocking(move || append(&folder, text.as_bytes())).await;
        if let Ok(Err(error)) = written
            && !told
        {
            log::warn!("op=journal error={error:?} (lines are lost until it can be written)");
            told = true;
        }
    }
}

fn append(folder: &Path, text: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let current = folder.join("current.jsonl");
    let mut file = open(&current)?;
    if file.metadata()?.len() >= FILE_BYTES {
        std::fs::rename(&current, folder.join("former.jsonl"))?;
        file = open(&current)?;
    }
    file.write_all(text)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_and_the_files_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut journal = Journal::open(folder.path().to_owned());
            let entry = Entry {
                now: Time::from_micros(7),
                event: &Event::Woke,
                save: Saved::Nothing,
                happenings: &[],
                actions: &[],
            };
            journal.add(&entry.told());
            journal.close().await;
        });
        let current = folder.path().join("current.jsonl");
        assert_eq!(
            std::fs::read_to_string(&current).unwrap(),
            "{\"actions\":[],\"event\":{\"kind\":\"woke\"},\"happenings\":[],\"save\":\"nothing\",\"t\":7}\n"
        );
        let long = vec![b'x'; usize::try_from(FILE_BYTES).unwrap()];
        for _ in 0..3 {
            append(folder.path(), &long).unwrap();
        }
        let total: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(total <= 2 * FILE_BYTES + 4096, "{total}");
    }
}
