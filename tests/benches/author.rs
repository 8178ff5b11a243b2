//! How long `goalctl app add` takes for an image archive of 200 MB, beside `mksquashfs` with the same compressor and cores.
//!
//! Run `cargo build --release && cargo bench --bench author`. What is packed is this system's own programs and libraries.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use sha2::{Digest, Sha256};
use tests::bench::{Contender, interleaved, print_ratios, timed};
use tests::live::Programs;

const BYTES: u64 = 200_000_000;
/// Each takes seconds.
const ROUNDS: usize = 5;

fn main() {
    let goalctl = Programs::find("release").goalctl;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let at = |name: &str| folder.path().join(name);
    let tree = at("tree");
    let (files, bytes) = fill(&tree);
    let archive = archive(folder.path(), &tree);
    run(Command::new(&goalctl).arg("init").arg(at("dev")));
    let ours = || {
        let _ = std::fs::remove_dir_all(at("dev/web"));
        timed(|| {
            run(Command::new(&goalctl)
                .args(["app", "add", "web", "--from"])
                .arg(&archive)
                .arg("-C")
                .arg(at("dev")));
        })
    };
    let theirs = || {
        timed(|| {
            run(Command::new("mksquashfs").arg(&tree).arg(at("theirs.squashfs")).args([
                "-comp",
                "gzip",
                "-noappend",
                "-quiet",
                "-no-progress",
            ]));
        })
    };
    let contenders = vec![
        Contender::new("goalctl app add, from the archive", ours),
        Contender::new("mksquashfs -comp gzip, from the tree", theirs),
    ];
    let times = interleaved(ROUNDS, contenders);
    print_ratios(
        &format!("an image of {files} files, {} MB", bytes / 1_000_000),
        &times,
        &[("mksquashfs", 1.3)],
    );
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |found| found.len() / 1024);
    println!(
        "  the image: ours {} KiB, theirs {} KiB",
        size(at("dev/web/root.squashfs")),
        size(at("theirs.squashfs"))
    );
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{command:?} failed; mksquashfs is Debian's squashfs-tools"
    );
}

/// Copies of files of this system until there are enough bytes: as containers have them.
fn fill(tree: &Path) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut ahead = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/share"), PathBuf::from("/usr/bin")];
    while let Some(folder) = ahead.pop() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(&folder)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        entries.sort();
        for path in entries {
            let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
            if found.is_dir() {
                ahead.push(path);
            } else if found.is_file() && found.len() < 20_000_000 && bytes < BYTES {
                let place = tree.join(path.strip_prefix("/").expect("every path is absolute"));
                std::fs::create_dir_all(place.parent().expect("it is below the tree"))
                    .expect("there is room");
                std::fs::copy(&path, &place).expect("there is room");
                files += 1;
                bytes += found.len();
            }
        }
    }
    (files, bytes)
}

/// As `docker save` writes it, with one layer.
fn archive(folder: &Path, tree: &Path) -> PathBuf {
    let layer = folder.join("layer.tar");
    let mut tar = tar::Builder::new(File::create(&layer).expect("there is room"));
    tar.append_dir_all(".", tree).expect("there is room");
    tar.into_inner().expect("there is room");
    let bytes = std::fs::read(&layer).expect("it was just made");
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    drop(bytes);
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": ["bench:1"], "Layers": ["layer.tar"]}]);
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        std::fs::write(folder.join(name), document.to_string()).expect("there is room");
    }
    let archive = folder.join("image.tar");
    let mut tar = tar::Builder::new(File::create(&archive).expect("there is room"));
    for name in ["layer.tar", "config.json", "manifest.json"] {
        tar.append_path_with_name(folder.join(name), name).expect("there is room");
    }
    tar.into_inner().expect("there is room");
    archive
}
