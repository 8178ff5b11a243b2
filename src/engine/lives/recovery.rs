//! What follows an end.

use super::*;

fn device(fields: &str) -> Device {
    let mut device = Device::new(&[revision("0", &["a"], &[("one", fields, 1)])]);
    device.boot().pass(100.0);
    device.told();
    device
}

#[test]
fn without_a_policy_it_rests_and_the_device_starts_over_later() {
    let mut device = device("");
    device.exits("one", Exit::Code(0));
    assert_eq!(device.status("one"), Status::Stopped);
    device.pass(29.0);
    assert_eq!(device.left, None);
    device.pass(2.0);
    assert_eq!(device.left, Some(AfterShutdown::Restart));
    assert_eq!(device.disk.policy_reboots, 1);
}

#[test]
fn policy_reboots_grow_apart_and_end() {
    let mut device = device("");
    let mut waits = Vec::new();
    while waits.len() < 10 {
        let begin = device.now;
        device.exits("one", Exit::Code(1)).pass(3000.0);
        if device.left.is_none() {
            break;
        }
        waits.push(device.now - begin);
        device.power_cut();
    }
    assert_eq!(waits.len(), 5);
    assert_eq!(device.status("one"), Status::Stopped);
    assert_eq!(device.engine.next_wakeup(), None);
}

#[test]
fn retries_follow_delay_and_factor_and_then_give_up() {
    let fields = r#""auto_recovery":{"policy":"on-failure","max_retries":3,"retry_delay":5,"backoff_factor":2.0,"backoff_policy":"never"}"#;
    let mut device = device(fields);
    for delay in [5.0, 10.0, 20.0] {
        device.exits("one", Exit::Code(0));
        assert_eq!(device.status("one"), Status::Recovering);
        device.pass(delay - 0.1);
        assert_eq!(device.status("one"), Status::Recovering);
        device.pass(0.2);
        assert_eq!(device.status("one"), Status::Started);
    }
    device.exits("one", Exit::Code(0));
    assert_eq!(device.status("one"), Status::Stopped);
    assert_eq!(device.told_of(&["mount"]), [""; 0]);
}

#[test]
fn a_ladder_repeats_its_last_rung() {
    let fields = r#""auto_recovery":{"policy":"always","ladder":[1,7]}"#;
    let mut device = device(fields);
    for delay in [1.0, 7.0, 7.0, 7.0] {
        device.exits("one", Exit::Signal(9)).pass(delay - 0.1);
        assert_eq!(device.status("one"), Status::Recovering);
        device.pass(0.2);
        assert_eq!(device.status("one"), Status::Started);
    }
}

#[test]
fn a_delay_of_zero_is_a_second_from_the_third_try_on() {
    let mut device = device(r#""auto_recovery":{"policy":"always"}"#);
    device.exits("one", Exit::Signal(9)).exits("one", Exit::Signal(9));
    assert_eq!(device.status("one"), Status::Started);
    device.exits("one", Exit::Signal(9));
    assert_eq!(device.status("one"), Status::Recovering);
    device.pass(1.0);
    assert_eq!(device.status("one"), Status::Started);
}

#[test]
fn a_long_life_starts_the_count_over() {
    let fields =
        r#""auto_recovery":{"policy":"always","max_retries":1,"reset_window":10,"backoff_policy":"never"}"#;
    let mut device = device(fields);
    for _ in 0..5 {
        device.exits("one", Exit::Signal(9)).pass(11.0);
        assert_eq!(device.status("one"), Status::Started);
    }
    device.exits("one", Exit::Signal(9)).exits("one", Exit::Signal(9));
    assert_eq!(device.status("one"), Status::Stopped);
}

#[test]
fn a_backoff_of_time_begins_the_cycle_again() {
    let fields = r#""auto_recovery":{"policy":"always","max_retries":1,"backoff_policy":"30s"}"#;
    let mut device = device(fields);
    device.exits("one", Exit::Signal(9)).exits("one", Exit::Signal(9));
    assert_eq!(device.status("one"), Status::Recovering);
    device.pass(30.0);
    assert_eq!(device.status("one"), Status::Started);
}

#[test]
fn meant_to_end_it_meets_its_goal_by_ending_with_zero() {
    let mut device = Device::new(&[revision(
        "0",
        &["a", "b"],
        &[("one", r#""group":"a","lifetime":"once""#, 1), ("two", r#""group":"b""#, 1)],
    )]);
    device.boot().exits("one", Exit::Code(0));
    assert_eq!((device.status("one"), device.status("two")), (Status::Stopped, Status::Started));
    assert_eq!(device.engine.report().status, Some(Status::Ready));
    assert!(device.disk.proven);
}
