//! Updates: verified, tried, tested, committed, rolled back.

use super::*;
use crate::Content;

const READY: &str = r#""status_goal":"READY""#;

fn device(x: Arc<Revision>) -> Device {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", "", 1), ("two", READY, 1)]), x]);
    device.boot().ready("two").pass(100.0);
    device.told();
    device
}

fn another_two() -> Arc<Revision> {
    revision("locals/x", &["a"], &[("one", "", 1), ("two", READY, 2)])
}

#[test]
fn a_good_update_restarts_what_it_changes_and_commits() {
    let mut device = device(another_two());
    device.run("locals/x");
    let told = device.told_of(&["verify", "ask", "mount", "start ", "progress"]);
    assert_eq!(
        told,
        [
            "verify locals/x",
            "verify 0",
            "progress locals/x New Update ready to be run",
            "ask two 2",
            "progress locals/x InProgress Transitioning to new revision without rebooting",
            "unmount two 2",
            "mount two 3 of locals/x",
            "start two 3 of locals/x",
            "progress locals/x InProgress Trying new revision",
        ],
    );
    device.ready("two");
    assert_eq!(device.message("locals/x"), "Testing Awaiting to see if update is stable");
    assert_eq!(device.disk.committed, rev("0"));
    device.pass(25.0);
    assert_eq!(device.message("locals/x"), "Done Update finished, revision set as rollback point");
    assert_eq!(
        (device.disk.committed.clone(), device.disk.previous.clone()),
        (rev("locals/x"), Some(rev("0")))
    );
    assert_eq!(device.disk.trial, None);
    assert!(device.disk.unwritten.is_empty());
    assert_eq!(device.boot, Some(BootVars { committed: rev("locals/x"), candidate: None }));
    assert_eq!(device.generation("one"), 1);
}

#[test]
fn done_is_written_after_the_boot_loader_was_told() {
    let mut device = device(another_two());
    device.run("locals/x").ready("two").told();
    device.pass(25.0);
    assert_eq!(
        device.told_of(&["boot", "Done", "saved"]),
        [
            "saved",
            "boot locals/x",
            "progress locals/x Done Update finished, revision set as rollback point",
            "saved"
        ],
    );
}

#[test]
fn a_missed_goal_rolls_back_and_the_others_never_notice() {
    let mut device = device(another_two());
    device.run("locals/x").told();
    device.pass(30.0);
    let told = device.told_of(&["ask", "mount", "start ", "phase"]);
    assert_eq!(
        told,
        ["phase RollingBack", "ask two 3", "unmount two 3", "mount two 4 of 0", "start two 4 of 0"],
    );
    device.ready("two");
    assert_eq!(device.message("locals/x"), "Error Status goal not reached");
    let logs = &device.progress[&rev("locals/x")].logs;
    assert!(logs.contains("two: goal READY not met in 30 s, it is STARTED"), "{logs}");
    assert_eq!(device.generation("one"), 1);
    assert_eq!((device.disk.committed.clone(), device.disk.trial.clone()), (rev("0"), None));
    device.run("locals/x");
    assert!(
        device.last_reply().contains("failed before: Status goal not reached"),
        "{}",
        device.last_reply()
    );
    device.ask(Request::Run { revision: rev("locals/x"), force: true });
    assert_eq!(device.last_reply(), "reply Done");
}

#[test]
fn a_failure_is_forgotten_when_its_name_gets_other_content() {
    let mut device = device(another_two());
    device.run("locals/x").pass(30.0).ready("two");
    device.ask(Request::Post { revision: rev("locals/x") }).run("locals/x");
    assert!(device.last_reply().contains("failed before"), "{}", device.last_reply());
    device.content = Content::Other;
    device.ask(Request::Post { revision: rev("locals/x") });
    assert!(device.disk.failures.is_empty(), "{:?}", device.disk.failures);
    device.run("locals/x");
    assert_eq!(device.last_reply(), "reply Done");
}

