//! What an operator asks of a device: the real server answers, a task with simple rules sits in the engine's place.

use std::io::{BufRead, BufReader, Lines};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;

use engine::Time;
use model::goal::Status;
use model::ids::Digest;
use model::progress::{Progress, UpdateStatus};
use model::report::Happening;
use model::request::{Control, Request, Signal};

use crate::authoring::{CONF, IMAGE, digest, write_folder};
use crate::device::{Device, LIFE, id, name};
use crate::goalctl::{Said, command, said};

pub(crate) fn ask(device: &Device, socket: &str, arguments: &[&str]) -> Said {
    let socket = device.socket(socket);
    said(command().env("GOALPOST_SOCKET", socket).args(arguments).output().unwrap())
}

fn post(device: &Device, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    ask(device, "host", &[&["post", folder.path().to_str().unwrap()], arguments].concat())
}

fn object(bytes: &[u8]) -> Digest {
    digest(bytes).parse().unwrap()
}

#[test]
fn what_is_shown_is_as_it_was_agreed() {
    let device = Device::new();
    let state = br##"{"#spec":"pantavisor-service-system@1"}"##;
    device.store.install(&id("locals/x"), state).unwrap();
    let progress = Progress {
        status: UpdateStatus::Error,
        message: "Status goal not reached".to_owned(),
        retries: 0,
        logs: "web: goal READY not met in 2 s".to_owned(),
    };
    device.store.write_progress(&id("locals/x"), &progress).unwrap();
    device.history.record(
        Time::from_micros(1_234_567),
        &[
            Happening::Status {
                container: name("web"),
                generation: Some(LIFE),
                from: Status::Starting,
                to: Status::Started,
                reason: Arc::from("exec succeeded"),
            },
            Happening::Note { text: Arc::from("a note with a \u{1b}[31m in it") },
        ],
    );
    for (title, arguments) in [
        ("ps", &["ps"][..]),
        ("ps_colour", &["ps", "--color", "always"]),
        ("groups", &["groups"]),
        ("status", &["status"]),
        ("progress", &["progress", "locals/x"]),
        ("events", &["events"]),
        ("events_json", &["events", "--json", "--since", "1000"]),
    ] {
        let said = ask(&device, "host", arguments);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{title}");
        insta::assert_snapshot!(title, said.out);
    }
    let steps = ask(&device, "host", &["steps"]);
    assert!(steps.out.contains("locals/x") && steps.out.contains("Status goal not reached"), "{steps:?}");
    for arguments in
        [&["ps", "--json"][..], &["groups", "--json"], &["status", "--json"], &["steps", "--json"]]
    {
        let said = ask(&device, "host", arguments);
        assert!(serde_json::from_str::<serde_json::Value>(&said.out).is_ok(), "{said:?}");
    }
}

#[test]
fn a_container_says_ready_and_nobody_else_can() {
    let device = Device::new();
    assert_eq!(ask(&device, "nobody", &["signal", "ready"]).code, 0);
    let request = Request::Signal { container: name("db"), generation: LIFE, signal: Signal::Ready };
    assert_eq!(device.asked.lock().unwrap().last(), Some(&request));
    let said = ask(&device, "host", &["signal", "ready"]);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!("ready_from_the_host", said.err);
    let said = ask(&device, "nobody", &["ps"]);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!("ps_from_nobody", said.err);
}

#[test]
fn control_reaches_the_engine_and_a_refusal_comes_back() {
    let device = Device::new();
    let said = ask(&device, "host", &["stop", "db"]);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!("stop_refused", said.err);
    let request = Request::Control { container: name("db"), control: Control::Stop };
    assert_eq!(device.asked.lock().unwrap().last(), Some(&request));
    let said = ask(&device, "host", &["gc"]);
    assert_eq!((said.code, said.out.as_str()), (0, "42 bytes given back\n"));
    assert_eq!(ask(&device, "host", &["restart", "../etc"]).code, 2);
}

