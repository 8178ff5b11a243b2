//! A device whose agent is ended at the latest when its test ends, and whose log is shown when its test fails.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use tests::ext4::Ext4;
use tests::live::{self, Agent, Client, Events, Programs};

use crate::revision::Revision;

pub(crate) struct Device {
    folder: live::Device,
    agent: Option<Agent>,
}

impl Device {
    /// A device with that factory revision, its agent running.
    pub(crate) fn started(factory: &Revision) -> Device {
        Device::with(factory, &[])
    }

    /// The same with settings, as environment variables.
    pub(crate) fn with(factory: &Revision, settings: &[(&'static str, &str)]) -> Device {
        Device::on(live::Device::new(&factory.state()), settings)
    }

    /// The same on a data partition of its own, of so many MiB.
    pub(crate) fn on_ext4(factory: &Revision, mebibytes: u64) -> (Device, Ext4) {
        let folder = live::Device::empty();
        let disk = Ext4::mounted(&folder.path().join("image"), mebibytes, &folder.root());
        folder.lay_down(&factory.state());
        (Device::on(folder, &[]), disk)
    }

    fn on(folder: live::Device, settings: &[(&'static str, &str)]) -> Device {
        assert!(geteuid().is_root(), "this test starts containers on the real kernel: run it as root");
        let mut folder = folder
            .with("GOALPOST_COMMIT_DELAY", "300ms")
            .with("GOALPOST_STOP_GRACE", "1s")
            .with("GOALPOST_LOG", "debug");
        for (variable, value) in settings {
            folder = folder.with(variable, *value);
        }
        let mut device = Device { folder, agent: None };
        device.start();
        device
    }

    pub(crate) fn start(&mut self) {
        self.agent = Some(self.folder.start(&Programs::find("debug")));
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        self.agent().client()
    }

    /// Bytes as they are, to the host's socket.
    pub(crate) fn connect(&self) -> std::os::unix::net::UnixStream {
        std::os::unix::net::UnixStream::connect(self.agent().socket()).unwrap()
    }

    /// The path of its control socket.
    pub(crate) fn socket(&self) -> String {
        self.agent().socket().to_str().unwrap().to_owned()
    }

    /// The control socket of one container, as seen from outside.
    pub(crate) fn client_of(&self, container: &str) -> Client {
        Client::connect(&self.folder.run_dir().join("containers").join(container).join("pantavisor/pv-ctrl"))
    }

    /// Everything since the agent began.
    pub(crate) fn events(&self) -> Events {
        self.agent().events(0)
    }

    /// Until the agent has executed itself anew and answers.
    pub(crate) fn until_anew(&self) {
        self.folder.until_ready();
    }

    pub(crate) fn post(&self, name: &str, revision: &Revision) {
        let answer = self.agent().post(name, &revision.state());
        assert_eq!(answer.code, 200, "post {name}: {}", answer.text());
    }

    /// Posts, then runs.
    pub(crate) fn update(&self, name: &str, revision: &Revision) {
        self.post(name, revision);
        let answer = self.agent().run(name);
        assert_eq!(answer.code, 200, "run {name}: {}", answer.text());
    }

    pub(crate) fn run(&self, name: &str) -> live::Answer {
        self.agent().run(name)
    }

    /// POST /commands.
    pub(crate) fn command(&self, op: &str, payload: &str) -> live::Answer {
        let body = serde_json::json!({"op": op, "payload": payload}).to_string();
        self.client().send("POST", "/commands", body.as_bytes())
    }

    /// What an operator's goalctl prints, its errors last; it must succeed.
    pub(crate) fn goalctl(&self, arguments: &[&str]) -> String {
        let mut goalctl = std::process::Command::new(Programs::find("debug").goalctl);
        let ended = goalctl.arg("--socket").arg(self.agent().socket()).args(arguments).output().unwrap();
        let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        assert!(ended.status.success(), "goalctl {arguments:?}: {said}");
        said
    }

    /// What lies in the agent's root folder.
    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.folder.root()
    }

    /// Asks for a container to be started, stopped or restarted; whatever is answered.
    pub(crate) fn try_control(&self, container: &str, action: &str) -> live::Answer {
        let body = format!(r#"{{"action":"{action}"}}"#);
        self.client().send("PUT", &format!("/containers/{container}"), body.as_bytes())
    }

    /// Likewise; it must be done.
    pub(crate) fn control(&self, container: &str, action: &str) {
        let answer = self.try_control(container, action);
        assert_eq!(answer.code, 200, "{action} {container}: {}", answer.text());
    }

    /// A revision's progress document as the agent tells it, once nothing follows any more: it is written after the event.
    pub(crate) fn final_progress(&self, name: &str) -> Value {
        loop {
            let progress = self.agent().progress(name);
            if progress["progress"] == 100 {
                return progress;
            }
            std::thread::yield_now();
        }
    }

    /// A revision's progress document as it lies on disk once the agent has stopped.
    pub(crate) fn progress_after_stop(&mut self, name: &str) -> Value {
        self.stop();
        let path = self.folder.root().join("trails").join(name).join(".pv/progress");
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        self.client().get("/status").json()
    }

    /// One container of the status.
    pub(crate) fn container(&self, name: &str) -> Value {
        let status = self.status();
        let found = status["containers"].as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no container {name}: {status:#}")).clone()
    }

    /// A container's first process: an identity that is never used twice in a boot.
    pub(crate) fn process(&self, container: &str) -> Process {
        let pid = self.container(container)["pid"].as_u64().unwrap();
        Process { pid, started: started(pid).unwrap() }
    }

    pub(crate) fn signal(&self, process: Process, signal: Signal) {
        assert!(process.lives());
        kill(Pid::from_raw(i32::try_from(process.pid).unwrap()), signal).unwrap();
    }

    pub(crate) fn signal_agent(&self, signal: Signal) {
        kill(Pid::from_raw(self.agent().pid().cast_signed()), signal).unwrap();
    }

    /// SIGKILL, as the kernel's OOM killer would.
    pub(crate) fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill();
    }

    /// The orderly stop.
    pub(crate) fn stop(&mut self) {
        assert!(self.agent.take().unwrap().stop().success(), "{}", self.folder.agent_log());
    }

    /// How often the agent was woken so far, all its threads.
    pub(crate) fn wake_ups(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.agent().pid())).unwrap();
        let counts = threads.flatten().map(|thread| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
        });
        counts.sum()
    }

    /// Where the agent says that it answers `pvr`.
    pub(crate) fn endpoint(&self) -> String {
        let log = self.folder.agent_log();
        let said = log.lines().find_map(|line| line.split_once("op=listen-device address="));
        said.unwrap_or_else(|| panic!("no device endpoint: {log}")).1.to_owned()
    }

    pub(crate) fn journal(&self) -> String {
        fs::read_to_string(self.folder.root().join("journal/current.jsonl")).unwrap()
    }

    /// What a container has printed, in its revision.
    pub(crate) fn output(&self, revision: &str, container: &str) -> String {
        let folder = self.folder.root().join("logs").join(revision).join(container);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.folder.agent_log());
        }
    }
}

/// A process that cannot be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u64,
    started: u64,
}

impl Process {
    pub(crate) fn lives(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// In clock ticks since boot.
fn started(pid: u64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // One that has ended, and that a slow init has not reaped, lives no more.
    let ended = fields.next()? == "Z";
    if ended { None } else { fields.nth(18)?.parse().ok() }
}
