//! A real agent on the real kernel, in a folder of its own: what the container tests share with the benchmarks.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Once, mpsc};
use std::time::{Duration, SystemTime};

use model::ids::Digest;
use serde_json::{Map, Value, json};
use sha2::Digest as _;

use crate::bench::load::Server;

/// No single wait of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The two programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    pub goalpost: PathBuf,
    pub goalctl: PathBuf,
}

impl Programs {
    /// Those that `cargo build` (or `cargo build --release`) left beside this test's own program.
    #[expect(clippy::print_stdout, reason = "what an older program shows is not what the sources do")]
    pub fn find(profile: &str) -> Programs {
        let own = std::env::current_exe().expect("a running program has a path");
        let target = own.ancestors().nth(3).expect("a test lies in target/<target>/<profile>/deps");
        let (goalpost, goalctl) =
            (target.join(profile).join("goalpost"), target.join(profile).join("goalctl"));
        let how = if profile == "release" { "cargo build --release" } else { "cargo build" };
        assert!(
            goalpost.exists() && goalctl.exists(),
            "run `{how}` first: {} is not there",
            goalpost.display()
        );
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
            if newest(&sources) > modified(&goalpost).max(modified(&goalctl)) {
                println!("src has changed since {} was made: was `{how}` run?", goalpost.display());
            }
        });
        Programs { goalpost, goalctl }
    }
}

fn modified(path: &Path) -> SystemTime {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .expect("a file that is there says when it was written")
}