#[test]
fn a_posted_folder_is_on_the_device_whole() {
    let device = Device::new();
    let first = post(&device, &["--name", "locals/x", "-m", "the first"]);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    insta::assert_snapshot!("post_first", first.out);
    assert!(device.store.has_object(&object(CONF)) && device.store.has_object(&object(IMAGE)));
    assert_eq!(device.store.commit_message(&id("locals/x")).unwrap(), "the first");
    assert_eq!(device.store.load_revision(&id("locals/x")).unwrap().containers().len(), 1);
    // Again: nothing has to be sent, not even the state.
    let again = post(&device, &["--name", "locals/x"]);
    insta::assert_snapshot!("post_again", again.out);
    let posts =
        device.asked.lock().unwrap().iter().filter(|asked| matches!(asked, Request::Post { .. })).count();
    assert_eq!(posts, 1);
    // Without a name, it gets the one its content gives.
    let unnamed = post(&device, &[]);
    assert_eq!(unnamed.code, 0, "{unnamed:?}");
    assert_eq!(post(&device, &[]).out, unnamed.out);
}

#[test]
fn what_runs_is_not_sent_again_unless_the_same_post_comes_again() {
    let device = Device::new();
    assert_eq!(post(&device, &["--name", "locals/x"]).code, 0);
    let state = device.store.state_bytes(&id("locals/x")).unwrap();
    device.store.install(&id("locals/one"), &state).unwrap();
    std::fs::remove_file(device.store.root().join("objects").join(digest(IMAGE))).unwrap();
    let first = post(&device, &["--name", "locals/y"]);
    assert!(first.out.starts_with("objects: 0 sent (0 bytes), 2 were there\n"), "{first:?}");
    assert!(!device.store.has_object(&object(IMAGE)), "what runs was taken to be there");
    let again = post(&device, &["--name", "locals/y"]);
    let sent = format!("objects: 1 sent ({} bytes), 1 were there\n", IMAGE.len());
    assert!(again.out.starts_with(&sent) && device.store.has_object(&object(IMAGE)), "{again:?}");
}

