//! A device that is changed from a laptop: fetched, edited, posted, followed, over TCP.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tests::live::Programs;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

fn goalctl(endpoint: &str, arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(Programs::find("debug").goalctl);
    command.args(["--host", endpoint]).args(arguments).arg(folder).output().unwrap()
}

fn out(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_runs_is_fetched_edited_and_posted_back_and_what_is_bad_rolls_back() {
    let web = Container::new("web", READY).goal("READY");
    let device =
        Device::with(&Revision::new([web, Container::new("db", RUN)]), &[("GOALPOST_DEVICE_LISTEN", "0")]);
    device.events().until_goals_met(&["db", "web"]);
    let (db, endpoint) = (device.process("db"), device.endpoint());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("device");
    let got = goalctl(&endpoint, &["get"], &copy);
    assert!(got.status.success(), "{}", out(&got));

    let spec = copy.join("web/run.json");
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut run: Value = serde_json::from_slice(&fs::read(&spec).unwrap()).unwrap();
        change(&mut run);
        fs::write(&spec, run.to_string()).unwrap();
    };
    edited(&|run| run["roles"] = json!(["mgmt"]));
    let post = ["post", "--name", "locals/roles", "-m", "web may ask", "--follow"];
    let posted = goalctl(&endpoint, &post, &copy);
    assert_eq!(posted.status.code(), Some(0), "{}", out(&posted));
    assert!(out(&posted).starts_with("objects: 0 sent (0 bytes), 3 were there\n"), "{}", out(&posted));
    assert_eq!(device.status()["revision"], "locals/roles");
    assert!(db.lives(), "what did not change keeps its process");

    let conf = copy.join("web/lxc.container.conf");
    let silent = fs::read_to_string(&conf).unwrap().replace("signal ready", "--version");
    fs::write(&conf, silent).unwrap();
    edited(&|run| run["goal_timeout"] = json!(1));
    let bad = goalctl(&endpoint, &["post", "--name", "locals/silent", "--follow"], &copy);
    assert_eq!(bad.status.code(), Some(4), "{}", out(&bad));
    assert!(out(&bad).starts_with("objects: 1 sent ("), "{}", out(&bad));
    assert_eq!(device.status()["revision"], "locals/roles");
    assert!(db.lives());
}

#[test]
fn an_update_that_needs_a_restart_is_followed_from_afar() {
    // The next agent must listen at the same address.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let base = Container::new("base", READY).goal("READY").with("restart_policy", json!("system"));
    let device = Device::with(&Revision::new([base]), &[("GOALPOST_DEVICE_LISTEN", &free)]);
    device.events().until_goals_met(&["base"]);
    let endpoint = device.endpoint();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("device");
    assert!(goalctl(&endpoint, &["get"], &copy).status.success());
    let spec = copy.join("base/run.json");
    let run = fs::read_to_string(&spec).unwrap();

    let mut better: Value = serde_json::from_str(&run).unwrap();
    better["roles"] = json!(["mgmt"]);
    fs::write(&spec, better.to_string()).unwrap();
    let posted = goalctl(&endpoint, &["post", "--name", "locals/better", "--follow"], &copy);
    assert_eq!(posted.status.code(), Some(0), "{}", out(&posted));
    assert!(out(&posted).contains("the agent is away; waiting for it"), "{}", out(&posted));
    assert_eq!(device.status()["revision"], "locals/better");

    let conf = copy.join("base/lxc.container.conf");
    let silent = fs::read_to_string(&conf).unwrap().replace("signal ready", "--version");
    fs::write(&conf, silent).unwrap();
    better["goal_timeout"] = json!(1);
    fs::write(&spec, better.to_string()).unwrap();
    let bad = goalctl(&endpoint, &["post", "--name", "locals/silent", "--follow"], &copy);
    assert_eq!(bad.status.code(), Some(4), "{}", out(&bad));
    assert_eq!(device.status()["revision"], "locals/better");
}
