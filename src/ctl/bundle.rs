//! A revision as an author has it: a state file, a folder as pvr keeps it, or a package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use model::ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::failed::Failed;
use crate::folder;
use crate::package::Package;

/// A state is text that somebody wrote; this is far more than any device has.
pub(crate) const LARGEST_STATE: u64 = 16 * 1024 * 1024;

/// Of an object that the parser reads: a `lxc.container.conf`, a `run.json`.
pub(crate) const LARGEST_SMALL: u64 = 256 * 1024;

/// A state, with the objects that came along. Every object was read once, and its bytes are what its name says.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// As it is sent: byte for byte what the file or the package holds, or what the folder's files add up to.
    pub(crate) state: Vec<u8>,
    /// What is wrong beyond what the state shows, a sentence each.
    pub(crate) mistakes: Vec<String>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A folder's files, or `objects/` beside a state file.
    Files(BTreeMap<Digest, Object>),
    Package(Package),
}

/// One object that is a file of its own.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

impl Bundle {
    /// Reads what is at `path`; its bytes tell which of the three it is.
    pub(crate) fn open(path: &Path) -> Result<Bundle, Failed> {
        let found = std::fs::metadata(path).map_err(|cause| unreadable(path, &cause))?;
        if found.is_dir() {
            let folder::Folder { state, objects, mistakes } = folder::read(path)?;
            return Ok(Bundle { state, mistakes, source: Source::Files(objects) });
        }
        match sniff(path)? {
            Kind::State => {
                let state = read_state(path)?;
                let objects = objects_beside(path, &state)?;
                Ok(Bundle { state, mistakes: Vec::new(), source: Source::Files(objects) })
            }
            Kind::Tar(packing) => {
                let (state, package) = Package::read(path, packing)?;
                Ok(Bundle { state, mistakes: Vec::new(), source: Source::Package(package) })
            }
        }
    }

    /// Whether all of it is one file.
    pub(crate) fn is_package(&self) -> bool {
        matches!(self.source, Source::Package(_))
    }

    /// The size of each object that came along.
    pub(crate) fn sizes(&self) -> BTreeMap<Digest, u64> {
        match &self.source {
            Source::Files(objects) => {
                let mut sizes = BTreeMap::new();
                sizes.extend(objects.iter().map(|(digest, object)| (*digest, object.size)));
                sizes
            }
            Source::Package(package) => package.sizes().clone(),
        }
    }

    /// The bytes of a small object that came along; none if it did not.
    pub(crate) fn small(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Failed> {
        let objects = match &self.source {
            Source::Files(objects) => objects,
            Source::Package(package) => return package.small(digest),
        };
        let Some(object) = objects.get(digest) else { return Ok(None) };
        if object.size > LARGEST_SMALL {
            return Err(bad(&object.path, "longer than 256 KiB, which no configuration is"));
        }
        std::fs::read(&object.path).map(Some).map_err(|cause| unreadable(&object.path, &cause))
    }

    /// Visits the wanted objects that came along, in an order that reads a package only once.
    pub(crate) async fn each(
        &self,
        wanted: &BTreeSet<Digest>,
        mut visit: impl AsyncFnMut(Digest, u64, &mut dyn Read) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        match &self.source {
            Source::Files(objects) => {
                for (digest, object) in objects.iter().filter(|(digest, _)| wanted.contains(*digest)) {
                    let mut file =
                        File::open(&object.path).map_err(|cause| unreadable(&object.path, &cause))?;
                    visit(*digest, object.size, &mut file).await?;
                }
                Ok(())
            }
            Source::Package(package) => package.each(wanted, visit).await,
        }
    }

    /// The same for those who do not wait.
    pub(crate) async fn take(&self, wanted: &BTreeSet<Digest>, take: Take<'_>) -> Result<(), Failed> {
        self.each(wanted, async |digest, size, source| take(digest, size, source)).await
    }
}

/// What takes an object in without waiting for anybody.
pub(crate) type Take<'t> = &'t mut dyn FnMut(Digest, u64, &mut dyn Read) -> Result<(), Failed>;

/// How a tar is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
}

enum Kind {
    State,
    Tar(Packing),
}

