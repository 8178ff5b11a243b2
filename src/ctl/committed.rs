//! Keeps with a working folder what a device has taken of it, as `pvr commit` would.

use std::path::{Path, PathBuf};

use model::ids::Digest;
use serde::Deserialize;

use crate::bundle::{Bundle, LARGEST_SMALL, named_objects, pieces, set_of};
use crate::failed::Failed;
use crate::object::Object;
use crate::output::Output;
use crate::whole;

const INSIDE: &str = ".pvr";

/// What `pvr` is told about a folder.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    /// Where several folders share their objects.
    #[serde(default, rename = "ObjectsDir")]
    objects: PathBuf,
}

/// The device has it, whether or not this can be kept: what is in the way is told, and no failure.
pub(crate) async fn advance(output: &Output, path: &Path, bundle: &Bundle) -> Result<(), Failed> {
    let inside = path.join(INSIDE);
    if !inside.join("json").is_file() {
        return Ok(());
    }
    match keep(path, &inside, bundle).await {
        Ok(()) => Ok(()),
        Err(failed) => output.line(&format!("{} stays behind the device: {failed}", inside.display())),
    }
}

async fn keep(root: &Path, inside: &Path, bundle: &Bundle) -> Result<(), Failed> {
    let shared = settings(inside).objects;
    let objects = if shared.as_os_str().is_empty() { inside.join("objects") } else { root.join(shared) };
    whole::make_folder(&objects)?;
    let place = |digest: &Digest| objects.join(digest.to_string());
    let named = named_objects(&bundle.state).into_values();
    let lacking = set_of(&mut named.filter(|digest| !place(digest).exists()));
    bundle
        .take(&lacking, &mut |digest, _, source| {
            let mut object = Object::begin(&place(&digest), digest)?;
            pieces(source, &mut |piece| object.take(piece))?;
            object.finish()
        })
        .await?;
    // After its objects: what it names is there.
    whole::write(&inside.join("json"), &bundle.state)?;
    whole::remove(&inside.join("new"))
}

/// What cannot be read is as if nothing were set: it is pvr's to judge.
fn settings(inside: &Path) -> Settings {
    let path = inside.join("config");
    let small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= LARGEST_SMALL);
    let text = if small { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
    serde_json::from_slice(&text).unwrap_or_default()
}
