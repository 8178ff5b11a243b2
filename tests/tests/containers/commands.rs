//! Commands on a real device: tried once, committed, made the factory revision, room given back.

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision};

const ENDS: [&str; 4] = ["DONE", "UPDATED", "ERROR", "WONTGO"];

fn factory() -> Revision {
    Revision::new([
        Container::new("kept", READY).group("first").goal("READY"),
        Container::new("web", READY).group("second").goal("READY"),
    ])
}

fn changed(word: &str) -> Revision {
    let web = Container::new("web", &format!("echo {word}; {READY}"));
    factory().replace(web.group("second").goal("READY"))
}

fn begun() -> Device {
    let device = Device::started(&factory());
    device.events().until_goals_met(&["kept", "web"]);
    device
}

/// Posts, then sends the command that runs it, and waits for its end.
fn tried(device: &Device, op: &str, name: &str, revision: &Revision) -> serde_json::Value {
    device.post(name, revision);
    let answer = device.command(op, name);
    assert_eq!((answer.code, answer.text().as_str()), (200, ""));
    device.events().until_update(name, &ENDS)["progress"].clone()
}

#[test]
fn what_is_tried_once_runs_on_uncommitted_until_it_is_asked_to_go() {
    let device = begun();
    let (kept, web) = (device.process("kept"), device.process("web"));
    let progress = tried(&device, "TRY_ONCE", "locals/x", &changed("once"));
    assert_eq!(progress["status"], "UPDATED");
    assert_eq!(progress["status-msg"], "Update finished, revision not set as rollback point");
    let status = device.status();
    assert_eq!((&status["revision"], &status["fallback"]), (&json!("locals/x"), &json!("0")));
    assert_ne!(device.process("web"), web);
    let said = device.goalctl(&["run", "0", "--follow"]);
    assert!(said.starts_with("0 is accepted, and what is tried once makes way for it"), "{said}");
    assert_eq!(device.status()["revision"], "0");
    assert_eq!(device.process("kept"), kept, "an untouched container was restarted");
    let document = device.client().get("/steps/locals/x/progress").json();
    assert_eq!(document["status"], "UPDATED", "a good trial does not become a failure");
}

#[test]
fn what_is_tried_once_is_gone_when_the_agent_is_killed() {
    let mut device = begun();
    assert_eq!(tried(&device, "TRY_ONCE", "locals/x", &changed("once"))["status"], "UPDATED");
    device.kill_agent();
    device.start();
    let mut events = device.events();
    events.until_goals_met(&["kept", "web"]);
    events.until("rest", |event| event["kind"] == "phase" && event["phase"] == "running");
    assert_eq!(device.status()["revision"], "0");
    assert_eq!(device.progress_after_stop("locals/x")["status"], "UPDATED");
}

#[test]
fn what_is_tried_once_by_a_boot_is_gone_with_the_next() {
    let system = |script: &str| {
        Revision::new([Container::new("core", script).goal("READY").with("restart_policy", json!("system"))])
    };
    let device = Device::started(&system(READY));
    device.events().until_goal_met("core");
    device.post("locals/x", &system(&format!("echo once; {READY}")));
    assert_eq!(device.command("TRY_ONCE", "locals/x").code, 200);
    device.until_anew();
    assert_eq!(device.events().until_update("locals/x", &ENDS)["progress"]["status"], "UPDATED");
    let refused = device.command("LOCAL_RUN", "locals/x");
    assert_eq!(refused.code, 409);
    assert!(
        refused.text().contains("only another boot returns from it: LOCAL_RUN 0 first"),
        "{}",
        refused.text()
    );
    assert_eq!(device.command("LOCAL_RUN", "0").code, 200);
    device.until_anew();
    let mut events = device.events();
    events.until_goal_met("core");
    events.until("rest", |event| event["kind"] == "phase" && event["phase"] == "running");
    assert_eq!(device.status()["revision"], "0");
    assert_eq!(device.client().get("/steps/locals/x/progress").json()["status"], "UPDATED");
}

