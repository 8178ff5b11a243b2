//! Containers controlled by an operator: how they are asked to stop, forced, and what is answered meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

/// Says which signal asked it to end.
const TELLS: &str = "trap 'echo PWR; exit 0' PWR; trap 'echo TERM; exit 0' TERM; trap 'echo USR1; exit 0' USR1; \
                     /pantavisor/bin/goalctl signal ready; while :; do /bin/sleep 0.05; done";

fn containers(device: &Device) -> Vec<Value> {
    device.client().get("/containers").json().as_array().unwrap().clone()
}

fn listed(device: &Device, name: &str) -> Value {
    containers(device).into_iter().find(|one| one["name"] == name).unwrap()
}

/// What a container that is stopped says asked it.
fn asked_by(container: Container) -> String {
    let device = Device::started(&Revision::new([container.goal("READY")]));
    let mut events = device.events();
    events.until_goal_met("web");
    device.control("web", "stop");
    let stopped = events.until_status("web", "STOPPED");
    assert!(stopped["reason"].as_str().unwrap().contains("code 0"), "{stopped}");
    let mut device = device;
    device.stop();
    device.output("0", "web")
}

#[test]
fn a_program_that_is_no_init_is_asked_by_sigterm() {
    let output = asked_by(Container::new("web", TELLS));
    assert!(output.contains("TERM") && !output.contains("PWR"), "{output}");
}

#[test]
fn an_init_is_asked_by_sigpwr() {
    let output = asked_by(Container::init("web", TELLS));
    assert!(output.contains("PWR") && !output.contains("TERM"), "{output}");
}

#[test]
fn a_conf_says_what_asks_it() {
    let output = asked_by(Container::new("web", TELLS).conf("lxc.signal.halt = SIGUSR1"));
    assert!(output.contains("USR1"), "{output}");
}

#[test]
fn a_stop_is_answered_at_once_and_holds_nobody_up_while_the_grace_passes() {
    let stubborn = "trap '' TERM; /pantavisor/bin/goalctl signal ready; while :; do /bin/sleep 0.05; done";
    // A first process that has no handler yet never hears of a stop: it has one before it says that it is ready.
    let good = "trap 'exit 0' TERM; /pantavisor/bin/goalctl signal ready; while :; do /bin/sleep 0.05; done";
    let device = Device::with(
        &Revision::new([
            Container::new("web", stubborn).goal("READY"),
            Container::new("good", good).goal("READY"),
        ]),
        &[("GOALPOST_STOP_GRACE", "2s")],
    );
    let mut events = device.events();
    events.until_goals_met(&["web", "good"]);
    let process = device.process("web");
    let asked = Instant::now();
    device.control("web", "stop");
    assert_eq!(listed(&device, "web")["status"], "STOPPING");
    // Another is stopped and started meanwhile.
    device.control("good", "stop");
    events.until_status("good", "STOPPED");
    device.control("good", "start");
    events.until_status("good", "READY");
    assert!(asked.elapsed() < Duration::from_secs(2), "somebody waited: {:?}", asked.elapsed());
    assert!(process.lives());
    events.until_status("web", "STOPPED");
    assert!(asked.elapsed() >= Duration::from_secs(2), "forced before its grace: {:?}", asked.elapsed());
    assert!(!process.lives());
}

#[test]
fn what_is_stopped_on_request_stays_so_is_left_out_and_starts_again() {
    let always = json!({"policy": "always", "retry_delay": 0});
    let web = Container::new("web", READY).goal("READY").with("auto_recovery", always);
    let mut device = Device::started(&Revision::new([web]));
    let mut events = device.events();
    events.until_goal_met("web");
    assert_eq!(listed(&device, "web")["user_stopped"], "false");
    device.control("web", "stop");
    events.until_status("web", "STOPPED");
    let it = listed(&device, "web");
    assert_eq!((&it["status"], &it["user_stopped"]), (&json!("STOPPED"), &json!("true")));
    assert_eq!(it["auto_recovery"]["current_retries"], 0, "no retry is used up");
    assert_eq!(device.status()["status"], "READY", "left out of the revision's status");
    device.control("web", "start");
    events.until_status("web", "READY");
    assert_eq!(listed(&device, "web")["user_stopped"], "false");
    device.control("web", "stop");
    events.until_status("web", "STOPPED");
    // The next boot starts it.
    device.stop();
    device.start();
    device.events().until_goal_met("web");
    assert_eq!(listed(&device, "web")["user_stopped"], "false");
}

#[test]
fn one_that_recovers_can_be_stopped_and_started() {
    let recovery = json!({"policy": "always", "max_retries": 0, "retry_delay": 1000});
    let web = Container::new("web", "exit 3").with("auto_recovery", recovery);
    let device = Device::started(&Revision::new([web]));
    let mut events = device.events();
    events.until_status("web", "RECOVERING");
    device.control("web", "stop");
    events.until_status("web", "STOPPED");
    assert_eq!(listed(&device, "web")["user_stopped"], "true");
    device.control("web", "start");
    events.until_status("web", "STARTING");
    events.until_status("web", "RECOVERING");
    device.control("web", "start");
    events.until_status("web", "STARTING");
}

#[test]
fn what_cannot_be_done_is_refused_in_the_fields_words() {
    let system = Container::new("core", RUN).with("restart_policy", json!("system"));
    let device = Device::started(&Revision::new([Container::new("web", RUN), system]));
    let mut events = device.events();
    events.until_goals_met(&["web", "core"]);
    let refused = |name: &str, action: &str, code: u16, text: &str| {
        let answer = device.try_control(name, action);
        assert_eq!(
            (answer.code, answer.text()),
            (code, format!(r#"{{"Error":"{text}"}}"#)),
            "{action} {name}"
        );
    };
    let system = "Container has restart_policy 'system' and cannot be controlled via API";
    for action in ["start", "stop", "restart"] {
        refused("core", action, 403, system);
        refused("none", action, 404, "Container not found");
    }
    refused("web", "pause", 400, "Invalid action. Use 'start', 'stop', or 'restart'");
    refused("web", "start", 400, "Container must be in STOPPED, STOPPING, or RECOVERING state to start");
    device.control("web", "stop");
    events.until_status("web", "STOPPED");
    refused("web", "restart", 400, "Container state does not allow restart");
    device.control("web", "start");
    events.until_status("web", "STARTED");
    // While an update is tried.
    let slow = Device::with(&Revision::new([Container::new("web", RUN)]), &[("GOALPOST_COMMIT_DELAY", "1h")]);
    slow.events().until_goal_met("web");
    slow.update("locals/x", &Revision::new([Container::new("web", READY).goal("READY")]));
    slow.events().until_update("locals/x", &["TESTING"]);
    let answer = slow.try_control("web", "stop");
    let text = r#"{"Error":"Cannot do this operation while update is ongoing"}"#;
    assert_eq!((answer.code, answer.text().as_str()), (503, text));
}
