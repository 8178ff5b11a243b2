//! What the device under the data partition is told to write, as the device itself counts it: journal and file system with it.

use std::time::Duration;

use tests::bench::wait;

use crate::device::Device;
use crate::revision::{Container, READY, Revision};

/// Longer than ext4 keeps what it has to write (5 s). That the agent did not wake in it says that more of it would be the same.
const IDLE: Duration = Duration::from_secs(6);
const UPDATES: u64 = 4;
/// In KiB; measured: 38 and 316, most of it the file system's own journal.
const MOST_PER_BOOT: u64 = 64;
const MOST_PER_UPDATE: u64 = 448;

fn revision(version: u64) -> Revision {
    let web = Container::new("web", READY)
        .goal("READY")
        .config("etc/version.json", serde_json::json!({ "version": version }));
    let other = |name| Container::new(name, READY).goal("READY");
    Revision::new([other("one"), other("two"), web])
}

#[test]
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

    let awake = device.wake_ups();
    wait(IDLE);
    assert_eq!(device.wake_ups(), awake, "wake-ups while nothing happened");
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
