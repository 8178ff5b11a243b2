//! A container's own mounts, in the namespace that holds them all.

use std::os::fd::{AsFd, BorrowedFd};

use model::setup::MountStep;
use nix::errno::Errno;

use crate::channel;
use crate::error::{AsErrno, HostError};
use crate::inside::{self, Missing};
use crate::{block, detached, wire};

/// Carries out the plan that comes in on `answer`; what was mounted before a step failed is taken away again.
pub(crate) fn work(answer: BorrowedFd<'_>) -> Result<(), Vec<HostError>> {
    let bytes = channel::receive_long(answer)
        .map_err(|errno| vec![HostError::at("receive", "the mount plan")(errno)])?;
    let (undo, steps): (u8, Vec<MountStep>) = wire::from_bytes(&bytes)
        .ok_or_else(|| vec![HostError::at("understand", "the mount plan")(Errno::EPROTO)])?;
    if undo != 0 {
        return take_away(&steps);
    }
    let root = inside::device().map_err(|errno| vec![HostError::at("open", "/")(errno)])?;
    for (at, step) in steps.iter().enumerate() {
        if let Err(error) = carry_out(step, root.as_fd()) {
            let mut errors = vec![error];
            errors.extend(take_away(&steps[..at]).err().into_iter().flatten());
            return Err(errors);
        }
    }
    Ok(())
}

fn carry_out(step: &MountStep, root: BorrowedFd<'_>) -> Result<(), HostError> {
    let folder = |path: &str, mode| {
        inside::open_or_make(root, path, Missing::Folder { mode }).map_err(HostError::at("make folder", path))
    };
    match step {
        MountStep::Folder { path, mode } => folder(path, *mode).map(drop),
        MountStep::File { path } => inside::open_or_make(root, path, Missing::File)
            .map(drop)
            .map_err(HostError::at("make file", path)),
        MountStep::Link { path, to } => {
            let (parent, name) = inside::parent(root, path).map_err(HostError::at("make folder of", path))?;
            nix::unistd::symlinkat(to.as_str(), &parent, name).map_err(HostError::at("make link", path))
        }
        MountStep::Image { file, device, target } => {
            let at = folder(target, 0o755)?;
            let parent = inside::parent(root, device).map_err(HostError::at("make folder of", device))?;
            let image = block::image(file, Some(&parent))?;
            detached::attach(image.as_fd(), at.as_fd())
                .map_err(HostError::at("mount", format!("{file} on {target}")))
        }
        MountStep::Mount { tree: what, target, attributes } => {
            let at = folder(target, 0o755)?;
            let taken = detached::take(what, attributes)?;
            detached::attach(taken.as_fd(), at.as_fd())
                .map_err(HostError::at("mount", format!("{} on {target}", detached::name(what))))
        }
    }
}

/// Takes away what the steps mounted or linked, last one first; carries on, and returns all it met.
fn take_away(steps: &[MountStep]) -> Result<(), Vec<HostError>> {
    let mut errors = Vec::new();
    for step in steps.iter().rev() {
        let (path, gone) = match step {
            // Folders are left: they may be the container's own, with what it wrote.
            MountStep::Folder { .. } | MountStep::File { .. } => continue,
            MountStep::Link { path, .. } => (path, rustix::fs::unlink(path.as_str())),
            MountStep::Image { target, .. } | MountStep::Mount { target, .. } => (
                target,
                rustix::mount::unmount(
                    target.as_str(),
                    rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
                ),
            ),
        };
        match gone.map_err(|errno| errno.as_errno()) {
            Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(errno) => errors.push(HostError::at("take away", path)(errno)),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
