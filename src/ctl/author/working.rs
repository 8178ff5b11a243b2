//! A working folder in the layout that pvr keeps: the next revision as it lies, beside `.pvr/` with the last committed one.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use model::errors::{ParseError, Place};
use model::ids::{ContainerName, Digest, RevisionId};
use model::revision::{Defaults, Revision};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::author::run_json;
use crate::author::spool::Spool;
use crate::bundle::{LARGEST_SMALL, LARGEST_STATE, bad, unreadable};
use crate::failed::Failed;
use crate::folder;
use crate::whole::{self, unwritable};

pub(crate) const INSIDE: &str = ".pvr";
/// What is made in it before it has its place, each with the number of the process that makes it.
const DRAFTS: [&str; 4] = ["app", "removed", "spool", run_json::ROOT_IMAGE];
/// A state by its keys, each value in its own text.
pub(crate) type State = BTreeMap<String, Box<RawValue>>;

/// A folder that has a `.pvr/json`.
#[derive(Debug)]
pub(crate) struct Working {
    root: PathBuf,
}

/// One file of a container that is being made, in the order in which they are put into place.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Bytes(Vec<u8>),
    /// A file that was made in `.pvr/`, and is on the disk.
    Moved(PathBuf),
    /// It is not there any more.
    Gone,
}

impl Working {
    pub(crate) fn open(root: &Path) -> Result<Working, Failed> {
        if root.join(INSIDE).join("json").is_file() {
            return Ok(Working { root: root.to_owned() });
        }
        let path = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Err(Failed::Checked {
            text: format!(
                "{} is no working folder (it has no .pvr/json): `goalctl init` or `goalctl clone` makes one, -C names one",
                path.display()
            ),
        })
    }

