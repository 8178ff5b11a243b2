//! Revisions that are tried once: never committed, gone with the next boot or request.

use super::*;
use model::durable::Term;
use model::report::Phase;

const SYSTEM: &str = r#""restart_policy":"system""#;

fn device() -> Device {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", "", 1), ("two", "", 1)]),
        revision("locals/x", &["a"], &[("one", "", 2), ("two", "", 1)]),
        revision("locals/y", &["a"], &[("one", "", 3), ("two", "", 1)]),
        revision("locals/silent", &["a"], &[("one", r#""status_goal":"READY""#, 1), ("two", "", 1)]),
    ]);
    device.boot().pass(100.0);
    device.told();
    device
}

/// Both revisions differ in a system container.
fn booting() -> Device {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", SYSTEM, 1)]),
        revision("locals/x", &["a"], &[("one", SYSTEM, 2)]),
    ]);
    device.boot().pass(100.0);
    device.told();
    device
}

fn once(device: &mut Device, id: &str) {
    device.ask(Request::TryOnce { revision: rev(id), force: false });
}

const KEPT: &str = "Updated Update finished, revision not set as rollback point";

#[test]
fn it_runs_on_and_is_not_committed() {
    let mut device = device();
    once(&mut device, "locals/x");
    assert_eq!(device.last_reply(), "reply Done");
    assert_eq!(device.engine.phase(), Phase::Testing);
    device.pass(1000.0);
    assert_eq!(device.message("locals/x"), KEPT);
    let report = device.engine.report();
    assert_eq!(
        (report.phase, report.revision, report.fallback),
        (Phase::Running, Some(rev("locals/x")), rev("0"))
    );
    assert!(report.notes.iter().any(|note| note.starts_with("revision locals/x is tried once")));
    assert_eq!(device.disk.committed, rev("0"));
    assert_eq!(device.disk.trial.as_ref().unwrap().term, Term::OnceProved);
    assert_eq!(device.engine.next_wakeup(), None);
}

#[test]
fn the_next_boot_brings_back_what_was_before() {
    let mut device = device();
    once(&mut device, "locals/x");
    device.pass(100.0).told();
    device.power_cut().pass(100.0);
    assert_eq!(device.told_of(&["start"]), ["start one 1 of 0", "start two 2 of 0"]);
    assert_eq!((device.disk.trial.clone(), device.disk.committed.clone()), (None, rev("0")));
    assert_eq!(device.message("locals/x"), KEPT);
    assert!(device.disk.failures.is_empty());
    device.run("locals/x").pass(100.0);
    assert_eq!(device.disk.committed, rev("locals/x"));
}

#[test]
fn so_does_an_agent_that_starts_again() {
    let mut device = device();
    once(&mut device, "locals/x");
    device.pass(100.0).told();
    device.boot().pass(100.0);
    assert_eq!(device.engine.report().revision, Some(rev("0")));
    assert_eq!(device.disk.trial, None);
}

#[test]
fn so_does_a_request_for_what_is_committed() {
    let mut device = device();
    once(&mut device, "locals/x");
    device.pass(100.0).told();
    device.full = true;
    device.run("0");
    assert_eq!(device.last_reply(), "reply Done");
    device.full = false;
    device.pass(100.0);
    let told = device.told_of(&["start", "ask"]);
    assert_eq!(told, ["ask one 3", "start one 4 of 0"]);
    assert_eq!((device.engine.report().revision, device.disk.trial.clone()), (Some(rev("0")), None));
    assert_eq!(device.message("locals/x"), KEPT);
}

#[test]
fn another_request_goes_on_from_it_and_what_is_committed_stays_the_fallback() {
    let mut device = device();
    once(&mut device, "locals/x");
    device.pass(100.0);
    device.run("locals/y").pass(100.0);
    assert_eq!(
        (device.disk.committed.clone(), device.disk.previous.clone()),
        (rev("locals/y"), Some(rev("0")))
    );
    assert_eq!(device.message("locals/y"), "Done Update finished, revision set as rollback point");
}

