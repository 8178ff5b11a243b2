//! `goalctl app`: containers from images of every sort, with what is refused of them.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use serde_json::json;
use tar::EntryType;

use crate::images::{Author, Image, Packing, Tar, finish_layout};

/// Two layers with everything that a layer can say.
fn image() -> Image {
    let base = Tar::new()
        .folder("./")
        .folder("bin/")
        .program("bin/tool", &[7; 300_000])
        .link("bin/tool2", "bin/tool")
        .symlink("sbin", "bin")
        .folder("etc")
        .file("etc/gone", b"x")
        .file("etc/stays", b"old")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\n")
        .file("etc/group", b"web:x:102:\nvideo:x:44:\n")
        .folder("var")
        .folder("var/cache")
        .file("var/cache/a", b"a")
        .file("var/cache/deep", b"d")
        .folder("gone")
        .file("gone/with-it", b"x")
        .bytes();
    let top = Tar::new()
        .file("etc/.wh.gone", b"")
        .file(".wh..wh.plnk/12.34", b"a note of the file system")
        .file("etc/stays", b"new")
        .file(".wh.gone", b"")
        .file("var/cache/b", b"b")
        .file("var/cache/.wh..wh..opq", b"")
        .program("sbin/through-a-link", b"#!/bin/sh\n")
        .member("home", EntryType::Directory, 0o1777, (1000, 2000), "", b"")
        .member("home/own", EntryType::Regular, 0o4750, (1000, 2000), "", b"mine")
        .member("null", EntryType::Char, 0o666, (0, 6), "", b"")
        .member("loop", EntryType::Block, 0o660, (0, 6), "", b"")
        .member("pipe", EntryType::Fifo, 0o600, (0, 0), "", b"")
        .records("28 SCHILY.xattr.user.a=abcd\n")
        .file("attributed", b"x")
        .bytes();
    let config = json!({
        "Entrypoint": ["/bin/tool", "--say", "a b"], "Cmd": ["it's \"quoted\""], "Env": ["PATH=/bin", "EMPTY="],
        "User": "web:video", "WorkingDir": "/var", "Volumes": {"/data": {}, "/var/cache": {}},
    });
    Image::new(vec![base, top], config)
}

#[test]
fn an_image_s_layers_become_one_root_whatever_they_came_in() {
    let author = Author::new();
    let said = author.add(&author.write("image.tar", &image().archive()), &[]);
    assert!(said.out.contains("1 extended attributes are not kept"), "{said:?}");
    insta::assert_snapshot!("image_listing", author.listing());
    insta::assert_snapshot!("image_run", author.read("web/run.json"));
    insta::assert_snapshot!("image_conf", author.read("web/lxc.container.conf"));
    let whole = author.image();
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let author = Author::new();
        let layout = author.path("layout");
        image().layout(&layout, packing);
        author.add(layout.to_str().unwrap(), &[]);
        assert!(author.image() == whole, "{packing:?}: other bytes for the same image");
        let digest = author.read("web/root.squashfs.docker-digest");
        assert_eq!(author.json("web/src.json")["docker_digest"], digest);
        assert!(digest.starts_with("sha256:") && digest.len() == 71, "{digest:?}");
    }
    for packing in [Packing::Gzip, Packing::Zstd] {
        let author = Author::new();
        author.add(&author.write("image.tar.packed", &packing.pack(&image().archive())), &[]);
        assert!(author.image() == whole, "{packing:?}: other bytes for the same archive");
    }
}

