//! Reports that come when nobody waits for them any more.

use super::*;
use crate::loader::Loader;

/// An update whose containers have met their goals: it commits 25 s from now.
fn testing() -> Device {
    let x = revision("locals/x", &["a"], &[("one", "", 2)]);
    let mut device = Device::new(&[revision("0", &["a"], &[("one", "", 1)]), x]);
    device.boot().pass(100.0).run("locals/x");
    assert_eq!(device.message("locals/x"), "Testing Awaiting to see if update is stable");
    device
}

/// When the boot loader was asked for what is waited for.
fn boot_asked(device: &Device) -> Time {
    let Loader::Setting { asked, .. } = device.engine.loader else { panic!("it is not being set") };
    asked
}

fn boot_set(device: &mut Device, asked: Time, outcome: Result<(), Failure>) -> Vec<String> {
    device.told();
    device.event(Event::Report(Report::BootSet { asked, outcome }));
    device.told_of(&["note", "boot", "Done"])
}

const DONE: &str = "progress locals/x Done Update finished, revision set as rollback point";

/// The boot loader was asked twice, and has answered neither; when it was.
fn asked_twice() -> (Device, Time, Time) {
    let mut device = testing();
    device.silent.insert("boot");
    device.pass(25.0);
    let first = boot_asked(&device);
    device.pass(70.0);
    let second = boot_asked(&device);
    assert_ne!(first, second);
    (device, first, second)
}

#[test]
fn a_late_report_of_the_boot_loader_is_no_answer_to_what_was_asked_since() {
    let (mut device, first, second) = asked_twice();
    let late = ["note a late report of the boot loader was dropped"];
    assert_eq!(boot_set(&mut device, first, Ok(())), late);
    let failure = Failure::new(FailureKind::Transient, "write it");
    assert_eq!(boot_set(&mut device, first, Err(failure)), late);
    assert_eq!(boot_asked(&device), second);
    assert_eq!(boot_set(&mut device, second, Ok(())), [DONE]);
}

#[test]
fn what_a_late_write_may_have_overwritten_is_written_again() {
    let (mut device, first, second) = asked_twice();
    assert_eq!(boot_set(&mut device, second, Ok(())), [DONE]);
    device.silent.clear();
    let told = boot_set(&mut device, first, Ok(()));
    assert_eq!(told, ["note a late report of the boot loader was dropped", "boot locals/x"]);
    assert_eq!(device.pass(600.0).engine.next_wakeup(), None);
}

#[test]
fn a_late_report_of_a_progress_document_is_no_answer_to_what_was_asked_since() {
    let mut device = testing();
    device.silent.insert("progress");
    let (first, revision) = (device.now + Duration::from_secs(25), rev("locals/x"));
    device.pass(25.0 + 70.0);
    assert_eq!(device.told_of(&[DONE]), [DONE, DONE]);
    device.event(Event::Report(Report::ProgressWritten { revision, asked: first, outcome: Ok(()) }));
    assert_eq!(device.told(), ["note a late report of the progress of locals/x was dropped"]);
    assert!(!device.disk.unwritten.is_empty());
    device.silent.clear();
    device.pass(70.0);
    assert!(device.disk.unwritten.is_empty());
}
