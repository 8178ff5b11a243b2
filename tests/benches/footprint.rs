//! What does not depend on a machine's speed: sizes, memory, wake-ups, writes. Fails where a budget is exceeded.
//!
//! Run `cargo build --release && cargo bench --bench footprint` as root.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tests::bench::{peers, wait};
use tests::ext4::Ext4;
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
    let programs = Programs::find("release");
    let mut budgets = sizes(&programs);
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

fn sizes(programs: &Programs) -> Vec<Budget> {
    let size = |path: &Path| fs::metadata(path).expect("it was found before").len() / 1024;
    vec![
        Budget::nearing("goalpost, stripped and static", size(&programs.goalpost), 2560, 2624, "KiB"),
        Budget::met("goalctl, stripped and static", size(&programs.goalctl), 2048, "KiB"),
    ]
}

fn running(programs: &Programs) -> Vec<Budget> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let probe =
        peers::compile(folder.path(), "probe.c", &[]).expect("a C compiler, as for the product itself");
    let root = peers::root_folder(folder.path(), &probe);
    let image = folder.path().join("root.squashfs");
    let made = std::process::Command::new("mksquashfs")
        .arg(&root)
        .arg(&image)
        .args(["-quiet", "-no-progress"])
        .status();
    assert!(made.is_ok_and(|status| status.success()), "mksquashfs is needed (Debian: squashfs-tools)");
    let image = fs::read(image).expect("the image was just made");

    let mut budgets = Vec::new();
    for (count, goal, ceiling) in [(0, 1024, 1024), (32, 1331, 1331), (200, 2662, 4000)] {
        let state = (0..count).fold(State::new(), |state, number| {
            state.container(&format!("c{number}"), &image, "/probe stay", &json!({"group": "app"}))
        });
        let device = Device::empty();
        let disk = Ext4::mounted(&folder.path().join("disk"), 64, &device.root());
        device.lay_down(&state);
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
        budgets.push(Budget::nearing(format!("Pss with {count} containers"), whole, 4096, 5800, "KiB"));
        if count == 32 {
            budgets.extend(idle(&agent, &disk));
        }
    }
    budgets.extend(wear(programs, &image));
    budgets
}

/// What one boot and one update make the disk's device write, journal and file system with it. The goals are what was measured
/// and half as much again: more than that would be a new write, not the weather.
fn wear(programs: &Programs, image: &[u8]) -> Vec<Budget> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let changed = |version: u32| {
        let container =
            |state: State, name| state.container(name, image, "/probe stay", &json!({"group": "app"}));
        let state = ["one", "other", "web"].into_iter().fold(State::new(), container);
        state.inline("_config/web/etc/version.json", json!(version))
    };
    let device = Device::empty().with("GOALPOST_COMMIT_DELAY", "200ms");
    let disk = Ext4::mounted(&folder.path().join("disk"), 64, &device.root());
    device.lay_down(&changed(0));
    let boot = || {
        let agent = device.start(programs);
        agent.events(0).until_goals_met(&["one", "other", "web"]);
        settle(&agent);
        agent
    };
    let first = boot();
    assert!(first.stop().success(), "{}", device.agent_log());
    let before = disk.bytes_written();
    let agent = boot();
    let booted = disk.bytes_written();
    for version in 1..=4 {
        let name = format!("locals/{version}");
        assert_eq!(agent.post(&name, &changed(version)).code, 200, "{}", device.agent_log());
        let mut events = agent.events(0);
        assert_eq!(agent.run(&name).code, 200, "{}", device.agent_log());
        let end = events.until_update(&name, &["DONE", "ERROR", "WONTGO", "UPDATED"]);
        assert_eq!(end["progress"]["status"], "DONE", "{}", device.agent_log());
    }
    settle(&agent);
    let updated = disk.bytes_written();
    assert!(agent.stop().success(), "{}", device.agent_log());
    vec![
        Budget::met("written to the device by a boot, 3 containers", (booted - before) / 1024, 384, "KiB"),
        Budget::met(
            "written by an update of 1 of them, no new image",
            (updated - booted) / 4 / 1024,
            768,
            "KiB",
        ),
    ]
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

fn idle(agent: &Agent, disk: &Ext4) -> Vec<Budget> {
    let disk_before = disk.bytes_written();
    let before = activity(agent.pid());
    wait(Duration::from_secs(60));
    let after = activity(agent.pid());
    let to_the_device = disk.bytes_written() - disk_before;
    let (switches, written) = (after.switches - before.switches, after.written - before.written);
    vec![
        Budget::met("context switches in 60 idle seconds, 32 containers", switches, 0, ""),
        Budget::met("bytes written in 60 idle seconds, 32 containers", written, 0, "bytes"),
        Budget::met("the same, as the block device counts them", to_the_device, 0, "bytes"),
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
