//! `goalctl init|clone|add`: working folders come to be, from nothing or from a revision that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use model::ids::Digest;

use crate::author::working::{INSIDE, Working};
use crate::bundle::{Bundle, bad, named_objects, pieces, unreadable};
use crate::cli::Network;
use crate::client::Client;
use crate::failed::Failed;
use crate::keys::{EMPTY, Keys, Value};
use crate::meter::Meter;
use crate::object::Object;
use crate::output::Output;
use crate::place::{Host, Place};
use crate::remote::{self, Remote};
use crate::whole::{self, unwritable};

pub(crate) fn init(dir: &Path, output: &Output) -> Result<(), Failed> {
    Working::init(dir, EMPTY)?;
    output.line(&format!("{}: a working folder; `goalctl app add` brings the first container", dir.display()))
}

/// Where a revision is cloned from.
pub(crate) enum From {
    /// An agent's control socket or device endpoint: what its device runs.
    Device(Client),
    /// A package, a state file, a folder.
    Bundle(PathBuf),
}

impl From {
    pub(crate) fn parse(text: &str, client: &Client, network: &Network) -> Result<From, Failed> {
        if text == "device" {
            return Ok(From::Device(client.clone()));
        }
        if text.contains("://") {
            return Ok(From::Device(Client::new(Place::Host(Host::parse(text, network)?))));
        }
        let path = PathBuf::from(text);
        if !path.exists() {
            let other =
                "`device` is what the device runs; `goalctl export REV FILE` packs another of its revisions";
            return Err(Failed::Usage { text: format!("clone {text}: no such file or folder; {other}") });
        }
        let found = std::fs::metadata(&path).map_err(|cause| unreadable(&path, &cause))?;
        Ok(if found.file_type().is_socket() {
            From::Device(Client::new(Place::Socket(path)))
        } else {
            From::Bundle(path)
        })
    }
}

pub(crate) async fn clone(
    from: &From,
    source: &str,
    dir: Option<&Path>,
    output: &Output,
) -> Result<(), Failed> {
    let dir = dir.map_or_else(|| named_after(source), Path::to_owned);
    let fresh = std::fs::read_dir(&dir).map_or(true, |mut entries| entries.next().is_none());
    if !fresh {
        return Err(Failed::Checked {
            text: format!("{} is not empty; clone makes a new folder", dir.display()),
        });
    }
    let cloned = fill(from, source, &dir).await;
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
        "" | "." | ".." | "pv-ctrl" | "pvr" => PathBuf::from("device"),
        stem => PathBuf::from(stem),
    }
}

async fn fill(from: &From, source: &str, dir: &Path) -> Result<(usize, usize), Failed> {
    let (state, remote, bundle) = match from {
        From::Device(client) => {
            let (state, remote) = remote::running(client).await?;
            (state, remote, None)
        }
        From::Bundle(path) => {
            let bundle = Bundle::open(path)?;
            if let Some(mistake) = bundle.mistakes.first() {
                return Err(bad(path, mistake));
            }
            (bundle.state.clone(), None, Some(bundle))
        }
    };
    // Its keys can be files below a folder, and none is in the folder's own `.pvr/`.
    let keys = Keys::parse(&format!("clone {source}"), &state)?;
    let wanted: BTreeSet<Digest> = named_objects(&state).into_values().collect();
    let objects = dir.join(INSIDE).join("objects");
    whole::make_folder(&objects)?;
    match (from, &bundle) {
        (From::Device(client), _) => fetch(client, remote.as_ref(), &wanted, &objects).await?,
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
            let mut object = Object::begin(&objects.join(digest.to_string()), digest)?;
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

async fn fetch(
    client: &Client,
    remote: Option<&Remote>,
    wanted: &BTreeSet<Digest>,
    objects: &Path,
) -> Result<(), Failed> {
    #[derive(serde::Deserialize)]
    struct OnDevice {
        sha256: Digest,
        size: serde_json::Value,
    }
    // Over a network nothing tells the sizes at once: there the meter stays silent.
    let there: Vec<OnDevice> = match remote {
        None => client.get_json("/objects").await?,
        Some(_) => Vec::new(),
    };
    // A number here, its text there.
    let size = |one: &OnDevice| one.size.as_u64().or_else(|| one.size.as_str()?.parse().ok());
    let total = there.iter().filter(|one| wanted.contains(&one.sha256)).filter_map(size).sum();
    let mut meter = Meter::new(total);
    for digest in wanted {
        let mut object = Object::begin(&objects.join(digest.to_string()), *digest)?;
        let mut stream = client.stream(&remote::place_of(client, remote, digest).await?).await?;
        while let Some(piece) = stream.next().await? {
            object.take(&piece)?;
            if remote.is_none() {
                meter.advance(piece.len() as u64);
            }
        }
        object.finish()?;
    }
    meter.clear();
    Ok(())
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
