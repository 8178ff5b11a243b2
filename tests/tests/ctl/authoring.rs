//! Revisions as authors bring them: good ones are read, hostile ones are refused with the reason.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tests::examples::{Sort, Subject, all};

use crate::goalctl::{goalctl, without};

pub(crate) const CONF: &[u8] = b"lxc.init.cmd = /bin/web\nlxc.rootfs.path = overlayfs:/volumes/web/root.squashfs:/volumes/web/lxc-overlay/upper\n";
pub(crate) const IMAGE: &[u8] = b"an image, as far as a check cares";

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn run_json() -> Value {
    json!({
        "#spec": "service-manifest-run@1", "name": "web", "type": "lxc", "config": "lxc.container.conf",
        "root-volume": "root.squashfs", "storage": {"lxc-overlay": {"persistence": "boot"}}, "roles": ["mgmt"],
    })
}

fn state() -> Value {
    json!({
        "#spec": "pantavisor-service-system@1",
        "web/run.json": run_json(),
        "web/lxc.container.conf": digest(CONF),
        "web/root.squashfs": digest(IMAGE),
    })
}

pub(crate) fn add(tar: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, bytes: &[u8]) {
    let mut header = Header::new_ustar();
    // The crate refuses to write what an attacker would.
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(bytes.len().try_into().unwrap());
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

pub(crate) fn good_members(tar: &mut Builder<Vec<u8>>) {
    add(tar, "json", EntryType::Regular, state().to_string().as_bytes());
    add(tar, &format!("objects/{}", digest(CONF)), EntryType::Regular, CONF);
    add(tar, &format!("objects/{}", digest(IMAGE)), EntryType::Regular, IMAGE);
}

pub(crate) fn package(folder: &Path, fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> PathBuf {
    let mut tar = Builder::new(Vec::new());
    fill(&mut tar);
    let path = folder.join("package.tar");
    std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
    path
}

/// What `check` said about a package that must be refused.
fn refusal(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = package(folder.path(), fill);
    let said = goalctl(&["check", path.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{said:?}");
    without(&said.err, folder.path())
}

pub(crate) fn write_folder(folder: &Path) {
    std::fs::create_dir_all(folder.join("web")).unwrap();
    std::fs::create_dir_all(folder.join(".pvr")).unwrap();
    std::fs::write(folder.join(".pvr/json"), "not for us").unwrap();
    std::fs::write(folder.join("web/run.json"), run_json().to_string()).unwrap();
    std::fs::write(folder.join("web/lxc.container.conf"), CONF).unwrap();
    std::fs::write(folder.join("web/root.squashfs"), IMAGE).unwrap();
}

/// What is said about a revision without mistakes whose conf restricts nothing.
const LOOSE: &str = "\
note: web: it has every capability (neither lxc.cap.drop nor lxc.cap.keep)
note: web: it may use every device (no device rule denies a)
note: web: exec may grant privileges (lxc.no_new_privs is not 1)
ok
";

#[test]
fn the_same_revision_is_good_as_a_folder_a_state_and_a_package() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_folder(Path::new(&at("rev")));
    std::fs::write(at("state.json"), state().to_string()).unwrap();
    std::fs::create_dir(at("objects")).unwrap();
    std::fs::write(at(&format!("objects/{}", digest(CONF))), CONF).unwrap();
    std::fs::write(at(&format!("objects/{}", digest(IMAGE))), IMAGE).unwrap();
    let tar = std::fs::read(package(folder.path(), good_members)).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&tar).unwrap();
    // By content, not by name.
    std::fs::write(at("package.bin"), packed.finish().unwrap()).unwrap();
    for path in ["rev", "state.json", "package.tar", "package.bin"] {
        let said = goalctl(&["check", &at(path)]);
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, LOOSE, ""), "{path}");
    }
}