#[test]
fn what_is_tried_once_and_misses_its_goal_is_rolled_back() {
    let device = begun();
    let silent = Container::new("web", RUN).group("second").goal("READY").with("goal_timeout", json!(1));
    let progress = tried(&device, "TRY_ONCE", "locals/silent", &factory().replace(silent));
    assert_eq!(
        (&progress["status"], &progress["status-msg"]),
        (&json!("ERROR"), &json!("Status goal not reached"))
    );
    assert_eq!(device.command("TRY_ONCE", "locals/silent").code, 409);
}

#[test]
fn local_run_commit_ends_as_the_rollback_point() {
    let device = begun();
    let progress = tried(&device, "LOCAL_RUN_COMMIT", "locals/x", &changed("new"));
    assert_eq!(progress["status-msg"], "Update finished, revision set as rollback point");
    assert_eq!(device.status()["fallback"], "locals/x");
    device.post("locals/y", &changed("newer"));
    device.goalctl(&["run", "locals/y", "--commit", "--follow"]);
    assert_eq!(device.status()["fallback"], "locals/y");
    device.goalctl(&["run", "0", "--once", "--follow"]);
    let status = device.status();
    assert_eq!((&status["revision"], &status["fallback"]), (&json!("0"), &json!("locals/y")));
    device.goalctl(&["run", "locals/y", "--follow"]);
    assert_eq!(device.goalctl(&["factory"]), "the factory revision, 0, is now the same as what runs\n");
}

#[test]
fn what_proved_itself_becomes_the_factory_revision_while_its_containers_run_on() {
    let mut device = begun();
    let refused = device.command("MAKE_FACTORY", "");
    assert_eq!(
        (refused.code, refused.text()),
        (409, r#"{"Error":"revision 0 is the factory revision already"}"#.into())
    );
    assert_eq!(tried(&device, "LOCAL_RUN", "locals/x", &changed("new"))["status"], "DONE");
    let (kept, web) = (device.process("kept"), device.process("web"));
    let answer = device.command("MAKE_FACTORY", "");
    assert_eq!((answer.code, answer.text()), (200, String::new()));
    assert_eq!((device.process("kept"), device.process("web")), (kept, web));
    let mut client = device.client();
    assert_eq!(client.get("/steps/0").body, client.get("/steps/locals/x").body);
    assert_eq!(client.get("/steps/0/progress").json()["status-msg"], "Factory revision");
    // A container that is still mounted of the former one starts again on what it has mounted.
    device.control("kept", "restart");
    let mut events = device.events();
    events.until("kept anew", |event| {
        event["kind"] == "status" && event["container"] == "kept" && event["to"] == "STOPPING"
    });
    events.until_status("kept", "READY");
    // The new one runs.
    device.stop();
    device.start();
    device.events().until_goals_met(&["kept", "web"]);
    assert_eq!(device.command("LOCAL_RUN", "0").code, 200);
    assert_eq!(device.events().until_update("0", &ENDS)["progress"]["status"], "DONE");
    let left = std::fs::read_dir(device.root().join("trails")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with('.')), "the former one is gone: {left:?}");
}

#[test]
fn a_collection_gives_back_the_room_of_what_failed_and_keeps_what_is_needed() {
    let device = Device::with(&factory(), &[("GOALPOST_GC_AGE", "0")]);
    device.events().until_goals_met(&["kept", "web"]);
    let silent = Container::new("web", RUN).group("second").goal("READY").with("goal_timeout", json!(1));
    assert_eq!(tried(&device, "LOCAL_RUN", "locals/silent", &factory().replace(silent))["status"], "ERROR");
    let answer = device.client().send("POST", "/storage/gc", b"");
    assert_eq!(answer.code, 200);
    assert!(answer.json()["reclaimed"].as_u64().unwrap() > 0, "{}", answer.text());
    let steps = device.client().get("/steps").json();
    assert_eq!(steps.as_array().unwrap().iter().map(|step| &step["name"]).collect::<Vec<_>>(), ["0"]);
    let answer = device.command("RUN_GC", "");
    assert_eq!((answer.code, answer.text()), (200, String::new()));
    assert_eq!(device.client().send("POST", "/storage/gc", b"").text(), r#"{"reclaimed":0}"#);
}