fn sniff(path: &Path) -> Result<Kind, Failed> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(|cause| unreadable(path, &cause))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Kind::Tar(Packing::Gzip));
    }
    // Old tars have no magic; a package's can only begin with one of its two sorts of member.
    if head.get(257..262) == Some(b"ustar") || head.starts_with(b"json\0") || head.starts_with(b"objects/") {
        return Ok(Kind::Tar(Packing::Plain));
    }
    if head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return Ok(Kind::State);
    }
    Err(bad(path, "neither a state (JSON), a tar nor a tar.gz"))
}

pub(crate) fn read_state(path: &Path) -> Result<Vec<u8>, Failed> {
    let mut state = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_STATE + 1).read_to_end(&mut state))
        .map_err(|cause| unreadable(path, &cause))?;
    if state.len() as u64 > LARGEST_STATE {
        return Err(bad(path, "a state longer than 16 MiB"));
    }
    Ok(state)
}

fn objects_beside(path: &Path, state: &[u8]) -> Result<BTreeMap<Digest, Object>, Failed> {
    let folder = path.parent().unwrap_or(Path::new("")).join("objects");
    let mut objects = BTreeMap::new();
    for digest in named_objects(state).into_values() {
        let file = folder.join(digest.to_string());
        let Ok(found) = std::fs::symlink_metadata(&file) else { continue };
        if !found.is_file() {
            return Err(bad(&file, "an object must be a plain file"));
        }
        let actual = hash_file(&file)?;
        if actual.0 != digest {
            return Err(bad(
                &file,
                &format!("its bytes have the sha256 {}, not the one it is named by", actual.0),
            ));
        }
        objects.insert(digest, Object { path: file, size: actual.1 });
    }
    Ok(objects)
}

/// The objects that a state names, by key. Empty if it is no JSON object: the parser then says why.
pub(crate) fn named_objects(state: &[u8]) -> BTreeMap<String, Digest> {
    let Ok(keys) = serde_json::from_slice::<BTreeMap<String, &serde_json::value::RawValue>>(state) else {
        return BTreeMap::new();
    };
    let mut named = BTreeMap::new();
    named.extend(keys.into_iter().filter_map(|(key, value)| {
        Some((key, value.get().strip_prefix('"')?.strip_suffix('"')?.parse().ok()?))
    }));
    named
}

/// What `collect` gives, without the sort that it brings along for each type: 5 KiB of a device's program.
pub(crate) fn set_of(digests: &mut dyn Iterator<Item = Digest>) -> BTreeSet<Digest> {
    let mut set = BTreeSet::new();
    set.extend(digests);
    set
}

/// The sha256 of a file, with the number of bytes that were read.
pub(crate) fn hash_file(path: &Path) -> Result<(Digest, u64), Failed> {
    File::open(path).and_then(|mut file| hash(&mut file)).map_err(|cause| unreadable(path, &cause))
}

pub(crate) fn hash(source: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut size: u64 = 0;
    read_pieces(source, &mut |piece: &[u8]| {
        hasher.update(piece);
        size += piece.len() as u64;
        Ok(())
    })?;
    Ok((Digest::from_bytes(hasher.finalize().into()), size))
}

/// Hands on everything that an object's source has.
pub(crate) fn pieces(
    source: &mut dyn Read,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut failed = None;
    let read = read_pieces(source, &mut |piece: &[u8]| {
        visit(piece).map_err(|cause| {
            failed = Some(cause);
            io::Error::other("told by the other side")
        })
    });
    match (failed, read) {
        (Some(failed), _) => Err(failed),
        (None, Err(cause)) => {
            Err(Failed::Source { what: "read an object".to_owned(), cause: cause.to_string() })
        }
        (None, Ok(())) => Ok(()),
    }
}

fn read_pieces(source: &mut dyn Read, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; 256 * 1024];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => visit(&piece[..count])?,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

pub(crate) fn unreadable(path: &Path, cause: &io::Error) -> Failed {
    Failed::Source { what: format!("read {}", path.display()), cause: cause.to_string() }
}

pub(crate) fn bad(path: &Path, cause: &str) -> Failed {
    Failed::Source { what: format!("read {}", path.display()), cause: cause.to_owned() }
}