#[test]
fn a_state_alone_is_good_and_says_what_did_not_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    std::fs::write(&path, state().to_string()).unwrap();
    let said = goalctl(&["check", path.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{said:?}");
    insta::assert_snapshot!(said.out, @r"
    note: web/lxc.container.conf: not checked, its object did not come along
    note: 2 objects did not come along and must be on the device
    ok
    ");
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let mut run = run_json();
    run["status_goal"] = json!("RUNNING");
    run["root-volume"] = json!(7);
    std::fs::write(folder.path().join("web/run.json"), run.to_string()).unwrap();
    std::fs::write(folder.path().join("web/src.json"), "{\n  \"a\": ,\n}").unwrap();
    std::fs::write(
        folder.path().join("web/lxc.container.conf"),
        [CONF, b"lxc.flux.capacitor = 1\n"].concat(),
    )
    .unwrap();
    let said = goalctl(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!("mistakes", said.out);
    let json = goalctl(&["check", "--json", folder.path().to_str().unwrap()]);
    insta::assert_snapshot!("mistakes_json", json.out);
}

#[test]
fn what_is_neither_json_nor_tar_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (bytes, why) in
        [(&b"hello"[..], "neither"), (b"", "neither"), (&[0x1f, 0x8b, 8, 0, 0], ""), (b"\x7fELF", "neither")]
    {
        let path = folder.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        let said = goalctl(&["check", path.to_str().unwrap()]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
    let said = goalctl(&["check", folder.path().join("nothing").to_str().unwrap()]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("No such file"), "{said:?}");
}

#[test]
fn a_package_with_a_link_is_refused() {
    for kind in [EntryType::Symlink, EntryType::Link] {
        let text = refusal(|tar| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_path("json").unwrap();
            header.set_link_name("/etc/shadow").unwrap();
            header.set_cksum();
            tar.append(&header, &[][..]).unwrap();
        });
        assert_eq!(
            text,
            "goalctl: failed to read [folder]/package.tar: \"json\" is a link; a package holds none\n"
        );
    }
}

#[test]
fn a_package_that_points_outside_is_refused() {
    for name in ["/etc/cron.d/x", "../x", "objects/../../x"] {
        let text = refusal(|tar| add(tar, name, EntryType::Regular, b"x"));
        assert_eq!(
            text,
            format!("goalctl: failed to read [folder]/package.tar: {name:?} points out of the package\n")
        );
    }
}

#[test]
fn a_package_with_an_object_of_another_hash_is_refused() {
    let named = digest(b"what was meant");
    let text = refusal(|tar| {
        good_members(tar);
        add(tar, &format!("objects/{named}"), EntryType::Regular, b"what came");
    });
    let actual = digest(b"what came");
    assert_eq!(
        text,
        format!(
            "goalctl: failed to read [folder]/package.tar: objects/{named}: its bytes have the sha256 {actual}\n"
        )
    );
}

#[test]
fn a_package_with_anything_else_in_it_is_refused() {
    assert!(refusal(|tar| add(tar, "notes.txt", EntryType::Regular, b"x")).contains("is not allowed in it"));
    assert!(
        refusal(|tar| add(tar, "json", EntryType::Fifo, b"")).contains("neither a plain file nor a folder")
    );
    let device = refusal(|tar| add(tar, "json", EntryType::Block, b""));
    assert!(device.contains("neither a plain file nor a folder"));
    let long_name = refusal(|tar| add(tar, "json", EntryType::GNULongName, b"objects/x\0"));
    assert!(long_name.contains("neither a plain file nor a folder"));
    let renamed = refusal(|tar| add(tar, "json", EntryType::XHeader, b"19 path=/etc/passwd\n"));
    assert!(renamed.contains("renames or resizes a member"), "{renamed}");
    let twice = refusal(|tar| {
        good_members(tar);
        good_members(tar);
    });
    assert!(twice.contains("json is in it twice"), "{twice}");
    let empty = refusal(|tar| add(tar, &format!("objects/{}", digest(b"x")), EntryType::Regular, b"x"));
    assert!(empty.contains("no member json"), "{empty}");
}

#[test]
fn a_package_cut_short_is_refused_wherever_it_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(package(folder.path(), good_members)).unwrap();
    let cut = folder.path().join("cut.tar");
    // After the last member only the end mark follows, which packers leave out too.
    for length in [1, 300, 512, 600, 1024, 1500, 2048 + 20] {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let said = goalctl(&["check", cut.to_str().unwrap()]);
        assert_eq!(said.code, if length < 1024 { 1 } else { said.code }, "{length}: {said:?}");
        assert!(said.code == 1 || said.out.contains("did not come along"), "{length}: {said:?}");
    }
}

#[test]
fn a_folder_with_a_link_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    std::os::unix::fs::symlink("/etc/shadow", folder.path().join("web/extra")).unwrap();
    let said = goalctl(&["check", folder.path().to_str().unwrap()]);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(without(&said.err, folder.path()), @"goalctl: failed to read [folder]/web/extra: neither a plain file nor a folder; a revision holds no links and no devices");
}

#[test]
fn an_image_has_the_folder_s_files_and_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::write(root.join("bin/hello"), "#!/bin/sh\necho hello\n").unwrap();
    std::os::unix::fs::symlink("bin", root.join("sbin")).unwrap();
    let images = ["a.squashfs", "b.squashfs"].map(|name| folder.path().join(name));
    for image in &images {
        let said = goalctl(&["image", root.to_str().unwrap(), image.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let bytes = images.map(|image| std::fs::read(image).unwrap());
    assert_eq!(bytes[0], bytes[1]);
    let reader = backhand::FilesystemReader::from_reader(std::io::Cursor::new(bytes[0].clone())).unwrap();
    let found: Vec<(String, u16)> =
        reader.files().map(|node| (node.fullpath.display().to_string(), node.header.permissions)).collect();
    let names: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["/", "/bin", "/bin/hello", "/sbin"]);
    assert_ne!(found[0].1 & 0o100, 0, "the root folder can be entered");
}

#[test]
fn check_accepts_and_refuses_what_the_schemas_do() {
    let folder = tempfile::tempdir().unwrap();
    for (sort, code) in [(Sort::Valid, 0), (Sort::Invalid, 1), (Sort::InvalidBeyondSchema, 1)] {
        for example in all(sort) {
            let path = folder.path().join(example.name.replace('/', "-"));
            if example.subject == Subject::Conf {
                write_folder(&path);
                std::fs::write(path.join("web/lxc.container.conf"), &example.bytes).unwrap();
            } else {
                std::fs::write(&path, example.state()).unwrap();
            }
            let said = goalctl(&["check", path.to_str().unwrap()]);
            assert_eq!(said.code, code, "{sort:?} {}: {said:?}", example.name);
        }
    }
}
