//! What may be asked, and what is refused.

use super::*;

fn device() -> Device {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", "", 1), ("sys", r#""restart_policy":"system""#, 1)]),
        revision("locals/x", &["a"], &[("one", "", 2), ("sys", r#""restart_policy":"system""#, 1)]),
    ]);
    device.boot().pass(100.0);
    device.told();
    device
}

#[test]
fn stopped_on_request_it_stays_so_until_started() {
    let mut device = device();
    device.control("one", Control::Stop);
    assert_eq!(device.last_reply(), "reply Done");
    device.pass(1000.0);
    assert_eq!(device.status("one"), Status::Stopped);
    assert_eq!(device.engine.report().status, Some(Status::Ready));
    device.control("one", Control::Start);
    assert_eq!(device.status("one"), Status::Started);
    assert_eq!(device.told_of(&["mount"]), [""; 0]);
}

#[test]
fn a_container_that_ignores_its_halt_signal_is_forced() {
    let mut device = device();
    device.stubborn.insert("one");
    device.control("one", Control::Stop).pass(9.9);
    assert_eq!(device.status("one"), Status::Stopping);
    device.pass(0.2);
    assert_eq!(device.status("one"), Status::Stopped);
}

#[test]
fn controls_are_refused_where_they_make_no_sense() {
    let mut device = device();
    let table = [
        (
            "one",
            Control::Start,
            "reply refused: container must be STOPPED, STOPPING or RECOVERING to be started",
        ),
        ("sys", Control::Stop, "reply refused: container sys has restart policy system"),
        ("none", Control::Stop, "reply refused: no container none in the running revision"),
        ("one", Control::Restart, "reply Done"),
        ("one", Control::Stop, "reply Done"),
        ("one", Control::Restart, "reply refused: container's state does not allow it"),
    ];
    for (container, control, reply) in table {
        device.control(container, control);
        assert_eq!(device.last_reply(), reply, "{container} {control:?}");
    }
}

#[test]
fn while_an_update_is_tried_nothing_is_controlled() {
    let mut device = device();
    device.run("locals/x").control("one", Control::Stop);
    assert_eq!(device.last_reply(), "reply refused: not while the device is Testing");
    device.run("locals/x");
    assert_eq!(device.last_reply(), "reply refused: not while the device is Testing");
    device.ask(Request::Collect);
    assert_eq!(device.last_reply(), "reply refused: not while the device is Testing");
    device.ask(Request::ShutDown { then: AfterShutdown::PowerOff });
    assert_eq!(device.last_reply(), "reply refused: not while the device is Testing");
}

#[test]
fn an_update_leaves_a_container_stopped_on_request_alone() {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", "", 1), ("two", "", 1)]),
        revision("locals/x", &["a"], &[("one", "", 2), ("two", "", 1)]),
    ]);
    device.boot().pass(100.0).control("two", Control::Stop).run("locals/x").pass(60.0);
    assert_eq!(device.message("locals/x"), "Done Update finished, revision set as rollback point");
    assert_eq!(device.status("two"), Status::Stopped);
}

#[test]
fn steps_in_use_are_not_overwritten() {
    let mut device = device();
    device.ask(Request::Post { revision: rev("0") });
    assert_eq!(device.last_reply(), "reply refused: revision 0 is in use");
    device.ask(Request::Post { revision: rev("locals/y") });
    assert_eq!(device.last_reply(), "reply Done");
    assert_eq!(device.message("locals/y"), "New Update not yet installed");
}

#[test]
fn a_collection_keeps_what_matters_and_answers_with_bytes() {
    let mut device = device();
    device.run("locals/x").pass(60.0).told();
    device.ask(Request::Collect);
    assert_eq!(
        device.told_of(&["collect", "reply"]),
        ["collect, keep {0, locals/x}", "reply Collected { reclaimed: 7 }"]
    );
}

