//! A whole agent, a process of its own with a running container, held against the OpenAPI description: what is asked of it is
//! answered as described, and what two clients ask at once is kept apart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;

use serde_json::json;
use tests::live::{self, Agent, Programs, State};

use crate::description::{Description, is_of_the_device_endpoint};
use crate::device::{Answer, Client, request};

const FINAL: [&str; 4] = ["DONE", "UPDATED", "ERROR", "WONTGO"];

/// `web`, which runs, with a file that updates change.
fn state(root: &Path, word: &str) -> State {
    let run = json!({"#spec": "service-manifest-run@1", "name": "web", "type": "lxc", "config": "lxc.container.conf",
        "roles": ["nobody"], "restart_policy": "container"});
    let conf = format!(
        "lxc.rootfs.path = dir:{}\nlxc.init.cmd = /busybox sleep 1000\nlxc.net.0.type = empty\n",
        root.display()
    );
    State::new()
        .inline("web/run.json", run)
        .object("web/lxc.container.conf", conf.as_bytes())
        .object("_config/web/word", word.as_bytes())
}

struct Whole {
    device: live::Device,
    agent: Agent,
}

impl Whole {
    fn started() -> Whole {
        assert!(nix::unistd::geteuid().is_root(), "this test starts a container: run it as root");
        let device = live::Device::empty()
            .with("GOALPOST_COMMIT_DELAY", "100ms")
            .with("GOALPOST_STOP_GRACE", "100ms")
            .with("GOALPOST_DEVICE_LISTEN", "127.0.0.1:0");
        let root = device.path().join("rootfs");
        std::fs::create_dir(&root).unwrap();
        std::fs::copy("/bin/busybox", root.join("busybox")).expect("busybox-static is installed");
        device.lay_down(&state(&root, "factory"));
        let agent = device.start(&Programs::find("debug"));
        agent.events(0).until_goal_met("web");
        Whole { device, agent }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(self.agent.socket()).unwrap();
        Client { stream }.send(&request(method, path, body)).answer()
    }

    /// Where the device endpoint listens: the log says which port the kernel gave it.
    fn endpoint(&self) -> SocketAddr {
        let log = self.device.agent_log();
        let (_, said) = log.split_once("op=listen-device address=").expect("it was told to listen");
        said.split_whitespace().next().and_then(|address| address.parse().ok()).expect("an address")
    }

    fn ask_the_endpoint(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.endpoint()).unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        // A server that has refused the head may be gone before the body was sent.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        Answer::new(&text)
    }

    fn state(&self, word: &str) -> State {
        state(&self.device.path().join("rootfs"), word)
    }
}

#[test]
fn every_example_is_answered_as_described() {
    let whole = Whole::started();
    let mut description = Description::load();
    for (path, method, operation) in description.operations() {
        let example = description.example(&path, &operation);
        let streams = path.ends_with("/events") || path.starts_with("/logs/");
        let example = if streams { format!("{example}?follow=0") } else { example };
        for body in description.bodies(&operation) {
            // Where logind runs, this machine would do it.
            if path == "/commands" && ["REBOOT_DEVICE", "POWEROFF_DEVICE"].iter().any(|op| body.contains(op))
            {
                continue;
            }
            let method = method.to_uppercase();
            let answer = match is_of_the_device_endpoint(&path) {
                true => whole.ask_the_endpoint(&method, &example, &body),
                false => whole.ask(&method, &example, &body),
            };
            description.meet(&method, &path, &answer);
        }
    }
    assert!(description.met.len() > 50, "{} answers", description.met.len());
}

#[test]
fn two_clients_that_post_at_once_each_have_their_revision_and_one_of_them_runs() {
    let whole = Whole::started();
    let names = ["locals/one", "locals/other"];
    let together = Barrier::new(names.len());
    let codes = std::thread::scope(|scope| {
        let clients = names.map(|name| {
            let (agent, state, together) = (&whole.agent, whole.state(name), &together);
            scope.spawn(move || {
                together.wait();
                let posted = agent.post(name, &state);
                assert_eq!(posted.code, 200, "{name}: {}", posted.text());
                together.wait();
                agent.run(name).code
            })
        });
        clients.map(|client| client.join().unwrap())
    });
    for name in names {
        let kept = whole.agent.client().get(&format!("/steps/{name}"));
        assert_eq!(kept.body, whole.state(name).to_bytes(), "{name}");
    }
    // The other one is told that an update is under way; if it came after its end, both have run.
    for (name, code) in names.iter().zip(codes) {
        assert!(matches!(code, 200 | 503), "{name}: {code}");
        if code == 200 {
            let ended = whole.agent.events(0).until_update(name, &FINAL);
            assert!(matches!(ended["progress"]["status"].as_str(), Some("DONE" | "UPDATED")), "{ended}");
        }
    }
    assert!(codes.contains(&200));
}

#[test]
fn two_clients_that_give_two_contents_one_name_leave_one_of_them_whole() {
    let whole = Whole::started();
    let words = ["one", "other"];
    let together = Barrier::new(words.len());
    let codes = std::thread::scope(|scope| {
        let clients = words.map(|word| {
            let (agent, state, together) = (&whole.agent, whole.state(word), &together);
            scope.spawn(move || {
                together.wait();
                agent.post("locals/same", &state).code
            })
        });
        clients.map(|client| client.join().unwrap())
    });
    // The one that comes while the other's is written is refused.
    assert!(codes.iter().all(|code| matches!(code, 200 | 409)) && codes.contains(&200), "{codes:?}");
    let kept = whole.agent.client().get("/steps/locals/same").body;
    let taken = words.iter().zip(codes).filter(|(_, code)| *code == 200);
    assert!(taken.into_iter().any(|(word, _)| whole.state(word).to_bytes() == kept));
    assert_eq!(whole.agent.run("locals/same").code, 200);
    let ended = whole.agent.events(0).until_update("locals/same", &FINAL);
    assert_eq!(ended["progress"]["status"], "DONE", "{ended}");
}

#[test]
fn the_running_step_cannot_be_posted_over() {
    let whole = Whole::started();
    assert_eq!(whole.agent.post("locals/x", &whole.state("x")).code, 200);
    assert_eq!(whole.agent.run("locals/x").code, 200);
    whole.agent.events(0).until_update("locals/x", &FINAL);
    let before = whole.agent.client().get("/containers").text();
    let refused = whole.agent.post("locals/x", &whole.state("another"));
    assert_eq!(refused.code, 409, "{}", refused.text());
    assert_eq!(whole.agent.client().get("/steps/locals/x").body, whole.state("x").to_bytes());
    assert_eq!(whole.agent.client().get("/containers").text(), before);
}
