//! The life that is recorded: what the agent was asked, what it said and when, and every change of its disk.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use agent::store::Meta;
use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use model::ids::RevisionId;
use serde_json::{Value, json};
use tests::cuts::change::Change;
use tests::cuts::disk::{Disk, Scope, lay_down};
use tests::cuts::trace::{self, Traced};
use tests::live::{Agent, Device, Events, Programs, State};

use crate::Case;
use crate::expected::Expected;

/// A life on record.
pub(crate) struct Recorded {
    pub(crate) before: Disk,
    pub(crate) changes: Vec<Traced>,
    facts: Vec<Fact>,
}

/// What an agent that is meant to be caught does not sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgotten {
    Files,
    Folders,
}

/// Something that was asked of the agent, and when it said that it is so. Times are since 1970.
struct Fact {
    asked: Duration,
    told: Duration,
    what: What,
}

enum What {
    Posted(RevisionId, Vec<u8>),
    Gone(RevisionId),
    Message(RevisionId, &'static str),
    Meta(Meta, &'static str, Option<&'static str>),
    Committed(RevisionId),
    Failed(RevisionId),
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

fn id(name: &str) -> RevisionId {
    name.parse().unwrap()
}

impl Recorded {
    /// Lives it.
    pub(crate) fn life() -> Recorded {
        let device = settings(Device::new(&factory()));
        let before = Disk::read(&device.root());
        let (programs, reader) = traced(&device);
        let mut life = Life { agent: Some(device.start(&programs)), device, facts: Vec::new() };
        life.live();
        let text = reader.join().unwrap();
        let changes = trace::changes(&text, &life.device.root());
        assert!(changes.len() > 200, "the record has only {} changes", changes.len());
        // Whatever was not recorded would not be checked.
        let mut disk = before.clone();
        changes.iter().for_each(|traced| disk.carry_out(&traced.change));
        disk.is_like(&life.device.root());
        Recorded { before, changes, facts: life.facts }
    }

    /// What must be true after a cut at this time.
    pub(crate) fn expected(&self, when: Duration) -> Expected {
        let mut expected = Expected { running: BTreeSet::from([id("0")]), ..Expected::default() };
        expected.committed.insert(id("0"));
        expected.posted.insert(id("0"), [Some(factory().to_bytes())].into());
        for fact in self.facts.iter().filter(|fact| fact.asked <= when) {
            let is_told = fact.told <= when;
            match &fact.what {
                What::Posted(id, state) => {
                    allow(
                        expected.posted.entry(id.clone()).or_insert_with(|| [None].into()),
                        Some(state.clone()),
                        is_told,
                    );
                    expected.messages.insert(id.clone(), [String::new()].into());
                }
                What::Gone(id) => allow(expected.posted.entry(id.clone()).or_default(), None, is_told),
                What::Message(id, text) => {
                    allow(expected.messages.entry(id.clone()).or_default(), (*text).to_owned(), is_told);
                }
                What::Meta(kind, key, value) => {
                    let allowed =
                        expected.meta.entry((*kind, (*key).to_owned())).or_insert_with(|| [None].into());
                    allow(allowed, value.map(str::to_owned), is_told);
                }
                What::Committed(id) => {
                    expected.tried.insert(id.clone());
                    allow(&mut expected.running, id.clone(), is_told);
                    if is_told {
                        expected.committed.insert(id.clone());
                    }
                }
                What::Failed(id) => {
                    expected.tried.insert(id.clone());
                    if is_told {
                        expected.failed.insert(id.clone());
                    }
                }
            }
        }
        expected
    }

    /// The changes of an agent that forgets to sync its files, or its folders.
    pub(crate) fn without_syncs(&self, of: Forgotten) -> Vec<Traced> {
        let mut disk = self.before.clone();
        let mut changes = Vec::new();
        for traced in &self.changes {
            let is_forgotten = matches!(&traced.change, Change::SyncBegins { path, .. }
                if disk.is_folder(path) == (of == Forgotten::Folders));
            disk.carry_out(&traced.change);
            if !is_forgotten {
                changes.push(traced.clone());
            }
        }
        changes
    }

    pub(crate) fn summary(&self) -> String {
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for traced in &self.changes {
            let name = format!("{:?}", traced.change);
            *kinds.entry(name.split_whitespace().next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        format!("recorded: {kinds:?}; {} facts", self.facts.len())
    }
}

fn allow<T: Ord>(allowed: &mut BTreeSet<T>, value: T, is_told: bool) {
    if is_told {
        allowed.clear();
    }
    allowed.insert(value);
}

/// Programs of which the agent runs under strace, and a thread that reads what strace says to its end.
fn traced(device: &Device) -> (Programs, std::thread::JoinHandle<String>) {
    let programs = Programs::find("debug");
    let (script, pipe) = (device.path().join("traced"), device.path().join("trace"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let text = format!(
        "#!/bin/sh\nexec strace -D -f -qq -y -ttt -s 4194304 -e signal=none -e '{}' -o {} {} \"$@\"\n",
        trace::CALLS,
        pipe.display(),
        programs.goalpost.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let reader = std::thread::spawn(move || String::from_utf8_lossy(&fs::read(pipe).unwrap()).into_owned());
    (Programs { goalpost: script, goalctl: programs.goalctl }, reader)
}

fn settings(device: Device) -> Device {
    device
        .with("GOALPOST_COMMIT_DELAY", "200ms")
        .with("GOALPOST_STOP_GRACE", "1s")
        .with("GOALPOST_LOG", "debug")
}

struct Life {
    device: Device,
    agent: Option<Agent>,
    facts: Vec<Fact>,
}

impl Life {
    fn live(&mut self) {
        self.events().until_goals_met(&["core", "kept", "web"]);
        self.meta("user-meta", Meta::User, "who", Some("somebody"));
        self.meta("user-meta", Meta::User, "who", Some("somebody with a much longer name"));
        self.meta("device-meta", Meta::Device, "where", Some("here"));

        self.post("locals/good", &factory().container("web", &image(1), SERVE, &json!({"group": "app"})));
        self.message("locals/good", "a better web");
        self.update("locals/good", "DONE");
        self.post("locals/bad", &factory().container("web", &image(2), SERVE, &silent("container")));
        self.update("locals/bad", "ERROR");
        self.meta("user-meta", Meta::User, "who", None);

        // Posted again under the same name, and never run.
        self.post("locals/spare", &factory().container("web", &image(3), SERVE, &json!({"group": "app"})));
        self.post("locals/spare", &factory().container("web", &image(4), SERVE, &json!({"group": "app"})));

        self.post("locals/core", &factory().container("core", &image(5), SERVE, &system()));
        self.update("locals/core", "DONE");
        self.post("locals/bad-core", &factory().container("core", &image(6), SERVE, &silent("system")));
        self.update("locals/bad-core", "ERROR");

        for folder in ["objects", "trails"] {
            age(&self.device.root().join(folder));
        }
        let asked = now();
        self.send("POST", "/commands", br#"{"op":"RUN_GC","payload":""}"#);
        // One that was never run stays for a week: it has become older than that.
        for gone in ["locals/bad", "locals/bad-core", "locals/spare"] {
            assert!(!self.device.root().join("trails").join(gone).exists(), "{gone} is still there");
            self.facts.push(Fact { asked, told: now(), what: What::Gone(id(gone)) });
        }
        assert!(self.agent.take().unwrap().stop().success(), "{}", self.device.agent_log());
    }

    fn agent(&self) -> &Agent {
        self.agent.as_ref().unwrap()
    }

    fn events(&self) -> Events {
        self.agent().events(0)
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) {
        let answer = self.agent().client().send(method, path, body);
        assert_eq!(answer.code, 200, "{method} {path}: {}\n{}", answer.text(), self.device.agent_log());
    }

    /// Asks; from when it is answered it must be so.
    fn fact(&mut self, what: What, ask: impl FnOnce(&Life)) {
        let asked = now();
        ask(self);
        self.facts.push(Fact { asked, told: now(), what });
    }

    fn meta(&mut self, path: &str, kind: Meta, key: &'static str, value: Option<&'static str>) {
        let path = format!("/{path}/{key}");
        self.fact(What::Meta(kind, key, value), |life| match value {
            Some(value) => life.send("PUT", &path, value.as_bytes()),
            None => life.send("DELETE", &path, b""),
        });
    }

    fn post(&mut self, name: &'static str, state: &State) {
        self.fact(What::Posted(id(name), state.to_bytes()), |life| {
            let answer = life.agent().post(name, state);
            assert_eq!(answer.code, 200, "post {name}: {}", answer.text());
        });
    }

    fn message(&mut self, name: &'static str, text: &'static str) {
        let path = format!("/steps/{name}/commitmsg");
        self.fact(What::Message(id(name), text), |life| life.send("PUT", &path, text.as_bytes()));
    }

    fn update(&mut self, name: &'static str, end: &'static str) {
        let what = if end == "DONE" { What::Committed(id(name)) } else { What::Failed(id(name)) };
        self.fact(what, |life| {
            let mut events = life.events();
            let answer = life.agent().run(name);
            assert_eq!(answer.code, 200, "run {name}: {}", answer.text());
            while !ended(&mut events, name, end) {
                // It has executed itself anew.
                life.device.until_ready();
                events = life.events();
            }
        });
    }
}

/// Whether the stream brings the end of the update; `false` if it ends before.
fn ended(events: &mut Events, name: &str, end: &str) -> bool {
    for event in events {
        if event["kind"] == "update" && event["revision"] == name {
            let status = event["progress"]["status"].as_str().unwrap_or_default();
            assert!(!["DONE", "ERROR", "WONTGO", "UPDATED"].contains(&status) || status == end, "{event}");
            if status == end {
                return true;
            }
        }
    }
    false
}

const SERVE: &str = "/pantavisor/bin/goalctl demo-payload serve";

fn factory() -> State {
    let group = |name: &str| json!({"name": name, "status_goal": "STARTED", "restart_policy": "container", "timeout": 30});
    State::new()
        .inline("device.json", json!({"groups": [group("base"), group("app")]}))
        .inline("_config/web/etc/settings.json", json!({"colour": "blue"}))
        .container("core", &image(0), SERVE, &system())
        .container(
            "kept",
            &image(0),
            SERVE,
            &json!({"group": "app", "storage": {"lxc-overlay": {"persistence": "permanent"}}}),
        )
        .container(
            "web",
            &image(0),
            SERVE,
            &json!({"group": "app", "storage": {"lxc-overlay": {"persistence": "revision"}}}),
        )
}

fn system() -> Value {
    json!({"group": "base", "restart_policy": "system"})
}

/// Never says that it is ready.
fn silent(restart_policy: &str) -> Value {
    json!({"group": "base", "restart_policy": restart_policy, "status_goal": "READY", "goal_timeout": 1})
}

/// A root with nothing in it but folders; each number is another.
fn image(number: u32) -> Vec<u8> {
    let mode = NodeHeader::new(0o755, 0, 0, 0);
    let mut image = FilesystemWriter::default();
    image.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
    image.set_time(number);
    image.set_root_mode(0o755);
    for path in ["/dev", "/etc", "/pantavisor", "/proc", "/run", "/sys", "/tmp"] {
        image.push_dir(path, mode).unwrap();
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write(&mut bytes).unwrap();
    bytes.into_inner()
}

/// Makes every file older than a collection spares.
fn age(path: &std::path::Path) {
    let then = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    for entry in fs::read_dir(path).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            age(&entry.path());
        } else if kind.is_file() {
            fs::File::open(entry.path()).unwrap().set_modified(then).unwrap();
        }
    }
}

/// Starts a real agent on a disk as a cut left it, until it is at rest; then stops it and looks at the disk again.
pub(crate) fn real_agent_on(case: &Case) -> Result<(), String> {
    let device = settings(Device::empty());
    let root: PathBuf = device.root();
    lay_down(&case.found, &root);
    let agent = device.start(&Programs::find("debug"));
    let mut events = agent.events(0);
    let status = loop {
        let status = agent.client().get("/status").json();
        if is_at_rest(&status) {
            break status;
        }
        if events.next().is_none() {
            device.until_ready();
            events = agent.events(0);
        }
    };
    let running = id(status["revision"].as_str().unwrap_or("0"));
    if !case.expected.running.contains(&running) {
        return Err(format!("{running} runs: {status}"));
    }
    if !agent.stop().success() {
        return Err(device.agent_log());
    }
    case.expected.check(&root, Scope::All)
}

fn is_at_rest(status: &Value) -> bool {
    let met = |container: &Value| container["goal"] == "met";
    let final_ = |status: &str| ["DONE", "ERROR", "WONTGO", "UPDATED"].contains(&status);
    status["phase"] == "running"
        && status["containers"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(met))
        && status["update"]["progress"]["status"].as_str().is_none_or(final_)
}
