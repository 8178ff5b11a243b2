//! How fast containers start, stop, come back and are updated, beside others that do the same, in interleaved runs.
//!
//! Run `cargo build --release && cargo bench --bench speed` as root; a word after `--` runs only what has it in its name.
//! Every figure is a median; what is compared is the ratio, because machines differ and drift.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::bench::peers::{self, now_micros, to_first_instruction};
use tests::bench::{Contender, Times, hello, interleaved, load, milliseconds, print_ratios, timed, wait};
use tests::live::{Agent, Client, Device, Programs, State};

const ROUNDS: usize = 31;

/// A benchmark, with the name that asks for it alone.
type Named = (&'static str, fn(&Bench));

/// What every benchmark works with: our programs, the probe, its root as a folder and as an image.
struct Bench {
    programs: Programs,
    folder: tempfile::TempDir,
    probe: PathBuf,
    root: PathBuf,
    image: Vec<u8>,
}

fn main() {
    if !nix::unistd::geteuid().is_root() {
        println!("these benchmarks make namespaces and mounts: run them as root");
        return;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    peers::hide_unified_cgroups();
    let bench = Bench::new();
    let all: &[Named] = &[
        ("one", one_container),
        ("hundred", a_hundred_containers),
        ("killed", killed_to_running),
        ("stop", stop_obeyed),
        ("update", update_one_of_ten),
        ("rollback", deadline_to_rollback),
        ("signal", signal_to_visible),
        ("get", requests_per_second),
    ];
    for (name, run) in all {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            run(&bench);
        }
    }
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::Builder::new()
            .prefix("goalpost-bench-")
            .tempdir()
            .expect("a temporary folder can be made");
        let probe =
            peers::compile(folder.path(), "probe.c", &[]).expect("a C compiler, as for the product itself");
        let root = peers::root_folder(folder.path(), &probe);
        let file = folder.path().join("root.squashfs");
        let made = Command::new("mksquashfs").arg(&root).arg(&file).args(["-quiet", "-no-progress"]).status();
        assert!(made.is_ok_and(|status| status.success()), "mksquashfs is needed (Debian: squashfs-tools)");
        let image = std::fs::read(&file).expect("the image was just made");
        Bench { programs: Programs::find("release"), folder, probe, root, image }
    }

    /// One container that stays, whose root is the very folder that the peers' containers have.
    fn on_folder(&self) -> State {
        let conf = format!(
            "lxc.rootfs.path = dir:{}\nlxc.init.cmd = /probe stay\nlxc.net.0.type = empty\n\
             lxc.mount.auto = proc:mixed sys:mixed\n",
            self.root.display()
        );
        let state = State::new().inline("device.json", groups());
        state.container_with_conf("c0", &self.image, &conf, &json!({}))
    }

    /// `count` containers that stay, named c0, c1, …
    fn state(&self, count: usize, run: &Value) -> State {
        (0..count).fold(State::new().inline("device.json", groups()), |state, number| {
            state.container(&format!("c{number}"), &self.image, "/probe stay", run)
        })
    }
}

/// One group, so that all start at once; no recovery unless a container asks for it.
fn groups() -> Value {
    json!({"groups": [{"name": "app", "status_goal": "STARTED", "restart_policy": "container", "timeout": 30}]})
}

fn container_restarts(client: &mut Client, name: &str, action: &str) {
    let answer =
        client.send("PUT", &format!("/containers/{name}"), json!({"action": action}).to_string().as_bytes());
    assert_eq!(answer.code, 200, "{action} {name}: {}", answer.text());
}

fn micros(event: &Value) -> u64 {
    event["boot_us"].as_u64().expect("every event has its time")
}

/// The probe's last line in a container's log, once it is newer than `after`.
fn probe_stamp(agent: &Agent, name: &str, after: u64) -> u64 {
    let mut stream = UnixStream::connect(agent.socket()).expect("the agent listens");
    write!(stream, "GET /logs/{name}?tail=1&follow=1 HTTP/1.0\r\n\r\n").expect("the agent reads requests");
    BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok()))
        .find(|stamp| *stamp > after)
        .expect("the probe writes its time before the stream ends")
}

