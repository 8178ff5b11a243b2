//! `goalctl init|clone|add`: working folders come to be, from nothing or from a revision that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use model::ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::address;
use crate::author::working::{INSIDE, Working};
use crate::bundle::{Bundle, bad, named_objects, pieces, unreadable};
use crate::client::Client;
use crate::failed::Failed;
use crate::keys::{EMPTY, Keys, Value};
use crate::meter::Meter;
use crate::output::Output;
use crate::place::Place;
use crate::whole::{self, Whole, unwritable};

pub(crate) fn init(dir: &Path, output: &Output) -> Result<(), Failed> {
    Working::init(dir, EMPTY)?;
    output.line(&format!("{}: a working folder; `goalctl app add` brings the first container", dir.display()))
}

/// Where a revision is cloned from.
enum From {
    /// An agent's control socket: what its device runs.
    Device(Client),
    /// A package, a state file, a folder.
    Bundle(PathBuf),
}

impl From {
    fn parse(text: &str, client: &Client) -> Result<From, Failed> {
        if text == "device" {
            return Ok(From::Device(client.clone()));
        }
        // The device endpoint of another machine would be one more arm here.
        if text.contains("://") {
            return Err(Failed::Usage {
                text: format!(
                    "clone {text}: only a control socket, a package, a state or a folder is cloned"
                ),
            });
        }
        let path = PathBuf::from(text);
        let found = std::fs::metadata(&path).map_err(|cause| unreadable(&path, &cause))?;
        Ok(if found.file_type().is_socket() {
            From::Device(Client::new(Place::Socket(path)))
        } else {
            From::Bundle(path)
        })
    }
}

pub(crate) async fn clone(
    client: &Client,
    source: &str,
    dir: Option<&Path>,
    output: &Output,
) -> Result<(), Failed> {
    let from = From::parse(source, client)?;
    let dir = dir.map_or_else(|| named_after(source), Path::to_owned);
    let fresh = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
    if !fresh {
        return Err(Failed::Checked {
            text: format!("{} is not empty; clone makes a new folder", dir.display()),
        });
    }
    let cloned = fill(&from, source, &dir).await;
    if cloned.is_err() {
        // It was made here, or was empty: half a revision is worth nothing.
        let _ = std::fs::remove_dir_all(&dir);
    }
    let (keys, objects) = cloned?;
    output.line(&format!("{}: {keys} files, {objects} of them objects", dir.display()))
}

fn named_after(source: &str) -> PathBuf {
    let name = Path::new(source).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = [".tar.gz", ".tgz", ".tar", ".json"].iter().find_map(|end| name.strip_suffix(end));
    match stem.unwrap_or(&name) {
        "" | "." | ".." | "pv-ctrl" => PathBuf::from("device"),
        stem => PathBuf::from(stem),
    }
}

async fn fill(from: &From, source: &str, dir: &Path) -> Result<(usize, usize), Failed> {
    let (state, bundle) = match from {
        From::Device(client) => (client.get("/steps/current").await?, None),
        From::Bundle(path) => {
            let bundle = Bundle::open(path)?;
            if let Some(mistake) = bundle.mistakes.first() {
                return Err(bad(path, mistake));
            }
            (bundle.state.clone(), Some(bundle))
        }
    };
    // Its keys can be files below a folder, and none is in the folder's own `.pvr/`.
    let keys = Keys::parse(&format!("clone {source}"), &state)?;
    let wanted: BTreeSet<Digest> = named_objects(&state).into_values().collect();
    let objects = dir.join(INSIDE).join("objects");
    whole::make_folder(&objects)?;
    match (from, &bundle) {
        (From::Device(client), _) => fetch(client, &wanted, &objects).await?,
        (From::Bundle(path), Some(bundle)) => copy(path, bundle, &wanted, &objects).await?,
        (From::Bundle(_), None) => {}
    }
    for (key, value) in keys.iter() {
        let place = dir.join(key);
        whole::make_folder(place.parent().unwrap_or(dir))?;
        match value {
            Value::Object(digest) => drop(
                std::fs::copy(objects.join(digest.to_string()), &place)
                    .map_err(|cause| unwritable(&place, &cause))?,
            ),
            Value::Inline(text) => whole::write(&place, text.as_bytes())?,
        }
    }
    Working::init(dir, &state)?;
    Ok((keys.iter().count(), wanted.len()))
}

