//! Kernel modules by name, each after those that it depends on.

use std::fs;
use std::path::{Path, PathBuf};

use host::HostError;
use host::device;
use nix::errno::Errno;

/// Loads a module. One that is built in, or loaded already, is there.
pub(super) fn load(name: &str) -> Result<(), HostError> {
    let folder = Path::new("/lib/modules").join(super::bsp::release());
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    match files(name, &read("modules.dep")) {
        Some(files) => files.iter().try_for_each(|file| device::load_module(&folder.join(file), "")),
        None if read("modules.builtin").lines().any(|line| is_it(line, name)) => Ok(()),
        None => Err(HostError::at("find module", format!("{name} in {}", folder.display()))(Errno::ENOENT)),
    }
}

/// Its file, after those of `modules.dep` that come before it.
fn files(name: &str, dependencies: &str) -> Option<Vec<PathBuf>> {
    let mut lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let (file, needs) = lines.find(|(file, _)| is_it(file, name))?;
    let needs = needs.split_ascii_whitespace().rev();
    Some(needs.chain([file]).map(PathBuf::from).collect())
}

/// A module's file, whatever it is packed with; `-` and `_` are one.
fn is_it(file: &str, name: &str) -> bool {
    let base = file.rsplit('/').next().unwrap_or(file);
    let base = base.split_once(".ko").map_or(base, |(base, _)| base);
    let plain = |text: &str| text.replace('-', "_");
    plain(base) == plain(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let dependencies =
            "kernel/a/virtio.ko:\nkernel/b/virtio-blk.ko.xz: kernel/a/ring.ko kernel/a/virtio.ko\n";
        let found = files("virtio_blk", dependencies).unwrap();
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(found, ["kernel/a/virtio.ko", "kernel/a/ring.ko", "kernel/b/virtio-blk.ko.xz"]);
        assert_eq!(files("blk", dependencies), None);
    }
}
