//! Trees that are not attached anywhere yet: taken where the device's paths are, attached where the container's are.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use model::setup::{Depth, MountAttribute, OverlayMarks, Place, Tree, Upper};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::error::HostError;
use crate::inside::{self, Missing};
use crate::sys;

/// Takes a tree, with its attributes set.
pub(crate) fn take(tree: &Tree, attributes: &BTreeSet<MountAttribute>) -> Result<OwnedFd, HostError> {
    match tree {
        Tree::Bind { place, depth } => bind(place, *depth, attributes),
        Tree::New { kind, options } => new(kind, options, attributes),
        Tree::Overlay { lower, upper, marks } => overlay(lower, upper.as_ref(), *marks, attributes),
    }
}

/// Attaches a tree at `target`.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// A tree of its own that shows what is at `place` now.
pub(crate) fn clone(place: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd, rustix::io::Errno> {
    let how =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    match depth {
        Depth::One => open_tree(place, "", how),
        Depth::All => open_tree(place, "", how | OpenTreeFlags::AT_RECURSIVE),
    }
}

/// How a place reads in an error.
pub(crate) fn name(tree: &Tree) -> String {
    match tree {
        Tree::Bind { place, .. } => path(place),
        Tree::New { kind, .. } => kind.clone(),
        Tree::Overlay { lower, .. } => {
            format!("overlay of {}", lower.iter().map(path).collect::<Vec<_>>().join(":"))
        }
    }
}

fn path(place: &Place) -> String {
    match place.path.trim_start_matches('/') {
        "" => place.anchor.clone(),
        below => format!("{}/{below}", place.anchor.trim_end_matches('/')),
    }
}

fn bind(place: &Place, depth: Depth, attributes: &BTreeSet<MountAttribute>) -> Result<OwnedFd, HostError> {
    let at = open_place(place, Missing::Refused)?;
    let tree = clone(at.as_fd(), depth).map_err(HostError::at("bind", path(place)))?;
    if !attributes.is_empty() {
        sys::set_mount_attributes(tree.as_fd(), flags(attributes).bits().into(), depth == Depth::All)
            .map_err(HostError::at("set the mount attributes of", path(place)))?;
    }
    Ok(tree)
}

pub(crate) fn new(
    kind: &str,
    options: &[(String, String)],
    attributes: &BTreeSet<MountAttribute>,
) -> Result<OwnedFd, HostError> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(HostError::at("open file system", kind))?;
    for (option, value) in options {
        match value.as_str() {
            "" => fsconfig_set_flag(&fs, option.as_str()),
            value => fsconfig_set_string(&fs, option.as_str(), value),
        }
        .map_err(HostError::at("set an option of", format!("{kind} ({option}={value})")))?;
    }
    fsconfig_create(&fs).map_err(HostError::at("make", kind))?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags(attributes)).map_err(HostError::at("mount", kind))
}

fn overlay(
    lower: &[Place],
    upper: Option<&Upper>,
    marks: OverlayMarks,
    attributes: &BTreeSet<MountAttribute>,
) -> Result<OwnedFd, HostError> {
    let folder = Missing::Folder { mode: 0o755 };
    let lower =
        lower.iter().map(|place| open_place(place, Missing::Refused)).collect::<Result<Vec<_>, _>>()?;
    // An option's value is cut at 256 bytes by the kernel, and a colon in a path would separate layers: descriptors are short.
    let mut options = vec![("lowerdir", lower.iter().map(by_number).collect::<Vec<_>>().join(":"))];
    let mut kept = Vec::new();
    if let Some(upper) = upper {
        for (option, place) in [("upperdir", &upper.changes), ("workdir", &upper.work)] {
            let at = open_place(place, folder)?;
            options.push((option, by_number(&at)));
            kept.push(at);
        }
    }
    match marks {
        OverlayMarks::User => options.push(("userxattr", String::new())),
        OverlayMarks::Trusted => {}
    }
    let options: Vec<_> = options.into_iter().map(|(option, value)| (option.to_owned(), value)).collect();
    new("overlay", &options, attributes)
}

fn by_number(at: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", at.as_raw_fd())
}

/// Opens a place of the device. What `missing` makes is made below the anchor, or as the anchor if the path is empty.
pub(crate) fn open_place(place: &Place, missing: Missing) -> Result<OwnedFd, HostError> {
    let failed = || HostError::at("open", path(place));
    let below = place.path.trim_matches('/');
    let anchor_missing = if below.is_empty() { missing } else { Missing::Refused };
    let anchor =
        match rustix::fs::openat(CWD, place.anchor.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) if anchor_missing != Missing::Refused => {
                let device = inside::device().map_err(HostError::at("open", "/"))?;
                inside::open_or_make(device.as_fd(), &place.anchor, anchor_missing)
            }
            outcome => outcome,
        }
        .map_err(failed())?;
    if below.is_empty() {
        return Ok(anchor);
    }
    inside::open_or_make(anchor.as_fd(), below, missing).map_err(failed())
}

pub(crate) fn flags(attributes: &BTreeSet<MountAttribute>) -> MountAttrFlags {
    attributes.iter().fold(MountAttrFlags::empty(), |flags, attribute| {
        flags
            | match attribute {
                MountAttribute::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
                MountAttribute::NoSuid => MountAttrFlags::MOUNT_ATTR_NOSUID,
                MountAttribute::NoDevices => MountAttrFlags::MOUNT_ATTR_NODEV,
                MountAttribute::NoExecution => MountAttrFlags::MOUNT_ATTR_NOEXEC,
                MountAttribute::NoAccessTime => MountAttrFlags::MOUNT_ATTR_NOATIME,
            }
    })
}