fn one_container(bench: &Bench) {
    let device = Device::new(&bench.on_folder());
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c0", "STARTED");
    let mut client = agent.client();
    let ours = || {
        container_restarts(&mut client, "c0", "stop");
        events.until_status("c0", "STOPPED");
        container_restarts(&mut client, "c0", "start");
        let starting = micros(&events.until_status("c0", "STARTING"));
        events.until_status("c0", "STARTED");
        Duration::from_micros(probe_stamp(&agent, "c0", starting) - starting)
    };
    let bundle = peers::oci_bundle(bench.folder.path(), &bench.root);
    let lxc = peers::lxc_container(bench.folder.path(), &bench.root);
    let mut contenders = vec![Contender::new("goalpost", ours)];
    for runtime in ["crun", "runc"] {
        if note_missing(runtime) {
            let bundle = &bundle;
            contenders.push(Contender::new(runtime, move || oci_run(runtime, bundle)));
        }
    }
    if note_missing("lxc-start") {
        contenders.push(Contender::new("lxc-start", || lxc_start(&lxc)));
    }
    if note_missing("podman") && podman_runs(&bench.root) {
        contenders.push(Contender::new("podman", || podman_run(&bench.root)));
    }
    let times = interleaved(ROUNDS, contenders);
    print_ratios(
        "one container, STARTING (images mounted) to its program's first instruction",
        &times,
        &[("crun", 0.3), ("lxc-start", 0.15), ("podman", 0.03)],
    );
}

fn note_missing(program: &str) -> bool {
    let installed = peers::is_installed(program);
    if !installed {
        println!("{program} is not installed: no ratio to it");
    }
    installed
}

fn oci_run(runtime: &str, bundle: &Path) -> Duration {
    let id = format!("goalpost-bench-{}", now_micros());
    let (took, mut child) =
        to_first_instruction(Command::new(runtime).arg("run").arg("-b").arg(bundle).arg(&id));
    let _ = Command::new(runtime).args(["kill", &id, "KILL"]).stderr(Stdio::null()).status();
    let _ = child.wait();
    let _ = Command::new(runtime).args(["delete", "-f", &id]).stderr(Stdio::null()).status();
    took
}

fn lxc_start(home: &Path) -> Duration {
    let (took, mut child) =
        to_first_instruction(Command::new("lxc-start").arg("-P").arg(home).args(["-n", "bench", "-F"]));
    let _ = Command::new("lxc-stop")
        .arg("-P")
        .arg(home)
        .args(["-n", "bench", "-k"])
        .stderr(Stdio::null())
        .status();
    let _ = child.wait();
    took
}

/// Podman is particular about the host it runs on.
fn podman_runs(root: &Path) -> bool {
    let mut command = Command::new("podman");
    command.args(["run", "--rm", "--network", "none", "--cgroups", "disabled", "--rootfs"]);
    let ran = command.arg(root).arg("/probe").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let runs = ran.is_ok_and(|status| status.success());
    if !runs {
        println!("podman does not run here: no ratio to it");
    }
    runs
}

fn podman_run(root: &Path) -> Duration {
    let name = format!("goalpost-bench-{}", now_micros());
    let mut command = Command::new("podman");
    command.args(["run", "--rm", "--name", &name, "--network", "none", "--cgroups", "disabled", "--rootfs"]);
    let (took, mut child) = to_first_instruction(command.arg(root).args(["/probe", "stay"]));
    let _ = Command::new("podman")
        .args(["kill", "-s", "KILL", &name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _ = child.wait();
    took
}

fn a_hundred_containers(bench: &Bench) {
    let boot = |count: usize| {
        let device = Device::new(&bench.state(count, &json!({})));
        let begun = now_micros();
        let agent = device.start(&bench.programs);
        let mut client = agent.client();
        agent
            .events(0)
            .until("every container STARTED", |event| event["to"] == "STARTED" && all_started(&mut client));
        // The history is bounded: what is left of so many walks has the last starts in it.
        let starts = agent.past_events().filter(|event| event["to"] == "STARTED");
        let last = starts.map(|event| micros(&event)).max().expect("the last start is in the history");
        Duration::from_micros(last - begun)
    };
    let bundle = peers::oci_bundle(bench.folder.path(), &bench.root);
    let mut contenders = vec![
        Contender::new("goalpost, 100 from process start", || boot(100)),
        Contender::new("goalpost, 200", || boot(200)),
    ];
    if note_missing("crun") {
        contenders.push(Contender::new("crun, 100, four at a time", || four_at_a_time("crun", &bundle, 100)));
    }
    let times = interleaved(5, contenders);
    print_ratios("100 containers, the agent's first instruction to all STARTED", &times, &[("crun", 0.3)]);
    println!("  200 take {:.2} times 100 (goal 2.3)", ratio(&times[1], &times[0]));
}

fn all_started(client: &mut Client) -> bool {
    let containers = client.get("/containers").json();
    containers.as_array().is_some_and(|all| all.iter().all(|one| one["status"] == "STARTED"))
}

fn four_at_a_time(runtime: &'static str, bundle: &Path, count: usize) -> Duration {
    timed(|| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..count / 4 {
                        oci_run(runtime, bundle);
                    }
                });
            }
        });
    })
}

