//! `goalctl import`: a package laid over a working folder.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bundle::{Bundle, bad, unreadable};
use crate::failed::Failed;
use crate::folder::{self, Folder};
use crate::keys::{Keys, Value};
use crate::meter::Meter;
use crate::output::Output;
use crate::whole;

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
    let changed: Vec<(&str, Value<'_>)> =
        merged.iter().filter(|(key, value)| base.get(key) != Some(*value)).collect();
    for (key, value) in &changed {
        let Value::Object(digest) = value else { continue };
        if !sizes.contains_key(digest) && !there.objects.contains_key(digest) {
            let cause = format!("object {digest} ({key}) is neither in it nor in {}", root.display());
            return Err(bad(file, &cause));
        }
    }
    for (key, value) in &changed {
        let path = root.join(key);
        path.parent().map_or(Ok(()), whole::make_folder)?;
        match value {
            Value::Inline(text) => whole::write(&path, text.as_bytes())?,
            Value::Object(digest) if sizes.contains_key(digest) => {}
            Value::Object(digest) => copy(&there.objects[digest].path, &path)?,
        }
    }
    write_objects(&bundle, root, &changed).await?;
    let mut gone = 0;
    for (key, _) in base.iter().filter(|(key, _)| merged.get(key).is_none()) {
        remove(root, key)?;
        gone += 1;
    }
    output.line(&format!("{}: {} files written, {gone} removed", root.display(), changed.len()))
}

fn read_folder(root: &Path) -> Result<Folder, Failed> {
    let folder = folder::read(root)?;
    match folder.mistakes.first() {
        None => Ok(folder),
        Some(mistake) => Err(bad(root, mistake)),
    }
}

/// Each is read once, wherever it goes.
async fn write_objects(bundle: &Bundle, root: &Path, changed: &[(&str, Value<'_>)]) -> Result<(), Failed> {
    let sizes = bundle.sizes();
    let mut wanted = BTreeSet::new();
    for (_, value) in changed {
        if let Value::Object(digest) = value {
            wanted.insert(*digest);
        }
    }
    let mut meter = Meter::new(wanted.iter().filter_map(|digest| sizes.get(digest)).sum());
    let written = bundle
        .take(&wanted, &mut |digest, _, source| {
            let mut places = changed.iter().filter(|(_, value)| *value == Value::Object(digest));
            let Some((first, _)) = places.next() else { return Ok(()) };
            let first = root.join(first);
            whole::fill(&first, source, &mut |count| meter.advance(count))?;
            places.try_for_each(|(key, _)| copy(&first, &root.join(key)))
        })
        .await;
    meter.clear();
    written
}

fn copy(from: &Path, to: &Path) -> Result<(), Failed> {
    let mut source = std::fs::File::open(from).map_err(|cause| unreadable(from, &cause))?;
    whole::fill(to, &mut source, &mut |_| {})
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
