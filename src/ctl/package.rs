//! A package: a tar of `json` with `objects/<sha256>`, plain or gzipped, from whoever made it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use model::ids::Digest;
use tar::{Archive, Entry, EntryType};

use crate::bundle::{LARGEST_SMALL, LARGEST_STATE, Packing, bad, hash, unreadable};
use crate::failed::Failed;
use crate::gzip::Decoder;

const MOST_MEMBERS: usize = 100_000;
/// Of one extended header. An honest one is a few lines.
const LARGEST_HEADER: u64 = 64 * 1024;

/// A package whose objects were all hashed once.
#[derive(Debug)]
pub(crate) struct Package {
    path: PathBuf,
    packing: Packing,
    objects: BTreeMap<Digest, u64>,
    /// The bytes of small objects, kept for the parser so that it need not unpack the package once for each.
    small: BTreeMap<Digest, Vec<u8>>,
}

/// All small objects together. What does not fit is not kept.
const MOST_KEPT: usize = 32 * 1024 * 1024;

/// What a member is, by its name and type.
enum Member {
    State,
    Object(Digest),
    /// A folder, or a header that changes nothing we read.
    Nothing,
}

impl Package {
    /// Reads the whole package once: its state, and each object's hash.
    pub(crate) fn read(path: &Path, packing: Packing) -> Result<(Vec<u8>, Package), Failed> {
        let mut state = None;
        let mut package =
            Package { path: path.to_owned(), packing, objects: BTreeMap::new(), small: BTreeMap::new() };
        let mut kept = 0;
        let mut archive = open(path, packing)?;
        for (count, entry) in members(&mut archive, path)?.enumerate() {
            let mut entry = entry.map_err(|cause| unreadable(path, &cause))?;
            if count >= MOST_MEMBERS {
                return Err(bad(path, "more than 100000 members"));
            }
            match member(path, &mut entry)? {
                Member::Nothing => {}
                Member::State if state.is_some() => return Err(bad(path, "json is in it twice")),
                Member::State => state = Some(read_state(path, &mut entry)?),
                Member::Object(digest) => {
                    let mut copy = (entry.size() <= LARGEST_SMALL && kept < MOST_KEPT).then(Vec::new);
                    let size = check_object(path, digest, &mut entry, copy.as_mut())?;
                    if package.objects.insert(digest, size).is_some() {
                        return Err(bad(path, &format!("objects/{digest} is in it twice")));
                    }
                    if let Some(copy) = copy {
                        kept += copy.len();
                        package.small.insert(digest, copy);
                    }
                }
            }
        }
        let state = state.ok_or_else(|| bad(path, "no member json: not a package"))?;
        Ok((state, package))
    }

    pub(crate) fn sizes(&self) -> &BTreeMap<Digest, u64> {
        &self.objects
    }

    pub(crate) fn small(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Failed> {
        match (self.small.get(digest), self.objects.get(digest)) {
            (Some(bytes), _) => Ok(Some(bytes.clone())),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(bad(&self.path, &format!("objects/{digest} is longer than any configuration")))
            }
        }
    }

    /// Reads the package once more, for the wanted objects.
    pub(crate) async fn each(
        &self,
        wanted: &BTreeSet<Digest>,
        mut visit: impl AsyncFnMut(Digest, u64, &mut dyn Read) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        if !wanted.iter().any(|digest| self.objects.contains_key(digest)) {
            return Ok(());
        }
        let mut archive = open(&self.path, self.packing)?;
        for entry in members(&mut archive, &self.path)? {
            let mut entry = entry.map_err(|cause| unreadable(&self.path, &cause))?;
            if let Member::Object(digest) = member(&self.path, &mut entry)?
                && wanted.contains(&digest)
            {
                let size = entry.size();
                visit(digest, size, &mut entry).await?;
            }
        }
        Ok(())
    }
}

fn open(path: &Path, packing: Packing) -> Result<Archive<Box<dyn Read>>, Failed> {
    let file = BufReader::new(File::open(path).map_err(|cause| unreadable(path, &cause))?);
    Ok(Archive::new(match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(Decoder::new(file)),
    }))
}

