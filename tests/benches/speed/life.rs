//! A life's end: killed and started again, or stopped in order.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::bench::floor::{Floor, Root};
use tests::bench::peers::{self, now_micros, to_first_instruction};
use tests::bench::{Contender, interleaved, print_ratios, timed, wait};
use tests::live::Device;

use crate::{Bench, ROUNDS, control, micros, note_missing, probe_stamp};

pub(crate) fn killed_to_running(bench: &Bench) {
    let recovery =
        json!({"policy": "always", "max_retries": 0, "retry_delay": 0, "reset_window": 0.001, "ladder": [0]});
    let run = json!({"#spec": "service-manifest-run@1", "name": "c0", "type": "lxc", "config": "lxc.container.conf",
        "auto_recovery": recovery});
    let device = Device::new(&bench.on_folder(1, "stay").inline("c0/run.json", run)).in_memory();
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
    // The same root without an image: what is mounted stays mounted.
    let mut floor = Floor::new(bench.folder.path(), Root::Folder(&bench.root));
    floor.start(1);
    let mut contenders =
        vec![Contender::new("goalpost", ours), Contender::new("the floor", || floor.again())];
    if let Some(service) = &mut service {
        contenders.push(Contender::new("runit, a bare process", || service.kill_and_wait()));
    }
    let times = interleaved(ROUNDS, contenders);
    print_ratios(
        "SIGKILL of the program to its next life's first instruction (delay 0)",
        &times,
        &[("the floor", 1.6), ("runit", 1.5)],
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

pub(crate) fn stop_obeyed(bench: &Bench) {
    let device = Device::new(&bench.state(1, &json!({}))).in_memory();
    let agent = device.start(&bench.programs);
    let mut events = agent.events(0);
    events.until_status("c0", "STARTED");
    let mut client = agent.client();
    let ours = || {
        let asked = now_micros();
        control(&mut client, "c0", "stop");
        let stopped = micros(&events.until_status("c0", "STOPPED"));
        control(&mut client, "c0", "start");
        events.until_status("c0", "STARTED");
        // Started is not yet listening for signals: wait for the probe's line, which it writes before it does.
        probe_stamp(&agent, "c0", asked);
        Duration::from_micros(stopped - asked)
    };
    let lxc = peers::lxc_container(bench.folder.path(), &bench.root);
    let mut contenders = vec![Contender::new("goalpost", ours)];
    if note_missing("lxc-stop") {
        let lxc_stop = || {
            let (_, mut child) = to_first_instruction(
                Command::new("lxc-start").arg("-P").arg(&lxc).args(["-n", "bench", "-F"]),
            );
            let took = timed(|| {
                let _ = Command::new("lxc-stop").arg("-P").arg(&lxc).args(["-n", "bench"]).status();
            });
            let _ = child.wait();
            took
        };
        contenders.push(Contender::new("lxc-stop", move || bench.aside.run(lxc_stop)));
    }
    let times = interleaved(ROUNDS, contenders);
    print_ratios("a stop that is obeyed at once, request to STOPPED", &times, &[("lxc-stop", 1.0)]);
}
