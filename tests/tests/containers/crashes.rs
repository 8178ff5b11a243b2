//! The agent is killed at a bad moment, and started again while containers live.

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

fn factory() -> Revision {
    Revision::new([
        Container::new("kept", READY).group("first").goal("READY"),
        Container::new("web", READY).group("second").goal("READY"),
    ])
}

#[test]
fn an_agent_killed_while_idle_ends_what_lives_and_starts_over() {
    let mut device = Device::started(&factory());
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    let lives = ["kept", "web"].map(|name| device.process(name));
    device.kill_agent();
    assert!(lives.iter().all(|life| life.lives()), "a killed agent must not take containers with it");

    device.start();
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    assert!(
        !lives.iter().any(|life| life.lives()),
        "a life of the former agent goes on beside its successor"
    );
    assert_eq!(device.status()["status"], "READY");
}

#[test]
fn an_agent_killed_in_a_trial_comes_back_to_the_last_good_revision() {
    let mut device = Device::started(&factory());
    device.events().until_goal_met("web");
    let trial = Container::new("web", RUN).group("second").goal("READY");
    device.update("locals/trial", &factory().replace(trial));
    let mut events = device.events();
    events.until_update("locals/trial", &["INPROGRESS"]);
    events.until_status("web", "STARTED");
    device.kill_agent();

    device.start();
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    let status = device.status();
    assert_eq!((&status["revision"], &status["status"]), (&json!("0"), &json!("READY")));
    let progress = device.progress_after_stop("locals/trial");
    assert_eq!(
        (&progress["status"], &progress["status-msg"]),
        (&json!("ERROR"), &json!("Unexpected rollback"))
    );
}
