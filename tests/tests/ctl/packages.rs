//! Packages that are made and taken: the same bytes each time, nothing half done, nothing believed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tar::EntryType;

use crate::authoring::{CONF, IMAGE, add, digest, good_members, package, run_json, write_folder};
use crate::device::Device;
use crate::goalctl::{Said, goalctl, without};
use crate::operator::ask;

fn at(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// Every file beneath, but pvr's own.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with(".pvr") {
                    folders.push(path);
                }
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn good(said: &Said) {
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
}

#[test]
fn what_is_exported_from_a_folder_and_from_the_device_is_the_same_and_comes_back_whole() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| at(folder.path(), name);
    write_folder(&folder.path().join("rev"));
    good(&ask(&device, "host", &["post", &path("rev"), "--name", "locals/x"]));
    let said = goalctl(&["export", &path("rev"), &path("folder.tar")]);
    good(&said);
    insta::assert_snapshot!(without(&said.out, folder.path()), @"[folder]/folder.tar: [folder]/rev, 2 objects (143 bytes)");
    good(&ask(&device, "host", &["export", "locals/x", &path("device.tar")]));
    let packed = std::fs::read(path("folder.tar")).unwrap();
    assert!(packed == std::fs::read(path("device.tar")).unwrap(), "the two packages differ");
    for name in ["one.tgz", "two.tar.gz"] {
        good(&ask(&device, "host", &["export", "locals/x", &path(name)]));
    }
    assert_eq!(std::fs::read(path("one.tgz")).unwrap(), std::fs::read(path("two.tar.gz")).unwrap());
    assert_eq!(goalctl(&["check", &path("one.tgz")]).code, 0);
    // tar from elsewhere reads it too.
    let listed = std::process::Command::new("tar").args(["-tf", &path("folder.tar")]).output().unwrap();
    assert!(String::from_utf8(listed.stdout).unwrap().starts_with("json\nobjects/"));
    for (name, into) in [("folder.tar", "a"), ("one.tgz", "b/c")] {
        good(&goalctl(&["import", &path(name), &path(into)]));
        assert_eq!(files(&folder.path().join(into)), files(&folder.path().join("rev")), "{name}");
    }
}

#[test]
fn what_the_device_runs_is_exported_without_a_name() {
    let device = Device::new();
    let running = device.report.borrow().revision.clone().expect("it runs something");
    device.store.install(&running, br##"{"#spec":"pantavisor-service-system@1"}"##).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = ask(&device, "host", &["export", &at(folder.path(), "x.tar")]);
    good(&said);
    assert!(said.out.ends_with("x.tar: current, 0 objects (0 bytes)\n"), "{said:?}");
    assert_eq!(ask(&device, "host", &["export", "locals/x", "-"]).code, 2, "no file is called so by chance");
    let said = ask(&device, "host", &["export", "locals/none", &at(folder.path(), "y.tar")]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(!folder.path().join("y.tar").exists());
}

#[test]
fn an_object_that_is_damaged_on_the_device_makes_no_package() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    write_folder(&folder.path().join("rev"));
    good(&ask(&device, "host", &["post", &at(folder.path(), "rev"), "--name", "locals/x"]));
    let object = device.socket("objects").join(digest(IMAGE));
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, IMAGE.to_ascii_uppercase()).unwrap();
    let said = ask(&device, "host", &["export", "locals/x", &at(folder.path(), "x.tar")]);
    assert_eq!(said.code, 1, "{said:?}");
    let name = digest(IMAGE);
    assert_eq!(
        said.err,
        format!(
            "goalctl: failed to pack object {name}: its bytes are not what its name says: it was changed meanwhile, or is damaged\n"
        )
    );
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["rev"]);
}

#[test]
fn an_imported_part_is_the_package_s_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let rev = folder.path().join("rev");
    write_folder(&rev);
    std::fs::create_dir_all(rev.join("web/old/deep")).unwrap();
    std::fs::write(rev.join("web/old/deep/file"), "gone with the old web").unwrap();
    std::fs::create_dir(rev.join("other")).unwrap();
    std::fs::write(rev.join("other/mine"), "kept").unwrap();
    std::fs::write(rev.join("web/run.json"), "{}").unwrap();
    let path = package(folder.path(), good_members);
    let said = goalctl(&["import", path.to_str().unwrap(), rev.to_str().unwrap()]);
    good(&said);
    insta::assert_snapshot!(without(&said.out, folder.path()), @"[folder]/rev: 1 files written, 1 removed");
    let found = files(&rev);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["other/mine", "web/lxc.container.conf", "web/root.squashfs", "web/run.json"]);
    assert!(!rev.join("web/old").exists());
    assert_eq!(found["web/run.json"], run_json().to_string().into_bytes());
    // Again: there is nothing to do.
    let again = goalctl(&["import", path.to_str().unwrap(), rev.to_str().unwrap()]);
    assert!(again.out.ends_with(": 0 files written, 0 removed\n"), "{again:?}");
}