#[test]
fn to_run_it_for_good_restarts_nothing() {
    let mut device = device();
    once(&mut device, "locals/x");
    device.pass(100.0).told();
    device.run("locals/x").pass(100.0);
    assert_eq!(device.told_of(&["start", "ask"]), [""; 0]);
    assert_eq!(device.disk.committed, rev("locals/x"));
}

#[test]
fn a_request_that_comes_to_nothing_ends_it_all_the_same() {
    let mut device = device();
    once(&mut device, "locals/x");
    device.pass(100.0);
    device.run("locals/none").pass(100.0);
    assert_eq!(device.message("locals/none"), "WontGo State JSON not found");
    assert_eq!((device.engine.report().revision, device.disk.trial.clone()), (Some(rev("0")), None));
}

#[test]
fn one_that_fails_is_rolled_back_like_any_other() {
    let mut device = device();
    once(&mut device, "locals/silent");
    device.pass(100.0);
    assert_eq!(device.message("locals/silent"), "Error Status goal not reached");
    assert!(device.disk.failures[&rev("locals/silent")].final_);
    assert_eq!((device.engine.report().revision, device.disk.trial.clone()), (Some(rev("0")), None));
    once(&mut device, "locals/silent");
    assert!(device.last_reply().contains("failed before"), "{}", device.last_reply());
    device.ask(Request::TryOnce { revision: rev("locals/silent"), force: true });
    assert_eq!(device.last_reply(), "reply Done");
}

#[test]
fn one_that_needs_a_boot_comes_back_by_another() {
    let mut device = booting();
    once(&mut device, "locals/x");
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    device.boot().pass(100.0);
    assert_eq!(device.message("locals/x"), KEPT);
    assert_eq!(device.boot, Some(BootVars { committed: rev("0"), candidate: None }));
    device.run("locals/y");
    assert!(device.last_reply().contains("only another boot returns from it: LOCAL_RUN 0 first"));
    device.run("0");
    assert_eq!((device.last_reply().as_str(), device.left), ("reply Done", Some(AfterShutdown::Restart)));
    device.boot().pass(100.0);
    assert_eq!((device.engine.report().revision, device.disk.trial.clone()), (Some(rev("0")), None));
}

#[test]
fn an_agent_that_dies_in_the_boot_of_one_boots_again() {
    let mut device = booting();
    once(&mut device, "locals/x");
    device.boot().pass(100.0);
    device.living.clear();
    device.boot_as(BootedAs::Trying(rev("locals/x")));
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    device.boot().pass(100.0);
    assert_eq!((device.engine.report().revision, device.disk.trial.clone()), (Some(rev("0")), None));
    assert_eq!(device.message("locals/x"), KEPT);
}

#[test]
fn where_nothing_ran_it_comes_back_to_nothing_or_is_kept() {
    let first = revision("locals/x", &["a"], &[("one", "", 1)]);
    let mut device = Device::new(&[first]);
    device.boot = None;
    device.boot();
    assert_eq!(device.engine.phase(), Phase::OnlyAnswering);
    once(&mut device, "locals/x");
    device.pass(100.0);
    assert_eq!(device.message("locals/x"), KEPT);
    device.run("0").pass(10.0);
    assert_eq!((device.engine.phase(), device.disk.trial.clone()), (Phase::OnlyAnswering, None));
    once(&mut device, "locals/x");
    device.pass(100.0);
    device.run("locals/x").pass(100.0);
    assert_eq!(device.message("locals/x"), "Done Update finished, revision set as rollback point");
}

#[test]
fn what_is_committed_cannot_be_tried_once() {
    let mut device = device();
    once(&mut device, "0");
    assert_eq!(device.last_reply(), "reply refused: revision 0 is in use");
}