/// When the newest file beneath a folder was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).expect("the sources lie beside the tests");
    let times = entries.map(|entry| {
        let path = entry.expect("a folder can be read to its end").path();
        if path.is_dir() { newest(&path) } else { modified(&path) }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A state under construction: its keys, with the bytes of every object.
#[derive(Debug, Clone, Default)]
pub struct State {
    keys: Map<String, Value>,
    objects: BTreeMap<String, Vec<u8>>,
}

impl State {
    pub fn new() -> State {
        let mut state = State::default();
        state.keys.insert("#spec".to_owned(), json!("pantavisor-service-system@1"));
        state
    }

    /// A key whose value is given inline.
    #[must_use]
    pub fn inline(mut self, key: &str, value: Value) -> State {
        self.keys.insert(key.to_owned(), value);
        self
    }

    /// A key whose value is an object.
    #[must_use]
    pub fn object(mut self, key: &str, bytes: &[u8]) -> State {
        let digest = Digest::from_bytes(sha2::Sha256::digest(bytes).into()).to_string();
        self.keys.insert(key.to_owned(), json!(digest));
        self.objects.insert(digest, bytes.to_vec());
        self
    }

    /// A container with a root image and the usual conf around `command`; members of `run` go over the usual run.json.
    #[must_use]
    pub fn container(self, name: &str, image: &[u8], command: &str, run: &Value) -> State {
        let conf = format!(
            "lxc.rootfs.path = overlayfs:/volumes/{name}/root.squashfs:/volumes/{name}/lxc-overlay/upper\n\
             lxc.init.cmd = {command}\nlxc.net.0.type = empty\nlxc.mount.auto = proc:mixed sys:mixed\n"
        );
        self.container_with_conf(name, image, &conf, run)
    }

    /// The same with a conf of its own.
    #[must_use]
    pub fn container_with_conf(self, name: &str, image: &[u8], conf: &str, run: &Value) -> State {
        let mut spec = json!({
            "#spec": "service-manifest-run@1",
            "name": name,
            "type": "lxc",
            "config": "lxc.container.conf",
            "root-volume": "root.squashfs",
            "storage": {"lxc-overlay": {"persistence": "boot"}},
            "roles": ["nobody"],
        });
        for (key, value) in run.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.inline(&format!("{name}/run.json"), spec)
            .object(&format!("{name}/lxc.container.conf"), conf.as_bytes())
            .object(&format!("{name}/root.squashfs"), image)
    }

    /// A container without an image, whose root is a folder of the host.
    #[must_use]
    pub fn container_on(self, name: &str, root: &Path, command: &str) -> State {
        let conf = format!(
            "lxc.rootfs.path = dir:{}\nlxc.init.cmd = {command}\nlxc.net.0.type = empty\n\
             lxc.mount.auto = proc:mixed sys:mixed\n",
            root.display()
        );
        let spec = json!({"#spec": "service-manifest-run@1", "name": name, "type": "lxc", "config": "lxc.container.conf"});
        self.inline(&format!("{name}/run.json"), spec)
            .object(&format!("{name}/lxc.container.conf"), conf.as_bytes())
    }

    /// Without what a container owns.
    #[must_use]
    pub fn without(mut self, name: &str) -> State {
        let prefixes = [format!("{name}/"), format!("_config/{name}/")];
        self.keys.retain(|key, _| !prefixes.iter().any(|prefix| key.starts_with(prefix)));
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        Value::Object(self.keys.clone()).to_string().into_bytes()
    }
}

/// A device's folders, with a factory revision in them.
#[derive(Debug)]
pub struct Device {
    folder: tempfile::TempDir,
    /// The run dir, where it lies in memory as on a device.
    run: Option<tempfile::TempDir>,
    options: Vec<(&'static str, String)>,
    /// Hears each time that an agent says, by way of systemd's protocol, that its socket listens: nothing is polled for.
    ready: mpsc::Receiver<()>,
}

impl Device {
    pub fn new(factory: &State) -> Device {
        let device = Device::empty();
        device.lay_down(factory);
        device
    }

    pub fn empty() -> Device {
        let folder =
            tempfile::Builder::new().prefix("goalpost-").tempdir().expect("a temporary folder can be made");
        fs::create_dir_all(folder.path().join("root")).expect("a temporary folder can be written");
        let notify =
            UnixDatagram::bind(folder.path().join("notify")).expect("a temporary folder can hold a socket");
        let (say, ready) = mpsc::channel();
        std::thread::spawn(move || listen(&notify, &say));
        Device { folder, run: None, options: Vec::new(), ready }
    }

    /// A setting of the agent, as an environment variable.
    #[must_use]
    pub fn with(mut self, variable: &'static str, value: impl Into<String>) -> Device {
        self.options.push((variable, value.into()));
        self
    }

    /// With its run dir in memory, where there is a file system for that.
    #[must_use]
    pub fn in_memory(mut self) -> Device {
        self.run = tempfile::Builder::new().prefix("goalpost-run-").tempdir_in("/dev/shm").ok();
        self
    }

    /// Gives an empty device its factory revision.
    ///
    /// # Panics
    /// If its folder cannot be written.
    pub fn lay_down(&self, factory: &State) {
        let root = self.root();
        for (digest, bytes) in &factory.objects {
            fs::create_dir_all(root.join("objects")).expect("a temporary folder can be written");
            fs::write(root.join("objects").join(digest), bytes).expect("a temporary folder can be written");
        }
        let trail = root.join("trails/0");
        for (key, value) in &factory.keys {
            if key == "#spec" {
                continue;
            }
            let path = trail.join(key);
            fs::create_dir_all(path.parent().expect("a key lies in the trail"))
                .expect("a temporary folder can be written");
            match value.as_str() {
                Some(digest) => {
                    fs::hard_link(root.join("objects").join(digest), &path).expect("objects are there")
                }
                None => fs::write(&path, value.to_string()).expect("a temporary folder can be written"),
            }
        }
        fs::create_dir_all(trail.join(".pvr")).expect("a temporary folder can be written");
        fs::write(trail.join(".pvr/json"), factory.to_bytes()).expect("a temporary folder can be written");
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.run.as_ref().map_or(self.folder.path(), tempfile::TempDir::path).join("run")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the agent, in a session of its own as an init does, and waits until it answers.
    pub fn start(&self, programs: &Programs) -> Agent {
        let mut command = Command::new("setsid");
        command.arg(&programs.goalpost);
        self.start_by(command)
    }

    /// The same, by another program that gets the agent's arguments.
    pub fn start_by(&self, mut command: Command) -> Agent {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("agent.log"));
        let log = log.expect("a temporary folder can be written");
        let process = command
            .arg("run")
            .arg("--root")
            .arg(self.root())
            .arg("--run-dir")
            .arg(self.run_dir())
            // For other tests of the same run: an agent refuses settings that it does not know.
            .env_remove("GOALPOST_SEED")
            .env_remove("GOALPOST_EVENTS")
            .envs(self.options.iter().map(|(variable, value)| (variable, value)))
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor can be duplicated"))
            .stderr(log)
            .spawn()
            .expect("the program was found before");
        self.until_ready();
        Agent { process, socket: self.run_dir().join("pv-ctrl") }
    }

    /// Waits until an agent says that it answers: one that was started, or that executed itself anew.
    ///
    /// # Panics
    /// If none does.
    pub fn until_ready(&self) {
        self.ready.recv_timeout(PATIENCE).unwrap_or_else(|_| self.not_ready());
    }

    #[expect(clippy::panic, reason = "a test device whose agent does not start has nothing to go on with")]
    fn not_ready(&self) {
        panic!("the agent did not become ready in {PATIENCE:?}; its log:\n{}", self.agent_log())
    }

    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }
}

/// Reads whatever agents say, until nobody wants to know.
fn listen(notify: &UnixDatagram, say: &mpsc::Sender<()>) {
    let mut message = [0; 4096];
    while let Ok(length) = notify.recv(&mut message) {
        let is_ready = message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
        if is_ready && say.send(()).is_err() {
            return;
        }
    }
}

/// A running agent. Dropped: asked to end its containers, and waited for.
#[derive(Debug)]
pub struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn server(&self) -> Server<'_> {
        Server { socket: &self.socket, process: self.pid() }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket)
    }

    /// Every event after `since`, then what follows; ends when the agent does.
    pub fn events(&self, since: u64) -> Events {
        Events::open(&self.socket, &format!("since={since}"))
    }

    /// Every event that is kept; ends with the latest.
    pub fn past_events(&self) -> Events {
        Events::open(&self.socket, "since=0&follow=0")
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        self.process.wait().expect("it is ours")
    }

    /// The orderly stop.
    pub fn stop(mut self) -> ExitStatus {
        self.ask_to_end();
        self.process.wait().expect("it is ours")
    }

    fn ask_to_end(&self) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }

    /// SIGKILL, as if it had crashed.
    pub fn kill(mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    /// Uploads a state with its objects, under a name.
    pub fn post(&self, name: &str, state: &State) -> Answer {
        let mut client = self.client();
        for (digest, bytes) in &state.objects {
            let answer = client.send("PUT", &format!("/objects/{digest}"), bytes);
            assert_eq!(answer.code, 200, "object {digest}: {}", answer.text());
        }
        client.send("PUT", &format!("/steps/{name}"), &state.to_bytes())
    }

    /// LOCAL_RUN.
    pub fn run(&self, name: &str) -> Answer {
        self.client().send(
            "POST",
            "/commands",
            json!({"op": "LOCAL_RUN", "payload": name}).to_string().as_bytes(),
        )
    }

    pub fn progress(&self, name: &str) -> Value {
        self.client().get(&format!("/steps/{name}/progress")).json()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            self.ask_to_end();
            let _ = self.process.wait();
        }
    }
}