fn ratio(ours: &Times, theirs: &Times) -> f64 {
    ours.median().as_secs_f64() / theirs.median().as_secs_f64()
}

fn killed_to_running(bench: &Bench) {
    let recovery = json!({"auto_recovery": {"policy": "always", "max_retries": 0, "retry_delay": 0, "reset_window": 0.001, "ladder": [0]}});
    let device = Device::new(&bench.state(1, &recovery));
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c0", "STARTED");
    let mut client = agent.client();
    let ours = || {
        let containers = client.get("/status").json();
        let pid = containers["containers"][0]["pid"].as_i64().expect("a started container has a pid");
        let killed = now_micros();
        kill(pid);
        events.until_status("c0", "STARTED");
        Duration::from_micros(probe_stamp(&agent, "c0", killed) - killed)
    };
    let mut service = Runsv::new(bench);
    let mut contenders = vec![Contender::new("goalpost", ours)];
    if let Some(service) = &mut service {
        contenders.push(Contender::new("runit, a bare process", || service.kill_and_wait()));
    }
    let times = interleaved(ROUNDS, contenders);
    print_ratios(
        "SIGKILL of the program to its next life's first instruction (delay 0)",
        &times,
        &[("runit", 1.5)],
    );
}

fn kill(pid: i64) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid is an i32"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it was alive a moment ago");
}

/// `runsv` of runit over the probe.
struct Runsv {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    folder: PathBuf,
}

