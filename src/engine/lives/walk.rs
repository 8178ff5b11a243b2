//! The walk: mounting, groups, goals, deadlines, signals.

use super::*;

#[test]
fn a_container_walks_to_started() {
    let mut device = Device::new(&[revision("0", &["app"], &[("web", "", 1)])]);
    device.boot();
    let told = device.told_of(&["web", "saved", "Factory"]);
    assert_eq!(
        told,
        [
            "mount web 1 of 0",
            "web MOUNTED",
            "web BLOCKED",
            "web STARTING",
            "start web 1 of 0",
            "web STARTED",
            "web met its goal",
            "saved",
            "progress 0 Done Factory revision",
            "saved",
        ],
    );
}

#[test]
fn mounting_is_parallel_and_does_not_wait_for_earlier_groups() {
    let mut device = Device::new(&[revision(
        "0",
        &["a", "b"],
        &[("one", r#""group":"a""#, 1), ("two", r#""group":"b""#, 1)],
    )]);
    device.silent.insert("start");
    device.boot();
    assert_eq!(device.told_of(&["mount "]), ["mount one 1 of 0", "mount two 2 of 0"]);
    assert_eq!((device.status("one"), device.status("two")), (Status::Starting, Status::Blocked));
}

#[test]
fn independent_containers_start_in_the_same_step() {
    let fields = r#""group":"b""#;
    let mut device = Device::new(&[revision(
        "0",
        &["a", "b"],
        &[("gate", r#""group":"a","status_goal":"READY""#, 1), ("one", fields, 1), ("two", fields, 1)],
    )]);
    device.boot().told();
    device.ready("gate");
    let told = device.told_of(&["start ", "STARTED"]);
    assert_eq!(told, ["start one 2 of 0", "start two 3 of 0", "one STARTED", "two STARTED"]);
}

#[test]
fn a_group_waits_for_the_ready_of_the_one_before() {
    let fields = r#""group":"a","status_goal":"READY""#;
    let mut device =
        Device::new(&[revision("0", &["a", "b"], &[("one", fields, 1), ("two", r#""group":"b""#, 1)])]);
    device.boot();
    assert_eq!((device.status("one"), device.status("two")), (Status::Started, Status::Blocked));
    device.ready("one");
    assert_eq!((device.status("one"), device.status("two")), (Status::Ready, Status::Started));
}

#[test]
fn outside_a_trial_a_missed_deadline_lets_the_next_group_go_and_is_recorded() {
    let fields = r#""group":"a","status_goal":"READY""#;
    let mut device =
        Device::new(&[revision("0", &["a", "b"], &[("one", fields, 1), ("two", r#""group":"b""#, 1)])]);
    device.boot().pass(29.9);
    assert_eq!(device.status("two"), Status::Blocked);
    device.pass(0.2);
    assert_eq!(device.status("two"), Status::Started);
    assert!(device.disk.missed.contains_key(&name("one")));
    assert!(!device.disk.proven);
    device.ready("one");
    assert!(device.disk.missed.is_empty() && device.disk.proven);
}

#[test]
fn a_full_disk_still_brings_every_container_up() {
    let fields = r#""group":"a","status_goal":"READY""#;
    let mut device =
        Device::new(&[revision("0", &["a", "b"], &[("one", fields, 1), ("two", r#""group":"b""#, 1)])]);
    device.full = true;
    device.boot().pass(31.0);
    assert_eq!((device.status("one"), device.status("two")), (Status::Started, Status::Started));
    assert!(device.engine.report().notes.iter().any(|note| note.contains("cannot be written")));
    device.full = false;
    device.pass(61.0);
    assert!(device.disk.missed.contains_key(&name("one")));
}

#[test]
fn saves_that_fail_are_tried_again_ever_more_rarely() {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", "", 1)])]);
    device.full = true;
    device.boot().told();
    device.pass(600.0);
    let tries = device.told_of(&["save failed"]).len();
    assert!((10..20).contains(&tries), "{tries}");
}

#[test]
fn a_ready_that_comes_before_exec_was_reported_is_kept() {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", r#""status_goal":"READY""#, 1)])]);
    device.silent.insert("start");
    device.boot().ready("one");
    assert_eq!(device.last_reply(), "reply Done");
    assert_eq!(device.status("one"), Status::Starting);
    let container = name("one");
    device.event(Event::Report(Report::Started { container, generation: Generation(1), outcome: Ok(9) }));
    assert_eq!(device.told_of(&["one ST", "one RE"]), ["one STARTING", "one STARTED", "one READY"]);
}

#[test]
fn a_ready_is_refused_where_none_is_expected() {
    let mut device =
        Device::new(&[revision("0", &["a"], &[("one", "", 1), ("two", r#""status_goal":"READY""#, 1)])]);
    device.boot().ready("one");
    assert_eq!(device.last_reply(), "reply refused: signal not expected");
    device.ready("two");
    assert_eq!(device.last_reply(), "reply Done");
    device.ready("two");
    assert_eq!(device.last_reply(), "reply Done");
    let what = Request::Signal { container: name("two"), generation: Generation(77), signal: Signal::Ready };
    device.ask(what);
    assert_eq!(device.last_reply(), "reply refused: signal not expected");
}

#[test]
fn late_reports_of_former_lives_are_dropped_by_name() {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", "", 1)])]);
    device.boot().told();
    let container = name("one");
    device.event(Event::Exited { container, generation: Generation(55), exit: Exit::Code(1) });
    assert_eq!(device.told(), ["note one: a late report of its life 55 was dropped"]);
    assert_eq!(device.status("one"), Status::Started);
}

#[test]
fn a_mount_that_never_answers_is_decided_about() {
    let fields =
        r#""auto_recovery":{"policy":"always","retry_delay":1,"max_retries":1,"backoff_policy":"never"}"#;
    let mut device = Device::new(&[revision("0", &["a"], &[("one", fields, 1)])]);
    device.silent.insert("mount");
    device.boot().pass(60.0);
    assert_eq!(device.status("one"), Status::Recovering);
    device.silent.clear();
    device.pass(1.0);
    assert_eq!(device.told_of(&["mount"]), ["mount one 1 of 0", "unmount one 1", "mount one 3 of 0"]);
    assert_eq!(device.status("one"), Status::Started);
}

#[test]
fn a_start_that_never_answers_is_forced_to_end_before_the_next() {
    let fields = r#""auto_recovery":{"policy":"always","retry_delay":1}"#;
    let mut device = Device::new(&[revision("0", &["a"], &[("one", fields, 1)])]);
    device.silent.insert("start");
    device.boot().pass(60.0);
    assert_eq!(device.status("one"), Status::Recovering);
    device.silent.clear();
    device.pass(1.0);
    assert_eq!(device.told_of(&["force", "start"]), ["start one 1 of 0", "force one 1", "start one 2 of 0"]);
}

#[test]
fn idle_means_no_wake_up() {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", "", 1)])]);
    device.boot().pass(600.0);
    assert_eq!(device.engine.next_wakeup(), None);
}
