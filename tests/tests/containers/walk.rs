//! From INSTALLED to READY, and down again.

use std::path::Path;

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision, image_with};

fn two_groups() -> Revision {
    Revision::new([
        Container::new("base", READY).group("first").goal("READY"),
        Container::new("web", READY).group("second").goal("READY"),
        Container::new("worker", RUN).group("second"),
    ])
}

#[test]
fn containers_walk_in_group_order_and_stop_in_reverse() {
    let mut device = Device::started(&two_groups());
    let mut events = device.events();
    events.until_goals_met(&["base", "web", "worker"]);
    assert_eq!(events.walk_of("base"), ["MOUNTED", "BLOCKED", "STARTING", "STARTED", "READY"]);
    assert_eq!(events.walk_of("web"), ["MOUNTED", "BLOCKED", "STARTING", "STARTED", "READY"]);
    assert_eq!(events.walk_of("worker"), ["MOUNTED", "BLOCKED", "STARTING", "STARTED"]);
    let at = |name: &str, kind: &str, to: &str| {
        events.seen.iter().position(|event| {
            event["container"] == name && event["kind"] == kind && (to.is_empty() || event["to"] == to)
        })
    };
    assert!(at("base", "goal-met", "") < at("web", "status", "STARTING"), "the second group was not gated");
    assert_eq!(device.status()["status"], "READY");

    device.stop();
    events.until_the_end();
    let stopped = |name: &str| {
        events.seen.iter().position(|event| event["container"] == name && event["to"] == "STOPPED").unwrap()
    };
    assert!(stopped("web") < stopped("base"), "the first group must stop last");
    assert!(device.journal().contains(r#""kind":"leave""#));
}

#[test]
fn the_agents_session_is_served_before_its_containers() {
    let device = Device::started(&Revision::new([Container::new("web", RUN)]));
    device.events().until_goal_met("web");
    let nice = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/autogroup")).unwrap_or_default();
    // A kernel without it groups nobody.
    if !nice("self").is_empty() {
        assert!(nice(&device.agent().pid().to_string()).ends_with(" nice -10\n"));
        assert!(nice(&device.container("web")["pid"].to_string()).ends_with(" nice 0\n"));
    }
}

#[test]
fn a_container_signals_ready_by_curl() {
    assert!(Path::new("/usr/bin/curl").exists(), "/usr/bin/curl is not there; install the package curl");
    let script =
        "curl -sS --unix-socket /pantavisor/pv-ctrl -X POST -d @/signal.json http://localhost/signal";
    let web = Container::new("web", &format!("/usr/bin/{script}; {RUN}"))
        .goal("READY")
        .image(image_with(&[("/lib", "usr/lib"), ("/lib64", "usr/lib64")], &[]))
        .conf("lxc.mount.entry = /usr usr none bind,ro,create=dir 0 0")
        .config("signal.json", json!({"type": "ready", "payload": ""}));
    let device = Device::started(&Revision::new([web]));
    device.events().until_goal_met("web");
}

#[test]
fn output_is_captured_and_the_control_tool_is_there() {
    let mut device = Device::started(&Revision::new([Container::new(
        "web",
        &format!("echo hello from $(cat /proc/sys/kernel/hostname); {READY}"),
    )
    .goal("READY")]));
    device.events().until_goal_met("web");
    device.stop();
    let output = device.output("0", "web");
    assert!(output.contains("hello from web"), "{output:?}");
}

#[test]
fn a_container_that_ends_is_tried_again_and_its_exit_is_told() {
    let recovery =
        json!({"policy": "on-failure", "max_retries": 2, "retry_delay": 0, "backoff_policy": "never"});
    let device = Device::started(&Revision::new([
        Container::new("web", "exit 7").with("auto_recovery", recovery),
        Container::new("other", RUN),
    ]));
    let mut events = device.events();
    events.until_status("web", "RECOVERING");
    events.until_status("web", "RECOVERING");
    let end = events.until_status("web", "STOPPED");
    assert!(end["reason"].as_str().unwrap().contains('7'), "{end}");
    // On a busy machine it may start after the other's three lives.
    if !events.walk_of("other").contains(&"STARTED") {
        events.until_status("other", "STARTED");
    }
    assert_eq!(device.container("other")["status"], "STARTED");
}

#[test]
fn an_operator_stops_starts_and_restarts() {
    let device = Device::started(&Revision::new([Container::new("web", RUN)]));
    let mut events = device.events();
    events.until_goal_met("web");
    let act = |action: &str| device.control("web", action);
    act("stop");
    events.until_status("web", "STOPPED");
    act("start");
    events.until_status("web", "STARTED");
    let before = device.process("web");
    act("restart");
    events.until_status("web", "STOPPING");
    events.until_status("web", "STARTED");
    assert_ne!(device.process("web"), before);
}