#[test]
fn a_container_that_keeps_ending_rolls_back() {
    let x = revision(
        "locals/x",
        &["a"],
        &[("one", r#""auto_recovery":{"policy":"always"}"#, 2), ("two", READY, 1)],
    );
    let mut device = device(x);
    device.run("locals/x");
    for _ in 0..5 {
        device.exits("one", Exit::Code(3)).pass(1.0);
    }
    assert_eq!(device.engine.phase(), model::report::Phase::Testing);
    device.exits("one", Exit::Code(3));
    assert_eq!(device.message("locals/x"), "Error A container could not be started");
    assert!(device.progress[&rev("locals/x")].logs.contains("one: it exited with code 3"));
    assert_eq!(device.status("one"), Status::Started);
    assert_eq!(device.generation("two"), 2);
}

#[test]
fn a_container_that_cannot_be_mounted_rolls_back_with_the_step_that_failed() {
    let mut device = device(another_two());
    device.failing.insert("mount", FailureKind::Permanent);
    device.run("locals/x");
    device.failing.clear();
    assert_eq!(device.engine.phase(), model::report::Phase::RollingBack);
    assert!(format!("{:?}", device.disk.trial).contains("failed to do it"));
}

#[test]
fn what_is_not_whole_is_refused_before_it_is_tried() {
    let table = [
        (FailureKind::Missing, "WontGo State JSON not found"),
        (FailureKind::Permanent, "WontGo State JSON has bad format"),
        (FailureKind::Corrupt, "WontGo Update aborted"),
        (FailureKind::Transient, "WontGo Internal error"),
    ];
    for (kind, message) in table {
        let mut device = device(another_two());
        device.failing.insert("verify", kind);
        device.run("locals/x");
        assert_eq!(device.message("locals/x"), message);
        assert!(device.told_of(&["ask", "start "]).is_empty());
    }
}

#[test]
fn the_revision_to_fall_back_to_is_verified_too() {
    let mut device = device(another_two());
    device.silent.insert("verify");
    device.run("locals/x");
    let outcome = Ok(Arc::clone(&device.revisions[&rev("locals/x")]));
    device.event(Event::Report(Report::Verified { revision: rev("locals/x"), outcome }));
    let outcome = Err(Failure::new(FailureKind::Corrupt, "read object abc"));
    device.event(Event::Report(Report::Verified { revision: rev("0"), outcome }));
    assert_eq!(device.message("locals/x"), "WontGo Internal error");
    assert!(device.progress[&rev("locals/x")].logs.contains("the revision to fall back to is not whole"));
}

#[test]
fn an_end_while_testing_starts_stability_again() {
    let recovery = r#""auto_recovery":{"policy":"always","stable_timeout":20}"#;
    let mut device = device(revision("locals/x", &["a"], &[("one", recovery, 2), ("two", READY, 1)]));
    device.run("locals/x").pass(15.0);
    device.exits("one", Exit::Code(1)).pass(15.0);
    assert_eq!(device.message("locals/x"), "Testing Waiting for all containers to become stable");
    device.pass(4.0);
    assert_eq!(device.disk.committed, rev("0"));
    device.pass(2.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
}

#[test]
fn testing_has_a_ceiling() {
    let recovery = r#""auto_recovery":{"policy":"always","stable_timeout":20,"max_retries":1000}"#;
    let mut device = device(revision("locals/x", &["a"], &[("one", recovery, 2), ("two", READY, 1)]));
    device.run("locals/x");
    for _ in 0..100 {
        if device.disk.trial.is_none() {
            break;
        }
        device.exits("one", Exit::Code(1)).pass(10.0);
    }
    assert_eq!(device.message("locals/x"), "Error Status goal not reached");
    assert!(device.now <= Time::from_micros((100 + 25 + 150 + 10) * 1_000_000));
}

#[test]
fn containers_come_and_go_with_an_update() {
    let mut device = device(revision("locals/x", &["a"], &[("new", "", 1), ("two", READY, 1)]));
    device.run("locals/x");
    assert_eq!(
        device.told_of(&["ask", "mount", "start "]),
        ["mount new 3 of locals/x", "ask one 1", "unmount one 1", "start new 3 of locals/x"]
    );
    device.pass(30.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
    assert_eq!(device.engine.report().containers.len(), 2);
}

#[test]
fn an_interrupted_trial_is_rolled_back_and_fails_for_good_the_third_time() {
    let mut device = device(another_two());
    for (times, reply) in [(1, "reply Done"), (2, "reply Done"), (3, "refused")] {
        device.run("locals/x").power_cut().ready("two");
        assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
        assert_eq!(device.disk.failures[&rev("locals/x")].interruptions, times);
        device.told();
        if times == 3 {
            device.run("locals/x");
            assert!(device.last_reply().contains(reply));
        }
    }
}

#[test]
fn a_killed_agent_fails_its_trial_though_containers_live() {
    let mut device = device(another_two());
    device.run("locals/x").told();
    device.boot();
    let told = device.told_of(&["force", "mount", "start "]);
    assert_eq!(told, ["force two 3", "mount two 4 of 0", "start two 4 of 0"]);
    assert_eq!(device.generation("one"), 1);
    device.ready("two");
    assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
}

#[test]
fn update_steps_wait_for_a_disk_that_fails_and_containers_run_on() {
    let mut device = device(another_two());
    device.run("locals/x").told();
    device.full = true;
    device.pass(300.0);
    assert_eq!(device.told_of(&["ask", "start ", "phase"]), [""; 0]);
    assert_eq!(device.status("two"), Status::Started);
    device.full = false;
    device.pass(60.0).ready("two");
    assert_eq!(device.message("locals/x"), "Error Status goal not reached");
}
