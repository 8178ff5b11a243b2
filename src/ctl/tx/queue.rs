//! `goalctl tx queue`: steps that are written down now and carried out together, in the order of their names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use model::ids::Digest;

use super::status::{Objects, Phase, Queue, Status};
use super::{Transactions, absolute, keep_objects, refused};
use crate::bundle::{Bundle, bad, hash_file, unreadable};
use crate::client::Client;
use crate::failed::Failed;
use crate::keys::Keys;
use crate::whole::{self, unwritable};

const MOST_STEPS: i32 = 1000;

impl Transactions {
    pub(super) fn queue_new(&self, queue: &Path, objects: &Path) -> Result<(), Failed> {
        if self.status().ok().flatten().is_some_and(|status| status.phase == Phase::Active) {
            return Err(refused(
                12,
                "active transaction; finish your work with 'deploy', 'commit' or 'abort' first",
            ));
        }
        let (folder, objects) = (absolute(queue)?, Objects::Into(absolute(objects)?));
        whole::make_folder(&folder)?;
        self.save(&Status { phase: Phase::Set, objects, queue: Some(Queue { folder, count: 0, error: 0 }) })
    }

    pub(super) fn queue_remove(&self, part: &str) -> Result<(), Failed> {
        let (queue, _) = self.queue(1)?;
        let step = self.next_step(&format!("{}.remove", part.replace('/', "%2F")))?;
        whole::write(&queue.folder.join(step), b"")
    }

    pub(super) async fn queue_unpack(&self, file: &Path) -> Result<(), Failed> {
        let (queue, objects) = self.queue(1)?;
        let spooled = self.spool(file)?;
        let bundle = Bundle::open(spooled.as_ref().map_or(file, |spooled| &spooled.0))?;
        Keys::parse(&format!("read {}", file.display()), &bundle.state)?;
        keep_objects(&bundle, &objects).await?;
        let name = match &spooled {
            Some(_) => "package".into(),
            None => file.file_name().unwrap_or(OsStr::new("package")).to_string_lossy(),
        };
        let folder = queue.folder.join(self.next_step(&name)?);
        whole::make_folder(&folder)?;
        whole::write(&folder.join("json"), &bundle.state)
    }

    pub(super) async fn queue_process(
        &self,
        client: &Client,
        base: Option<&str>,
        other: Option<(&Path, &Path)>,
    ) -> Result<(), Failed> {
        if let Some((queue, objects)) = other {
            self.queue_new(queue, objects)?;
        }
        let (queue, objects) = self.queue(255)?;
        if let Some(base) = base {
            self.begin(client, base, Some(&objects)).await?;
        }
        if self.status()?.is_none_or(|status| status.phase != Phase::Active) {
            return Err(refused(3, "no active transaction"));
        }
        let mut state = self.state()?;
        for name in steps(&queue.folder)? {
            let path = queue.folder.join(&name);
            let text = match step(&name, &path)? {
                Step::Remove(part) => state.without(&part),
                Step::Add => {
                    take_objects(&path.join("objects"), &objects)?;
                    let json = path.join("json");
                    let package = crate::bundle::read_state(&json)?;
                    state.with(&Keys::parse(&format!("read {}", json.display()), &package)?)
                }
            };
            state = Keys::parse(&format!("carry out {}", path.display()), &text)?;
        }
        self.save_state(&state.to_bytes())
    }

    /// The queue that was started, with its object folder.
    fn queue(&self, otherwise: u8) -> Result<(Queue, PathBuf), Failed> {
        match self.status()? {
            Some(Status { objects: Objects::Into(objects), queue: Some(queue), .. }) => {
                if queue.folder.is_dir() {
                    Ok((queue, objects))
                } else {
                    Err(missing(otherwise, &queue.folder))
                }
            }
            Some(_) | None => Err(missing(otherwise, Path::new(""))),
        }
    }

    /// The name of the next step. It is counted before it is there: two steps never have one number.
    fn next_step(&self, what: &str) -> Result<String, Failed> {
        let (queue, objects) = self.queue(1)?;
        let Some(status) = self.status()? else { return Err(missing(1, &queue.folder)) };
        let count = queue.count;
        if !(0..MOST_STEPS).contains(&count) || what.contains('/') {
            return Err(bad(&queue.folder, "a queue has at most 1000 steps, none with a / in its name"));
        }
        let queue = Some(Queue { count: count + 1, ..queue });
        self.save(&Status { queue, objects: Objects::Into(objects), ..status })?;
        Ok(format!("{count:03}__{what}"))
    }
}

fn missing(code: u8, folder: &Path) -> Failed {
    refused(code, format!("queue {} does not exist", folder.display()))
}

enum Step {
    Remove(String),
    Add,
}

/// Sorted by name. What is being written when a run is cut off is no step.
fn steps(folder: &Path) -> Result<Vec<String>, Failed> {
    let mut steps: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|cause| unreadable(folder, &cause))? {
        let entry = entry.map_err(|cause| unreadable(folder, &cause))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(bad(&path, "the name of a step is UTF-8"));
        };
        let whole = !path.is_dir() || path.join("json").exists();
        if whole && !name.starts_with('.') && !name.ends_with(".part") {
            // They are few, and the sort of the library is 3 KiB of a device's program.
            let place = steps.partition_point(|other| *other < name);
            steps.insert(place, name);
        }
    }
    Ok(steps)
}

fn step(name: &str, path: &Path) -> Result<Step, Failed> {
    if path.is_dir() {
        return Ok(Step::Add);
    }
    let part = name.strip_suffix(".remove").and_then(|name| name.split_once("__"));
    match part {
        Some((_, part)) => Ok(Step::Remove(part.replace("%2F", "/").replace("%2f", "/"))),
        None => Err(bad(path, "neither NUMBER__PART.remove nor a folder with json in it")),
    }
}

/// Objects that lie in a step's own folder, as other tools leave them there.
fn take_objects(from: &Path, to: &Path) -> Result<(), Failed> {
    if !from.is_dir() {
        return Ok(());
    }
    whole::make_folder(to)?;
    for entry in std::fs::read_dir(from).map_err(|cause| unreadable(from, &cause))? {
        let path = entry.map_err(|cause| unreadable(from, &cause))?.path();
        let digest = path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<Digest>().ok());
        let found = std::fs::symlink_metadata(&path).map_err(|cause| unreadable(&path, &cause))?;
        let Some(digest) = digest.filter(|_| found.is_file()) else {
            return Err(bad(&path, "an object is a plain file named by its sha256"));
        };
        if hash_file(&path)?.0 != digest {
            return Err(bad(&path, "its bytes do not have the sha256 it is named by"));
        }
        let place = to.join(digest.to_string());
        std::fs::rename(&path, &place).map_err(|cause| unwritable(&place, &cause))?;
        whole::sync_folder(&place)?;
    }
    Ok(())
}
