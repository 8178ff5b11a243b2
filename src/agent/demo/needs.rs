//! What the demo needs of a kernel, with how to get it where it is missing.

use std::fs;

/// A file system that containers are made of.
struct Need {
    name: &'static str,
    option: &'static str,
}

const OVERLAY: Need = Need { name: "overlay", option: "CONFIG_OVERLAY_FS" };
const SQUASHFS: Need = Need { name: "squashfs", option: "CONFIG_SQUASHFS with CONFIG_SQUASHFS_ZLIB" };
const LOOP: Need = Need { name: "loop", option: "CONFIG_BLK_DEV_LOOP" };

/// Everything that is missing, a sentence each.
pub(super) fn check() -> Result<(), String> {
    let mut missing = Vec::new();
    let systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |need: &Need| systems.split_whitespace().any(|word| word == need.name) || has_module(need.name);
    if !has(&OVERLAY) {
        missing.push(sentence(&OVERLAY));
    }
    if crate::start::is_privileged() {
        missing.extend((!has(&SQUASHFS)).then(|| sentence(&SQUASHFS)));
        let looping = fs::exists("/dev/loop-control").unwrap_or(false) || has_module(LOOP.name);
        missing.extend((!looping).then(|| sentence(&LOOP)));
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
}

fn sentence(need: &Need) -> String {
    let Need { name, option } = need;
    format!("this kernel has no {name}: try `modprobe {name}` as root, or a kernel with {option}")
}

/// Whether the kernel could load it by itself.
fn has_module(name: &str) -> bool {
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let listed = |file: &str| {
        let path = format!("/lib/modules/{}/{file}", release.trim());
        fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("/{name}.ko")))
    };
    listed("modules.dep") || listed("modules.builtin")
}
