//! `--from SOURCE`: what it is, found by looking at it, and the image that comes out of it.

use std::path::Path;

use model::ids::Digest;
use serde_json::Value;

use crate::author::images::{self, Config, Descriptor, Document, MOST_LAYERS, Platform, Saved};
use crate::author::layers::{self, LeftOut, Owners, Whiteouts};
use crate::author::members::wrong;
use crate::author::reference::Reference;
use crate::author::spool::{Spool, plain_file};
use crate::author::store::{Store, digest, is_layout};
use crate::author::tree::{Section, Tree};
use crate::bundle::{hash, unreadable};
use crate::failed::Failed;

const SCHEME: &str = "docker://";

/// A root, with everything that is known about how to run it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) tree: Tree,
    pub(crate) origin: Origin,
    pub(crate) left_out: LeftOut,
}

/// Where an image came from, as `src.json` tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Origin {
    /// A container image, with what it says about itself.
    Image { name: String, tag: String, digest: String, platform: String, config: Value, remote: bool },
    /// A root as somebody packed it. The digest is the tar's, before it was compressed.
    Root { digest: Option<Digest> },
}

/// What decides between the images of one source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    pub(crate) platform: Option<Platform>,
    /// The name of an image in an archive or a layout that has several.
    pub(crate) image: Option<String>,
}

/// `--from`, sorted by how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Registry(Reference),
    Path(std::path::PathBuf),
}

