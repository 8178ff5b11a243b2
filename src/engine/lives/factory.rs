//! The factory revision, replaced on request.

use super::*;
use model::durable::FailureRecord;

fn device() -> Device {
    let mut device = Device::new(&[
        revision("0", &["a"], &[("one", "", 1)]),
        revision("locals/x", &["a"], &[("one", "", 2)]),
        revision("locals/y", &["a"], &[("one", "", 3)]),
    ]);
    device.boot().pass(100.0);
    device
}

fn make(device: &mut Device, id: Option<&str>) -> String {
    device.told();
    device.ask(Request::MakeFactory { revision: id.map(rev) });
    device.last_reply()
}

#[test]
fn what_proved_itself_becomes_the_factory_revision() {
    let mut device = device();
    device.run("locals/x").pass(100.0);
    assert_eq!(make(&mut device, None), "reply Done");
    assert_eq!(device.told_of(&["factory"]), ["make factory of locals/x"]);
    device.run("locals/y").pass(100.0);
    assert_eq!(make(&mut device, Some("locals/x")), "reply Done");
    assert_eq!(device.told_of(&["factory"]), ["make factory of locals/x"]);
}

#[test]
fn nothing_else_does() {
    let mut device = device();
    let runs =
        "reply refused: this device runs revision 0, or would return to it: LOCAL_RUN another revision first";
    assert_eq!(make(&mut device, Some("locals/x")), runs);
    assert_eq!(make(&mut device, None), "reply refused: revision 0 is the factory revision already");
    device.run("locals/x").pass(100.0);
    assert_eq!(
        make(&mut device, Some("locals/y")),
        "reply refused: revision locals/y has not proved itself: only the rollback point, which is locals/x, or the one before \
         it can become the factory revision"
    );
    device.ask(Request::TryOnce { revision: rev("0"), force: false });
    assert_eq!(make(&mut device, None), "reply refused: not while the device is Testing");
    device.pass(100.0);
    assert_eq!(make(&mut device, Some("locals/x")), runs);
}

#[test]
fn meanwhile_no_other_command_begins() {
    let mut device = device();
    device.run("locals/x").pass(100.0);
    device.silent.insert("factory");
    device.ask(Request::MakeFactory { revision: None });
    let another = "reply refused: another command is being carried out";
    assert_eq!(make(&mut device, None), another);
    assert_eq!(device.run("locals/y").last_reply(), another);
    assert_eq!(device.ask(Request::Collect).last_reply(), another);
    device.pass(601.0);
    assert_eq!(device.last_reply(), "reply refused: failed to make the factory revision in time");
    // It may still happen: what it changes must not begin to run.
    assert_eq!(device.run("0").last_reply(), "reply refused: revision 0 is in use");
    assert_eq!(make(&mut device, None), another);
    device.event(Event::Report(Report::FactoryMade { outcome: Ok(()) }));
    assert_eq!(device.run("0").last_reply(), "reply Done");
}

#[test]
fn a_failure_under_its_name_is_forgotten() {
    let mut device = device();
    device.run("locals/x").pass(100.0);
    let record = FailureRecord { message: "m".into(), details: Vec::new(), interruptions: 0, final_: true };
    device.disk.failures.insert(rev("0"), record);
    device.power_cut().pass(100.0);
    assert_eq!(make(&mut device, None), "reply Done");
    assert!(device.disk.failures.is_empty());
}

#[test]
fn one_that_cannot_be_made_is_refused_with_the_reason() {
    let mut device = device();
    device.run("locals/x").pass(100.0);
    device.failing.insert("factory", FailureKind::NoSpace);
    assert_eq!(make(&mut device, None), "reply refused: failed to do it");
    device.failing.clear();
    assert_eq!(make(&mut device, None), "reply Done");
}
