//! How fast containers start, stop, come back and are updated, beside others that do the same, in interleaved runs.
//!
//! Run `cargo build --release && cargo bench --bench speed` as root; a word after `--` runs only what has it in its name.
//! Every figure is a median; what is compared is the ratio, because machines differ and drift.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

mod control;
mod hundred;
mod life;
mod one;
mod updates;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::bench::Times;
use tests::bench::peers::{self, Aside};
use tests::live::{Agent, Client, Programs, State};

const ROUNDS: usize = 31;

/// A benchmark, with the name that asks for it alone.
type Named = (&'static str, fn(&Bench));

/// What every benchmark works with: our programs, the probe, its root as a folder and as images.
struct Bench {
    programs: Programs,
    folder: tempfile::TempDir,
    probe: PathBuf,
    root: PathBuf,
    squashfs: PathBuf,
    /// Where the tools for it are installed.
    erofs: Option<PathBuf>,
    /// Where our peers run.
    aside: Aside,
}

fn main() {
    if !nix::unistd::geteuid().is_root() {
        println!("these benchmarks make namespaces and mounts: run them as root");
        return;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let bench = Bench::new();
    let all: &[Named] = &[
        ("one", one::mounted),
        ("installed", one::installed),
        ("beside", one::beside_a_hundred),
        ("hundred", hundred::on_a_folder),
        ("images", hundred::each_with_its_image),
        ("killed", life::killed_to_running),
        ("stop", life::stop_obeyed),
        ("update", updates::one_of_ten),
        ("rollback", updates::deadline_to_rollback),
        ("signal", control::signal_to_visible),
        ("get", control::requests_per_second),
        ("starting", control::requests_while_starting),
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
        let probe = peers::probe(folder.path());
        let root = peers::root_folder(folder.path(), &probe);
        let squashfs = folder.path().join("root.squashfs");
        let made =
            Command::new("mksquashfs").arg(&root).arg(&squashfs).args(["-quiet", "-no-progress"]).status();
        assert!(made.is_ok_and(|status| status.success()), "mksquashfs is needed (Debian: squashfs-tools)");
        let erofs = folder.path().join("root.erofs");
        let made = Command::new("mkfs.erofs")
            .arg(&erofs)
            .arg(&root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let erofs = made.is_ok_and(|status| status.success()).then_some(erofs);
        let (programs, aside) = (Programs::find("release"), Aside::new());
        Bench { programs, folder, probe, root, squashfs, erofs, aside }
    }

    /// `count` containers that stay, named c0, c1, …, whose root is the very folder that the peers' containers have.
    fn on_folder(&self, count: usize, command: &str) -> State {
        let state = State::new().inline("device.json", groups());
        (0..count).fold(state, |state, number| {
            state.container_on(&format!("c{number}"), &self.root, &format!("/probe {command}"))
        })
    }

    /// `count` containers that stay, named c0, c1, …, each with an image of its own: the same but for what comes after its end, as
    /// those with the very same one would share a mount.
    fn on_image(&self, image: &Path, count: usize, run: &Value) -> State {
        let image = std::fs::read(image).expect("the image was made before");
        (0..count).fold(State::new().inline("device.json", groups()), |state, number| {
            let name = format!("c{number}");
            state.container(&name, &[&image, name.as_bytes()].concat(), "/probe stay", run)
        })
    }

    /// Those with a squashfs.
    fn state(&self, count: usize, run: &Value) -> State {
        self.on_image(&self.squashfs, count, run)
    }
}

/// One group, so that all start at once; no recovery unless a container asks for it.
fn groups() -> Value {
    json!({"groups": [{"name": "app", "status_goal": "STARTED", "restart_policy": "container", "timeout": 30}]})
}

/// start, stop or restart.
fn control(client: &mut Client, name: &str, action: &str) {
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

fn note_missing(program: &str) -> bool {
    let installed = peers::is_installed(program);
    if !installed {
        println!("{program} is not installed: no ratio to it");
    }
    installed
}

fn ratio(ours: &Times, theirs: &Times) -> f64 {
    ours.median().as_secs_f64() / theirs.median().as_secs_f64()
}
