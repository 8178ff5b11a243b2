//! The demo's device: an image that is made on the spot, the revisions that use it.

use std::io;
use std::path::Path;

use model::ids::Digest;
use serde_json::{Value, json};

use super::squashfs;
use crate::digest;

/// What one of the demo's containers does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// Runs.
    Serve,
    /// Runs, and signals that it is ready.
    Ready,
    /// Runs, and never signals.
    NeverReady,
}

impl Program {
    fn as_str(self) -> &'static str {
        match self {
            Program::Serve => "serve",
            Program::Ready => "ready",
            Program::NeverReady => "never-ready",
        }
    }
}

/// One of the demo's containers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) name: &'static str,
    group: &'static str,
    goal: &'static str,
    program: Program,
    version: u32,
}

/// A revision of the demo: its containers, all from one image.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) members: [Member; 3],
    image: Digest,
}

/// A file that a state names by its sha256.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) digest: Digest,
    pub(super) bytes: Vec<u8>,
}

impl Content {
    /// What the device is made with.
    pub(super) fn factory(image: &Object) -> Content {
        let member = |name, group, goal, program| Member { name, group, goal, program, version: 1 };
        Content {
            members: [
                member("network", "base", "STARTED", Program::Serve),
                member("web", "app", "READY", Program::Ready),
                member("worker", "app", "STARTED", Program::Serve),
            ],
            image: image.digest,
        }
    }

    /// With a newer `worker`, nothing else.
    pub(super) fn with_newer_worker(&self) -> Content {
        let mut newer = self.clone();
        newer.members[2].version += 1;
        newer
    }

    /// With a `web` that never becomes ready.
    pub(super) fn with_silent_web(&self) -> Content {
        let mut silent = self.clone();
        silent.members[1].program = Program::NeverReady;
        silent
    }

    /// The state's JSON.
    pub(super) fn state(&self) -> Vec<u8> {
        let mut state = json!({
            "#spec": "pantavisor-service-system@1",
            "device.json": {"groups": [
                {"name": "base", "description": "what the others need", "status_goal": "STARTED", "timeout": 10},
                {"name": "app", "description": "what the device is for", "status_goal": "STARTED", "timeout": 10},
            ]},
        });
        for member in &self.members {
            let name = member.name;
            state[format!("{name}/run.json")] = member.run_spec();
            state[format!("{name}/lxc.container.conf")] = member.conf().digest.to_string().into();
            state[format!("{name}/root.squashfs")] = self.image.to_string().into();
        }
        state.to_string().into_bytes()
    }

    /// The small files that the state names.
    pub(super) fn confs(&self) -> impl Iterator<Item = Object> {
        self.members.iter().map(|member| member.conf())
    }
}

impl Member {
    fn run_spec(&self) -> Value {
        let mut spec = json!({
            "#spec": "service-manifest-run@1",
            "name": self.name,
            "type": "lxc",
            "config": "lxc.container.conf",
            "root-volume": "root.squashfs",
            "storage": {"lxc-overlay": {"persistence": "boot"}},
            "group": self.group,
            "status_goal": self.goal,
            "restart_policy": "container",
            "roles": ["nobody"],
        });
        if self.program == Program::NeverReady {
            spec["goal_timeout"] = json!(2);
        }
        spec
    }

    fn conf(&self) -> Object {
        let Member { name, program, version, .. } = self;
        let text = format!(
            "lxc.uts.name = {name}\n\
             lxc.rootfs.path = overlayfs:/volumes/{name}/root.squashfs:/volumes/{name}/lxc-overlay/upper\n\
             lxc.init.cmd = /bin/goalctl \"demo-payload\" \"{}\"\n\
             lxc.environment = VERSION={version}\n\
             lxc.mount.auto = proc:mixed sys:ro\n\
             lxc.cgroup.devices.allow = a\n",
            program.as_str()
        );
        Object::of(text.into_bytes())
    }
}

impl Object {
    fn of(bytes: Vec<u8>) -> Object {
        Object { digest: digest::of(&bytes), bytes }
    }
}

/// A root image whose only program is the control tool, which can also play a container.
///
/// # Errors
/// The tool cannot be read.
pub(super) fn image(goalctl: &Path) -> io::Result<Object> {
    let program = std::fs::read(goalctl)?;
    let folders = ["bin", "dev", "etc", "pantavisor", "proc", "run", "sys", "tmp"];
    Ok(Object::of(squashfs::image("goalctl", &program, &folders)))
}