#[test]
fn a_root_is_the_same_as_a_folder_and_as_a_tar() {
    let author = Author::new();
    let root = author.path("root");
    std::fs::create_dir_all(root.join("many")).unwrap();
    for number in 0..3000 {
        std::fs::write(root.join(format!("many/a-name-that-makes-the-listing-long-{number}")), "x").unwrap();
    }
    std::fs::write(root.join("long"), [vec![1; 131_072], vec![0; 131_072], vec![2; 5]].concat()).unwrap();
    std::fs::write(root.join("alike"), [vec![1; 131_072], vec![9; 9]].concat()).unwrap();
    std::fs::write(root.join("empty"), "").unwrap();
    std::fs::hard_link(root.join("long"), root.join("many/long")).unwrap();
    std::os::unix::fs::chown(root.join("empty"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(root.join("empty"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    author.add(root.to_str().unwrap(), &[]);
    let whole = author.image();
    let tar = author.path("root.tar");
    let packed =
        Command::new("tar").args(["--sort=name", "-cf"]).arg(&tar).arg("-C").arg(&root).arg(".").status();
    assert!(packed.unwrap().success());
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let author = Author::new();
        let path = author.write("root.packed", &packing.pack(&std::fs::read(&tar).unwrap()));
        author.add(&path, &[]);
        assert!(author.image() == whole, "{packing:?}: other bytes for the same root");
        assert_eq!(author.read("web/root.squashfs.rootfs-digest").len(), 71);
    }
    // As the kernel sees it.
    let at = author.path("mounted");
    std::fs::create_dir(&at).unwrap();
    let image = author.dir().join("web/root.squashfs");
    assert!(Command::new("mount").args(["-o", "loop,ro"]).arg(image).arg(&at).status().unwrap().success());
    let same = Command::new("diff").arg("-r").arg(&root).arg(&at).output().unwrap();
    let (names, empty) = (std::fs::metadata(at.join("long")), std::fs::metadata(at.join("empty")));
    assert!(Command::new("umount").arg(&at).status().unwrap().success());
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    let empty = empty.unwrap();
    assert_eq!((names.unwrap().nlink(), empty.uid(), empty.gid(), empty.mode() & 0o7777), (2, 7, 8, 0o4711));
}

#[test]
fn a_hostile_tar_is_refused_and_leaves_nothing() {
    let author = Author::new();
    let refused = |tar: Vec<u8>| author.refusal(&author.write("x.tar", &tar), &[]);
    let mut said = String::new();
    for tar in [
        Tar::new().file("../outside", b"x"),
        Tar::new().file("a/../../outside", b"x"),
        Tar::new().link("shadow", "../../etc/shadow"),
        Tar::new().link("shadow", "/etc/shadow"),
        Tar::new().file("a", b"x").file("a/b", b"x"),
        Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", b"x"),
        Tar::new().folder("d").link("e", "d"),
        Tar::new().member("s", EntryType::GNUSparse, 0o644, (0, 0), "", b""),
        Tar::new().records("22 GNU.sparse.major=1\n").file("s", b"x"),
        Tar::new().records("12 size=999\n").file("s", b"x"),
        Tar::new().records("99 path=broken\n").file("s", b"x"),
        Tar::new().records(&format!("{} path={}\n", 4200 + 11, "a/".repeat(2100))).file("s", b"x"),
        Tar::new().member("x", EntryType::XGlobalHeader, 0o644, (0, 0), "", b"11 path=a\n\n").file("s", b"x"),
        Tar::new().member("x", EntryType::GNULongName, 0o644, (0, 0), "", &vec![b'a'; 2 << 20]),
        Tar::new().symlink("a", ""),
        Tar::new(),
    ] {
        said.push_str(&refused(tar.bytes()));
    }
    let whole = Tar::new().file("big", &[1; 5000]).bytes();
    said.push_str(&refused(whole[..3000].to_vec()));
    said.push_str(&refused(b"neither a tar nor anything else".to_vec()));
    said.push_str(&refused(b"root:x:0:0:root:/root:/bin/bash\n".repeat(64)));
    let packed = Packing::Gzip.pack(&whole);
    said.push_str(&refused(packed[..packed.len() / 2].to_vec()));
    said.push_str(&refused(b"\xfd7zXZ\0and so on".to_vec()));
    insta::assert_snapshot!("hostile", said);
}

#[test]
fn what_leads_outside_stays_inside() {
    let author = Author::new();
    let tar = Tar::new()
        .file("/absolute", b"x")
        .symlink("up", "../../../../..")
        .symlink("root", "/")
        .file("up/one", b"x")
        .file("root/two", b"x");
    author.add(&author.write("x.tar", &tar.bytes()), &[]);
    insta::assert_snapshot!(author.listing(), @r"
    drwxr-xr-x 0/0 75 1970-01-01 00:00 squashfs-root
    -rw-r--r-- 0/0 1 2023-11-14 22:13 squashfs-root/absolute
    -rw-r--r-- 0/0 1 2023-11-14 22:13 squashfs-root/one
    lrwxrwxrwx 0/0 1 2023-11-14 22:13 squashfs-root/root -> /
    -rw-r--r-- 0/0 1 2023-11-14 22:13 squashfs-root/two
    lrwxrwxrwx 0/0 14 2023-11-14 22:13 squashfs-root/up -> ../../../../..
    ");
    for name in ["absolute", "one", "two"] {
        assert!(!std::path::Path::new("/").join(name).exists());
    }
}

#[test]
fn an_image_that_is_not_what_it_says_is_refused() {
    let author = Author::new();
    let mut said = String::new();
    let image = image();
    let document = image.document();
    let config = format!("{}.json", crate::authoring::digest(&document));
    let manifest = |config: &str, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": ["a:1"], "Layers": layers}]).to_string().into_bytes()
    };
    let archive = |config_name: &str, document: &[u8], layers: &[&str]| {
        Tar::new()
            .file("one", &image.layers[0])
            .file("two", &image.layers[1])
            .file(config_name, document)
            .file("manifest.json", &manifest(config_name, layers))
            .bytes()
    };
    for bytes in [
        archive(&config, &document, &["two", "one"]),
        archive(&config, &document, &["one"]),
        archive(&config, &document, &["one", "three"]),
        archive(&config, &document, &["one", "../../../etc/shadow"]),
        archive(&config, b"{}", &["one", "two"]),
        archive("config", b"{}", &["one", "two"]),
    ] {
        said.push_str(&author.refusal(&author.write("image.tar", &bytes), &[]));
    }
    let layout = author.path("layout");
    image.layout(&layout, Packing::Gzip);
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let good = std::fs::read(layout.join(&manifest)).unwrap();
    std::fs::write(layout.join(&manifest), [good.as_slice(), b" "].concat()).unwrap();
    said.push_str(&author.refusal(layout.to_str().unwrap(), &[]));
    std::fs::write(layout.join(&manifest), &good).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&good).unwrap();
    let layer = parsed["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    std::fs::write(layout.join(&layer), b"something else").unwrap();
    said.push_str(&author.refusal(layout.to_str().unwrap(), &[]));
    insta::assert_snapshot!("not_what_it_says", said);
}

#[test]
fn a_platform_or_an_image_is_chosen_or_asked_for() {
    let author = Author::new();
    let layout = author.path("layout");
    let one = Image { architecture: "riscv64", ..image() };
    let two = Image { architecture: "s390x", ..image() };
    let mut manifests = [one.blobs(&layout, Packing::Gzip), two.blobs(&layout, Packing::Gzip)];
    finish_layout(&layout, &manifests);
    let source = layout.to_str().unwrap().to_owned();
    let mut said = author.refusal(&source, &[]);
    said.push_str(&author.refusal(&source, &["--platform", "linux/mips"]));
    for (manifest, name) in manifests.iter_mut().zip(["first", "second"]) {
        manifest.as_object_mut().unwrap().remove("platform");
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    }
    finish_layout(&layout, &manifests);
    said.push_str(&author.refusal(&source, &[]));
    said.push_str(&author.refusal(&source, &["--image", "third"]));
    insta::assert_snapshot!("which_image", said);
    author.add(&source, &["--image", "second"]);
    let src = author.json("web/src.json");
    assert_eq!(
        (&src["docker_platform"], &src["docker_tag"], &src["image"]),
        (&json!("linux/s390x"), &json!("second"), &json!("second"))
    );
    // What was chosen is chosen again.
    let said = author.run(&["app", "update", "web"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(author.json("web/src.json")["docker_platform"], "linux/s390x");
}

#[test]
fn a_platform_that_is_wished_for_is_the_images_own() {
    let author = Author::new();
    let layout = author.path("layout");
    let mut manifest = Image { architecture: "riscv64", ..image() }.blobs(&layout, Packing::Gzip);
    // As skopeo writes it.
    manifest.as_object_mut().unwrap().remove("platform");
    finish_layout(&layout, &[manifest]);
    let archive = author.write("image.tar", &Image { architecture: "riscv64", ..image() }.archive());
    let root = author.path("root");
    std::fs::create_dir(&root).unwrap();
    let mut said = String::new();
    for source in [layout.to_str().unwrap(), &archive, root.to_str().unwrap()] {
        said.push_str(&author.refusal(source, &["--platform", "linux/arm64"]));
    }
    insta::assert_snapshot!(said);
    let bare = author.run(&["app", "add", "bare", "--from", root.to_str().unwrap()]);
    let why = "warning: nothing says what bare runs, and it has no /sbin/init: see --config";
    assert!(bare.code == 0 && bare.out.contains(why), "{bare:?}");
    author.add(layout.to_str().unwrap(), &["--platform", "linux/riscv64"]);
    assert_eq!(author.json("web/src.json")["docker_platform"], "linux/riscv64");
}

#[test]
fn a_container_is_updated_installed_listed_and_removed() {
    let author = Author::new();
    author.add(
        &author.write("image.tar", &image().archive()),
        &["--status-goal", "READY", "--group", "app", "--arg", "OWN=kept", "--volume", "/data:boot"],
    );
    let mut said = format!("{:?}\n", author.run(&["app", "ls"]));
    // An author edits src.json, as people do today.
    let mut src = author.json("web/src.json");
    src["args"]["PV_STATUS_GOAL"] = json!("STARTED");
    src["mine"] = json!("kept");
    std::fs::write(author.dir().join("web/src.json"), src.to_string()).unwrap();
    said.push_str(&format!("{:?}\n", author.run(&["app", "install", "web"])));
    assert_eq!(author.json("web/run.json")["status_goal"], "STARTED");
    // A new image comes, the arguments stay.
    let mut newer = image();
    newer.layers.push(Tar::new().file("newer", b"x").bytes());
    author.write("image.tar", &newer.archive());
    said.push_str(&format!("{:?}\n", author.run(&["app", "update", "web"])));
    assert!(author.listing().contains("squashfs-root/newer"));
    let src = author.json("web/src.json");
    assert_eq!(
        (&src["args"]["OWN"], &src["mine"], &src["persistence"]["/data"]),
        (&json!("kept"), &json!("kept"), &json!("boot"))
    );
    // What cannot be, changes nothing.
    let before = author.read("web/run.json");
    let mut wrong = src.clone();
    wrong["args"]["PV_STATUS_GOAL"] = json!("RUNNING");
    wrong["args"]["PV_RESTART_POLCY"] = json!("system");
    std::fs::write(author.dir().join("web/src.json"), wrong.to_string()).unwrap();
    said.push_str(&format!("{:?}\n", author.run(&["app", "install", "web"])));
    assert_eq!(author.read("web/run.json"), before);
    std::fs::create_dir_all(author.dir().join("_config/web/etc")).unwrap();
    std::fs::write(author.dir().join("_config/web/etc/x"), "x").unwrap();
    said.push_str(&format!("{:?}\n", author.run(&["app", "rm", "web"])));
    said.push_str(&format!("{:?}\n", author.run(&["app", "info", "web"])));
    assert!(!author.dir().join("web").exists() && !author.dir().join("_config/web").exists());
    let said = said.replace(author.path("").to_str().unwrap(), "[folder]/");
    insta::assert_snapshot!("life_of_a_container", said);
}

#[test]
fn an_image_over_another_is_left_to_who_made_it() {
    let author = Author::new();
    author.add(&author.write("image.tar", &image().archive()), &[]);
    let mut src = author.json("web/src.json");
    src["base"] = json!("base");
    std::fs::write(author.dir().join("web/src.json"), src.to_string()).unwrap();
    // What is made from src.json alone is for goalctl, too.
    let installed = author.run(&["app", "install", "web"]);
    assert!(author.read("web/lxc.container.conf").contains("/volumes/base/root.squashfs"), "{installed:?}");
    let mut newer = image();
    newer.layers.push(Tar::new().file("newer", b"x").bytes());
    author.write("image.tar", &newer.archive());
    let before = author.image();
    let refused = author.run(&["app", "update", "web"]);
    assert!(refused.err.contains("lies over the image of base"), "{refused:?}");
    assert_eq!(author.image(), before);
}

#[test]
fn a_listing_for_programs_has_what_src_json_says() {
    let author = Author::new();
    author.add(&author.write("image.tar", &image().archive()), &["--arg", "PV_ROLES=nobody"]);
    for arguments in [["app", "ls", "--json"].as_slice(), &["app", "info", "web", "--json"]] {
        let said = author.run(arguments);
        let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let one = found.get(0).unwrap_or(&found);
        assert_eq!(
            (&one["name"], &one["roles"], &one["docker_name"], &one["docker_tag"]),
            (&json!("web"), &json!(["nobody"]), &json!("test/web"), &json!("1"))
        );
    }
}

#[test]
fn a_data_container_has_no_conf_and_a_root_without_a_program_has_init() {
    let author = Author::new();
    let tar = author.write("root.tar", &Tar::new().file("settings", b"x").bytes());
    author.add(&tar, &["--status-goal", "mounted"]);
    assert!(!author.dir().join("web/lxc.container.conf").exists());
    assert_eq!(author.json("web/run.json").get("type"), None);
    let mut src = author.json("web/src.json");
    src["args"] = json!({});
    std::fs::write(author.dir().join("web/src.json"), src.to_string()).unwrap();
    assert_eq!(author.run(&["app", "install", "web"]).code, 0);
    assert!(author.read("web/lxc.container.conf").contains("lxc.init.cmd = /sbin/init\n"));
    let said = author.run(&["check", "."]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn what_a_killed_run_has_left_is_swept_away_and_nobody_else_s() {
    let author = Author::new();
    let inside = author.dir().join(".pvr");
    // No process has a number as large.
    std::fs::create_dir(inside.join("app.999999999")).unwrap();
    std::fs::write(inside.join("app.999999999/x"), "x").unwrap();
    std::fs::write(inside.join("root.squashfs.999999999"), "x").unwrap();
    std::fs::write(inside.join("other.999999999"), "x").unwrap();
    std::fs::write(inside.join(format!("root.squashfs.{}", std::process::id())), "x").unwrap();
    author.add(&author.write("root.tar", &Tar::new().file("a", b"x").bytes()), &[]);
    let mut left: Vec<String> = std::fs::read_dir(&inside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let alive = format!("root.squashfs.{}", std::process::id());
    assert_eq!(left, ["config", "json", "objects", "other.999999999", alive.as_str()]);
}

#[test]
fn a_folder_that_is_none_and_a_name_that_is_taken_are_told() {
    let author = Author::new();
    let tar = author.write("root.tar", &Tar::new().file("a", b"x").bytes());
    author.add(&tar, &[]);
    let outside = author.path("elsewhere");
    std::fs::create_dir(&outside).unwrap();
    let outside = outside.to_str().unwrap();
    let mut said = String::new();
    for arguments in [
        ["app", "add", "web", "--from", &tar].as_slice(),
        &["app", "-C", outside, "add", "web", "--from", &tar],
        &["app", "add", "bsp", "--from", &tar],
        &["app", "add", "b", "--from", "ftp://x/y"],
        &["app", "add", "b", "--from", "docker://x/../y"],
        &["app", "add", "b", "--from", &tar, "--arg", "PV_ROLES"],
        &["app", "add", "b", "--from", &tar, "--arg", "PV_ROLES=[1"],
        &["app", "add", "b", "--from", &tar, "--volume", "/data"],
        &["app", "add", "b", "--from", &tar, "--volume", "/data:forever"],
        &["app", "add", "b", "--from", &tar, "--group", "no such group"],
        &["app", "install", "c"],
        &["app", "rm", "c"],
    ] {
        let one = author.run(arguments);
        assert_ne!(one.code, 0, "{one:?}");
        said.push_str(&format!("{} {}", one.code, one.err));
    }
    let said = said.replace(author.path("").canonicalize().unwrap().to_str().unwrap(), "[folder]");
    insta::assert_snapshot!("not_added", said);
}
