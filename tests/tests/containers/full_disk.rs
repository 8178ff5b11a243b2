//! A data partition without one free block.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

const FULL: &str = "the data partition is full";
/// What is kept back, in bytes.
const RESERVE: u64 = 128 * 1024;

fn web(script: &str) -> Container {
    Container::new("web", script).group("second").goal("READY")
}

fn core(script: &str) -> Container {
    Container::new("core", script).group("first").goal("READY").with("restart_policy", json!("system"))
}

fn factory() -> Revision {
    Revision::new([core(READY), web(READY)])
}

fn kept_back(device: &Device) -> u64 {
    std::fs::metadata(device.root().join("reserve")).map_or(0, |file| file.blocks() * 512)
}

#[test]
fn a_full_data_partition_still_boots_rolls_back_and_explains() {
    let (mut device, disk) = Device::on_ext4(&factory(), 24);
    device.events().until_goals_met(&["core", "web"]);
    assert_eq!(kept_back(&device), RESERVE);
    device.post("locals/silent", &factory().replace(web(RUN).with("goal_timeout", json!(1))));
    device.post("locals/core", &factory().replace(core(RUN).with("goal_timeout", json!(1))));
    let filler = disk.fill();

    device.kill_agent();
    device.start();
    device.events().until_goals_met(&["core", "web"]);
    assert!(device.status()["notes"].to_string().contains(FULL), "{}", device.status()["notes"]);

    let object = vec![7; 1 << 20];
    let digest = agent::digest::of(&object);
    let refused = device.client().send("PUT", &format!("/objects/{digest}"), &object);
    assert_eq!(refused.code, 507, "{}", refused.text());
    let refused = device.client().send("PUT", "/steps/locals/more", &factory().state().to_bytes());
    assert_eq!(refused.code, 507, "{}", refused.text());

    // Without a new boot.
    let mut events = device.events();
    assert_eq!(device.run("locals/silent").code, 200);
    events.until_update("locals/silent", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    let progress = device.final_progress("locals/silent");
    assert_eq!(progress["status-msg"], "Status goal not reached", "{progress}");
    assert!(progress["logs"].as_str().unwrap().contains("web"), "{progress}");
    drop(events);

    // With one, and with another back.
    assert_eq!(device.run("locals/core").code, 200);
    device.until_anew();
    device.until_anew();
    let mut events = device.events();
    events.until_goals_met(&["core", "web"]);
    events.until_update("locals/core", &["ERROR", "WONTGO", "UPDATED", "DONE"]);
    assert_eq!(device.status()["revision"], "0");
    assert_eq!(device.final_progress("locals/core")["status-msg"], "Status goal not reached");
    let told = device.goalctl(&["status"]);
    assert!(told.contains(FULL), "goalctl status: {told}");

    // Room again: everything is as before, and so is what is kept back.
    std::fs::remove_dir_all(filler).unwrap();
    device.kill_agent();
    device.start();
    device.events().until_goals_met(&["core", "web"]);
    // Beside its bytes, a block that says where they lie.
    assert!(kept_back(&device) >= RESERVE);
    assert!(!device.status()["notes"].to_string().contains(FULL), "{}", device.status()["notes"]);
    assert_eq!(device.client().send("PUT", &format!("/objects/{digest}"), &object).code, 200);
    device.update("locals/good", &factory().replace(web(&format!("echo new; {READY}"))));
    device.events().until_update("locals/good", &["DONE", "ERROR", "WONTGO", "UPDATED"]);
    assert_eq!(device.progress_after_stop("locals/good")["status"], "DONE");
    drop(disk);
}
