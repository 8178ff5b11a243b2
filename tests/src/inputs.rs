//! The entry points for bytes from outside, each with what must hold whatever the bytes are: for the fuzzer and for replays.

use agent::api::head::{self, Cleaned, Head};
use model::durable::Durable;
use model::ids::RevisionId;
use model::revision::{Defaults, Revision};

/// One of the entry points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A state, every object of it missing but confs.
    State,
    /// A container's `run.json`, given as an object.
    RunJson,
    /// A container's `lxc.container.conf`.
    LxcContainerConf,
    /// The engine's memory, as it comes from the disk.
    Durable,
    /// The head of a request.
    RequestHead,
}

impl Input {
    /// All of them.
    pub const ALL: [Input; 5] =
        [Input::State, Input::RunJson, Input::LxcContainerConf, Input::Durable, Input::RequestHead];

    /// The name of its fuzz target, which its corpus has too.
    pub fn name(self) -> &'static str {
        match self {
            Input::State => "state",
            Input::RunJson => "run_json",
            Input::LxcContainerConf => "lxc_container_conf",
            Input::Durable => "durable",
            Input::RequestHead => "request_head",
        }
    }

    /// Takes the bytes in. Panics if something does not hold.
    pub fn take(self, bytes: &[u8]) {
        match self {
            Input::State => state(bytes),
            Input::RunJson => run_json(bytes),
            Input::LxcContainerConf => lxc_container_conf(bytes),
            Input::Durable => durable(bytes),
            Input::RequestHead => request_head(bytes),
        }
    }
}

const CONF: &[u8] = b"lxc.init.cmd = /app\n";

fn parse(state: &[u8], file: &str, bytes: &[u8]) {
    let parsed = Revision::parse(RevisionId::factory(), state, Defaults::default(), &mut |path, _| {
        Ok(if path.ends_with(file) { bytes.to_vec() } else { CONF.to_vec() })
    });
    match parsed {
        Ok(revision) => whole(&revision),
        Err(errors) => {
            assert!(errors.iter().count() > 0, "a refusal says why");
            for error in errors.iter() {
                assert!(error.to_string().len() < 4096, "a refusal is a sentence, not a flood");
            }
        }
    }
}

/// What holds for every revision that exists.
fn whole(revision: &Revision) {
    for container in revision.containers() {
        assert!(container.group < revision.groups().len(), "its group exists");
        assert!(container.parts.windows(2).all(|two| two[0].path < two[1].path), "its parts are sorted");
    }
    for (path, _) in revision.objects() {
        let segments = path.split('/');
        assert!(segments.clone().all(|segment| !matches!(segment, "" | "." | "..")), "{path}");
    }
    let _ = model::check::notes(revision);
}

fn state(bytes: &[u8]) {
    parse(bytes, ".conf", CONF);
}

fn run_json(bytes: &[u8]) {
    parse(STATE.as_bytes(), "/run.json", bytes);
}

fn lxc_container_conf(bytes: &[u8]) {
    parse(INLINE.as_bytes(), ".conf", bytes);
}

const STATE: &str = r##"{"#spec": "pantavisor-service-system@1",
    "web/run.json": "1111111111111111111111111111111111111111111111111111111111111111",
    "web/lxc.container.conf": "2222222222222222222222222222222222222222222222222222222222222222",
    "web/root.squashfs": "3333333333333333333333333333333333333333333333333333333333333333"}"##;

const INLINE: &str = r##"{"#spec": "pantavisor-service-system@1",
    "web/run.json": {"#spec": "service-manifest-run@1", "name": "web", "type": "lxc", "config": "lxc.container.conf",
        "root-volume": "root.squashfs"},
    "web/lxc.container.conf": "2222222222222222222222222222222222222222222222222222222222222222",
    "web/root.squashfs": "3333333333333333333333333333333333333333333333333333333333333333"}"##;

fn durable(bytes: &[u8]) {
    let Ok(durable) = Durable::from_bytes(bytes) else { return };
    // What is written back may only fail by having grown too long.
    let Ok(again) = durable.to_bytes() else { return };
    assert_eq!(Durable::from_bytes(&again).as_ref(), Ok(&durable), "nothing is lost when it is written back");
}

fn request_head(bytes: &[u8]) {
    let Head::Complete(cleaned) = head::clean_head(bytes) else { return };
    assert!(cleaned.from <= cleaned.to && cleaned.to <= bytes.len(), "a head lies within its bytes");
    let clean = cleaned.rewritten.unwrap_or_else(|| bytes[cleaned.from..cleaned.to].to_vec());
    let again = Cleaned { from: 0, to: clean.len(), rewritten: None, body: cleaned.body };
    assert_eq!(
        head::clean_head(&clean),
        Head::Complete(again),
        "what was cleaned is clean, and ends where it ended"
    );
}
