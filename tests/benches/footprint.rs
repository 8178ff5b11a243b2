//! What does not depend on a machine's speed: sizes, memory, wake-ups, writes. Fails where a budget is exceeded.
//!
//! Run `cargo build --release && cargo bench --bench footprint` as root. What is judged are the lean programs, without any
//! optional feature, which it builds itself into `target/lean`; the full ones are printed beside them.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use serde_json::json;
use tests::bench::{peers, wait};
use tests::live::{Agent, Device, Programs, State};

/// A quantity, with what it should be at most, and the ceiling beyond which the build fails: what was reached is kept.
struct Budget {
    what: String,
    found: u64,
    goal: u64,
    ceiling: u64,
    unit: &'static str,
}

impl Budget {
    /// A goal that is met, and must stay so.
    fn met(what: impl Into<String>, found: u64, goal: u64, unit: &'static str) -> Budget {
        Budget { what: what.into(), found, goal, ceiling: goal, unit }
    }

    /// A goal that is not met yet; it may not get worse than this.
    fn nearing(what: impl Into<String>, found: u64, goal: u64, ceiling: u64, unit: &'static str) -> Budget {
        Budget { what: what.into(), found, goal, ceiling, unit }
    }
}

fn main() -> ExitCode {
    let full = Programs::find("release");
    let programs = lean(&full);
    let mut budgets = sizes(&programs);
    for program in [&full.goalpost, &full.goalctl] {
        let name = program.file_name().unwrap_or_default().display();
        println!("{:<58} {:>9} KiB", format!("{name} with every default feature"), size(program));
    }
    if nix::unistd::geteuid().is_root() {
        budgets.extend(running(&programs));
    } else {
        println!(
            "SKIPPED: memory, wake-ups and writes need containers, and the budgets are for an agent of root's"
        );
    }
    let mut exceeded = false;
    for Budget { what, found, goal, ceiling, unit } in budgets {
        let verdict = match found {
            _ if found <= goal => "met",
            _ if found <= ceiling => "NOT met yet",
            _ => "EXCEEDED",
        };
        exceeded |= found > ceiling;
        println!("{what:<58} {found:>9} {unit:<6} goal {goal:>6}  ceiling {ceiling:>6}  {verdict}");
    }
    if exceeded { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Builds the lean programs, where they are not up to date.
fn lean(full: &Programs) -> Programs {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace");
    let into = workspace.join("target/lean");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--no-default-features", "-p", "agent", "-p", "ctl"])
        .arg("--target-dir")
        .arg(&into)
        .current_dir(workspace)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the lean programs cannot be built");
    // As the full ones lie: target/<target>/release.
    let target = full
        .goalpost
        .ancestors()
        .nth(2)
        .and_then(Path::file_name)
        .expect("programs lie in a target's folder");
    let folder = into.join(target).join("release");
    Programs { goalpost: folder.join("goalpost"), goalctl: folder.join("goalctl") }
}

/// In KiB.
fn size(path: &Path) -> u64 {
    fs::metadata(path).expect("it was just built").len() / 1024
}

fn sizes(programs: &Programs) -> Vec<Budget> {
    vec![
        Budget::met("goalpost, stripped and static", size(&programs.goalpost), 2560, "KiB"),
        Budget::met("goalctl, stripped and static", size(&programs.goalctl), 2048, "KiB"),
    ]
}

fn running(programs: &Programs) -> Vec<Budget> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let probe = peers::probe(folder.path());
    let root = peers::root_folder(folder.path(), &probe);
    let image = folder.path().join("root.squashfs");
    let made = Command::new("mksquashfs").arg(&root).arg(&image).args(["-quiet", "-no-progress"]).status();
    assert!(made.is_ok_and(|status| status.success()), "mksquashfs is needed (Debian: squashfs-tools)");
    let image = fs::read(image).expect("the image was just made");

    let mut budgets = Vec::new();
    for (count, goal, ceiling) in [(0, 1024, 1024), (32, 1331, 1331), (200, 2662, 2662)] {
        let state = (0..count).fold(State::new(), |state, number| {
            state.container(&format!("c{number}"), &image, "/probe stay", &json!({"group": "app"}))
        });
        let device = Device::new(&state);
        let agent = device.start(programs);
        let mut events = agent.events(0);
        for _ in 0..count {
            events.until("a start", |event| event["kind"] == "status" && event["to"] == "STARTED");
        }
        drop(events);
        settle(&agent);
        let memory = memory(agent.pid());
        let (anonymous, whole) = (memory.anonymous, memory.whole);
        budgets.push(Budget::nearing(
            format!("Pss_Anon with {count} containers"),
            anonymous,
            goal,
            ceiling,
            "KiB",
        ));
        budgets.push(Budget::nearing(format!("Pss with {count} containers"), whole, 4096, 4300, "KiB"));
        if count == 32 {
            budgets.extend(idle(&agent));
        }
    }
    budgets
}

struct Memory {
    anonymous: u64,
    whole: u64,
}

fn memory(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the agent runs");
    let kibibytes = |key: &str| number(&text, key).expect("every kernel since 5.4 has this line");
    Memory { anonymous: kibibytes("Pss_Anon:"), whole: kibibytes("Pss:") }
}

/// Waits until the agent has had nothing to do for a second: its last answers are out, its log lines on disk, the threads of
/// its start gone.
fn settle(agent: &Agent) {
    let mut before = activity(agent.pid());
    for _ in 0..60 {
        wait(Duration::from_secs(2));
        let now = activity(agent.pid());
        if now == before {
            return;
        }
        before = now;
    }
    println!("the agent did not come to rest in two minutes");
}

fn idle(agent: &Agent) -> Vec<Budget> {
    let before = activity(agent.pid());
    wait(Duration::from_secs(60));
    let after = activity(agent.pid());
    let (switches, written) = (after.switches - before.switches, after.written - before.written);
    vec![
        Budget::met("context switches in 60 idle seconds, 32 containers", switches, 0, ""),
        Budget::met("bytes written in 60 idle seconds, 32 containers", written, 0, "bytes"),
    ]
}

#[derive(Debug, PartialEq, Eq)]
struct Activity {
    switches: u64,
    written: u64,
}

/// Of all the agent's threads.
fn activity(pid: u32) -> Activity {
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the agent runs").flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        switches += number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        switches += number(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("the agent runs");
    Activity { switches, written: number(&io, "wchar:").expect("every kernel has this line") }
}

fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
