//! The real server on real sockets, with a task in the engine's place that answers by simple rules.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use agent::api::{Backend, DeviceEndpoint, serve_container, serve_device, serve_host};
use agent::ask::{self, Question};
use agent::config::Config;
use agent::history::History;
use agent::logs::{LogLimits, Logs};
use agent::metadata::Metadata;
use agent::store::Store;
use engine::Time;
use model::goal::{Status, StatusGoal};
use model::ids::{ContainerName, Generation, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::recovery::{AutoRecovery, BackoffPolicy, RecoveryPolicy, RestartPolicy, Role};
use model::report::{ContainerReport, DeviceReport, GoalReport, GroupReport, Happening, Phase};
use model::request::{Refusal, Reply, Request};
use tokio::sync::{mpsc, oneshot, watch};

/// The life that the containers' sockets were made for.
pub(crate) const LIFE: Generation = Generation(7);

/// What the guarded device endpoint asks for.
pub(crate) const TOKEN: &str = "0123456789abcdef-token";

pub(crate) struct Device {
    folder: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) history: Arc<History>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) report: watch::Sender<Arc<DeviceReport>>,
    pub(crate) asked: Arc<Mutex<Vec<Request>>>,
    /// While true, collections are not answered.
    pub(crate) hold: watch::Sender<bool>,
    /// The device endpoint, and one that asks for a token.
    pub(crate) endpoints: [SocketAddr; 2],
    pub(crate) runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl Device {
    pub(crate) fn new() -> Device {
        Device::on(tempfile::tempdir().unwrap())
    }

    /// With its root in this folder.
    pub(crate) fn on(folder: tempfile::TempDir) -> Device {
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let logs =
            Logs::new(store.clone(), LogLimits { file_bytes: 1 << 20, files: 2, rate: 1 << 20 }).unwrap();
        let history = History::new(Time::from_micros(1000));
        let (report, reports) = watch::channel(Arc::new(report()));
        let (asker, questions) = ask::channel();
        let metadata = Metadata::open(store.clone(), folder.path(), reports.clone()).unwrap();
        let config = configured(folder.path());
        let backend =
            Backend::new(store.clone(), asker, reports, history.clone(), logs.clone(), metadata, &config);
        let sockets = ["host", "mgmt", "nobody"].map(|name| {
            let socket = UnixListener::bind(folder.path().join(name)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let tcp = [("127.0.0.1:0", None), ("0.0.0.0:0", Some(TOKEN))].map(|(address, token)| {
            let socket = TcpListener::bind(address).unwrap();
            socket.set_nonblocking(true).unwrap();
            let endpoint = DeviceEndpoint::new(socket.local_addr().unwrap(), token).unwrap();
            (socket, endpoint)
        });
        let endpoints = [0, 1].map(|index: usize| tcp[index].0.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let (hold, held) = watch::channel(false);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (runtime, made) = std::sync::mpsc::channel();
        let answering = answer(questions, store.clone(), history.clone(), held, asked.clone());
        let server = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.send(tokio.handle().clone()).unwrap();
            tokio.block_on(async move {
                let [host, mgmt, nobody] =
                    sockets.map(|socket| tokio::net::UnixListener::from_std(socket).unwrap());
                let [open, guarded] = tcp.map(|(socket, endpoint)| {
                    let socket = tokio::net::TcpListener::from_std(socket).unwrap();
                    serve_device(socket, endpoint, backend.clone())
                });
                tokio::select! {
                    () = open => {}
                    () = guarded => {}
                    () = serve_host(host, backend.clone()) => {}
                    () = serve_container(mgmt, name("web"), LIFE, Role::Mgmt, backend.clone()) => {}
                    () = serve_container(nobody, name("db"), LIFE, Role::Nobody, backend) => {}
                    () = answering => {}
                    _ = stopped => {}
                }
            });
        });
        let runtime = made.recv().unwrap();
        let (stop, server) = (Some(stop), Some(server));
        Device { folder, store, history, logs, report, asked, hold, endpoints, runtime, stop, server }
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn connect(&self, name: &str) -> Client {
        let stream = UnixStream::connect(self.socket(name)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream }
    }

    /// One request on a connection of its own, which the client asks to have closed.
    pub(crate) fn ask(&self, socket: &str, method: &str, path: &str, body: &str) -> Answer {
        self.connect(socket).send(&request(method, path, body)).answer()
    }

    /// The same, with only what a client compares.
    pub(crate) fn says(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask("host", method, path, body);
        (answer.code, answer.body)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

/// By a file, the environment, the command line.
fn configured(folder: &Path) -> Config {
    let file = folder.join("goalpost.toml");
    std::fs::write(&file, "# a device\n[logs]\nrate = '64K'\n").unwrap();
    let environment = [("GOALPOST_POWER".to_owned(), "own".to_owned())];
    let arguments = [("commit_delay".to_owned(), "2000ms".to_owned())];
    Config::load(Some(&file), environment, &arguments).unwrap()
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Client {
    pub(crate) fn send(mut self, bytes: &[u8]) -> Client {
        self.stream.write_all(bytes).unwrap();
        self
    }

    pub(crate) fn half_close(self) -> Client {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Everything up to the server's end. Fails if the connection was reset.
    pub(crate) fn rest(mut self) -> String {
        let mut text = Vec::new();
        self.stream.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// The one answer of a connection that the server ends.
    pub(crate) fn answer(self) -> Answer {
        let text = self.rest();
        let answer = Answer::new(&text);
        if let Some(length) = answer.field("content-length") {
            assert_eq!(length.parse::<usize>().unwrap(), answer.body.len(), "{text}");
        }
        answer
    }

    /// The next answer of a connection that goes on.
    pub(crate) fn next_answer(&mut self) -> Answer {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        let mut answer = Answer::new(&String::from_utf8(text).unwrap());
        let mut body = vec![0; answer.field("content-length").expect("a length").parse().unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        answer
    }

    /// Reads until what was read contains `text`.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "ended before {text:?}: {read}");
            read.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        read
    }
}

impl Answer {
    pub(crate) fn new(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer in {text:?}"));
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { code, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }
}

pub(crate) fn error(text: &str) -> String {
    format!("{{\"Error\":\"{text}\"}}")
}

pub(crate) fn name(text: &str) -> ContainerName {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> RevisionId {
    text.parse().unwrap()
}

/// Two containers: web may ask everything, db only signal.
pub(crate) fn report() -> DeviceReport {
    let recovery = AutoRecovery {
        policy: RecoveryPolicy::OnFailure,
        max_retries: 5,
        stable_timeout: Duration::from_secs(30),
        backoff_policy: BackoffPolicy::After(Duration::from_secs(90)),
        ..AutoRecovery::default()
    };
    let container = |text: &str, role, restart_policy, recovery| ContainerReport {
        name: name(text),
        group: "app".parse().unwrap(),
        status: Status::Started,
        status_goal: StatusGoal::Ready,
        goal: GoalReport::Pending,
        restart_policy,
        role,
        recovery,
        retries: 1,
        stable: false,
        user_stopped: false,
        generation: Some(LIFE),
        pid: Some(4711),
        reason: Arc::from("exec succeeded"),
    };
    DeviceReport {
        revision: Some(id("locals/one")),
        fallback: id("0"),
        fallback_proven: true,
        phase: Phase::Running,
        status: Some(Status::Started),
        documents: Vec::new(),
        update: None,
        groups: vec![GroupReport {
            name: "app".parse().unwrap(),
            status: Status::Started,
            status_goal: StatusGoal::Started,
            restart_policy: RestartPolicy::Container,
            recovery: recovery.clone(),
        }],
        containers: vec![
            container("db", Role::Nobody, RestartPolicy::System, AutoRecovery::default()),
            container("web", Role::Mgmt, RestartPolicy::Container, recovery),
        ],
        notes: vec![Arc::from("signatures: not verified")],
    }
}

/// What becomes of an update: its name says it.
fn update(revision: &RevisionId) -> Vec<Happening> {
    let moved = |status, message: &str, logs: &str| {
        let progress = Progress { status, message: message.to_owned(), retries: 0, logs: logs.to_owned() };
        Happening::Update { revision: revision.clone(), progress }
    };
    let end = match revision.as_str() {
        "locals/good" => moved(UpdateStatus::Done, "Update finished, revision set as rollback point", ""),
        "locals/bad" => {
            moved(UpdateStatus::Error, "Status goal not reached", "web: goal READY not met in 2 s")
        }
        "locals/refused" => moved(UpdateStatus::WontGo, "State JSON has bad format", ""),
        _ => return Vec::new(),
    };
    vec![moved(UpdateStatus::InProgress, "Trying new revision", ""), end]
}

/// In the engine's place.
async fn answer(
    mut questions: mpsc::Receiver<Question>,
    store: Arc<Store>,
    history: Arc<History>,
    held: watch::Receiver<bool>,
    asked: Arc<Mutex<Vec<Request>>>,
) {
    while let Some(Question { what, step, answer }) = questions.recv().await {
        asked.lock().unwrap().push(what.clone());
        let reply = match what {
            Request::Post { revision } if revision == id("locals/used") => {
                Reply::Refused(Refusal::RevisionInUse(revision))
            }
            Request::Post { revision } => match store.install(&revision, &step.unwrap()) {
                Ok(()) => Reply::Done,
                Err(failure) => Reply::Refused(Refusal::Failed(failure)),
            },
            Request::Run { revision, force: true } if revision == id("locals/failed") => Reply::Done,
            Request::Run { revision, .. } if revision == id("locals/failed") => {
                Reply::Refused(Refusal::FailedBefore {
                    revision,
                    record: Arc::from("web: Status goal not reached"),
                })
            }
            Request::Run { revision, .. } if store.step(&revision).is_none() => {
                Reply::Refused(Refusal::NoSuchRevision(revision))
            }
            Request::Run { revision, .. } => {
                history.record(Time::from_micros(2000), &update(&revision));
                Reply::Done
            }
            Request::Control { container, .. } if container == name("db") => {
                Reply::Refused(Refusal::NotControllable(container))
            }
            Request::Control { container, .. } if container == name("obedient") => Reply::Done,
            Request::Control { container, .. } if container != name("web") => {
                Reply::Refused(Refusal::NoSuchContainer(container))
            }
            Request::Control { control: model::request::Control::Start, .. } => {
                Reply::Refused(Refusal::CannotStart)
            }
            Request::Control { control: model::request::Control::Stop, .. } => {
                Reply::Refused(Refusal::CannotStop)
            }
            Request::Control { .. } => Reply::Refused(Refusal::Busy(Phase::Testing)),
            Request::TryOnce { .. } => Reply::Refused(Refusal::CommandUnderWay),
            Request::MakeFactory { revision: Some(_) } => {
                Reply::Refused(Refusal::Unsupported(Arc::from("it has not proved itself")))
            }
            Request::MakeFactory { revision: None } => Reply::Done,
            Request::Signal { generation, signal: model::request::Signal::Ready, .. }
                if generation == LIFE =>
            {
                Reply::Done
            }
            Request::Signal { .. } => Reply::Refused(Refusal::UnexpectedSignal),
            Request::Collect
                if asked.lock().unwrap().iter().any(|one| matches!(one, Request::ShutDown { .. })) =>
            {
                Reply::Refused(Refusal::Busy(Phase::ShuttingDown))
            }
            Request::Collect => {
                let mut held = held.clone();
                tokio::spawn(async move {
                    held.wait_for(|held| !held).await.unwrap();
                    let _ = answer.send(Reply::Collected { reclaimed: 42 });
                });
                continue;
            }
            Request::ShutDown { .. } => Reply::Done,
        };
        let _ = answer.send(reply);
    }
}
