//! Images unpacked into folders, for an agent that cannot mount them: once per image, whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use backhand::{FilesystemReader, InnerNode, Node, SquashfsFileReader};
use model::report::{Failure, FailureKind};

use crate::image;

/// One image at a time: containers that share one wait for the first to have unpacked it.
static UNPACKING: Mutex<()> = Mutex::new(());

/// Unpacks a squashfs image, unless it is there already.
pub(super) fn unpack(packed: &Path, folder: &Path) -> Result<(), Failure> {
    let _alone = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
    if folder.exists() {
        return Ok(());
    }
    let failed = |kind, why: &dyn std::fmt::Display| {
        Failure::new(kind, format!("unpack image {} to {}: {why}", packed.display(), folder.display()))
    };
    let half = folder.with_extension("new");
    let read = |error: backhand::BackhandError| failed(FailureKind::Corrupt, &error);
    let write = |error: io::Error| failed(kind_of(&error), &error);
    remove(&half).map_err(write)?;
    fs::create_dir_all(&half).map_err(write)?;
    let file = File::open(packed).map_err(write)?;
    let content = FilesystemReader::from_reader_with_offset_and_kind(BufReader::new(file), 0, image::kind())
        .map_err(read)?;
    for node in content.files() {
        put(&content, node, &half).map_err(write)?;
    }
    fs::rename(&half, folder).map_err(write)
}

/// Owners cannot be kept where only one user exists; device nodes cannot be made there.
fn put(content: &FilesystemReader<'_>, node: &Node<SquashfsFileReader>, folder: &Path) -> io::Result<()> {
    let Some(place) = beneath(folder, &node.fullpath) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a name in it leads outside"));
    };
    let mode = Permissions::from_mode(u32::from(node.header.permissions) | 0o600);
    match &node.inner {
        InnerNode::Dir(_) => {
            fs::create_dir_all(&place)?;
            fs::set_permissions(&place, Permissions::from_mode(u32::from(node.header.permissions) | 0o700))
        }
        InnerNode::File(file) => {
            let mut out = File::create_new(&place)?;
            io::copy(&mut content.file(file).reader(), &mut out)?;
            out.set_permissions(mode)
        }
        InnerNode::Symlink(link) => symlink(&link.link, &place),
        InnerNode::CharacterDevice(_)
        | InnerNode::BlockDevice(_)
        | InnerNode::NamedPipe
        | InnerNode::Socket => Ok(()),
    }
}

/// No component that leaves the folder. What was unpacked before it cannot either: links are made, never followed, because a
/// node's parent is a folder of the image.
fn beneath(folder: &Path, path: &Path) -> Option<PathBuf> {
    let mut place = folder.to_owned();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => place.push(name),
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(place)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the rest are the image's fault")]
fn kind_of(error: &io::Error) -> FailureKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::NoSpace,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::Denied,
        io::ErrorKind::NotFound => FailureKind::Missing,
        _ => FailureKind::Corrupt,
    }
}
