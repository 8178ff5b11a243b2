//! Transactions that are killed at every write: what was before is there, or what was meant.

use std::process::Command;

use serde_json::json;

use crate::authoring::{digest, good_members, package};
use crate::goalctl::program;
use crate::transactions::{Bench, state};

/// Killed at every call that makes a file whole, then run again: what is shown is what was before, or what was meant.
#[test]
fn a_cut_at_any_write_leaves_a_whole_state() {
    let bench = Bench::new();
    let objects = bench.at("objects");
    let package = package(bench.folder.path(), good_members).to_str().unwrap().to_owned();
    let base = bench.state("base.json", &state(&["web/old.json", "kept.json"]));
    let (added, trail) = (
        "[\"kept.json\",\"web/lxc.container.conf\",\"web/root.squashfs\",\"web/run.json\"]",
        bench.at("trail"),
    );
    let mut cuts = 0;
    for call in ["fsync", "/^rename"] {
        for when in 1.. {
            let _ = std::fs::remove_dir_all(&objects);
            let _ = std::fs::remove_dir_all(&trail);
            std::fs::create_dir(&trail).unwrap();
            std::fs::write(bench.path("trail/old"), "").unwrap();
            bench.good(&["abort"]);
            let killed = |words: &[&str]| {
                let inject = format!("inject={call}:signal=SIGKILL:when={when}");
                let mut strace = bench.with_place(Command::new("strace"));
                strace
                    .args(["-f", "-qq", "-o", "/dev/null", "-e", &inject])
                    .arg(program())
                    .arg("tx")
                    .args(words);
                !strace.status().expect("strace is installed (Debian: strace)").success()
            };
            let begun = killed(&["begin", &base, &objects]);
            if begun && bench.tx(&["show"]).code == 11 {
                bench.good(&["begin", &base, &objects]);
            }
            assert_eq!(bench.keys(), ["kept.json", "web/old.json"], "{call} {when}");
            let cut = killed(&["add", &package]);
            let keys = json!(bench.keys()).to_string();
            assert!(
                keys == added || (cut && keys == r#"["kept.json","web/old.json"]"#),
                "{call} {when}: {keys}"
            );
            for object in std::fs::read_dir(&objects).into_iter().flatten() {
                let name = object.unwrap().file_name().into_string().unwrap();
                let bytes = std::fs::read(bench.path("objects").join(&name)).unwrap();
                assert!(name.ends_with(".part") || digest(&bytes) == name, "{call} {when}: {name}");
            }
            bench.good(&["add", &package]);
            assert_eq!(json!(bench.keys()).to_string(), added);
            let deploying = killed(&["deploy", &trail]);
            let whole = |path: &str| {
                bench.path(path).join("web/run.json").exists()
                    && bench.path(path).join("web/root.squashfs").exists()
            };
            let old = bench.path("trail/old").exists() || bench.path("trail.bak/old").exists();
            assert!(whole("trail") || (deploying && old), "{call} {when}");
            if bench.tx(&["show"]).code == 0 {
                bench.good(&["deploy", &trail]);
            }
            assert!(whole("trail") && !bench.path("trail/old").exists() && !bench.path("trail.bak").exists());
            cuts += usize::from(begun) + usize::from(cut) + usize::from(deploying);
            if !begun && !cut && !deploying {
                break;
            }
        }
    }
    assert!(cuts > 30, "only {cuts} runs were cut");
}