#[test]
fn an_import_of_what_means_harm_leaves_the_folder_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let rev = folder.path().join("rev");
    write_folder(&rev);
    let before = files(&rev);
    let spec = r##""#spec":"pantavisor-service-system@1""##;
    let state = |keys: &str| format!("{{{spec},{keys}}}").into_bytes();
    let absent = digest(b"absent");
    for (json, why) in [
        (state(r#""../x.json":{}"#), "without . and .."),
        (state(r#""/etc/x.json":{}"#), "a relative path"),
        (state(r#"".pvr/config.json":{}"#), "keeps for itself"),
        (state(r#""web":"x""#), "sha256"),
        (state(&format!(r#""web/new":"{absent}""#)), "(web/new) is neither in it nor in"),
        (state(r#""a.json":{},"a.json/b.json":{}"#), "also the folder of"),
        (state(r#""a.json":{},"a.json":[]"#), "more than once"),
        (b"[1]".to_vec(), "found an array"),
    ] {
        let path = package(folder.path(), |tar| add(tar, "json", EntryType::Regular, &json));
        let said = goalctl(&["import", path.to_str().unwrap(), rev.to_str().unwrap()]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(why), "{why}: {said:?}");
        assert_eq!(files(&rev), before, "{why}");
    }
    for (name, kind, why) in [
        ("json", EntryType::Symlink, "is a link"),
        ("../../x", EntryType::Regular, "points out of the package"),
        ("json", EntryType::Fifo, "neither a plain file nor a folder"),
    ] {
        let path = package(folder.path(), |tar| {
            good_members(tar);
            add(tar, name, kind, b"");
        });
        let said = goalctl(&["import", path.to_str().unwrap(), rev.to_str().unwrap()]);
        assert!(said.code == 1 && said.err.contains(why), "{said:?}");
        assert_eq!(files(&rev), before, "{why}");
    }
    let other = json!({"other": CONF.len()}).to_string();
    std::fs::write(folder.path().join("noise"), other).unwrap();
    let said = goalctl(&["import", &at(folder.path(), "noise"), rev.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(files(&rev), before);
}

/// Flipped bits, cuts, repetitions of a good package: it is taken whole, or refused with a sentence while nothing is changed.
#[test]
fn a_mutated_package_is_taken_whole_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(package(folder.path(), good_members)).unwrap();
    let rev = folder.path().join("in/rev");
    let (mut taken, mut refused, mut random) = (0, 0, 0x2545_f491_4f6c_dd1d_u64);
    let mut next = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % most as u64).unwrap()
    };
    for round in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..=next(3) {
            // Most of a tar is nothing: heads are what is worth changing.
            let at = next(3) * 1024 + next(1024);
            match next(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.extend_from_within(..at.min(bytes.len())),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << next(8);
                    }
                }
            }
        }
        let _ = std::fs::remove_dir_all(folder.path().join("in"));
        let path = folder.path().join("mutated");
        std::fs::write(&path, &bytes).unwrap();
        let said = goalctl(&["import", path.to_str().unwrap(), rev.to_str().unwrap()]);
        match said.code {
            0 => {
                taken += 1;
                assert_eq!(said.err, "", "round {round}");
                let names = files(&rev);
                assert!(names.keys().all(|name| !name.ends_with(".part")), "round {round}: {names:?}");
            }
            1 => {
                refused += 1;
                assert!(said.err.starts_with("goalctl: "), "round {round}: {said:?}");
                assert!(!rev.exists() || files(&rev).is_empty(), "round {round}: {said:?}");
            }
            other => panic!("round {round}: exit code {other}: {said:?}"),
        }
    }
    let beside: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        beside.iter().all(|name| ["in", "mutated", "package.tar"].iter().any(|known| name == known)),
        "{beside:?}"
    );
    assert!(taken > 5 && refused > 50, "{taken} taken, {refused} refused");
}