/// One keep-alive connection to a control socket.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a listing is JSON")
    }
}

impl Client {
    pub fn connect(socket: &Path) -> Client {
        Client { stream: BufReader::new(UnixStream::connect(socket).expect("the agent listens")) }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len())
                .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).expect("the agent reads requests");
        self.answer()
    }

    /// A GET whose answer is taken later.
    pub fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).expect("the agent reads requests");
    }

    /// The answer to the oldest question.
    pub fn answer(&mut self) -> Answer {
        let (mut code, mut length) = (0, 0);
        for line in 0.. {
            let mut text = String::new();
            self.stream.read_line(&mut text).expect("an answer has a head");
            let text = text.trim_end();
            if line == 0 {
                code = text
                    .split(' ')
                    .nth(1)
                    .and_then(|code| code.parse().ok())
                    .expect("a status line has a code");
            } else if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length is a number");
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("an answer is as long as it says");
        Answer { code, body }
    }
}

/// The event stream, one JSON object after the other.
#[derive(Debug)]
pub struct Events {
    stream: BufReader<UnixStream>,
    /// What came so far, for whoever looks for an order, or for why something else never came.
    pub seen: Vec<Value>,
}

impl Events {
    /// The stream of whoever listens there.
    pub fn open(socket: &Path, query: &str) -> Events {
        let mut stream = UnixStream::connect(socket).expect("the agent listens");
        // 1.0: the stream is not cut into chunks.
        write!(stream, "GET /events?{query} HTTP/1.0\r\n\r\n").expect("the agent reads requests");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Events { stream: BufReader::new(stream), seen: Vec::new() }
    }

