//! Metadata as containers see it: files, whole at any time.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

fn two_roles() -> Revision {
    Revision::new([
        Container::new("boss", READY).goal("READY").with("roles", json!(["mgmt"])),
        Container::new("web", RUN).with("roles", json!(["nobody"])),
    ])
}

/// `/pantavisor` as the container has it, in its own mount namespace.
fn inside(device: &Device, container: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root/pantavisor", device.process(container).pid))
}

fn set(device: &Device, path: &str, value: &str) {
    let answer = device.client().send("PUT", path, value.as_bytes());
    assert_eq!(answer.code, 200, "{path}: {}", answer.text());
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn mgmt_sees_every_key_and_the_rest_their_own_as_it_changes() {
    let mut device = Device::started(&two_roles());
    device.events().until_goals_met(&["boss", "web"]);
    let (boss, web) = (inside(&device, "boss"), inside(&device, "web"));
    assert_eq!(names(&boss.join("user-meta")), Vec::<String>::new());
    assert_eq!(names(&web.join("user-meta")), Vec::<String>::new());

    for kind in ["user-meta", "device-meta"] {
        set(&device, &format!("/{kind}/web.colour"), "green");
        set(&device, &format!("/{kind}/colour"), "not web's");
        set(&device, &format!("/{kind}/webber.colour"), "not web's");
        set(&device, &format!("/{kind}/web.."), "not a name");
        assert_eq!(fs::read_to_string(boss.join(kind).join("web.colour")).unwrap(), "green");
        assert_eq!(fs::read_to_string(boss.join(kind).join("colour")).unwrap(), "not web's");
        assert_eq!(fs::read_to_string(web.join(kind).join("colour")).unwrap(), "green");
        assert_eq!(names(&web.join(kind)), ["colour"]);
        set(&device, &format!("/{kind}/web.colour"), "blue");
        assert_eq!(fs::read_to_string(boss.join(kind).join("web.colour")).unwrap(), "blue");
        assert_eq!(fs::read_to_string(web.join(kind).join("colour")).unwrap(), "blue");
        for folder in [&boss, &web] {
            let refused = fs::write(folder.join(kind).join("mine"), "x").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
        }
    }
    let answer = device.client().send("DELETE", "/user-meta/web.colour", b"");
    assert_eq!(answer.code, 200);
    assert_eq!(names(&boss.join("user-meta")), ["colour", "web..", "webber.colour"]);
    assert_eq!(names(&web.join("user-meta")), Vec::<String>::new());

    set(&device, "/user-meta/web.colour", "kept");
    device.stop();
    device.start();
    device.events().until_goals_met(&["boss", "web"]);
    let (boss, web) = (inside(&device, "boss"), inside(&device, "web"));
    assert_eq!(fs::read_to_string(web.join("user-meta/colour")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(web.join("device-meta/colour")).unwrap(), "blue");
    assert_eq!(names(&boss.join("user-meta")), ["colour", "web..", "web.colour", "webber.colour"]);
}

#[test]
fn what_the_agent_provides_follows_the_device() {
    let device = Device::started(&two_roles());
    let mut events = device.events();
    events.until_goals_met(&["boss", "web"]);
    let boss = inside(&device, "boss").join("device-meta");
    for key in ["interfaces", "storage", "sysinfo", "time"] {
        assert!(names(&boss).contains(&key.to_owned()), "{key} of {:?}", names(&boss));
    }
    let read = |key: &str| fs::read_to_string(boss.join(key)).unwrap();
    // The file is written beside the loop; whoever asks waits for it.
    device.client().get("/device-meta");
    assert_eq!((read("pantavisor.revision").as_str(), read("pantavisor.status").as_str()), ("0", "READY"));
    device.update(
        "locals/two",
        &two_roles().replace(Container::new("web", READY).with("roles", json!(["nobody"]))),
    );
    events.until_update("locals/two", &["DONE"]);
    device.client().get("/device-meta");
    assert_eq!(read("pantavisor.revision"), "locals/two");
    assert_eq!(inside(&device, "boss").join("device-meta"), boss, "boss was not touched");
}

#[test]
fn a_reader_in_a_container_sees_whole_values_only() {
    let device = Device::started(&two_roles());
    device.events().until_goals_met(&["boss", "web"]);
    let values = ["a".repeat(4000), "b".repeat(10)];
    set(&device, "/user-meta/web.key", &values[0]);
    let seen =
        [inside(&device, "boss").join("user-meta/web.key"), inside(&device, "web").join("user-meta/key")];
    let over = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                for path in &seen {
                    let value = fs::read_to_string(path).unwrap();
                    assert!(values.contains(&value), "{} bytes of a value", value.len());
                    reads += 1;
                }
            }
            reads
        });
        for turn in 0..200 {
            set(&device, "/user-meta/web.key", &values[turn % 2]);
        }
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 0);
}

#[test]
fn no_key_costs_a_mount() {
    let device = Device::started(&two_roles());
    device.events().until_goals_met(&["boss", "web"]);
    for index in 0..20 {
        set(&device, &format!("/user-meta/web.key{index}"), "x");
    }
    let mounts = |container: &str| {
        let pid = device.process(container).pid;
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
        points.filter(|point| point.starts_with("/pantavisor")).collect::<Vec<_>>()
    };
    let boss = ["/pantavisor", "/pantavisor/bin/goalctl", "/pantavisor/user-meta", "/pantavisor/device-meta"];
    assert_eq!(mounts("boss"), boss);
    assert_eq!(mounts("web"), boss[..2]);
}
