//! The control socket: how soon a signal shows, how many questions are answered, also while containers start.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tests::bench::hello::Hello;
use tests::bench::load::{Answered, Load, Processors, Server, place};
use tests::bench::peers::now_micros;
use tests::bench::{Times, milliseconds};
use tests::live::{Agent, Device, Events};

use crate::{Bench, control, probe_stamp};

pub(crate) fn signal_to_visible(bench: &Bench) {
    let device =
        Device::new(&bench.state(1, &json!({"status_goal": "READY", "goal_timeout": 3600}))).in_memory();
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c0", "STARTED");
    let mut since = 0;
    println!("\n`signal ready` written to READY visible in GET /containers (two connections, in turns)");
    for (processors, whose) in [(Processors::Two, "a processor for each"), (Processors::One, "one for both")]
    {
        let _placed = place(&[agent.server()], processors);
        let times = (0..300).map(|_| one_signal(&device, &agent, &mut events, &mut since)).collect();
        let times = Times::new("goalpost", times);
        let (p50, p99) = (milliseconds(times.median()), milliseconds(times.percentile(99)));
        println!("  {whose:<20}  p50 {p50:.3} ms (goal 0.15), p99 {p99:.3} ms (goal 2)");
    }
}

/// One signal of the container, which is started anew after it.
fn one_signal(device: &Device, agent: &Agent, events: &mut Events, since: &mut u64) -> Duration {
    // The first process of a pid namespace does not hear a signal that it does not handle: once it has written, it does.
    probe_stamp(agent, "c0", *since);
    *since = now_micros();
    let mut client = agent.client();
    let socket = device.run_dir().join("containers/c0/pantavisor/pv-ctrl");
    let mut inside = UnixStream::connect(socket).expect("its socket listens");
    // Until the agent has let go of the last connection and taken this one.
    client.get("/containers");
    client.get("/containers");
    let body = r#"{"type":"ready","payload":""}"#;
    let request = format!("POST /signal HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let start = Instant::now();
    inside.write_all(request.as_bytes()).expect("the agent reads requests");
    while !client.get("/containers").text().contains("\"status\":\"READY\"") {}
    let took = start.elapsed();
    let mut answer = [0; 256];
    let length = inside.read(&mut answer).expect("the agent answers");
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    control(&mut client, "c0", "stop");
    events.until_status("c0", "STOPPED");
    control(&mut client, "c0", "start");
    events.until_status("c0", "STARTED");
    took
}

pub(crate) fn requests_per_second(bench: &Bench) {
    for count in [10, 50] {
        let device = Device::new(&bench.state(count, &json!({}))).in_memory();
        let agent = device.start(&bench.programs);
        let mut events = agent.events(0);
        (0..count).for_each(|_| drop(events.until("a start", |event| event["to"] == "STARTED")));
        let body = agent.client().get("/containers").body;
        let peers =
            [Some(Hello::hyper(bench.folder.path(), &body)), Hello::libevent(bench.folder.path(), &body)];
        for connections in [1, 50] {
            let peers = peers.iter().flatten().map(|peer| (peer.name, peer.server()));
            rates(count, connections, [("goalpost", agent.server())].into_iter().chain(peers).collect());
        }
    }
}

fn rates(containers: usize, connections: usize, servers: Vec<(&str, Server<'_>)>) {
    let (names, servers): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
    let load = Load { path: "/containers", connections, requests: 8_000, rounds: 7 };
    let answered = load.compare(&servers);
    let ours = &answered[0];
    println!("\nGET /containers, {containers} containers, {connections} keep-alive connections");
    for (name, Answered { per_second, .. }) in names.iter().zip(&answered) {
        println!("  {name:<34} {per_second:>9.0} per second   ours/this {:.2}", ours.per_second / per_second);
    }
    println!(
        "  p99 {:.3} ms   (goals: 0.8 of hyper, 1.5 of libevent, p99 0.1 ms on one connection)",
        milliseconds(ours.latencies.percentile(99))
    );
}

/// Has the kernel serve this thread before all others, so that no time is taken that it waits itself while the agent has answered.
fn at_once() {
    let this = nix::unistd::gettid().to_string();
    let told = Command::new("chrt").args(["--fifo", "--reset-on-fork", "--pid", "2", &this]).status();
    assert!(
        told.is_ok_and(|status| status.success()),
        "chrt is there (Debian: util-linux), and this is root"
    );
}

/// One connection that asks without a pause while 50 containers go from nothing to STARTED.
pub(crate) fn requests_while_starting(bench: &Bench) {
    let device = Device::new(&bench.state(50, &json!({}))).in_memory();
    let mut times = Vec::new();
    at_once();
    for _ in 0..5 {
        let agent = device.start(&bench.programs);
        let mut client = agent.client();
        loop {
            let asked = Instant::now();
            let answer = client.get("/containers");
            times.push(asked.elapsed());
            if answer.code == 200 && answer.text().matches("\"status\":\"STARTED\"").count() == 50 {
                break;
            }
        }
    }
    let times = Times::new("goalpost", times);
    println!("\nGET /containers on one connection while 50 containers start");
    let (p50, p99) = (times.median(), times.percentile(99));
    println!("  p50 {:.3} ms, p99 {:.3} ms (goal 2)", milliseconds(p50), milliseconds(p99));
}