    /// The next event for which `wanted` holds; what lies between is passed over.
    ///
    /// # Panics
    /// If the stream ends first.
    pub fn until(&mut self, what: &str, wanted: impl FnMut(&Value) -> bool) -> Value {
        match self.find(wanted) {
            Some(event) => event,
            None => stream_ended(what, &self.seen),
        }
    }

    /// Until this container is in this status.
    pub fn until_status(&mut self, container: &str, status: &str) -> Value {
        self.until(&format!("{container} {status}"), |event| {
            event["kind"] == "status" && event["container"] == container && event["to"] == status
        })
    }

    /// Until this container has met its goal.
    pub fn until_goal_met(&mut self, container: &str) -> Value {
        self.until(&format!("{container} at its goal"), |event| {
            event["kind"] == "goal-met" && event["container"] == container
        })
    }

    /// Until each of these containers has met its goal, in whatever order.
    pub fn until_goals_met(&mut self, containers: &[&str]) {
        let mut waiting: Vec<&str> = containers.to_vec();
        while !waiting.is_empty() {
            let met = self.until(&format!("{waiting:?} at their goals"), |event| {
                event["kind"] == "goal-met" && waiting.iter().any(|name| event["container"] == *name)
            });
            waiting.retain(|name| met["container"] != *name);
        }
    }

    /// Until nothing comes any more, because the agent has left.
    pub fn until_the_end(&mut self) {
        self.by_ref().for_each(drop);
    }

    /// The statuses that a container went through, as far as they came.
    pub fn walk_of(&self, container: &str) -> Vec<&str> {
        let statuses =
            self.seen.iter().filter(|event| event["kind"] == "status" && event["container"] == container);
        statuses.filter_map(|event| event["to"].as_str()).collect()
    }

    /// Until the update of this revision is in one of these statuses.
    pub fn until_update(&mut self, revision: &str, statuses: &[&str]) -> Value {
        self.until(&format!("{revision} {statuses:?}"), |event| {
            event["kind"] == "update"
                && event["revision"] == revision
                && event["progress"]["status"].as_str().is_some_and(|status| statuses.contains(&status))
        })
    }
}

#[expect(clippy::panic, reason = "a test that waits for an event which cannot come any more has failed")]
fn stream_ended(what: &str, seen: &[Value]) -> Value {
    let seen: String = seen.iter().map(|event| format!("  {event}\n")).collect();
    panic!("the event stream ended, or fell silent, before: {what}; it brought:\n{seen}")
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(event).ok()?;
                self.seen.push(event.clone());
                return Some(event);
            }
        }
    }
}
