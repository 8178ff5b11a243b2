//! `goalctl import`: a package laid over a working folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use model::ids::Digest;

use crate::bundle::{Bundle, bad, pieces};
use crate::failed::Failed;
use crate::folder::{self, Folder};
use crate::keys::{Keys, Value};
use crate::meter::Meter;
use crate::output::Output;
use crate::whole::{self, Whole, unwritable};

/// What is there comes first, what goes away last: a run that was cut off loses nothing, and is simply run again.
pub(crate) async fn import(file: &Path, root: &Path, output: &Output) -> Result<(), Failed> {
    let bundle = Bundle::open(file)?;
    let package = Keys::parse(&format!("read {}", file.display()), &bundle.state)?;
    whole::make_folder(root)?;
    let there = read_folder(root)?;
    let base = Keys::parse(&format!("read {}", root.display()), &there.state)?;
    let merged =
        Keys::parse(&format!("lay {} over {}", file.display(), root.display()), &base.with(&package))?;
    let sizes = bundle.sizes();
    let old: BTreeMap<&str, Value<'_>> = base.iter().collect();
    let changed: BTreeMap<&str, Value<'_>> =
        merged.iter().filter(|(key, value)| old.get(key) != Some(value)).collect();
    let mut objects: BTreeMap<Digest, Vec<PathBuf>> = BTreeMap::new();
    for (key, value) in &changed {
        let Value::Object(digest) = value else { continue };
        if !sizes.contains_key(digest) && !there.objects.contains_key(digest) {
            return Err(bad(
                file,
                &format!("object {digest} ({key}) is neither in it nor in {}", root.display()),
            ));
        }
        objects.entry(*digest).or_default().push(root.join(key));
    }
    for (key, value) in &changed {
        make_way(&root.join(key))?;
        if let Value::Inline(text) = value {
            whole::write(&root.join(key), text.as_bytes())?;
        }
    }
    write_objects(&bundle, &there, &objects).await?;
    let kept: BTreeSet<&str> = merged.iter().map(|(key, _)| key).collect();
    let gone: Vec<&str> = old.into_keys().filter(|key| !kept.contains(key)).collect();
    for key in &gone {
        remove(root, key)?;
    }
    output.line(&format!("{}: {} files written, {} removed", root.display(), changed.len(), gone.len()))
}

fn read_folder(root: &Path) -> Result<Folder, Failed> {
    let folder = folder::read(root)?;
    match folder.mistakes.first() {
        None => Ok(folder),
        Some(mistake) => Err(bad(root, mistake)),
    }
}

/// The folders above a file.
fn make_way(path: &Path) -> Result<(), Failed> {
    path.parent().map_or(Ok(()), whole::make_folder)
}

async fn write_objects(
    bundle: &Bundle,
    there: &Folder,
    objects: &BTreeMap<Digest, Vec<PathBuf>>,
) -> Result<(), Failed> {
    let sizes = bundle.sizes();
    let wanted: BTreeSet<Digest> =
        objects.keys().filter(|digest| sizes.contains_key(digest)).copied().collect();
    let mut meter = Meter::new(wanted.iter().filter_map(|digest| sizes.get(digest)).sum());
    let written = bundle
        .each(&wanted, async |digest, _, source| {
            let Some((first, more)) = objects.get(&digest).and_then(|paths| paths.split_first()) else {
                return Ok(());
            };
            write(source, first, |count| meter.advance(count))?;
            more.iter().try_for_each(|path| copy(first, path))
        })
        .await;
    meter.clear();
    written?;
    for (digest, paths) in objects.iter().filter(|(digest, _)| !wanted.contains(digest)) {
        let Some(source) = there.objects.get(digest) else { continue };
        paths.iter().try_for_each(|path| copy(&source.path, path))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    let mut source = std::fs::File::open(from).map_err(|cause| crate::bundle::unreadable(from, &cause))?;
    write(&mut source, to, |_| {})
}

fn write(source: &mut dyn Read, place: &Path, mut written: impl FnMut(u64)) -> Result<(), Failed> {
    let mut whole = Whole::begin(place)?;
    pieces(source, |piece| {
        written(piece.len() as u64);
        whole.write_all(piece).map_err(|cause| unwritable(place, &cause))
    })?;
    whole.finish()
}

/// With the folders that are empty then.
fn remove(root: &Path, key: &str) -> Result<(), Failed> {
    let path = root.join(key);
    whole::remove(&path)?;
    for folder in path.ancestors().skip(1).take_while(|folder| *folder != root) {
        if std::fs::remove_dir(folder).is_err() {
            break; // Something else is in it.
        }
    }
    Ok(())
}