impl Source {
    pub(crate) fn parse(text: &str) -> Result<Source, Failed> {
        if let Some(reference) = text.strip_prefix(SCHEME) {
            return Reference::parse(reference).map(Source::Registry);
        }
        if text.contains("://") {
            return Err(Failed::Usage { text: format!("--from {text}: of these only docker:// is known") });
        }
        // Without links and dots: it is kept, and read again from wherever an update is asked for.
        let path = std::fs::canonicalize(text).map_err(|cause| unreadable(Path::new(text), &cause))?;
        Ok(Source::Path(path))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Registry(reference) => write!(formatter, "{SCHEME}{reference}"),
            Source::Path(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// The image of something on this machine.
pub(crate) fn local(path: &Path, wish: &Wish, spool: &mut Spool) -> Result<Image, Failed> {
    let found = std::fs::metadata(path).map_err(|cause| unreadable(path, &cause))?;
    if found.is_dir() && is_layout(path) {
        return from_layout(&Store::Folder(path.to_owned()), wish, spool);
    }
    if found.is_dir() {
        no_platform(path, wish)?;
        let mut left_out = LeftOut::default();
        let user = nix::unistd::geteuid();
        let owners = if user.is_root() { Owners::Kept } else { Owners::KeptBut(user.as_raw()) };
        let tree = layers::from_folder(path, owners, &mut left_out)?;
        return Ok(Image { tree, origin: Origin::Root { digest: None }, left_out });
    }
    plain_file(path)?;
    let name = path.display().to_string();
    let tar = spool.unpacked(&name, &layers::section(path)?)?;
    if tar.size < 512 {
        return Err(wrong(&name, "neither a folder nor a tar"));
    }
    let store = Store::of_archive(&name, &tar)?;
    if let Some(saved) = saved(&store)? {
        return from_archive(&store, &saved, wish, spool);
    }
    if store.has("oci-layout") && store.has("index.json") {
        return from_layout(&store, wish, spool);
    }
    no_platform(path, wish)?;
    from_root_tar(&name, &tar)
}

/// Files alone do not say what they are for.
fn no_platform(path: &Path, wish: &Wish) -> Result<(), Failed> {
    match &wish.platform {
        None => Ok(()),
        Some(platform) => Err(wrong(
            &path.display().to_string(),
            &format!("files alone say nothing of a platform, so not of {platform}; leave --platform out"),
        )),
    }
}

fn from_root_tar(name: &str, tar: &Section) -> Result<Image, Failed> {
    let (mut tree, mut left_out) = (Tree::new(), LeftOut::default());
    let digest = layers::apply(&mut tree, 1, name, tar, Whiteouts::AreNames, &mut left_out)?;
    if tree.len() == 1 {
        return Err(wrong(name, "nothing is in it"));
    }
    Ok(Image { tree, origin: Origin::Root { digest: Some(digest) }, left_out })
}

/// The images of a `docker save` archive; none if it is something else.
fn saved(store: &Store) -> Result<Option<Vec<Saved>>, Failed> {
    if !store.has("manifest.json") {
        return Ok(None);
    }
    let bytes = store.document("manifest.json")?;
    // A root folder may have a file of that name.
    Ok(serde_json::from_slice::<Vec<Saved>>(&bytes).ok().filter(|saved| !saved.is_empty()))
}

fn from_archive(store: &Store, saved: &[Saved], wish: &Wish, spool: &mut Spool) -> Result<Image, Failed> {
    let name = store.name();
    let tags = |one: &Saved| one.repo_tags.clone().unwrap_or_default();
    let chosen = match (&wish.image, saved) {
        (Some(wanted), _) => saved.iter().find(|one| tags(one).contains(wanted)),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let Some(chosen) = chosen else {
        let there: Vec<String> = saved.iter().flat_map(tags).collect();
        return Err(which(&name, &there));
    };
    let config_bytes = store.document(&chosen.config)?;
    let tag = wish.image.clone().or_else(|| tags(chosen).first().cloned()).unwrap_or_default();
    let (repository, tag) = tag.rsplit_once(':').unwrap_or((&tag, ""));
    let id = hash(&mut config_bytes.as_slice()).map_err(|cause| wrong(&name, &cause.to_string()))?.0;
    // Its name is its digest, in every form that docker has used.
    let stem = chosen.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Ok(named) = stem.parse::<Digest>()
        && named != id
    {
        return Err(wrong(&name, &format!("{}: its bytes have the sha256 {id}", chosen.config)));
    }
    let layers = chosen.layers.iter().map(|path| Ok((path.clone(), store.section(path)?)));
    let layers = layers.collect::<Result<Vec<_>, Failed>>()?;
    let named = Named { name: repository.to_owned(), tag: tag.to_owned(), digest: format!("sha256:{id}") };
    assemble(&name, named, Remote::No, &config_bytes, layers, spool, wish)
}

fn from_layout(store: &Store, wish: &Wish, spool: &mut Spool) -> Result<Image, Failed> {
    const REF: &str = "org.opencontainers.image.ref.name";
    let name = store.name();
    let index_bytes = store.document("index.json")?;
    let Document::Index { manifests } = images::document(&format!("index.json of {name}"), &index_bytes)?
    else {
        return Err(wrong(&name, "its index.json is no index"));
    };
    let mut named: Vec<Descriptor> = manifests.clone();
    if let Some(image) = &wish.image {
        named.retain(|one| one.annotations.get(REF) == Some(image));
        if named.is_empty() {
            let there = manifests.iter().filter_map(|one| one.annotations.get(REF).cloned());
            return Err(which(&name, &there.collect::<Vec<_>>()));
        }
    } else if named.len() > 1 && named.iter().all(|one| one.platform.is_none()) {
        let there = manifests.iter().filter_map(|one| one.annotations.get(REF).cloned());
        return Err(which(&name, &there.collect::<Vec<_>>()));
    }
    let mut descriptor = images::choose(&name, &named, wish.platform.as_ref())?.clone();
    let label = descriptor.annotations.get(REF).cloned().unwrap_or_default();
    let (repository, tag) = label.rsplit_once(':').unwrap_or(("", &label));
    let mut document = blob(store, &descriptor)?;
    if let Document::Index { manifests } = images::document(&descriptor.digest, &document)? {
        descriptor = images::choose(&name, &manifests, wish.platform.as_ref())?.clone();
        document = blob(store, &descriptor)?;
    }
    let Document::Manifest { config, layers } = images::document(&descriptor.digest, &document)? else {
        return Err(wrong(&name, "an index of indexes"));
    };
    let config = blob(store, &config)?;
    let layers = layers.iter().map(|layer| {
        let digest = digest(&name, &layer.digest)?;
        let section = store.section(&format!("blobs/sha256/{digest}"))?;
        verify(&layer.digest, &section, &digest)?;
        Ok((layer.digest.clone(), section))
    });
    let layers = layers.collect::<Result<Vec<_>, Failed>>()?;
    let named = Named { name: repository.to_owned(), tag: tag.to_owned(), digest: descriptor.digest.clone() };
    assemble(&name, named, Remote::No, &config, layers, spool, wish)
}

/// A document of a layout, its bytes compared with its digest.
fn blob(store: &Store, descriptor: &Descriptor) -> Result<Vec<u8>, Failed> {
    let wanted = digest(&store.name(), &descriptor.digest)?;
    let bytes = store.document(&format!("blobs/sha256/{wanted}"))?;
    check_bytes(&descriptor.digest, &bytes, &wanted)?;
    Ok(bytes)
}

pub(crate) fn check_bytes(name: &str, bytes: &[u8], wanted: &Digest) -> Result<(), Failed> {
    let actual = hash(&mut &*bytes).map_err(|cause| wrong(name, &cause.to_string()))?.0;
    if actual == *wanted {
        return Ok(());
    }
    Err(wrong(name, &format!("its bytes have the sha256 {actual}")))
}

fn verify(name: &str, section: &Section, wanted: &Digest) -> Result<(), Failed> {
    let actual = hash(&mut section.reader()).map_err(|cause| wrong(name, &cause.to_string()))?.0;
    if actual == *wanted {
        return Ok(());
    }
    Err(wrong(name, &format!("its bytes have the sha256 {actual}")))
}

#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) digest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remote {
    Yes,
    No,
}

/// Lays the layers over each other, each compared with what the config says it unpacks to.
pub(crate) fn assemble(
    name: &str,
    named: Named,
    remote: Remote,
    config: &[u8],
    layers: Vec<(String, Section)>,
    spool: &mut Spool,
    wish: &Wish,
) -> Result<Image, Failed> {
    let mut config: Config = images::parse(&format!("the config of {name}"), config)?;
    let platform = config.platform();
    if let Some(wanted) = wish.platform.as_ref().filter(|wanted| !wanted.takes(&platform)) {
        return Err(wrong(name, &format!("it is an image for {platform}, not for {wanted}")));
    }
    let count = config.rootfs.diff_ids.len();
    if count != layers.len() {
        let why = format!("it has {} layers, but its config names {count}", layers.len());
        return Err(wrong(name, &why));
    }
    if count > MOST_LAYERS {
        return Err(wrong(name, &format!("{count} layers; {MOST_LAYERS} are the most that is read")));
    }
    let (mut tree, mut left_out) = (Tree::new(), LeftOut::default());
    for (number, ((layer, section), diff)) in (1..).zip(layers.into_iter().zip(&config.rootfs.diff_ids)) {
        let tar = spool.unpacked(&layer, &section)?;
        let found = layers::apply(&mut tree, number, &layer, &tar, Whiteouts::Mean, &mut left_out)?;
        if found != digest(name, diff)? {
            return Err(wrong(&layer, &format!("it unpacks to sha256:{found}, its config says {diff}")));
        }
    }
    let origin = Origin::Image {
        name: named.name,
        tag: named.tag,
        digest: named.digest,
        platform: platform.to_string(),
        config: config.config.take().unwrap_or_default(),
        remote: remote == Remote::Yes,
    };
    Ok(Image { tree, origin, left_out })
}

fn which(name: &str, there: &[String]) -> Failed {
    wrong(name, &format!("which image? It has: {}; use --image NAME", there.join(", ")))
}
