//! Images as file systems: what a file is, a loop device for it where the kernel needs one.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use model::setup::MountAttribute;
use nix::errno::Errno;
use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, flock, fstat, open, readlinkat, symlinkat, unlinkat,
};

use crate::detached;
use crate::error::HostError;
use crate::sys;

/// The file systems that an image may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Squashfs,
    Erofs,
}

/// A link in a folder, which names the loop device that an image was attached to last.
type Link<'a> = (OwnedFd, &'a str);

/// An image as a tree of its own, read-only. Its loop device, if any, is shared by all that mount it by the same link, and with it
/// what the kernel read and unpacked of it; it goes when the last mount of it goes.
pub(crate) fn image(path: &str, link: Option<&Link>) -> Result<OwnedFd, HostError> {
    let file = File::open(path).map_err(HostError::at("open image", path))?;
    match kind(&file, path)? {
        Kind::Erofs => match mounted("erofs", path) {
            // Mounting from a file needs Linux 6.12; a loop device always works.
            Err(error) if error.errno == Errno::ENOTBLK => by_loop("erofs", &file, path, link),
            outcome => outcome,
        },
        Kind::Squashfs => by_loop("squashfs", &file, path, link),
    }
}

fn kind(file: &File, path: &str) -> Result<Kind, HostError> {
    let starts = |magic: [u8; 4], at: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at).is_ok() && bytes == magic
    };
    if starts(*b"hsqs", 0) {
        return Ok(Kind::Squashfs);
    }
    // EROFS_SUPER_MAGIC_V1, little-endian, at EROFS_SUPER_OFFSET.
    if starts([0xe2, 0xe1, 0xf5, 0xe0], 1024) {
        return Ok(Kind::Erofs);
    }
    Err(HostError::at("find a squashfs or erofs in", path)(Errno::EUCLEAN))
}

fn mounted(kind: &str, source: &str) -> Result<OwnedFd, HostError> {
    let options = [("ro".to_owned(), String::new()), ("source".to_owned(), source.to_owned())];
    detached::new(kind, &options, &[MountAttribute::ReadOnly].into())
}

fn by_loop(kind: &str, image: &File, path: &str, link: Option<&Link>) -> Result<OwnedFd, HostError> {
    let control = open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(HostError::at("open", "/dev/loop-control"))?;
    let (device, name) = attached(&control, image.as_fd(), path, link)?;
    let tree =
        mounted(kind, &name).map_err(|error| HostError { subject: format!("{path} by {name}"), ..error });
    // Without a mount, closing the last descriptor lets the device go: it clears itself.
    drop(device);
    tree
}

/// A loop device with the image. Finding a free one and taking it is a race that many starts at once would lose for ever,
/// so the pair is under a lock; a program that does not take it is met with another try.
fn attached(
    control: &OwnedFd,
    image: BorrowedFd<'_>,
    path: &str,
    link: Option<&Link>,
) -> Result<(OwnedFd, String), HostError> {
    flock(control, FlockOperation::LockExclusive).map_err(HostError::at("lock", "/dev/loop-control"))?;
    if let Some(found) = link.and_then(|link| attached_before(image, link)) {
        return Ok(found);
    }
    for _ in 0..MOST_TRIES {
        let number =
            sys::free_loop_device(control.as_fd()).map_err(HostError::at("find", "a free loop device"))?;
        let name = format!("/dev/loop{number}");
        let device = open(name.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(HostError::at("open", name.clone()))?;
        match sys::configure_loop_device(device.as_fd(), image.as_raw_fd()) {
            Ok(()) => {
                if let Some((folder, link)) = link {
                    // Without the link others find none to share, and attach one of their own.
                    let _ = unlinkat(folder, *link, AtFlags::empty());
                    let _ = symlinkat(name.as_str(), folder, *link);
                }
                return Ok((device, name));
            }
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(HostError::at("attach", format!("{path} to {name}"))(errno)),
        }
    }
    Err(HostError::at("attach a loop device to", path)(Errno::EBUSY))
}

/// The one that the link names, if it still holds just this file: a number is anybody's after its last user. Held open, it stays.
fn attached_before(image: BorrowedFd<'_>, (folder, link): &Link) -> Option<(OwnedFd, String)> {
    let name = readlinkat(folder, *link, Vec::new()).ok()?.into_string().ok()?;
    let device = open(name.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let file = fstat(image).ok()?;
    let is_it = sys::loop_device_holds(device.as_fd(), file.st_dev, file.st_ino).ok()?;
    is_it.then_some((device, name))
}

const MOST_TRIES: usize = 64;

/// Mounts a boot partition (FAT) where no name leads to it. It is unmounted when the last that was opened beneath it is closed.
///
/// # Errors
/// It is not there, or holds no such file system.
pub fn boot_partition(device: &std::path::Path) -> Result<OwnedFd, HostError> {
    let source = device.display().to_string();
    let attributes = [MountAttribute::NoSuid, MountAttribute::NoDevices, MountAttribute::NoExecution].into();
    crate::detached::new("vfat", &[("source".to_owned(), source.clone())], &attributes)
        .map_err(|error| HostError { subject: format!("{} of {source}", error.subject), ..error })
}