async fn copy(path: &Path, bundle: &Bundle, wanted: &BTreeSet<Digest>, objects: &Path) -> Result<(), Failed> {
    let sizes: BTreeMap<Digest, u64> = bundle.sizes();
    if let Some(absent) = wanted.iter().find(|digest| !sizes.contains_key(*digest)) {
        return Err(bad(
            path,
            &format!("object {absent} did not come along, and a folder needs all of them"),
        ));
    }
    let mut meter = Meter::new(wanted.iter().filter_map(|digest| sizes.get(digest)).sum());
    let copied = bundle
        .each(wanted, async |digest, _, source: &mut dyn Read| {
            let mut object = Object::begin(objects, digest)?;
            pieces(source, &mut |piece: &[u8]| {
                meter.advance(piece.len() as u64);
                object.take(piece)
            })?;
            object.finish()
        })
        .await;
    meter.clear();
    copied
}

async fn fetch(client: &Client, wanted: &BTreeSet<Digest>, objects: &Path) -> Result<(), Failed> {
    #[derive(serde::Deserialize)]
    struct OnDevice {
        sha256: Digest,
        size: serde_json::Value,
    }
    let there: Vec<OnDevice> = client.get_json("/objects").await?;
    // A number here, its text there.
    let size = |one: &OnDevice| one.size.as_u64().or_else(|| one.size.as_str()?.parse().ok());
    let total = there.iter().filter(|one| wanted.contains(&one.sha256)).filter_map(size).sum();
    let mut meter = Meter::new(total);
    for digest in wanted {
        let mut object = Object::begin(objects, *digest)?;
        let mut stream = client.stream(&address::object(digest)).await?;
        while let Some(piece) = stream.next().await? {
            object.take(&piece)?;
            meter.advance(piece.len() as u64);
        }
        object.finish()?;
    }
    meter.clear();
    Ok(())
}

/// An object on its way to its place, which it reaches only if its bytes are what its name says.
struct Object {
    digest: Digest,
    place: PathBuf,
    file: Whole,
    hash: Sha256,
}

impl Object {
    fn begin(objects: &Path, digest: Digest) -> Result<Object, Failed> {
        let place = objects.join(digest.to_string());
        Ok(Object { digest, file: Whole::begin(&place)?, place, hash: Sha256::new() })
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Failed> {
        self.hash.update(piece);
        self.file.write_all(piece).map_err(|cause| unwritable(&self.place, &cause))
    }

    fn finish(self) -> Result<(), Failed> {
        let found = Digest::from_bytes(self.hash.finalize().into());
        if found == self.digest {
            return self.file.finish();
        }
        let cause = format!("its bytes have the sha256 {found}");
        Err(Failed::Source { what: format!("clone object {}", self.digest), cause })
    }
}

/// Tells pvr of files that it has not committed. The next revision has them anyway.
pub(crate) fn mark(folder: &Path, paths: &[PathBuf], output: &Output) -> Result<(), Failed> {
    let working = Working::open(folder)?;
    let root = working.root().canonicalize().map_err(|cause| unreadable(working.root(), &cause))?;
    let committed = working.committed()?;
    let all = crate::folder::files(&root)?;
    let mut wanted = Vec::new();
    for path in paths {
        let path = path.canonicalize().map_err(|cause| unreadable(path, &cause))?;
        let inside = path.strip_prefix(&root).map_err(|_| bad(&path, "it is not in the working folder"))?;
        wanted.push(inside.to_owned());
    }
    let list = working.inside().join("new");
    let mut new: BTreeMap<String, serde_json::Value> = match File::open(&list) {
        Ok(file) => serde_json::from_reader(file.take(crate::bundle::LARGEST_STATE))
            .map_err(|cause| bad(&list, &cause.to_string()))?,
        Err(_) => BTreeMap::new(),
    };
    let mut count = 0;
    for key in all {
        let chosen = wanted.is_empty() || wanted.iter().any(|path| Path::new(&key).starts_with(path));
        if chosen && !committed.contains_key(&key) && !new.contains_key(&key) {
            output.line(&format!("+ {}", crate::output::visible(&key)))?;
            new.insert(key, 1.into());
            count += 1;
        }
    }
    let text = serde_json::to_vec(&new).map_err(|cause| bad(&list, &cause.to_string()))?;
    whole::write(&list, &text)?;
    output.line(&format!("{count} new files; all of the folder is the next revision, with or without this"))
}
