//! Updates without a reboot, and the way back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};
use tests::bench::peers::now_micros;
use tests::bench::{Times, milliseconds, timed};
use tests::live::{Client, Device, State};

use crate::{Bench, micros};

/// Ten containers; `changed` gives the tenth another run.json, so that an update restarts it alone.
fn ten(bench: &Bench, changed: &Value) -> State {
    let image = std::fs::read(&bench.squashfs).expect("the image was made before");
    bench.state(9, &json!({})).container("c9", &image, "/probe stay", changed)
}

pub(crate) fn one_of_ten(bench: &Bench) {
    let device = Device::new(&ten(bench, &json!({}))).in_memory().with("GOALPOST_COMMIT_DELAY", "100ms");
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c9", "STARTED");
    let done = Arc::new(AtomicBool::new(false));
    let (gaps, gap) = mpsc::channel();
    let reader = {
        let (done, socket) = (Arc::clone(&done), agent.socket().to_owned());
        std::thread::spawn(move || {
            let mut client = Client::connect(&socket);
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                longest = longest.max(timed(|| assert_eq!(client.get("/containers").code, 200)));
            }
            gaps.send(longest).expect("the benchmark waits for it");
        })
    };
    let mut times = Vec::new();
    for round in 0..15 {
        let name = format!("locals/u{round}");
        let state = ten(
            bench,
            &json!({"logs": [{"file": format!("/f{round}"), "maxsize": 1024, "truncate": true, "name": "f"}]}),
        );
        assert_eq!(agent.post(&name, &state).code, 200);
        let asked = now_micros();
        let answer = agent.run(&name);
        assert_eq!(answer.code, 200, "{}", answer.text());
        let testing = events.until_update(&name, &["TESTING", "ERROR", "WONTGO"]);
        assert_eq!(testing["progress"]["status"], "TESTING", "{testing}");
        times.push(Duration::from_micros(micros(&testing) - asked));
        let end = events.until_update(&name, &["DONE", "UPDATED", "ERROR"]);
        assert_eq!(end["progress"]["status"], "DONE", "{end}");
    }
    done.store(true, Ordering::Relaxed);
    reader.join().expect("the reader does not panic");
    let times = Times::new("goalpost", times);
    println!("\nno-reboot update of 1 of 10 containers, objects already there");
    println!("  LOCAL_RUN to TESTING {:.1} ms median (goal 300)", milliseconds(times.median()));
    let longest = gap.recv().expect("the reader sends once");
    println!("  longest gap of a GET /containers loop meanwhile {:.1} ms (goal 20)", milliseconds(longest));
}

pub(crate) fn deadline_to_rollback(bench: &Bench) {
    let device = Device::new(&ten(bench, &json!({}))).in_memory().with("GOALPOST_COMMIT_DELAY", "100ms");
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c9", "STARTED");
    let (mut decisions, mut backs) = (Vec::new(), Vec::new());
    for round in 0..9 {
        let name = format!("locals/r{round}");
        let state = ten(bench, &json!({"status_goal": "READY", "goal_timeout": 1}));
        assert_eq!(agent.post(&name, &state).code, 200);
        assert_eq!(agent.run(&name).code, 200);
        // A deadline runs from when the former life is gone.
        let begun = micros(&events.until_status("c9", "STOPPED"));
        let missed = events.until("a missed goal", |event| event["kind"] == "goal-missed");
        let deadline = begun + missed["deadline_ms"].as_u64().expect("it says how long it waited") * 1000;
        decisions.push(Duration::from_micros(micros(&missed).saturating_sub(deadline)));
        let back = micros(&events.until_status("c9", "STARTED"));
        backs.push(Duration::from_micros(back - micros(&missed)));
        events.until_update(&name, &["ERROR"]);
    }
    let (decision, back) = (Times::new("", decisions), Times::new("", backs));
    println!("\na missed goal, 10 containers, 1 changed, no reboot");
    println!("  deadline passed to the decision {:.2} ms median (goal 5)", milliseconds(decision.median()));
    println!(
        "  to the former revision back at its goals {:.1} ms median (goal 250)",
        milliseconds(back.median())
    );
}