    /// The same, to change it: what a run that was killed has left in `.pvr/` is swept away first.
    pub(crate) fn open_to_change(root: &Path) -> Result<Working, Failed> {
        let working = Working::open(root)?;
        let inside = working.inside();
        for entry in std::fs::read_dir(&inside).map_err(|cause| unreadable(&inside, &cause))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((draft, process)) = name.rsplit_once('.') else { continue };
            let dead = process.parse::<u32>().is_ok() && !Path::new("/proc").join(process).exists();
            if !DRAFTS.contains(&draft) || !dead {
                continue;
            }
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                Ok(_) | Err(_) => std::fs::remove_file(entry.path()),
            };
            removed.map_err(|cause| unwritable(&entry.path(), &cause))?;
        }
        Ok(working)
    }

    /// Makes one of what is there, be it nothing.
    pub(crate) fn init(root: &Path, state: &[u8]) -> Result<Working, Failed> {
        let inside = root.join(INSIDE);
        if inside.join("json").exists() {
            return Err(Failed::Checked { text: format!("{} is a working folder already", root.display()) });
        }
        whole::make_folder(&inside.join("objects"))?;
        whole::write(&inside.join("config"), b"{}\n")?;
        // Last: with it, the folder is one.
        whole::write(&inside.join("json"), state)?;
        Ok(Working { root: root.to_owned() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn inside(&self) -> PathBuf {
        self.root.join(INSIDE)
    }

    pub(crate) fn spool(&self) -> Spool {
        Spool::new(&self.inside())
    }

    /// The last committed or cloned state.
    pub(crate) fn committed(&self) -> Result<State, Failed> {
        let path = self.inside().join("json");
        let found = std::fs::metadata(&path).map_err(|cause| unreadable(&path, &cause))?;
        if found.len() > LARGEST_STATE {
            return Err(bad(&path, "a state longer than 16 MiB"));
        }
        let bytes = std::fs::read(&path).map_err(|cause| unreadable(&path, &cause))?;
        serde_json::from_slice(&bytes).map_err(|cause| bad(&path, &cause.to_string()))
    }

    pub(crate) fn container(&self, name: &ContainerName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// The bytes of a small file of a container; none if it is not there.
    pub(crate) fn read(&self, name: &ContainerName, file: &str) -> Result<Option<Vec<u8>>, Failed> {
        let path = self.container(name).join(file);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() > LARGEST_STATE => Err(bad(&path, "longer than 16 MiB")),
            Ok(_) => std::fs::read(&path).map(Some).map_err(|cause| unreadable(&path, &cause)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(unreadable(&path, &cause)),
        }
    }

    /// A file of `.pvr/` that a big thing is written to before it has its place.
    pub(crate) fn draft(&self, name: &str) -> PathBuf {
        self.inside().join(format!("{name}.{}", std::process::id()))
    }

    /// Puts what was made into place. A new container appears whole; of one that is there, each file changes whole, its
    /// `run.json` last.
    pub(crate) fn put(&self, name: &ContainerName, made: Vec<Made>) -> Result<(), Failed> {
        let place = self.container(name);
        if place.exists() {
            return made.into_iter().try_for_each(|one| put_one(&place, one));
        }
        let draft = self.draft("app");
        let _ = std::fs::remove_dir_all(&draft); // What a run with this number has left.
        whole::make_folder(&draft)?;
        let written = made.into_iter().try_for_each(|one| put_one(&draft, one)).and_then(|()| {
            std::fs::rename(&draft, &place).map_err(|cause| unwritable(&place, &cause))?;
            whole::sync_folder(&place)
        });
        if written.is_err() {
            // The first failure is the one to tell.
            let _ = std::fs::remove_dir_all(&draft);
        }
        written
    }

    /// Asks the parser that the device has what it thinks of a container's two documents, beside everything else in the
    /// folder. Of the other files only the text is looked at.
    pub(crate) fn check(
        &self,
        name: &ContainerName,
        run: &Value,
        conf: Option<&str>,
    ) -> Result<Vec<String>, Failed> {
        const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
        let mut state = serde_json::Map::new();
        for key in folder::files(&self.root)? {
            // What is no JSON is told by `goalctl check`, and is not ours to judge.
            let value = match key.strip_suffix(".json") {
                Some(_) => std::fs::read(self.root.join(&key))
                    .ok()
                    .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                    .unwrap_or_default(),
                None => NOTHING.into(),
            };
            state.insert(key, value);
        }
        state.insert("#spec".to_owned(), "pantavisor-service-system@1".into());
        state.insert(format!("{name}/{}", run_json::NAME), run.clone());
        let mut absent = Vec::new();
        let images = [run.get("root-volume"), run.get("volumes")].into_iter().flatten();
        let images =
            images.flat_map(|value| value.as_array().map_or_else(|| vec![value], |all| all.iter().collect()));
        for image in images.filter_map(Value::as_str) {
            let image = image.strip_prefix("dm:").unwrap_or(image);
            let key = format!("{name}/{image}");
            if !state.contains_key(&key) {
                // The root's image follows its documents.
                if image != run_json::ROOT_IMAGE {
                    absent.push(format!("{key} is not there yet, and the device needs it"));
                }
                state.insert(key, NOTHING.into());
            }
        }
        let own_conf = format!("{name}/{}", run_json::CONF);
        state.remove(&own_conf);
        if conf.is_some() {
            state.insert(own_conf.clone(), NOTHING.into());
        }
        let parsed = Revision::parse(
            RevisionId::factory(),
            Value::Object(state).to_string().as_bytes(),
            Defaults::default(),
            &mut |key: &str, _: &Digest| {
                if key == own_conf {
                    return Ok(conf.unwrap_or_default().as_bytes().to_vec());
                }
                self.small(key)
            },
        );
        let own = format!("{name}/");
        match parsed {
            Ok(revision) => Ok(revision
                .warnings()
                .iter()
                .filter(|warning| warning.file.starts_with(&own) && !is_of_template(&warning.place))
                .map(ToString::to_string)
                .chain(absent)
                .collect()),
            Err(errors) => {
                let lines: Vec<String> = errors
                    .iter()
                    .filter(|error: &&ParseError| error.file.starts_with(&own))
                    .map(|error| format!("\n  {}", crate::output::visible(&error.to_string())))
                    .collect();
                if lines.is_empty() {
                    return Ok(Vec::new()); // Wrong in device.json, which `goalctl check` tells.
                }
                Err(Failed::Checked { text: format!("{name} would not be accepted{}", lines.concat()) })
            }
        }
    }

    fn small(&self, key: &str) -> Result<Vec<u8>, String> {
        use std::io::Read;
        let mut bytes = Vec::new();
        File::open(self.root.join(key))
            .and_then(|file| file.take(LARGEST_SMALL).read_to_end(&mut bytes))
            .map_err(|cause| format!("read {key}: {cause}"))?;
        Ok(bytes)
    }
}

/// A line that every conf has: other agents heed it.
fn is_of_template(place: &Place) -> bool {
    matches!(place, Place::Line { key, .. } if &**key == "lxc.tty.max")
}

fn put_one(folder: &Path, Made { name, what }: Made) -> Result<(), Failed> {
    let place = folder.join(name);
    match what {
        What::Bytes(bytes) => whole::write(&place, &bytes),
        What::Moved(from) => {
            std::fs::rename(&from, &place).map_err(|cause| unwritable(&place, &cause))?;
            whole::sync_folder(&place)
        }
        What::Gone => whole::remove(&place),
    }
}

/// Writes a big file below `.pvr/`, and says so on the disk.
pub(crate) fn drafted(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::io::Result<u64>,
) -> Result<u64, Failed> {
    let made = File::create(path).and_then(|mut file| {
        let size = write(&mut file)?;
        file.sync_all()?;
        Ok(size)
    });
    made.map_err(|cause| {
        let _ = std::fs::remove_file(path);
        unwritable(path, &cause)
    })
}