#[test]
fn a_request_that_cannot_be_saved_is_refused_and_a_stop_never_is() {
    let mut device = device();
    device.full = true;
    device.run("locals/x");
    assert_eq!(
        device.last_reply(),
        "reply refused: the decision could not be written to disk, so it was not taken"
    );
    assert_eq!(device.told_of(&["verify"]), [""; 0]);
    device.ask(Request::ShutDown { then: AfterShutdown::End });
    assert_eq!(device.left, Some(AfterShutdown::End));
}

#[test]
fn shutdown_stops_the_last_group_first_and_nothing_starts_again() {
    let always = r#""auto_recovery":{"policy":"always"}"#;
    let (one, two) = (format!(r#""group":"a",{always}"#), format!(r#""group":"b",{always}"#));
    let mut device = Device::new(&[revision("0", &["a", "b"], &[("one", &one, 1), ("two", &two, 1)])]);
    device.boot().told();
    device.stubborn.insert("two");
    device.ask(Request::ShutDown { then: AfterShutdown::End });
    device.exits("one", Exit::Signal(9)).pass(10.0);
    let told = device.told_of(&["ask", "force", "start", "unmount", "leave"]);
    assert_eq!(told, ["ask two 2", "force two 2", "unmount two 2", "unmount one 1", "leave End"]);
}

#[test]
fn an_end_takes_the_place_of_a_fresh_start() {
    let mut device = device();
    device.stubborn.insert("one");
    device.ask(Request::ShutDown { then: AfterShutdown::Restart });
    device.ask(Request::ShutDown { then: AfterShutdown::End });
    assert_eq!(device.last_reply(), "reply Done");
    device.pass(10.0);
    assert_eq!(device.left, Some(AfterShutdown::End));
}

#[test]
fn an_end_does_not_wait_for_a_fresh_start_that_fails() {
    let mut device = device();
    device.failing.insert("leave", FailureKind::Denied);
    device.ask(Request::ShutDown { then: AfterShutdown::Restart });
    device.failing.clear();
    device.ask(Request::ShutDown { then: AfterShutdown::End });
    assert_eq!(device.left, Some(AfterShutdown::End));
}

#[test]
fn a_container_that_cannot_be_ended_never_gets_a_second_life() {
    let mut device = device();
    device.silent.extend(["ask", "force"]);
    device.control("one", Control::Restart).pass(500.0);
    assert_eq!(device.status("one"), Status::Stopping);
    assert!(device.told_of(&["force one"]).len() > 3);
    device.exits("one", Exit::Signal(9));
    assert_eq!(device.status("one"), Status::Started);
}

#[test]
fn leaving_that_fails_is_tried_again() {
    let mut device = device();
    device.failing.insert("leave", FailureKind::Denied);
    device.ask(Request::ShutDown { then: AfterShutdown::Restart });
    device.pass(200.0);
    assert_eq!(device.told_of(&["leave Restart", "start "]).len(), 4);
    device.failing.clear();
    device.pass(61.0);
    assert_eq!(device.left, Some(AfterShutdown::Restart));
}

#[test]
fn a_device_that_cannot_be_switched_off_starts_over() {
    for then in [AfterShutdown::PowerOff, AfterShutdown::Reboot] {
        let mut device = device();
        device.silent.insert("leave");
        device.ask(Request::ShutDown { then });
        let failure = Failure::new(FailureKind::Denied, "ask logind");
        device.silent.clear();
        device.event(Event::Report(Report::LeaveFailed { failure }));
        assert_eq!(
            device.told_of(&["leave", "note"]),
            [
                format!("leave {then:?}").as_str(),
                "note could not leave: failed to ask logind",
                "leave Restart"
            ]
        );
        assert_eq!(device.left, Some(AfterShutdown::Restart));
    }
}

#[test]
fn a_step_that_cannot_be_stored_is_refused_with_the_reason() {
    let mut device = device();
    device.failing.insert("install", FailureKind::NoSpace);
    device.ask(Request::Post { revision: rev("locals/y") });
    assert_eq!(device.last_reply(), "reply refused: failed to do it");
}