#[test]
fn a_wrong_folder_is_refused_before_anything_is_sent() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    std::fs::write(folder.path().join("web/run.json"), r#"{"name": 7}"#).unwrap();
    let said = ask(&device, "host", &["post", folder.path().to_str().unwrap(), "--run"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is not sent: it has errors") && said.err.contains("web/run.json"), "{said:?}");
    assert!(device.store.objects().unwrap().is_empty());
    assert!(device.asked.lock().unwrap().is_empty());
}

#[test]
fn a_state_whose_objects_are_nowhere_is_refused() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1","README.md":"{}"}}"##, digest(b"?"));
    std::fs::write(&path, state).unwrap();
    let said = ask(&device, "host", &["post", path.to_str().unwrap()]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("(README.md) neither came along nor is on the device"), "{said:?}");
}

#[test]
fn the_exit_code_of_follow_tells_the_outcome() {
    let device = Device::new();
    for (revision, code) in [("locals/good", 0), ("locals/bad", 4), ("locals/refused", 5)] {
        let said = post(&device, &["--name", revision, "--follow"]);
        assert_eq!(said.code, code, "{said:?}");
        insta::assert_snapshot!(
            format!("follow_{}", &revision[7..]),
            format!("{}---\n{}", said.out, said.err)
        );
    }
    let missing = ask(&device, "host", &["run", "locals/nothing", "--follow"]);
    let why = "goalctl: locals/nothing is not on the device; `goalctl steps` shows what is\n";
    assert_eq!((missing.code, missing.err.as_str()), (1, why));
}

#[test]
fn a_message_that_no_device_keeps_is_refused_before_anything_is_sent() {
    let device = Device::new();
    let said = post(&device, &["-m", &"x".repeat(257), "--run"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("257 bytes, of which a device keeps 256"), "{said:?}");
    assert!(device.store.objects().unwrap().is_empty() && device.asked.lock().unwrap().is_empty());
}

#[test]
fn what_failed_before_runs_only_with_force() {
    let device = Device::new();
    device.store.install(&id("locals/failed"), br##"{"#spec":"pantavisor-service-system@1"}"##).unwrap();
    let said = ask(&device, "host", &["run", "locals/failed"]);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!("run_failed_before", said.err);
    assert_eq!(ask(&device, "host", &["run", "locals/failed", "--force"]).code, 0);
}

/// A run folder in which agents come and go, while `goalctl run locals/x --follow` watches.
struct Followed {
    folder: tempfile::TempDir,
    follower: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Followed {
    fn by(agent: &Device) -> Followed {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        let socket = folder.path().join("run/pv-ctrl");
        agent.store.install(&id("locals/x"), EMPTY).unwrap();
        std::fs::rename(agent.socket("host"), &socket).unwrap();
        let mut follower = command()
            .args(["--socket", socket.to_str().unwrap(), "run", "locals/x", "--follow"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut followed = Followed { folder, follower, lines };
        followed.until_said("locals/x is accepted");
        followed
    }

    fn until_said(&mut self, text: &str) {
        assert!(self.lines.any(|line| line.unwrap().contains(text)), "{text:?} was not said");
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/pv-ctrl")
    }

    fn arrives(&self, agent: &Device) {
        std::fs::rename(agent.socket("host"), self.socket()).unwrap();
    }

    fn ends_well(mut self) {
        assert_eq!(self.follower.wait().unwrap().code(), Some(0));
    }
}

const EMPTY: &[u8] = br##"{"#spec":"pantavisor-service-system@1"}"##;

fn after_the_update() -> Device {
    let device = Device::new();
    device.store.install(&id("locals/x"), EMPTY).unwrap();
    let done = Progress {
        status: UpdateStatus::Done,
        message: "Update finished, revision set as rollback point".to_owned(),
        retries: 0,
        logs: String::new(),
    };
    device.store.write_progress(&id("locals/x"), &done).unwrap();
    device
}

#[test]
fn an_update_is_followed_across_the_agents_restart() {
    let before = Device::new();
    let mut followed = Followed::by(&before);
    drop(before);
    followed.until_said("the agent is away");
    let after = after_the_update();
    followed.arrives(&after);
    followed.ends_well();
}

#[test]
fn an_agent_that_comes_back_at_once_is_found() {
    let before = Device::new();
    let followed = Followed::by(&before);
    let after = after_the_update();
    followed.arrives(&after);
    drop(before);
    followed.ends_well();
}

#[test]
fn an_agent_that_comes_back_only_to_leave_is_waited_for_again() {
    let before = Device::new();
    let mut followed = Followed::by(&before);
    drop(before);
    followed.until_said("the agent is away");
    drop(UnixListener::bind(followed.socket().with_extension("new")).unwrap());
    std::fs::rename(followed.socket().with_extension("new"), followed.socket()).unwrap();
    let between = Device::new();
    between.store.install(&id("locals/x"), EMPTY).unwrap();
    followed.arrives(&between);
    drop(between);
    let after = after_the_update();
    followed.arrives(&after);
    followed.ends_well();
}

#[test]
fn an_agent_that_comes_back_in_a_new_run_folder_is_found() {
    let before = Device::new();
    let mut followed = Followed::by(&before);
    drop(before);
    followed.until_said("the agent is away");
    let run = followed.folder.path().join("run");
    std::fs::remove_dir_all(&run).unwrap();
    std::fs::create_dir(&run).unwrap();
    let after = after_the_update();
    followed.arrives(&after);
    followed.ends_well();
}

#[test]
fn ps_w_shows_each_change_until_the_agent_ends() {
    let device = Device::new();
    let mut watcher = command()
        .args(["--socket", device.socket("host").to_str().unwrap(), "ps", "-w"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines();
    let table: Vec<String> = lines.by_ref().take(3).map(Result::unwrap).collect();
    assert!(table[0].starts_with("NAME") && table[2].starts_with("web"), "{table:?}");
    device.history.record(
        Time::from_micros(5_000_000),
        &[Happening::Status {
            container: name("web"),
            generation: Some(LIFE),
            from: Status::Started,
            to: Status::Ready,
            reason: Arc::from("it said so"),
        }],
    );
    assert_eq!(lines.next().unwrap().unwrap(), "     5.000  web           STARTED -> READY  (it said so)");
    drop(device);
    watcher.wait().unwrap();
}

#[test]
fn logs_come_as_they_were_stamped() {
    let device = Device::new();
    let said = ask(&device, "host", &["logs", "web"]);
    assert_eq!(said.code, 0, "{said:?}");
    let none = ask(&device, "host", &["logs", "nobody-here"]);
    assert_eq!(none.code, 1, "{none:?}");
}