impl Runsv {
    fn new(bench: &Bench) -> Option<Runsv> {
        if !note_missing("runsv") {
            return None;
        }
        let folder = bench.folder.path().join("service");
        std::fs::create_dir_all(&folder).expect("a temporary folder can be written");
        let script = format!("#!/bin/sh\nexec {} stay\n", bench.probe.display());
        std::fs::write(folder.join("run"), script).expect("a temporary folder can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join("run"), mode).expect("it is ours");
        let spawned = Command::new("runsv").arg(&folder).stdout(Stdio::piped()).spawn();
        let mut process = spawned.expect("it was found before");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped"));
        lines.read_line(&mut String::new()).expect("the probe writes its time");
        Some(Runsv { process, lines, folder })
    }

    fn kill_and_wait(&mut self) -> Duration {
        // runsv starts what lived for less than a second a second later.
        wait(Duration::from_millis(1100));
        let pid = std::fs::read_to_string(self.folder.join("supervise/pid")).expect("runsv writes it");
        let killed = now_micros();
        kill(pid.trim().parse().expect("a pid is a number"));
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the probe writes its time");
        Duration::from_micros(line.trim().parse::<u64>().expect("a number") - killed)
    }
}

impl Drop for Runsv {
    fn drop(&mut self) {
        let _ = Command::new("sv").arg("force-shutdown").arg(&self.folder).stdout(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

fn stop_obeyed(bench: &Bench) {
    let device = Device::new(&bench.state(1, &json!({})));
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c0", "STARTED");
    let mut client = agent.client();
    let ours = || {
        let asked = now_micros();
        container_restarts(&mut client, "c0", "stop");
        let stopped = micros(&events.until_status("c0", "STOPPED"));
        container_restarts(&mut client, "c0", "start");
        events.until_status("c0", "STARTED");
        // Started is not yet listening for signals: wait for the probe's line, which it writes before it does.
        probe_stamp(&agent, "c0", asked);
        Duration::from_micros(stopped - asked)
    };
    let lxc = peers::lxc_container(bench.folder.path(), &bench.root);
    let mut contenders = vec![Contender::new("goalpost", ours)];
    if note_missing("lxc-stop") {
        contenders.push(Contender::new("lxc-stop", || {
            let (_, mut child) = to_first_instruction(
                Command::new("lxc-start").arg("-P").arg(&lxc).args(["-n", "bench", "-F"]),
            );
            let took = timed(|| {
                let _ = Command::new("lxc-stop").arg("-P").arg(&lxc).args(["-n", "bench"]).status();
            });
            let _ = child.wait();
            took
        }));
    }
    let times = interleaved(ROUNDS, contenders);
    print_ratios("a stop that is obeyed at once, request to STOPPED", &times, &[("lxc-stop", 1.0)]);
}

/// Ten containers; `changed` gives the tenth another run.json, so that an update restarts it alone.
fn ten(bench: &Bench, changed: &Value) -> State {
    bench.state(9, &json!({})).container("c9", &bench.image, "/probe stay", changed)
}

fn update_one_of_ten(bench: &Bench) {
    let device = Device::new(&ten(bench, &json!({}))).with("GOALPOST_COMMIT_DELAY", "100ms");
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

fn deadline_to_rollback(bench: &Bench) {
    let device = Device::new(&ten(bench, &json!({}))).with("GOALPOST_COMMIT_DELAY", "100ms");
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

fn signal_to_visible(bench: &Bench) {
    let device = Device::new(&bench.state(1, &json!({"status_goal": "READY", "goal_timeout": 3600})));
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c0", "STARTED");
    let (mut client, mut control) = (agent.client(), agent.client());
    let (mut times, mut since) = (Vec::new(), 0);
    for _ in 0..300 {
        // The first process of a pid namespace does not hear a signal that it does not handle: once it has written, it does.
        probe_stamp(&agent, "c0", since);
        since = now_micros();
        let socket = device.run_dir().join("containers/c0/pantavisor/pv-ctrl");
        let mut inside = UnixStream::connect(socket).expect("its socket listens");
        let body = r#"{"type":"ready","payload":""}"#;
        let request =
            format!("POST /signal HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let start = Instant::now();
        inside.write_all(request.as_bytes()).expect("the agent reads requests");
        while !client.get("/containers").text().contains("\"status\":\"READY\"") {}
        times.push(start.elapsed());
        let mut answer = [0; 256];
        let length = inside.read(&mut answer).expect("the agent answers");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        container_restarts(&mut control, "c0", "stop");
        events.until_status("c0", "STOPPED");
        container_restarts(&mut control, "c0", "start");
        events.until_status("c0", "STARTED");
    }
    let times = Times::new("goalpost", times);
    println!("\n`signal ready` written to READY visible in GET /containers (two connections)");
    let (p50, p99) = (times.median(), times.percentile(99));
    println!("  p50 {:.3} ms (goal 0.15), p99 {:.3} ms (goal 2)", milliseconds(p50), milliseconds(p99));
}

fn requests_per_second(bench: &Bench) {
    for count in [10, 50] {
        let device = Device::new(&bench.state(count, &json!({})));
        let agent = device.start(&bench.programs);
        let mut events = agent.events(0);
        (0..count).for_each(|_| drop(events.until("a start", |event| event["to"] == "STARTED")));
        let body = agent.client().get("/containers").body;
        let hello = hello::Hello::start(bench.folder.path(), &body);
        let libevent = hello::Libevent::start(bench.folder.path(), &body);
        for connections in [1, 50] {
            let mut contenders = vec![
                ("goalpost", agent.socket().to_owned()),
                ("hyper hello world, same body", hello.socket.clone()),
            ];
            contenders
                .extend(libevent.iter().map(|peer| ("libevent hello world, same body", peer.socket.clone())));
            load::compare(count, connections, &contenders);
        }
    }
}
