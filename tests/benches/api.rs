//! What the API costs: each listing beside a hyper that knows its answer, an object's upload beside `sha256sum` and `cp`,
//! and whether the two-hundredth post takes as long as the first.
//!
//! Run `cargo build --release && cargo bench --bench api`; a word after `--` runs only what has it in its name.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::bench::load::Load;
use tests::bench::{Contender, Times, hello::Hello, interleaved, milliseconds, timed};
use tests::live::{Agent, Device, Programs, State};

/// An object as large as a container's image.
const OBJECT: usize = 100 << 20;
/// Each takes half a second.
const UPLOADS: usize = 9;
const POSTS: usize = 200;

type Named = (&'static str, fn(&Device, &Agent, &Programs));

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let programs = Programs::find("release");
    let all: &[Named] = &[("get", get_each), ("put", put_an_object), ("post", post_again_and_again)];
    for (name, run) in all {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            let device = Device::empty();
            fs::create_dir(device.path().join("rootfs")).expect("a temporary folder can be written");
            device.lay_down(&revision(&device));
            let agent = device.start(&programs);
            agent.events(0).until_goals_met(&["first", "second"]);
            run(&device, &agent, &programs);
        }
    }
}

/// Two containers that have mounted, so that no process of theirs is beside us.
fn revision(device: &Device) -> State {
    ["first", "second"].into_iter().fold(State::new(), |state, name| {
        state
            .inline(&format!("{name}/run.json"), run_json(name))
            .object(&format!("{name}/lxc.container.conf"), conf(device).as_bytes())
    })
}

fn run_json(name: &str) -> Value {
    json!({"#spec": "service-manifest-run@1", "name": name, "type": "lxc", "config": "lxc.container.conf",
        "status_goal": "MOUNTED"})
}

fn conf(device: &Device) -> String {
    format!("lxc.rootfs.path = dir:{}\nlxc.init.cmd = /true\n", device.path().join("rootfs").display())
}

/// Every listing that the host socket has; what streams or is an object's own bytes is measured by its length elsewhere.
fn get_each(device: &Device, agent: &Agent, _: &Programs) {
    println!("\nGET, keep-alive; a hyper that answers the same body is 1 (goal 0.7)");
    println!(
        "  {:<24} {:>7} {:>12} {:>7} {:>9} {:>9}",
        "path", "bytes", "connections", "ratio", "p50 ms", "p99 ms"
    );
    let (mut worst, mut count) = (f64::MAX, 0);
    for path in [
        "/containers",
        "/groups",
        "/status",
        "/steps",
        "/steps/0",
        "/steps/0/progress",
        "/objects",
        "/user-meta",
        "/device-meta",
        "/config",
        "/config2",
        "/buildinfo",
        "/daemons",
        "/drivers",
        "/plan?from=0&to=0",
        "/xconnect-graph",
    ] {
        let answer = agent.client().get(path);
        assert_eq!(answer.code, 200, "GET {path}: {}", answer.text());
        let hello = Hello::hyper(device.path(), &answer.body);
        for connections in [1, 64] {
            let load = Load { path, connections, requests: 4_096, rounds: 9 };
            let answered = load.compare(&[agent.server(), hello.server()]);
            let (ours, theirs) = (&answered[0], &answered[1]);
            let ratio = ours.per_second / theirs.per_second;
            println!(
                "  {path:<24} {:>7} {connections:>12} {ratio:>7.2} {:>9.3} {:>9.3}{}",
                answer.body.len(),
                milliseconds(ours.latencies.median()),
                milliseconds(ours.latencies.percentile(99)),
                if ratio < 0.7 { "  NOT met" } else { "" }
            );
            worst = worst.min(ratio);
            count += 1;
        }
    }
    println!("  the least of {count}: {worst:.2}");
}

