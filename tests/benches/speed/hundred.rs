//! A hundred containers at once, and two hundred.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tests::bench::floor::{Floor, Root};
use tests::bench::peers::{self, now_micros};
use tests::bench::{Contender, Times, interleaved, milliseconds, print_ratios};
use tests::live::{Agent, Client, Device, State};

use crate::one::OciRun;
use crate::{Bench, micros, note_missing, ratio};

/// On the very folder that the peers' containers have. The devices have been on before: their store is made, their logs begun.
pub(crate) fn on_a_folder(bench: &Bench) {
    let device = |state: &State| Device::new(state).in_memory();
    let hundred = device(&bench.on_folder(100, "stay"));
    let two_hundred = device(&bench.on_folder(200, "stay"));
    let ready = bench.on_folder(100, "ready").inline("device.json", json!({"groups": [{"name": "app", "status_goal": "READY", "restart_policy": "container", "timeout": 30}]}));
    let ready = device(&ready);
    let mut floor = Floor::new(bench.folder.path(), Root::Folder(&bench.root));
    let bundle = peers::oci_bundle(bench.folder.path(), &bench.root);
    let mut contenders = vec![
        Contender::new("goalpost, 100 to STARTED", || boot(bench, &hundred, 100, "STARTED")),
        Contender::new("goalpost, 100 to READY", || boot(bench, &ready, 100, "READY")),
        Contender::new("goalpost, 200 to STARTED", || boot(bench, &two_hundred, 200, "STARTED")),
        Contender::new("the floor, 100 in parallel", || on_the_floor(&mut floor, 100)),
    ];
    if note_missing("crun") {
        contenders.push(Contender::new("crun, 100, four at a time", || four_at_a_time(bench, &bundle, 100)));
    }
    let times = interleaved(7, contenders);
    print_ratios(
        "100 containers on one folder, the agent's first instruction to all STARTED",
        &times,
        &[("the floor", 1.6), ("crun", 0.3)],
    );
    if let [started, ready, two_hundred, _, crun @ ..] = times.as_slice() {
        if let Some(crun) = crun.first() {
            println!("  to all READY {:.3} of crun (goal 0.3)", ratio(ready, crun));
        }
        println!("  200 take {:.2} times 100 (goal 2.3)", ratio(two_hundred, started));
    }
}

/// Each with a squashfs, a loop device and a writable layer of its own.
pub(crate) fn each_with_its_image(bench: &Bench) {
    let device = Device::new(&bench.state(100, &json!({}))).in_memory();
    let mut floor = Floor::new(bench.folder.path(), Root::Squashfs(&bench.squashfs));
    let contenders = vec![
        Contender::new("goalpost", || boot(bench, &device, 100, "STARTED")),
        Contender::new("the floor, 100 in parallel", || on_the_floor(&mut floor, 100)),
    ];
    let times: Vec<Times> = interleaved(7, contenders);
    print_ratios(
        "100 containers each with its own squashfs, the agent's first instruction to all STARTED",
        &times,
        &[("the floor", 1.6)],
    );
    println!("  {:.3} ms for each of ours", milliseconds(times[0].median()) / 100.0);
}

fn on_the_floor(floor: &mut Floor, count: usize) -> Duration {
    let took = floor.start(count);
    floor.end();
    took
}

/// From the agent's start until the last of its containers is in this status.
fn boot(bench: &Bench, device: &Device, count: usize, status: &str) -> Duration {
    let begun = now_micros();
    let agent = device.start(&bench.programs);
    Duration::from_micros(last(&agent, count, status) - begun)
}

/// When the last one got there. The stream alone is read: whatever else is asked of the agent would be measured too.
fn last(agent: &Agent, count: usize, status: &str) -> u64 {
    let mut events = agent.events(0);
    let mut arrived = 0;
    loop {
        let event =
            events.until("every container there", |event| event["to"] == status || event["kind"] == "gap");
        if event["kind"] == "gap" {
            break;
        }
        arrived += 1;
        if arrived == count {
            return micros(&event);
        }
    }
    // The history is bounded, and the stream fell behind it: the report says when all are there.
    let mut client = agent.client();
    events.until("every container there", |event| event["to"] == status && all_are(&mut client, status));
    let past = agent.past_events().filter(|event| event["to"] == status);
    past.map(|event| micros(&event)).max().expect("the last one is in the history")
}

fn all_are(client: &mut Client, status: &str) -> bool {
    let containers = client.get("/containers").json();
    containers.as_array().is_some_and(|all| all.iter().all(|one| one["status"] == status))
}

/// Until all run; they stay, as ours do, and what ends them is not measured.
fn four_at_a_time(bench: &Bench, bundle: &Path, count: usize) -> Duration {
    bench.aside.run(|| {
        let begun = now_micros();
        let running: Vec<OciRun> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..4)
                .map(|_| {
                    scope
                        .spawn(|| (0..count / 4).map(|_| OciRun::start("crun", bundle).1).collect::<Vec<_>>())
                })
                .collect();
            starters.into_iter().flat_map(|starter| starter.join().expect("crun runs here")).collect()
        });
        let took = Duration::from_micros(now_micros() - begun);
        running.into_iter().for_each(OciRun::end);
        took
    })
}
