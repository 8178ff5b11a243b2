//! Updates that succeed, updates that are rolled back, with and without a new life of the agent.

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

fn factory() -> Revision {
    Revision::new([
        Container::new("kept", READY).group("first").goal("READY"),
        Container::new("web", READY).group("second").goal("READY"),
    ])
}

fn web(script: &str) -> Container {
    Container::new("web", script).group("second").goal("READY")
}

#[test]
fn an_update_without_reboot_restarts_only_what_it_changes() {
    let mut device = Device::started(&factory());
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    let (kept, changed) = (device.process("kept"), device.process("web"));

    device.update("locals/new", &factory().replace(web(&format!("echo new; {READY}"))));
    events.until_update("locals/new", &["DONE", "ERROR", "WONTGO", "UPDATED"]);

    assert_eq!(device.process("kept"), kept, "an untouched container was restarted");
    assert_ne!(device.process("web"), changed);
    assert_eq!(device.status()["revision"], "locals/new");
    let progress = device.progress_after_stop("locals/new");
    assert_eq!(progress["status-msg"], "Update finished, revision set as rollback point");
}

#[test]
fn a_revision_that_never_becomes_ready_is_rolled_back_with_the_reason() {
    let mut device = Device::started(&factory());
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    let kept = device.process("kept");

    device.update("locals/silent", &factory().replace(web(RUN).with("goal_timeout", json!(1))));
    events.until_update("locals/silent", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    assert_eq!(device.container("web")["status"], "READY", "it is told when the last good revision is back");

    assert_eq!(device.process("kept"), kept, "the rollback restarted an untouched container");
    assert_eq!(device.status()["revision"], "0");

    let again = device.run("locals/silent");
    assert_eq!(again.code, 409, "a failed revision must not be tried again by itself: {}", again.text());
    let progress = device.progress_after_stop("locals/silent");
    assert_eq!(progress["status-msg"], "Status goal not reached");
    assert!(progress["logs"].as_str().unwrap().contains("web"), "{progress}");
}

#[test]
fn a_container_that_cannot_start_says_which_step_on_which_path_with_which_errno() {
    let mut device = Device::started(&factory());
    let mut events = device.events();
    events.until_goal_met("web");
    let broken =
        web(READY).conf("lxc.mount.entry = /nonexistent-on-this-device mnt none bind,create=dir 0 0");
    device.update("locals/broken", &factory().replace(broken));
    events.until_update("locals/broken", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    let progress = device.progress_after_stop("locals/broken");
    assert_eq!(progress["status-msg"], "A container could not be started");
    let logs = progress["logs"].as_str().unwrap();
    for word in ["web", "/nonexistent-on-this-device", "ENOENT"] {
        assert!(logs.contains(word), "{word} is missing: {logs}");
    }
}

#[test]
fn a_revision_whose_container_keeps_ending_is_rolled_back() {
    let mut device = Device::started(&factory());
    let mut events = device.events();
    events.until_goal_met("web");
    let recovery = json!({"policy": "on-failure", "max_retries": 2, "retry_delay": 0});
    let crashing = web("exit 3").with("auto_recovery", recovery);
    device.update("locals/crashing", &factory().replace(crashing));
    events.until_update("locals/crashing", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    let progress = device.progress_after_stop("locals/crashing");
    assert_eq!(progress["status-msg"], "A container could not be started");
    assert!(progress["logs"].as_str().unwrap().contains('3'), "{progress}");
}

#[test]
fn a_reboot_update_starts_the_agent_anew_and_is_committed() {
    let device = Device::started(&system_factory());
    device.events().until_goal_met("core");
    device.update("locals/new", &system_factory().replace(system(&format!("echo new; {READY}"))));
    // The agent executes itself: it says READY anew, under the same process number.
    device.until_anew();
    device.events().until_update("locals/new", &["DONE", "ERROR", "WONTGO", "UPDATED"]);
    assert_eq!(device.status()["revision"], "locals/new");
}

#[test]
fn a_reboot_update_that_fails_comes_back_to_the_former_revision() {
    let mut device = Device::started(&system_factory());
    device.events().until_goal_met("core");
    device.update("locals/bad", &system_factory().replace(system(RUN).with("goal_timeout", json!(1))));
    device.until_anew();
    device.until_anew();
    let mut events = device.events();
    events.until_goal_met("core");
    events.until_update("locals/bad", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    assert_eq!(device.status()["revision"], "0");
    assert_eq!(device.progress_after_stop("locals/bad")["status-msg"], "Status goal not reached");
}

/// Nothing of the former revision will ever report anything: the rollback goes on by itself.
#[test]
fn a_reboot_update_that_fails_comes_back_to_a_revision_without_containers() {
    let mut device = Device::started(&Revision::new([]));
    device.update("locals/bad", &Revision::new([system(RUN).with("goal_timeout", json!(1))]));
    device.until_anew();
    device.until_anew();
    device.events().until_update("locals/bad", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    assert_eq!((&device.status()["revision"], &device.status()["phase"]), (&json!("0"), &json!("running")));
    assert_eq!(device.progress_after_stop("locals/bad")["status-msg"], "Status goal not reached");
}

fn system(script: &str) -> Container {
    Container::new("core", script).goal("READY").with("restart_policy", json!("system"))
}

fn system_factory() -> Revision {
    Revision::new([system(READY)])
}
