//! The device's end: asked of logind where another init owns the power, refused with the reason where nobody can be asked.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use tests::live::{self, Client, Events, Programs};

use crate::bus::{Answers, Bus};
use crate::device::Device;
use crate::revision::{Container, READY, Revision};

fn factory() -> Revision {
    Revision::new([Container::new("web", READY).goal("READY")])
}

fn on(bus: &Bus) -> Device {
    let address = bus.address();
    let device = Device::with(&factory(), &[("DBUS_SYSTEM_BUS_ADDRESS", &address)]);
    device.events().until_goal_met("web");
    device
}

#[test]
fn logind_is_asked_once_every_container_has_stopped_and_the_agent_ends() {
    let table = [
        ("REBOOT_DEVICE", "CanReboot", "Reboot false"),
        ("POWEROFF_DEVICE", "CanPowerOff", "PowerOff false"),
    ];
    for (op, can, carried_out) in table {
        let bus = Bus::with_logind(Answers { can: "yes", obeys: true });
        let mut device = on(&bus);
        assert_eq!(bus.asked(), [""; 0], "nothing is asked before somebody asks");
        let web = device.process("web");
        let answer = device.command(op, "");
        assert_eq!((answer.code, answer.text()), (200, String::new()));
        assert_eq!(bus.next_asked(), can);
        assert_eq!(bus.next_asked(), carried_out);
        assert!(!web.lives(), "{op} before web had stopped");
        // The agent waits for its init, which ends it as it ends everything.
        device.stop();
        assert_eq!(bus.asked(), [""; 0]);
    }
}

#[test]
fn what_logind_would_not_do_is_refused_and_stops_nothing() {
    let bus = Bus::with_logind(Answers { can: "challenge", obeys: true });
    let device = on(&bus);
    let web = device.process("web");
    let answer = device.command("REBOOT_DEVICE", "");
    assert_eq!(answer.code, 409);
    assert_eq!(
        answer.text(),
        r#"{"Error":"REBOOT_DEVICE is not possible on this device: failed to have logind do CanReboot over the system bus: it answers \"challenge\""}"#
    );
    assert_eq!(bus.asked(), ["CanReboot"]);
    assert!(web.lives() && device.container("web")["status"] == "READY");
}

#[test]
fn without_a_bus_it_is_refused_with_the_reason() {
    let device = Device::with(&factory(), &[("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")]);
    device.events().until_goal_met("web");
    for op in ["REBOOT_DEVICE", "POWEROFF_DEVICE"] {
        let answer = device.command(op, "");
        assert_eq!(answer.code, 409);
        let text = answer.text();
        assert!(
            text.starts_with(&format!(
                r#"{{"Error":"{op} is not possible on this device: failed to have logind do"#
            )),
            "{text}"
        );
        assert!(text.contains("No such file or directory"), "{text}");
    }
    assert_eq!(device.container("web")["status"], "READY");
}

#[test]
fn a_device_that_logind_leaves_on_after_all_starts_over() {
    let bus = Bus::with_logind(Answers { can: "yes", obeys: false });
    let device = on(&bus);
    assert_eq!(device.command("REBOOT_DEVICE", "").code, 200);
    // The agent executes itself anew, and its containers come back.
    device.until_anew();
    device.events().until_goal_met("web");
    assert_eq!(bus.asked(), ["CanReboot", "Reboot false"]);
}

#[test]
fn while_an_update_is_tried_nothing_is_asked() {
    let bus = Bus::with_logind(Answers { can: "yes", obeys: true });
    let address = bus.address();
    let settings = [("DBUS_SYSTEM_BUS_ADDRESS", address.as_str()), ("GOALPOST_COMMIT_DELAY", "1h")];
    let device = Device::with(&factory(), &settings);
    device.events().until_goal_met("web");
    device.update(
        "locals/x",
        &factory().replace(Container::new("web", &format!("echo x; {READY}")).goal("READY")),
    );
    device.events().until_update("locals/x", &["TESTING"]);
    for op in ["LOCAL_RUN", "LOCAL_RUN_COMMIT", "REBOOT_DEVICE", "POWEROFF_DEVICE", "MAKE_FACTORY", "UNCLAIM"]
    {
        let answer = device.command(op, "0");
        let ongoing = r#"{"Error":"Cannot do this operation while update is ongoing"}"#;
        assert_eq!((answer.code, answer.text().as_str()), (503, ongoing), "{op}");
    }
    assert_eq!(bus.asked(), [""; 0]);
}

/// In a process namespace of its own the agent is the first process of all; there the kernel ends it by the signal that tells a
/// reboot from a power-off.
#[test]
fn the_first_process_of_all_has_the_kernel_do_it_once_every_container_has_stopped() {
    for (op, signal) in [("REBOOT_DEVICE", Signal::SIGHUP), ("POWEROFF_DEVICE", Signal::SIGINT)] {
        let folder = live::Device::new(&factory().state());
        // Without goalpost-init beside it, for which it would make way.
        let alone = tempfile::tempdir().unwrap();
        let Programs { goalpost, goalctl } = Programs::find("debug");
        std::fs::copy(&goalctl, alone.path().join("goalctl")).unwrap();
        let program = alone.path().join("goalpost");
        std::fs::copy(&goalpost, &program).unwrap();
        let mut first = Command::new("unshare");
        first.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(&program);
        first.arg("run").arg("--root").arg(folder.root()).arg("--run-dir").arg(folder.run_dir());
        first
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
        let mut first = first.spawn().unwrap();
        folder.until_ready();
        let socket = folder.run_dir().join("pv-ctrl");
        Events::open(&socket, "since=0").until_goal_met("web");
        let mut client = Client::connect(&socket);
        let answer = client.send("POST", "/commands", format!(r#"{{"op":"{op}","payload":""}}"#).as_bytes());
        assert_eq!((answer.code, answer.text()), (200, String::new()));
        assert_eq!(first.wait().unwrap().signal(), Some(signal as i32), "{op}");
        let journal = std::fs::read_to_string(folder.root().join("journal/current.jsonl")).unwrap();
        let (stopped, left) = (journal.rfind(r#""to":"STOPPED""#), journal.rfind(r#""kind":"leave""#));
        assert!(stopped.is_some() && stopped < left, "{op}: {journal}");
    }
}
