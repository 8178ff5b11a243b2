//! What containers say to their log sockets: a C library's `syslog()`, util-linux's `logger`, and who has a `/dev/log`.

use std::path::Path;

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, Revision, image_with};

/// Says whether it has a `/dev/log`, then that it is ready.
fn telling(name: &'static str) -> Container {
    let script = format!("if [ -S /dev/log ]; then echo there; else echo absent; fi; {READY}");
    Container::new(name, &script).goal("READY")
}

#[test]
fn syslog_and_the_fields_stream_are_kept_beside_the_output() {
    let script = "/bin/busybox logger -t app -p daemon.warn of the C library; \
                  /usr/bin/logger --socket-errors=on -t app -u /pantavisor/pv-ctrl-log over the stream; \
                  echo printed";
    let web = Container::new("web", &format!("{script}; {READY}"))
        .goal("READY")
        .image(image_with(&[("/lib", "usr/lib"), ("/lib64", "usr/lib64")], &[]))
        .conf("lxc.mount.entry = /usr usr none bind,ro,create=dir 0 0");
    let last_words = Container::new("once", "/bin/busybox logger -t once last words")
        .with("lifetime", json!("once"))
        .with("auto_recovery", json!({"policy": "on-failure"}));
    let mut device = Device::started(&Revision::new([web, last_words]));
    let mut events = device.events();
    events.until_goals_met(&["web"]);
    if !events.seen.iter().any(|event| event["container"] == "once" && event["to"] == "STOPPED") {
        events.until_status("once", "STOPPED");
    }
    device.stop();
    let text = device.output("0", "web");
    let said: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once("] ")?.1)).collect();
    for expected in ["daemon.warning app: of the C library", "user.notice app: over the stream", "printed"] {
        assert!(said.contains(&expected), "{expected}: {text}");
    }
    let once = device.output("0", "once");
    assert!(once.contains("user.notice once: last words"), "{once}");
}

#[test]
fn dev_log_is_only_in_a_dev_that_is_the_containers_own() {
    let host_has = Path::new("/dev/log").symlink_metadata().is_ok();
    let containers = [
        telling("own"),
        telling("unwanted").with("dev-log", json!(false)),
        telling("autodev").conf("lxc.autodev = 0"),
        telling("fulldev").conf("lxc.mount.entry = /dev dev none rbind,create=dir 0 0"),
    ];
    let mut device = Device::started(&Revision::new(containers));
    device.events().until_goals_met(&["own", "unwanted", "autodev", "fulldev"]);
    device.stop();
    let expected = [("own", true), ("unwanted", false), ("autodev", false), ("fulldev", host_has)];
    for (name, has) in expected {
        let word = if has { "there" } else { "absent" };
        assert!(device.output("0", name).contains(word), "{name}: {}", device.output("0", name));
    }
    assert_eq!(
        Path::new("/dev/log").symlink_metadata().is_ok(),
        host_has,
        "the device's own /dev was written to"
    );
}
