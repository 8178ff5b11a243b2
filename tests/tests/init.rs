//! PID 1 with the agent as its child, in a pid namespace: it restarts, reaps, ends everything in order.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]
#![allow(clippy::print_stderr, reason = "whoever reads of a failure wants the log")]

#[path = "../../src/init/life.rs"]
mod life;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use life::{Lives, Next};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::{Value, json};
use tests::live::{Agent, Device, Programs, State};

const SERVE: &str = "/pantavisor/bin/goalctl demo-payload serve";

/// Runs a folder as a container: no image is needed for the control tool, which is bound into each.
fn state() -> State {
    let group = |name: &str| json!({"name": name, "status_goal": "STARTED", "restart_policy": "container", "timeout": 30});
    let state = State::new().inline("device.json", json!({"groups": [group("first"), group("second")]}));
    let retried = json!({"policy": "on-failure", "max_retries": 5, "retry_delay": 1});
    [("one", "first"), ("two", "second")].into_iter().fold(state, |state, (name, group)| {
        state.container(name, &image(), SERVE, &json!({"group": group, "auto_recovery": retried}))
    })
}

/// A squashfs with the folders that are mounted on.
fn image() -> Vec<u8> {
    use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader, compression::Compressor};
    let mut writer = FilesystemWriter::default();
    writer.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
    writer.set_root_mode(0o755);
    let folder = NodeHeader { permissions: 0o755, ..NodeHeader::default() };
    for name in ["/dev", "/proc", "/sys", "/pantavisor", "/tmp"] {
        writer.push_dir(name, folder).unwrap();
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    writer.write(&mut bytes).unwrap();
    bytes.into_inner()
}

/// PID 1, its agent, and how the world outside numbers them.
struct Booted {
    device: Device,
    outside: Option<Agent>,
}

/// A test that fails leaves nothing behind: with what made the pid namespace, PID 1 is killed, and with it everything.
impl Drop for Booted {
    fn drop(&mut self) {
        if let Some(outside) = self.outside.take() {
            eprintln!("the agent's log:\n{}", self.device.agent_log());
            outside.kill();
        }
    }
}

impl Booted {
    fn new() -> Booted {
        assert!(geteuid().is_root(), "this test makes namespaces on the real kernel: run it as root");
        let programs = Programs::find("debug");
        let init = programs.goalpost.with_file_name("goalpost-init");
        assert!(init.exists(), "run `cargo build` first: {} is not there", init.display());
        let device = Device::new(&state())
            .with("GOALPOST_INIT_LABEL", "")
            .with("GOALPOST_STOP_GRACE", "1s")
            .with("GOALPOST_LOG", "info");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--"]).arg(init).arg(&programs.goalpost);
        let outside = device.start_by(command);
        Booted { device, outside: Some(outside) }
    }

    fn outside(&self) -> &Agent {
        self.outside.as_ref().unwrap()
    }

    fn wait(mut self) -> ExitStatus {
        self.outside.take().unwrap().wait()
    }

    fn init(&self) -> Pid {
        child(Pid::from_raw(self.outside().pid().cast_signed()), "goalpost-init")
    }

    fn agent(&self) -> Pid {
        child(self.init(), "goalpost")
    }

    /// Number in the pid namespace, and generation: what tells a container's lives apart.
    fn lives(&self) -> Vec<(Value, Value)> {
        let status = self.outside().client().get("/status").json();
        let containers = status["containers"].as_array().unwrap().iter();
        containers.map(|one| (one["pid"].clone(), one["generation"].clone())).collect()
    }
}

fn children(of: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().map(|number| Pid::from_raw(number.parse().unwrap())).collect()
}

fn name(of: Pid) -> String {
    fs::read_to_string(format!("/proc/{of}/comm")).unwrap_or_default().trim().to_owned()
}

fn child(of: Pid, called: &str) -> Pid {
    let found = children(of).into_iter().find(|child| name(*child) == called);
    found.unwrap_or_else(|| panic!("{of} has no child {called}"))
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[test]
fn a_killed_agent_is_started_again_under_its_containers_and_all_ends_in_order() {
    let booted = Booted::new();
    booted.outside().events(0).until_goals_met(&["one", "two"]);
    let before = booted.lives();
    let (init, killed) = (booted.init(), booted.agent());
    kill(killed, Signal::SIGKILL).unwrap();
    booted.device.until_ready();
    let mut events = booted.outside().events(0);
    events.until_goals_met(&["one", "two"]);
    assert_eq!(booted.lives(), before);
    assert_ne!(booted.agent(), killed);

    // Its former children are PID 1's now, which reaps them.
    let orphan = children(init).into_iter().find(|child| name(*child) == "goalctl").unwrap();
    kill(orphan, Signal::SIGKILL).unwrap();
    let ended = events.until("an end", |event| event["to"] == "RECOVERING");
    let ended = ended["container"].as_str().unwrap().to_owned();
    events.until_status(&ended, "STARTED");
    assert!(children(init).into_iter().all(|child| !is_zombie(child)));

    kill(init, Signal::SIGTERM).unwrap();
    events.until_the_end();
    let stops: Vec<_> = events.seen.iter().filter(|event| event["to"] == "STOPPED").collect();
    let last: Vec<_> = stops[stops.len() - 2..].iter().map(|event| event["container"].clone()).collect();
    assert_eq!(last, ["two", "one"]);
    // The kernel tells a pid namespace that wants to be switched off from one that wants to restart by the signal that ends it.
    let status = booted.wait();
    assert!(status.signal() == Some(2) || status.code() == Some(128 + 2), "{status:?}");
}

#[test]
fn a_restart_that_is_asked_of_the_agent_is_the_device_s() {
    let booted = Booted::new();
    booted.outside().events(0).until_goals_met(&["one", "two"]);
    kill(booted.agent(), Signal::SIGHUP).unwrap();
    let status = booted.wait();
    assert!(status.signal() == Some(1) || status.code() == Some(128 + 1), "{status:?}");
}

#[test]
fn nothing_but_a_first_process_can_be_pid_1() {
    let init = Programs::find("debug").goalpost.with_file_name("goalpost-init");
    let output = Command::new(Path::new(&init)).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("first process"));
}

#[test]
fn pauses_between_short_lives_grow_and_end_in_giving_up() {
    let mut lives = Lives::new();
    let (mut now, mut pauses) = (100, Vec::new());
    loop {
        lives.started(now);
        assert_eq!(lives.pause_left(now), None);
        now += 1;
        if let Next::GiveUp = lives.ended(now) {
            break;
        }
        let pause = lives.pause_left(now).unwrap();
        pauses.push(pause);
        assert_eq!(lives.is_due(now), pause == 0);
        now += pause;
        assert!(lives.is_due(now));
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 16, 16, 16, 16]);
}

#[test]
fn a_long_life_is_not_held_against_the_agent() {
    let mut lives = Lives::new();
    for beginning in (0..1000).step_by(70) {
        lives.started(beginning);
        assert!(matches!(lives.ended(beginning + 60), Next::Again));
        assert_eq!((lives.deaths(), lives.pause_left(beginning + 60)), (1, Some(0)));
    }
}
