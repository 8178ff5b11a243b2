//! Modules and firmware that the booted revision brings, put where the kernel and we look for them.

use std::fs;
use std::path::Path;

use host::HostError;
use host::device;
use model::device::Bsp;
use nix::errno::Errno;

use super::storage::is_mounted;

/// Shows both, unless a former agent of this boot did. `folder` holds the BSP's files.
pub(super) fn show(bsp: &Bsp, folder: &Path) -> Vec<Result<(), HostError>> {
    let running = release();
    let modules = bsp.modules.as_ref().map(|(release, file)| match release.as_deref() {
        Some(other) if other != running => {
            let subject = format!("{file} with kernel {running}: it is for {other}");
            Err(HostError::at("use modules of", subject)(Errno::EINVAL))
        }
        Some(_) | None => shown(&folder.join(&**file), &Path::new("/lib/modules").join(&running)),
    });
    let firmware = bsp.firmware.as_ref().map(|file| shown(&folder.join(&**file), Path::new("/lib/firmware")));
    modules.into_iter().chain(firmware).collect()
}

fn shown(image: &Path, place: &Path) -> Result<(), HostError> {
    if is_mounted(place) {
        return Ok(());
    }
    fs::create_dir_all(place).map_err(HostError::at("make", place.display().to_string()))?;
    device::mount_image(image, place)
}

/// Of the kernel that runs.
pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
