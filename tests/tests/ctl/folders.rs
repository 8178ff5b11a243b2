//! Working folders: made, cloned from a device, a package or a folder, compared.

use serde_json::json;
use tests::live::{Device, Programs, State};

use crate::authoring::{CONF, IMAGE, digest, write_folder};
use crate::goalctl::{Said, command, goalctl, said, without};
use crate::images::Tar;

fn text(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_folder_is_made_once_and_has_what_pvr_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let init = || goalctl(&["init", dir.to_str().unwrap()]);
    assert_eq!(init().code, 0);
    assert_eq!(text(&dir.join(".pvr/json")), r##"{"#spec":"pantavisor-service-system@1"}"##);
    assert_eq!(text(&dir.join(".pvr/config")), "{}\n");
    assert!(dir.join(".pvr/objects").is_dir());
    let again = init();
    assert_eq!(again.code, 1);
    assert_eq!(without(&again.err, folder.path()), "goalctl: [folder]/dev is a working folder already\n");
}

#[test]
fn a_package_and_a_folder_are_cloned_with_their_objects() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write_folder(&at("rev"));
    std::fs::remove_dir_all(at("rev/.pvr")).unwrap();
    let state = json!({
        "#spec": "pantavisor-service-system@1", "web/lxc.container.conf": digest(CONF), "web/root.squashfs": digest(IMAGE),
        "web/run.json": {"a": 1.50}, "_config/web/etc/x.json": [1],
    });
    let package = Tar::new()
        .file("json", state.to_string().as_bytes())
        .file(&format!("objects/{}", digest(CONF)), CONF)
        .file(&format!("objects/{}", digest(IMAGE)), IMAGE);
    std::fs::write(at("pack.tgz"), package.bytes()).unwrap();
    let clone =
        |source: &str| said(command().current_dir(folder.path()).args(["clone", source]).output().unwrap());
    let cloned = clone("pack.tgz");
    assert_eq!((cloned.code, cloned.out.as_str()), (0, "pack: 4 files, 2 of them objects\n"), "{cloned:?}");
    assert_eq!(std::fs::read(at("pack/web/root.squashfs")).unwrap(), IMAGE);
    assert_eq!(std::fs::read(at("pack/.pvr/objects").join(digest(IMAGE))).unwrap(), IMAGE);
    assert_eq!(text(&at("pack/web/run.json")), r#"{"a":1.5}"#);
    assert_eq!(text(&at("pack/.pvr/json")), state.to_string());
    let diff = goalctl(&["diff", at("pack").to_str().unwrap()]);
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{diff:?}");
    let again = clone("pack.tgz");
    assert_eq!(
        (again.code, again.err.as_str()),
        (1, "goalctl: pack is not empty; clone makes a new folder\n")
    );
    let cloned = goalctl(&["clone", at("rev").to_str().unwrap(), at("copy").to_str().unwrap()]);
    assert_eq!(cloned.code, 0, "{cloned:?}");
    assert_eq!(std::fs::read(at("copy/web/lxc.container.conf")).unwrap(), CONF);
}

#[test]
fn a_state_that_cannot_be_a_folder_is_refused_and_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |state: serde_json::Value| {
        let path = folder.path().join("state.json");
        std::fs::write(&path, state.to_string()).unwrap();
        let into = folder.path().join("into");
        let said = goalctl(&["clone", path.to_str().unwrap(), into.to_str().unwrap()]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(!into.exists());
        without(&said.err, folder.path())
    };
    let spec = "pantavisor-service-system@1";
    let mut all = String::new();
    for state in [
        json!({"#spec": spec, "../x.json": {}}),
        json!({"#spec": spec, "/x.json": {}}),
        json!({"#spec": spec, ".pvr/json": {}}),
        json!({"#spec": spec, "a//x.json": {}}),
        json!({"#spec": spec, "a.json": {}, "a.json/b.json": {}}),
        json!({"#spec": spec, "a": {}}),
        json!({"#spec": spec, "a": digest(b"nowhere")}),
        json!({"#spec": "other"}),
        json!({"a.json": {}}),
    ] {
        all.push_str(&refused(state));
    }
    insta::assert_snapshot!("not_cloned", all);
}

#[test]
fn a_difference_is_told_key_by_key_and_path_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let run =
        |arguments: &[&str]| -> Said { said(command().current_dir(&dir).args(arguments).output().unwrap()) };
    write_folder(&folder.path().join("rev"));
    std::fs::remove_dir_all(folder.path().join("rev/.pvr")).unwrap();
    std::fs::write(folder.path().join("rev/README.md"), "x").unwrap();
    let cloned = goalctl(&["clone", folder.path().join("rev").to_str().unwrap(), dir.to_str().unwrap()]);
    assert_eq!(cloned.code, 0, "{cloned:?}");
    let mut spec: serde_json::Value = serde_json::from_str(&text(&dir.join("web/run.json"))).unwrap();
    spec["status_goal"] = json!("READY");
    spec["storage"]["lxc-overlay"]["persistence"] = json!("permanent");
    spec.as_object_mut().unwrap().remove("roles");
    std::fs::write(dir.join("web/run.json"), format!("{spec:#}")).unwrap();
    std::fs::write(dir.join("web/root.squashfs"), "another").unwrap();
    std::fs::write(dir.join("device.json"), "{}").unwrap();
    std::fs::remove_file(dir.join("README.md")).unwrap();
    // Version control keeps its own beside it.
    std::fs::create_dir(dir.join(".git")).unwrap();
    std::fs::write(dir.join(".git/HEAD"), "ref: refs/heads/main").unwrap();
    std::fs::write(dir.join(".gitignore"), "*~").unwrap();
    // A container that has lost what makes it one is no mistake, and is said.
    std::fs::create_dir(dir.join("lost")).unwrap();
    std::fs::write(dir.join("lost/lxc.container.conf"), "").unwrap();
    let lost = "lost/ has a lxc.container.conf, but no run.json: no container is made of it";
    assert!(run(&["check", "."]).out.contains(lost));
    std::fs::remove_dir_all(dir.join("lost")).unwrap();
    let nowhere = run(&["clone", "locals/x"]);
    assert_eq!(nowhere.code, 2, "{nowhere:?}");
    assert!(nowhere.err.contains("`goalctl export REV FILE` packs another"), "{nowhere:?}");
    insta::assert_snapshot!(run(&["diff"]).out, @r#"
    - README.md
    + device.json
    M web/root.squashfs
    M web/run.json
        roles: ["mgmt"] -> nothing
        status_goal: nothing -> "READY"
        storage.lxc-overlay.persistence: "boot" -> "permanent"
    "#);
    let json: serde_json::Value = serde_json::from_str(&run(&["diff", "--json"]).out).unwrap();
    assert_eq!(json[0], json!({"key": "README.md", "change": "gone"}));
    assert_eq!(json[3]["paths"][1], json!({"path": "status_goal", "before": null, "after": "READY"}));
    // For pvr, which asks to be told of new files.
    let added = run(&["add", "."]);
    assert_eq!(
        added.out,
        "+ device.json\n1 new files; all of the folder is the next revision, with or without this\n"
    );
    assert_eq!(text(&dir.join(".pvr/new")), r#"{"device.json":1}"#);
    let outside = run(&["add", "/etc/hostname"]);
    assert_eq!(outside.code, 1, "{outside:?}");
}

#[test]
fn what_a_device_runs_is_cloned_changed_compared_and_posted() {
    let state = State::new().object("README.md", b"hello").inline("_hostconfig/x.json", json!({"a": 1}));
    let device = Device::new(&state);
    let agent = device.start(&Programs::find("debug"));
    let socket = agent.socket().to_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let at = |arguments: &[&str]| {
        said(
            command()
                .env("GOALPOST_SOCKET", &socket)
                .current_dir(folder.path())
                .args(arguments)
                .output()
                .unwrap(),
        )
    };
    let cloned = at(&["clone", "device"]);
    assert_eq!((cloned.code, cloned.out.as_str()), (0, "device: 2 files, 1 of them objects\n"), "{cloned:?}");
    let same = at(&["clone", &socket, "again"]);
    assert_eq!(same.code, 0, "{same:?}");
    assert_eq!(text(&folder.path().join("again/README.md")), "hello");
    std::fs::write(folder.path().join("device/README.md"), "changed").unwrap();
    assert_eq!(at(&["diff", "device", "--device"]).out, "M README.md\n");
    at(&["add", "-C", "device"]);
    let posted = at(&["post", "device", "--name", "locals/next", "-m", "changed", "--run", "--follow"]);
    assert_eq!(posted.code, 0, "{posted:?}");
    assert_eq!(at(&["diff", "device", "--device"]).out, "");
    // As `pvr commit` leaves it: what was posted is what the next changes are told from.
    let inside = folder.path().join("device/.pvr");
    assert_eq!(at(&["diff", "device"]).out, "");
    assert!(!inside.join("new").exists());
    assert_eq!(text(&inside.join("objects").join(digest(b"changed"))), "changed");
    // What the device does not take changes nothing; where objects are shared, they are kept there.
    std::fs::write(folder.path().join("device/README.md"), "again").unwrap();
    std::fs::write(inside.join("config"), r#"{"ObjectsDir": "../shared"}"#).unwrap();
    let before = text(&inside.join("json"));
    let taken = at(&["post", "device", "--name", "locals/next"]);
    assert_eq!((taken.code, text(&inside.join("json"))), (1, before), "{taken:?}");
    assert_eq!(at(&["diff", "device"]).out, "M README.md\n");
    assert_eq!(at(&["post", "device", "--name", "locals/after"]).code, 0);
    assert_eq!(at(&["diff", "device"]).out, "");
    assert_eq!(text(&folder.path().join("shared").join(digest(b"again"))), "again");
    // The device has it all the same if this cannot be kept.
    std::fs::write(folder.path().join("device/README.md"), "once more").unwrap();
    std::fs::write(inside.join("config"), r#"{"ObjectsDir": "json/none"}"#).unwrap();
    std::fs::write(folder.path().join("device/json"), "a file in the way").unwrap();
    let behind = at(&["post", "device", "--name", "locals/behind"]);
    assert!(
        behind.code == 0 && behind.out.contains("stays behind the device: failed to write"),
        "{behind:?}"
    );
    assert!(agent.stop().success());
}
