//! What the device under the data partition is told to write, as the device itself counts it: journal and file system with it.

use std::time::Duration;

use tests::bench::wait;

use crate::device::Device;
use crate::revision::{Container, READY, Revision};

/// As long as a test can wait; nothing that the agent has a clock for is slower, but what an hour would show.
const IDLE: Duration = Duration::from_secs(60);
const UPDATES: u64 = 4;
/// Guesses until measured.
const MOST_PER_BOOT: u64 = 384;
const MOST_PER_UPDATE: u64 = 768;

fn revision(version: u64) -> Revision {
    let web = Container::new("web", READY)
        .goal("READY")
        .config("etc/version.json", serde_json::json!({ "version": version }));
    let other = |name| Container::new(name, READY).goal("READY");
    Revision::new([other("one"), other("two"), web])
}

#[test]
#[ignore = "has not been measured yet: its budgets are guesses"]
fn flash_is_not_written_while_idle_and_little_by_a_boot_or_an_update() {
    let (mut device, disk) = Device::on_ext4(&revision(0), 32);
    let goals = ["one", "two", "web"];
    device.events().until_goals_met(&goals);
    device.stop();

    let before = disk.bytes_written();
    device.start();
    device.events().until_goals_met(&goals);
    // Output is gathered for a moment before it is written.
    wait(Duration::from_secs(2));
    let booted = disk.bytes_written();

    for version in 1..=UPDATES {
        let name = format!("locals/{version}");
        device.update(&name, &revision(version));
        device.events().until_update(&name, &["DONE", "ERROR", "WONTGO", "UPDATED"]);
        assert_eq!(device.final_progress(&name)["status"], "DONE");
    }
    wait(Duration::from_secs(2));
    let updated = disk.bytes_written();

    wait(IDLE);
    let idle = disk.bytes_written() - updated;
    let (boot, update) = ((booted - before) / 1024, (updated - booted) / UPDATES / 1024);
    eprintln!(
        "written: {boot} KiB by a boot, {update} KiB by an update, {idle} bytes in {IDLE:?} of idleness"
    );
    assert_eq!(idle, 0, "bytes written while nothing happened");
    assert!(boot <= MOST_PER_BOOT, "a boot writes {boot} KiB, more than {MOST_PER_BOOT}");
    assert!(update <= MOST_PER_UPDATE, "an update writes {update} KiB, more than {MOST_PER_UPDATE}");
    device.stop();
}
