//! The walls between the crates, compared with what cargo says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each crate may name in its manifest, workspace crates first. Build and test dependencies of the tools are not on a device.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &["serde", "serde_json", "thiserror"]),
    ("engine", &["model"]),
    ("host", &["model", "nix", "rustix", "libc", "caps", "syscalls", "thiserror"]),
    ("init", &["libc"]),
    (
        "agent",
        &[
            "model",
            "engine",
            "host",
            "backhand",
            "dlmalloc",
            "env_logger",
            "http-body-util",
            "hyper",
            "hyper-util",
            "lexopt",
            "log",
            "miniz_oxide",
            "nix",
            "rustix",
            "sd-notify",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "tokio",
            "toml",
            "zbus",
        ],
    ),
    (
        "ctl",
        &[
            "model",
            "clap",
            "data-encoding",
            "dlmalloc",
            "flate2",
            "http-body-util",
            "hyper",
            "hyper-util",
            "miniz_oxide",
            "nix",
            "ruzstd",
            "serde",
            "serde_json",
            "sha2",
            "tar",
            "thiserror",
            "tokio",
            "tokio-rustls",
        ],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

fn metadata(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs: it started this test");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("a workspace has packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("an array, perhaps empty");
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

#[test]
fn every_crate_uses_only_what_its_row_allows() {
    let found = normal_dependencies();
    for (name, allowed) in ALLOWED {
        let used = &found[*name];
        let beyond: Vec<_> = used.iter().filter(|used| !allowed.contains(&used.as_str())).collect();
        assert!(
            beyond.is_empty(),
            "crate {name} uses {beyond:?}, which its row in tests/architecture.rs does not allow"
        );
    }
    let crates: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).chain(["tests"]).collect();
    assert_eq!(
        crates,
        found.keys().map(String::as_str).collect(),
        "a crate without a row, or a row without a crate"
    );
}

#[test]
fn model_and_engine_are_no_std_and_forbid_unsafe() {
    for name in ["model", "engine"] {
        let lib = std::fs::read_to_string(root().join("src").join(name).join("lib.rs"))
            .expect("every crate has a lib.rs");
        assert!(
            lib.contains("#![no_std]") && lib.contains("#![forbid(unsafe_code)]"),
            "src/{name}/lib.rs lost its fence"
        );
    }
}

#[test]
fn unsafe_is_only_in_host_and_in_the_system_calls_of_pid_1() {
    for file in rust_files(&root().join("src/init")).into_iter().filter(|file| !file.ends_with("sys.rs")) {
        let text = std::fs::read_to_string(&file).expect("a source file is text");
        assert_eq!(text.lines().find(|line| is_unsafe(line)), None, "{}", file.display());
    }
    for name in ["model", "engine", "agent", "ctl"] {
        for file in rust_files(&root().join("src").join(name)) {
            let text = std::fs::read_to_string(&file).expect("a source file is text");
            let bad = text.lines().find(|line| is_unsafe(line));
            assert_eq!(bad, None, "{} has unsafe code, which belongs in src/host", file.display());
        }
    }
}

fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|start| code.contains(start))
}

#[test]
fn every_crate_has_its_own_clippy_file_with_a_reason_on_every_ban() {
    for name in ["model", "engine", "host", "init", "agent", "ctl"] {
        let file = root().join("src").join(name).join("clippy.toml");
        let text = std::fs::read_to_string(&file).expect("every crate has a clippy.toml");
        let bans: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("{ path")).collect();
        assert!(!bans.is_empty(), "{} bans nothing", file.display());
        assert!(
            bans.iter().all(|ban| ban.contains("reason = \"")),
            "{} has a ban without a reason",
            file.display()
        );
    }
}

#[test]
fn every_source_file_says_why_it_exists() {
    for folder in ["src", "tests/src", "tests/tests"] {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("a source file is text");
            let first = text.lines().next().unwrap_or_default();
            assert!(
                first.starts_with("//! "),
                "{} does not begin with a sentence about itself",
                file.display()
            );
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows_and_is_not_banned() {
    let deny: toml::Table = std::fs::read_to_string(root().join("deny.toml"))
        .expect("deny.toml is there")
        .parse()
        .expect("it is TOML");
    let licences = deny["licenses"]["allow"].as_array().expect("an array of licences");
    let allowed = |licence: &str| licences.iter().any(|allowed| allowed.as_str() == Some(licence));
    let banned = deny["bans"]["deny"].as_array().expect("an array of bans");

    let packages = metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"]);
    for package in packages["packages"].as_array().expect("a workspace has packages") {
        let (name, licence) = (text(&package["name"]), package["license"].as_str().unwrap_or("none"));
        let all_of = licence.split(" AND ");
        let good = all_of.into_iter().all(|part| {
            part.trim_matches(['(', ')'])
                .split(" OR ")
                .flat_map(|or| or.split('/'))
                .any(|one| allowed(one.trim()))
        });
        assert!(good, "{name} has licence {licence}, which deny.toml does not allow");
        assert!(
            !banned.iter().any(|ban| ban["crate"].as_str() == Some(&name)),
            "{name} is banned by deny.toml"
        );
    }
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a source folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
