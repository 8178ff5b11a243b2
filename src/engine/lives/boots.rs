//! Boots: reboot updates, cuts between writes, agents that die, what cannot be run.

use super::*;
use model::durable::TrialStage;
use model::report::Phase;

const SYSTEM: &str = r#""restart_policy":"system""#;

/// `locals/x` changes a system container, so it needs a reboot.
fn device() -> Device {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", SYSTEM, 1)]),
        revision("locals/x", &["a"], &[("one", SYSTEM, 2)]),
    ]);
    device.boot().pass(100.0);
    device.told();
    device
}

#[test]
fn a_reboot_update_is_tried_once_and_committed_by_the_boot_loader_first() {
    let mut device = device();
    device.run("locals/x");
    assert_eq!(
        device.told_of(&["ask", "boot", "leave", "Progress"]),
        ["ask one 1", "progress locals/x InProgress Rebooting", "boot 0, try locals/x", "leave Restart"],
    );
    device.boot();
    assert_eq!(device.message("locals/x"), "Testing Awaiting to set rollback point if update is stable");
    assert!(matches!(device.disk.trial.as_ref().unwrap().stage, TrialStage::Booted));
    device.told();
    device.pass(25.0);
    assert_eq!(
        device.told_of(&["boot", "saved", "Done"]),
        [
            "saved",
            "boot locals/x",
            "saved",
            "progress locals/x Done Update finished, revision set as rollback point",
            "saved"
        ],
    );
    assert_eq!(device.disk.committed, rev("locals/x"));
}

#[test]
fn a_reboot_update_that_misses_its_goal_comes_back_by_another_boot() {
    let mut device = device();
    device.silent.insert("start");
    device.run("locals/x").boot().pass(30.0);
    let generation = Generation(1);
    device.event(Event::Exited { container: name("one"), generation, exit: Exit::Signal(15) });
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    device.silent.clear();
    device.power_cut();
    assert_eq!(device.message("locals/x"), "Error Status goal not reached");
    assert_eq!((device.status("one"), device.engine.phase()), (Status::Started, Phase::Running));
}

#[test]
fn a_cut_while_a_reboot_update_is_tried_rolls_it_back() {
    let mut device = device();
    device.run("locals/x").boot().power_cut();
    assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
    assert_eq!(device.disk.committed, rev("0"));
}

#[test]
fn an_agent_that_dies_in_its_one_boot_does_not_try_again() {
    let mut device = device();
    device.run("locals/x").boot().told();
    device.boot_as(BootedAs::Trying(rev("locals/x")));
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    assert_eq!(device.told_of(&["start "]), [""; 0]);
    device.power_cut();
    assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
}

#[test]
fn a_cut_after_the_boot_loader_committed_is_finished_by_the_next_boot() {
    let mut device = device();
    device.run("locals/x").boot();
    device.silent.insert("boot");
    device.pass(25.0);
    device.silent.clear();
    device.boot = Some(BootVars { committed: rev("locals/x"), candidate: None });
    device.power_cut();
    assert_eq!(device.message("locals/x"), "Done Update finished, revision set as rollback point");
    assert_eq!(
        (device.disk.committed.clone(), device.disk.previous.clone()),
        (rev("locals/x"), Some(rev("0")))
    );
}

#[test]
fn a_cut_before_the_boot_loader_committed_rolls_back() {
    let mut device = device();
    device.run("locals/x").boot();
    device.silent.insert("boot");
    device.pass(25.0);
    device.silent.clear();
    device.power_cut();
    assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
}