/// Raw: long names and extended headers come as members of their own, and are never gathered in memory on a stranger's word.
fn members<'a, R: Read>(archive: &'a mut Archive<R>, path: &Path) -> Result<tar::Entries<'a, R>, Failed> {
    archive.entries().map(|entries| entries.raw(true)).map_err(|cause| unreadable(path, &cause))
}

fn member<R: Read>(package: &Path, entry: &mut Entry<'_, R>) -> Result<Member, Failed> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let kind = entry.header().entry_type();
    if matches!(kind, EntryType::Regular | EntryType::Continuous) {
        named(package, &name)
    } else if kind == EntryType::Directory {
        Ok(Member::Nothing)
    } else if matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader) {
        extended(package, entry)
    } else if matches!(kind, EntryType::Symlink | EntryType::Link) {
        Err(bad(package, &format!("{name:?} is a link; a package holds none")))
    } else {
        Err(bad(package, &format!("{name:?} is neither a plain file nor a folder")))
    }
}

fn named(package: &Path, name: &str) -> Result<Member, Failed> {
    let plain = name.strip_prefix("./").unwrap_or(name);
    if plain == "json" {
        return Ok(Member::State);
    }
    if let Some(digest) = plain.strip_prefix("objects/").and_then(|text| text.parse().ok()) {
        return Ok(Member::Object(digest));
    }
    if plain.starts_with('/') || plain.split('/').any(|element| element == "..") {
        return Err(bad(package, &format!("{name:?} points out of the package")));
    }
    Err(bad(package, &format!("{name:?} is not allowed in it; a package holds json and objects/<sha256>")))
}

/// An extended header may carry times and owners, which nobody reads here, but no other name or size for the next member.
fn extended<R: Read>(package: &Path, entry: &mut Entry<'_, R>) -> Result<Member, Failed> {
    let mut records = Vec::new();
    entry.take(LARGEST_HEADER + 1).read_to_end(&mut records).map_err(|cause| unreadable(package, &cause))?;
    let renames = |key: &[u8]| records.windows(key.len()).any(|window| window == key);
    if records.len() as u64 > LARGEST_HEADER
        || [&b" path="[..], b" size=", b" linkpath="].into_iter().any(renames)
    {
        return Err(bad(
            package,
            "an extended tar header renames or resizes a member; pack it with --format=ustar",
        ));
    }
    Ok(Member::Nothing)
}

fn read_state<R: Read>(package: &Path, entry: &mut Entry<'_, R>) -> Result<Vec<u8>, Failed> {
    if entry.size() > LARGEST_STATE {
        return Err(bad(package, "its json is longer than 16 MiB"));
    }
    let expected = entry.size();
    let mut state = Vec::new();
    entry.read_to_end(&mut state).map_err(|cause| unreadable(package, &cause))?;
    whole(package, "json", state.len() as u64, expected)?;
    Ok(state)
}

/// Hashes it, and keeps its bytes if there is somewhere to.
fn check_object<R: Read>(
    package: &Path,
    digest: Digest,
    entry: &mut Entry<'_, R>,
    copy: Option<&mut Vec<u8>>,
) -> Result<u64, Failed> {
    let expected = entry.size();
    let hashed = match copy {
        Some(copy) => entry.read_to_end(copy).and_then(|_| hash(&mut copy.as_slice())),
        None => hash(entry),
    };
    let (actual, size) = hashed.map_err(|cause| unreadable(package, &cause))?;
    whole(package, &format!("objects/{digest}"), size, expected)?;
    if actual != digest {
        return Err(bad(package, &format!("objects/{digest}: its bytes have the sha256 {actual}")));
    }
    Ok(size)
}

fn whole(package: &Path, member: &str, size: u64, expected: u64) -> Result<(), Failed> {
    if size == expected {
        return Ok(());
    }
    Err(bad(package, &format!("cut short: {member} has {size} of {expected} bytes")))
}