/// From the first byte of the request to the answer, by which time the object is verified and on disk.
fn put_an_object(device: &Device, agent: &Agent, _: &Programs) {
    let file = device.path().join("object");
    let copy = device.path().join("copy");
    let mut bytes: Vec<u8> = (0..OBJECT / 8).flat_map(|word: usize| scramble(word).to_le_bytes()).collect();
    let mut round = 0_u8;
    // What an upload made is there: the next one needs other bytes.
    let mut next = || {
        round += 1;
        bytes[0] = round;
        fs::write(&file, &bytes).expect("there is room");
        File::open(&file).and_then(|file| file.sync_all()).expect("it was just written");
        Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let ours = || {
        let digest = next();
        timed(|| upload(agent, &digest, &file))
    };
    let before = peak(agent);
    let theirs = || {
        let _ = fs::remove_file(&copy);
        timed(|| {
            run(Command::new("sha256sum").arg(&file));
            run(Command::new("cp").arg("--reflink=never").arg(&file).arg(&copy));
            File::open(&copy).and_then(|file| file.sync_all()).expect("it was just copied");
        })
    };
    let times = interleaved(
        UPLOADS,
        vec![Contender::new("PUT /objects", ours), Contender::new("sha256sum, cp, fsync", theirs)],
    );
    let (ours, theirs) = (times[0].median(), times[1].median());
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("\nAn object of {} MiB", OBJECT >> 20);
    println!(
        "  PUT /objects {:.1} ms, sha256sum and cp and fsync {:.1} ms: {ratio:.2} of their throughput (goal 0.8{})",
        milliseconds(ours),
        milliseconds(theirs),
        if ratio < 0.8 { ": NOT met" } else { "" }
    );
    println!(
        "  the agent's peak memory: {before} KiB before, {} KiB after {} uploads",
        peak(agent),
        UPLOADS + 1
    );
}

/// The same program that people use, on a working folder of which one file changed.
fn post_again_and_again(device: &Device, agent: &Agent, programs: &Programs) {
    let folder = device.path().join("work");
    let goalctl = || {
        let mut command = Command::new(&programs.goalctl);
        command.arg("--socket").arg(agent.socket());
        command
    };
    run(goalctl().arg("init").arg(&folder));
    let written = fs::create_dir_all(folder.join("_config/first/etc"))
        .and_then(|()| fs::create_dir(folder.join("first")))
        .and_then(|()| fs::write(folder.join("first/run.json"), run_json("first").to_string()))
        .and_then(|()| fs::write(folder.join("first/lxc.container.conf"), conf(device)));
    written.expect("there is room");
    let mut times = Vec::new();
    for number in 1..=POSTS {
        fs::write(folder.join("_config/first/etc/number"), number.to_string()).expect("there is room");
        times.push(timed(|| {
            run(goalctl().arg("post").arg(&folder).args(["--name", &format!("locals/n{number}")]))
        }));
    }
    let twenties: Vec<Duration> = times.chunks(20).map(|twenty| median(twenty.to_vec())).collect();
    let shown: Vec<String> = twenties.iter().map(|time| format!("{:.2}", milliseconds(*time))).collect();
    let (first, last) = (twenties[0], twenties[twenties.len() - 1]);
    println!("\n{POSTS} posts, each with one file changed; ms, median of each twenty");
    println!("  {}", shown.join("  "));
    println!("  the last to the first {:.2} (flat is 1)", last.as_secs_f64() / first.as_secs_f64());
}

fn median(times: Vec<Duration>) -> Duration {
    Times::new("", times).median()
}

fn upload(agent: &Agent, digest: &str, file: &Path) {
    let mut stream = UnixStream::connect(agent.socket()).expect("the agent listens");
    write!(
        stream,
        "PUT /objects/{digest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {OBJECT}\r\nConnection: close\r\n\r\n"
    )
    .expect("the agent reads requests");
    let mut file = File::open(file).expect("it was just written");
    std::io::copy(&mut file, &mut stream).expect("the agent reads bodies");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the agent answers");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// VmHWM, in KiB.
fn peak(agent: &Agent) -> u64 {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{}/status", agent.pid())));
    let status = status.expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).expect("the kernel says it in KiB")
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that no file system and no link can make smaller.
fn scramble(word: usize) -> u64 {
    let mixed = (word as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}
