//! The examples of `run-json-schema/`, each as the state that holds it.

use std::fs;
use std::path::{Path, PathBuf};

use model::ids::{Digest, RevisionId};
use model::revision::{Defaults, ParseErrors, Revision};

/// Whether an example is to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// By schema and parser.
    Valid,
    /// Refused by schema and parser.
    Invalid,
    /// Refused by the parser for a reason that JSON Schema cannot express.
    InvalidBeyondSchema,
}

/// What an example is an example of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A whole state.
    State,
    /// One container's `run.json`; the container is `web`.
    Run,
    /// `device.json`
    Device,
    /// One container's `lxc.container.conf`; the container is `web`.
    Conf,
}

/// One file below `run-json-schema/`.
#[derive(Debug, Clone)]
pub struct Example {
    /// What it is an example of.
    pub subject: Subject,
    /// Its path below `run-json-schema/<sort>/`, without the ending.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The folder `run-json-schema/`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../run-json-schema")
}

/// Every example of that sort, by name.
pub fn all(sort: Sort) -> Vec<Example> {
    let folder = folder().join(match sort {
        Sort::Valid => "valid",
        Sort::Invalid => "invalid",
        Sort::InvalidBeyondSchema => "invalid-beyond-schema",
    });
    let subjects = [
        ("state", Subject::State),
        ("run", Subject::Run),
        ("device", Subject::Device),
        ("lxc.container.conf", Subject::Conf),
    ];
    let mut examples = Vec::new();
    for (name, subject) in subjects {
        let Ok(entries) = fs::read_dir(folder.join(name)) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let stem = path.file_stem().expect("a file's name").to_string_lossy();
            examples.push(Example {
                subject,
                name: format!("{name}/{stem}"),
                bytes: fs::read(&path).expect("a readable example"),
            });
        }
    }
    examples.sort_by(|one, other| one.name.cmp(&other.name));
    examples
}

/// Every file that the wrapped container may name, with a stand-in for its sha256.
const FILES: [&str; 4] = ["lxc.container.conf", "root.squashfs", "root.ovl.squashfs", "extra.squashfs"];

impl Example {
    /// The state that holds it.
    pub fn state(&self) -> Vec<u8> {
        let files: Vec<String> =
            FILES.iter().map(|file| format!(r#""web/{file}": "{}""#, "ab".repeat(32))).collect();
        let head = r##""#spec": "pantavisor-service-system@1""##;
        let run = r##"{"#spec": "service-manifest-run@1", "name": "web", "type": "lxc", "config": "lxc.container.conf",
            "root-volume": "root.squashfs", "storage": {"lxc-overlay": {"persistence": "boot"}}}"##;
        let body = match self.subject {
            Subject::State => return self.bytes.clone(),
            Subject::Run => format!(r#""web/run.json": {}, {}"#, self.text(), files.join(", ")),
            Subject::Device => format!(r#""device.json": {}"#, self.text()),
            Subject::Conf => format!(r#""web/run.json": {run}, {}"#, files.join(", ")),
        };
        format!("{{{head}, {body}}}").into_bytes()
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes).expect("an example is text")
    }

    /// Parses the state that holds it.
    ///
    /// # Errors
    /// What the parser refuses.
    pub fn parse(&self) -> Result<Revision, ParseErrors> {
        Revision::parse(RevisionId::factory(), &self.state(), Defaults::default(), &mut |path, digest| {
            self.object(path, digest)
        })
    }

    /// Every object that parsing asks for is a conf.
    fn object(&self, path: &str, _digest: &Digest) -> Result<Vec<u8>, String> {
        match (self.subject, path.ends_with(".conf")) {
            (Subject::Conf, _) => Ok(self.bytes.clone()),
            (Subject::State | Subject::Run | Subject::Device, true) => Ok(CONF.to_vec()),
            (Subject::State | Subject::Run | Subject::Device, false) => {
                Err(format!("read {path}: not an example"))
            }
        }
    }
}

const CONF: &[u8] =
    b"lxc.init.cmd = /app\nlxc.cap.keep = none\nlxc.cgroup.devices.deny = a\nlxc.no_new_privs = 1\n";