#[test]
fn without_a_boot_loader_durable_alone_tells_what_is_tried() {
    let mut device = device();
    device.boot = None;
    device.boot_as(BootedAs::NoLoader).pass(100.0).run("locals/x");
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    device.boot();
    assert_eq!(device.engine.phase(), Phase::Testing);
    device.pass(25.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
    assert_eq!(device.message("locals/x"), "Done Update finished, revision set as rollback point");
}

#[test]
fn where_no_reboot_is_possible_a_reboot_update_is_refused_with_the_keys() {
    let mut device = device();
    device.settings.reboot_updates = Err(Arc::from("no boot loader"));
    device.boot().pass(100.0).run("locals/x");
    assert_eq!(device.message("locals/x"), "WontGo Update aborted");
    let logs = &device.progress[&rev("locals/x")].logs;
    assert_eq!(logs, "it needs a reboot: no boot loader\none: its restart policy is system");
}

#[test]
fn a_boot_loader_that_cannot_be_told_fails_the_update_and_everything_comes_back() {
    let mut device = device();
    device.failing.insert("boot", FailureKind::Denied);
    device.run("locals/x");
    assert_eq!(device.message("locals/x"), "Error Internal error");
    assert_eq!((device.status("one"), device.left), (Status::Started, None));
}

#[test]
fn a_disk_that_fails_at_the_one_boot_gives_the_try_up() {
    let mut device = device();
    device.run("locals/x");
    device.full = true;
    device.boot();
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    device.power_cut();
    assert_eq!(device.status("one"), Status::Started);
    device.full = false;
    device.pass(61.0);
    assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
}

#[test]
fn an_agent_that_keeps_dying_goes_back_once_and_then_only_answers() {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", r#""status_goal":"READY""#, 1)]),
        revision("locals/x", &["a"], &[("one", r#""status_goal":"READY""#, 2)]),
    ]);
    device.boot().ready("one").run("locals/x").ready("one").pass(30.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
    for _ in 0..5 {
        device.power_cut();
        assert_eq!(device.engine.report().revision, Some(rev("locals/x")));
    }
    device.power_cut();
    assert_eq!(device.engine.report().revision, Some(rev("0")));
    assert_eq!(device.message("locals/x"), "Error Unexpected rollback");
    assert!(device.disk.fell_back);
    for _ in 0..4 {
        device.power_cut();
    }
    assert_eq!(device.engine.phase(), Phase::Running);
    device.power_cut();
    assert_eq!(device.engine.phase(), Phase::OnlyAnswering);
    device.power_cut();
    assert_eq!(device.engine.phase(), Phase::OnlyAnswering);
    // An operator can still bring another revision in.
    device.ask(Request::Run { revision: rev("locals/x"), force: true });
    device.ready("one").pass(30.0);
    assert_eq!((device.disk.committed.clone(), device.engine.phase()), (rev("locals/x"), Phase::Running));
}

#[test]
fn a_settled_start_is_no_death() {
    let mut device = device();
    for _ in 0..20 {
        device.power_cut().pass(1.0);
    }
    assert_eq!(device.engine.phase(), Phase::Running);
    assert_eq!(device.disk.unsettled_starts, 0);
}

#[test]
fn former_lives_are_seen_gone_before_anything_starts() {
    let mut device = device();
    // It was asked to stop, and did not obey yet.
    device.stubborn.insert("one");
    device.ask(Request::ShutDown { then: AfterShutdown::End });
    device.silent.insert("force");
    device.told();
    device.boot();
    assert_eq!(device.told_of(&["force", "mount", "start "]), ["force one 1"]);
    let container = name("one");
    device.living.clear();
    device.event(Event::Exited { container, generation: Generation(1), exit: Exit::Unknown });
    assert_eq!(device.told_of(&["force", "mount", "start "]), ["mount one 2 of 0", "start one 2 of 0"]);
}

#[test]
fn a_former_life_goes_on_with_what_it_said() {
    let ready = r#""status_goal":"READY""#;
    let retried = r#""group":"b","auto_recovery":{"policy":"always","retry_delay":1}"#;
    let mut device = Device::new(&[revision("0", &["a", "b"], &[("one", ready, 1), ("two", retried, 1)])]);
    device.boot().ready("one").pass(100.0);
    device.told();
    device.boot();
    assert_eq!(
        device.told_of(&["force", "mount", "start ", "STARTED", "READY"]),
        ["one READY", "two STARTED"]
    );
    assert_eq!((device.generation("one"), device.generation("two")), (1, 2));
    device.exits("two", Exit::Unknown).pass(10.0);
    assert_eq!(device.status("two"), Status::Started);
    assert_eq!(device.told_of(&["mount", "start "]), ["mount two 3 of 0", "start two 3 of 0"]);
}

#[test]
fn a_former_life_of_another_content_is_ended() {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", "", 1)])]);
    device.boot().pass(100.0);
    device.revisions.insert(rev("0"), revision("0", &["a"], &[("one", "", 2)]));
    device.told();
    device.boot();
    assert_eq!(device.told_of(&["force", "start "]), ["force one 1", "start one 2 of 0"]);
}

#[test]
fn nothing_whole_means_only_answering() {
    let mut device = Device::new(&[]);
    device.boot();
    assert_eq!(device.engine.phase(), Phase::OnlyAnswering);
    assert!(
        device.engine.report().notes.iter().any(|note| note.contains("revision 0 is not on this device"))
    );
}

#[test]
fn durable_wins_where_the_boot_loader_was_not_told() {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", "", 1)]),
        revision("locals/x", &["a"], &[("one", "", 2)]),
    ]);
    device.boot().pass(100.0).run("locals/x");
    device.failing.insert("boot", FailureKind::Transient);
    device.pass(25.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
    assert_eq!(device.message("locals/x"), "Testing Awaiting to see if update is stable");
    device.failing.clear();
    device.power_cut();
    assert_eq!(device.message("locals/x"), "Done Update finished, revision set as rollback point");
    assert_eq!(device.boot, Some(BootVars { committed: rev("locals/x"), candidate: None }));
    assert_eq!(device.engine.report().revision, Some(rev("locals/x")));
}

#[test]
fn where_nothing_is_whole_another_revision_can_still_be_brought_in() {
    let mut device = Device::new(&[revision("locals/x", &["a"], &[("one", "", 1)])]);
    device.boot().run("locals/x").pass(30.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
    assert_eq!((device.status("one"), device.engine.phase()), (Status::Started, Phase::Running));
}

/// The agent fell back while the other revision's base runs, as after a cut before the boot loader was told.
fn booted_wrong() -> Device {
    let mut device = device();
    device.disk.committed = rev("locals/x");
    device.power_cut();
    device
}

#[test]
fn another_base_than_the_committed_one_is_left_once_the_boot_loader_knows() {
    let mut device = booted_wrong();
    assert_eq!(device.told_of(&["boot", "start ", "leave"]), ["boot locals/x", "leave Restart"]);
    device.power_cut();
    assert_eq!(device.engine.report().revision, Some(rev("locals/x")));
    assert_eq!(device.status("one"), Status::Started);
}

#[test]
fn boots_that_stay_wrong_end_with_everything_running() {
    let mut device = booted_wrong();
    let mut boots = 0;
    while device.left.is_some() {
        boots += 1;
        assert!(boots < 10, "no end of boots");
        device.boot = Some(BootVars { committed: rev("0"), candidate: None });
        device.power_cut();
    }
    assert!(device.engine.phase() == Phase::Running || device.engine.phase() == Phase::OnlyAnswering);
}

#[test]
fn a_wrong_boot_on_a_full_disk_runs_what_is_committed_where_it_is() {
    let mut device = device();
    device.disk.committed = rev("locals/x");
    device.full = true;
    device.failing.insert("boot", FailureKind::Denied);
    device.power_cut();
    assert_eq!((device.status("one"), device.left), (Status::Started, None));
}

#[test]
fn going_back_does_not_wait_for_a_boot_loader_that_fails() {
    let mut device = device();
    device.run("locals/x").boot().told();
    device.failing.insert("boot", FailureKind::Denied);
    device.boot_as(BootedAs::Trying(rev("locals/x")));
    assert_eq!(device.left, Some(AfterShutdown::Restart));
}
