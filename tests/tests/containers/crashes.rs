//! The agent is killed at a bad moment, and started again while containers live.

use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

fn factory() -> Revision {
    Revision::new([
        Container::new("kept", READY).group("first").goal("READY"),
        Container::new("web", READY)
            .group("second")
            .goal("READY")
            .with("auto_recovery", json!({"policy": "on-failure", "max_retries": 5, "retry_delay": 1})),
    ])
}

#[test]
fn an_agent_killed_while_idle_goes_on_with_what_lives() {
    let mut device = Device::started(&factory());
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    let before =
        ["kept", "web"].map(|name| (device.process(name), device.container(name)["generation"].clone()));
    device.kill_agent();
    assert!(before.iter().all(|(life, _)| life.lives()), "a killed agent must not take containers with it");

    device.start();
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    let after =
        ["kept", "web"].map(|name| (device.process(name), device.container(name)["generation"].clone()));
    assert_eq!(after, before);
    assert_eq!(device.status()["status"], "READY");

    // An end is noticed and recovered, although the agent is not its parent.
    let (web, _) = after[1];
    device.signal(web, Signal::SIGKILL);
    events.until_status("web", "RECOVERING");
    events.until_status("web", "READY");
    assert_ne!(device.process("web"), web);
    // A stop of what was gone on with works, too.
    device.stop();
    assert!(!after[0].0.lives());
}

/// Wherever the agent is in starting over: it is neither killed by a signal nor deaf to it.
#[test]
fn an_end_is_heard_while_the_agent_starts_over() {
    for late in 0..24 {
        let mut device = Device::started(&Revision::new([]));
        device.signal_agent(Signal::SIGHUP);
        // Each takes a moment, whether somebody listens or not.
        (0..20 * late).for_each(|_| drop(std::os::unix::net::UnixStream::connect(device.socket())));
        device.signal_agent(Signal::SIGHUP);
        device.stop();
    }
}

#[test]
fn what_is_printed_and_said_while_no_agent_lives_is_not_lost() {
    // The end of its input would end it; a read that the signal interrupts, or comes before, does not.
    let chatty = "trap 'echo heard; again=1' USR1; /pantavisor/bin/goalctl signal ready; \
                  while read -r line || [ $again ]; do again=; done";
    let chatty = Container::new("chatty", chatty).group("first").goal("READY");
    let mut device = Device::started(&Revision::new([chatty]));
    device.events().until_goal_met("chatty");
    let life = device.process("chatty");
    let console = std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/0", life.pid));
    let mut console = console.unwrap();
    device.kill_agent();
    writeln!(console, "on the console").unwrap();
    device.signal(life, Signal::SIGUSR1);

    device.start();
    device.events().until_goal_met("chatty");
    assert_eq!(device.process("chatty"), life);
    device.stop();
    let output = device.output("0", "chatty");
    assert!(output.contains("heard") && output.contains("on the console"), "{output}");
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
