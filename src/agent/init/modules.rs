//! Kernel modules by name, each after those that it depends on.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use host::HostError;
use host::device;
use nix::errno::Errno;

/// Loads a module. One that is built in, or loaded already, is there.
pub(crate) fn load(name: &str) -> Result<(), HostError> {
    let folder = Path::new("lib/modules").join(super::bsp::release());
    let seen = Path::new("/").join(&folder);
    if let Some(outcome) = load_of(&seen, name) {
        return outcome;
    }
    // Those that a BSP brings lie over those of the first root.
    let root = device::root_alone()?;
    let hidden = PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())).join(&folder);
    load_of(&hidden, name).unwrap_or_else(|| {
        Err(HostError::at("find module", format!("{name} in {}", seen.display()))(Errno::ENOENT))
    })
}

/// `None` if the folder knows none of this name.
fn load_of(folder: &Path, name: &str) -> Option<Result<(), HostError>> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    match files(name, &read("modules.dep")) {
        // The kernel would check the signature of one that it has once more, which takes as long as the first time.
        Some(files) => {
            let mut missing = files.iter().filter(|file| !is_loaded(file));
            Some(missing.try_for_each(|file| device::load_module(&folder.join(file), "")))
        }
        None => read("modules.builtin").lines().any(|line| is_it(line, name)).then_some(Ok(())),
    }
}

/// Its file, after those of `modules.dep` that come before it.
fn files(name: &str, dependencies: &str) -> Option<Vec<PathBuf>> {
    let mut lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let (file, needs) = lines.find(|(file, _)| is_it(file, name))?;
    let needs = needs.split_ascii_whitespace().rev();
    Some(needs.chain([file]).map(PathBuf::from).collect())
}

fn is_loaded(file: &Path) -> bool {
    Path::new("/sys/module").join(plain(&file.to_string_lossy())).exists()
}

fn is_it(file: &str, name: &str) -> bool {
    plain(file) == plain(name)
}

/// A module's name, of its file whatever that is packed with; `-` and `_` are one.
fn plain(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split_once(".ko").map_or(base, |(base, _)| base).replace('-', "_")
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
