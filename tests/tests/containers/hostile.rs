//! Containers and images that mean harm, or were just made badly: a clear reason, and everyone else is unaffected.

use std::io::Write;

use serde_json::json;

use crate::device::Device;
use crate::revision::{Container, READY, RUN, Revision, image_with};

fn beside(container: Container) -> Revision {
    Revision::new([Container::new("good", READY).goal("READY"), container])
}

#[test]
fn a_symlink_in_an_image_leads_no_mount_outside() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("planted");
    let image = image_with(&[("/way-out", outside.path().to_str().unwrap())], &[]);
    let container = Container::new("web", RUN)
        .image(image)
        .conf("lxc.mount.entry = /etc way-out/planted none bind,create=dir 0 0");
    let device = Device::started(&beside(container));
    let mut events = device.events();
    // Resolved inside the root, the link names a folder that the container's own root does not have; it is made there.
    events.until_goals_met(&["good", "web"]);
    assert!(!target.exists(), "a mount target was made outside the container");
}

#[test]
fn a_container_that_ignores_sigterm_is_ended_after_its_grace_while_others_are_answered() {
    let stubborn = Container::new("web", "trap '' TERM PWR INT; while :; do /bin/sleep 1000; done");
    let device = Device::started(&beside(stubborn));
    let mut events = device.events();
    events.until_goals_met(&["good", "web"]);
    device.control("web", "stop");
    events.until_status("web", "STOPPING");
    assert_eq!(device.container("good")["status"], "READY");
    events.until_status("web", "STOPPED");
}

#[test]
fn a_flood_of_output_is_bounded_on_disk_and_delays_nobody() {
    let flood = beside(Container::new("web", "exec /bin/yes goalpost"));
    let mut device =
        Device::with(&flood, &[("GOALPOST_LOGS_FILE_SIZE", "64K"), ("GOALPOST_LOGS_FILES", "1")]);
    let mut events = device.events();
    events.until_goals_met(&["good", "web"]);
    for _ in 0..200 {
        assert_eq!(device.container("good")["status"], "READY");
    }
    device.stop();
    let kept = device.output("0", "web").len();
    assert!(kept > 0 && kept <= 3 * 64 * 1024, "{kept} bytes kept");
}

#[test]
fn a_container_that_forks_without_end_is_bounded_and_ends_with_its_first_process() {
    let Some(most) = most_processes() else {
        return eprintln!("SKIPPED: neither a pids controller nor a pid_max of each pid namespace");
    };
    // A shell that cannot fork ends; what sleeps keeps its place.
    let script = "bomb() { /bin/sleep 1000 & bomb & bomb; }; (bomb 2> /dev/null) & exec /bin/sleep 1000";
    let container = Container::new("web", script).conf(&format!("lxc.cgroup2.pids.max = {most}"));
    let device = Device::started(&beside(container));
    let mut events = device.events();
    events.until_goals_met(&["good", "web"]);
    let first = device.process("web").pid;
    let mut peak = 0;
    for _ in 0..200 {
        assert_eq!(device.container("good")["status"], "READY");
        assert_eq!(device.client_of("good").get("/containers").code, 403);
        peak = peak.max(processes_beside(first));
    }
    assert!((most / 4..=most).contains(&peak), "{peak} processes, allowed are {most}");
    device.control("web", "stop");
    events.until_status("web", "STOPPED");
    assert_eq!(device.container("good")["status"], "READY");
}

/// What a container can be held to on this machine.
fn most_processes() -> Option<usize> {
    use host::cgroup::{Cgroups, ProcessLimiting};
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if controllers.split_ascii_whitespace().any(|name| name == "pids") {
        return Some(64);
    }
    match Cgroups::process_limiting(None) {
        ProcessLimiting::Controller | ProcessLimiting::PidNamespace => Some(512),
        ProcessLimiting::Impossible => None,
    }
}

/// How many processes are in the same pid namespace.
fn processes_beside(pid: u64) -> usize {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(&pid.to_string());
    assert!(own.is_some(), "the first process of the container is gone");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| namespace(&entry.file_name().to_string_lossy()) == own).count()
}

#[test]
fn an_image_that_is_no_squashfs_says_so_and_spares_the_others() {
    let container = Container::new("web", RUN)
        .image(b"this is not a file system".repeat(400))
        .with("auto_recovery", json!({"policy": "no"}));
    let device = Device::started(&beside(container));
    let mut events = device.events();
    let reason = events.until("web failed", |event| {
        event["container"] == "web"
            && event["reason"].as_str().is_some_and(|reason| reason.contains("failed to"))
    });
    events.until_goal_met("good");
    assert!(reason["reason"].as_str().unwrap().contains("find a squashfs or erofs in"), "{reason}");
}

#[test]
fn a_container_cannot_signal_for_another_nor_ask_what_only_an_operator_may() {
    let device = Device::started(&beside(Container::new("web", READY).goal("READY")));
    device.events().until_goal_met("web");
    let answer = device.client_of("web").get("/containers");
    assert_eq!((answer.code, &*answer.text()), (403, r#"{"Error":"Request not sent from a mgmt platform"}"#));
}

#[test]
fn uploads_that_never_end_keep_no_update_waiting() {
    const SLOW: usize = 24;
    let factory = beside(Container::new("web", READY).goal("READY"));
    let device = Device::started(&factory);
    device.events().until_goals_met(&["good", "web"]);
    let slow: Vec<_> = (0..SLOW)
        .map(|number| {
            let mut client = device.connect();
            let head = format!(
                "PUT /objects/{number:064x} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
            );
            client.write_all(head.as_bytes()).unwrap();
            client.write_all(&[0; 1000]).unwrap();
            client
        })
        .collect();
    let arriving = || {
        let objects = std::fs::read_dir(device.root().join("objects")).unwrap().flatten();
        objects.filter(|entry| entry.file_name().to_string_lossy().starts_with(".new-")).count()
    };
    // Each has begun, more than there are threads that may block.
    while arriving() < SLOW {
        std::thread::yield_now();
    }
    device.update("locals/new", &beside(Container::new("web", &format!("echo new; {READY}")).goal("READY")));
    device.events().until_update("locals/new", &["DONE", "ERROR", "WONTGO", "UPDATED"]);
    assert_eq!(device.final_progress("locals/new")["status"], "DONE");
    assert_eq!(arriving(), SLOW, "they have not ended meanwhile");
    drop(slow);
    while arriving() > 0 {
        std::thread::yield_now();
    }
}
