//! Revisions for the tests: containers from one image with a static shell in it, each running a script.

use std::io::Cursor;
use std::sync::OnceLock;

use backhand::compression::Compressor;
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
use serde_json::{Value, json};
use tests::live::State;

const BUSYBOX: &str = "/bin/busybox";

/// A container of a test's revision.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) name: &'static str,
    spec: Value,
    conf: String,
    config: Vec<(&'static str, Value)>,
    image: Vec<u8>,
}

/// A test's revision.
#[derive(Debug, Clone)]
pub(crate) struct Revision {
    containers: Vec<Container>,
}

/// Signals readiness, then sleeps; ends on SIGTERM.
pub(crate) const READY: &str = "/pantavisor/bin/goalctl signal ready; exec /bin/goalctl-sleep";
/// Runs, and ends on SIGTERM.
pub(crate) const RUN: &str = "exec /bin/goalctl-sleep";

impl Container {
    /// A container that runs a shell script as its first process.
    pub(crate) fn new(name: &'static str, script: &str) -> Container {
        let script = script.replace("/bin/goalctl-sleep", "/pantavisor/bin/goalctl demo-payload serve");
        assert!(!script.contains('"'), "the conf has no way to quote a quote");
        Container {
            name,
            spec: json!({"restart_policy": "container"}),
            conf: format!(
                "lxc.uts.name = {name}\n\
                 lxc.rootfs.path = overlayfs:/volumes/{name}/root.squashfs:/volumes/{name}/lxc-overlay/upper\n\
                 lxc.init.cmd = /bin/sh \"-c\" \"{script}\"\n\
                 lxc.mount.auto = proc:mixed sys:ro\n\
                 lxc.cgroup.devices.allow = a\n"
            ),
            config: Vec::new(),
            image: image(),
        }
    }

    /// The same script as a program that is called as an init is.
    pub(crate) fn init(name: &'static str, script: &str) -> Container {
        let mut container = Container::new(name, script);
        let program = |line: &&str| !line.starts_with("lxc.init.cmd");
        container.conf = container.conf.lines().filter(program).map(|line| format!("{line}\n")).collect();
        container
            .conf("lxc.init.cmd = /sbin/init")
            .image(image_with(&[], &[("/sbin/init", &format!("#!/bin/sh\n{script}\n"))]))
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Container {
        self.spec[key] = value;
        self
    }

    pub(crate) fn goal(self, goal: &str) -> Container {
        self.with("status_goal", json!(goal))
    }

    pub(crate) fn group(self, group: &str) -> Container {
        self.with("group", json!(group))
    }

    /// At the end of its lxc.container.conf.
    pub(crate) fn conf(mut self, line: &str) -> Container {
        self.conf.push_str(line);
        self.conf.push('\n');
        self
    }

    /// A file laid over its root.
    pub(crate) fn config(mut self, path: &'static str, value: Value) -> Container {
        self.config.push((path, value));
        self
    }

    /// In place of its root image.
    pub(crate) fn image(mut self, image: Vec<u8>) -> Container {
        self.image = image;
        self
    }
}

impl Revision {
    /// With the groups `first` and `second`.
    pub(crate) fn new(containers: impl IntoIterator<Item = Container>) -> Revision {
        Revision { containers: containers.into_iter().collect() }
    }

    /// With one container replaced by another of its name.
    pub(crate) fn replace(mut self, container: Container) -> Revision {
        let old = self.containers.iter_mut().find(|one| one.name == container.name).unwrap();
        *old = container;
        self
    }

    pub(crate) fn state(&self) -> State {
        let group = |name: &str| json!({"name": name, "status_goal": "STARTED", "restart_policy": "container", "timeout": 30});
        let state = State::new().inline("device.json", json!({"groups": [group("first"), group("second")]}));
        self.containers.iter().fold(state, |state, one| {
            let state = state.container_with_conf(one.name, &one.image, &one.conf, &one.spec);
            one.config.iter().fold(state, |state, (path, value)| {
                state.inline(&format!("_config/{}/{path}", one.name), value.clone())
            })
        })
    }
}

/// A squashfs with a static shell.
pub(crate) fn image() -> Vec<u8> {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| image_with(&[], &[])).clone()
}

/// The same, with symbolic links, and with programs: path, and what it says.
pub(crate) fn image_with(links: &[(&str, &str)], programs: &[(&str, &str)]) -> Vec<u8> {
    let busybox = std::fs::read(BUSYBOX)
        .unwrap_or_else(|error| panic!("{BUSYBOX}: {error}; install the package busybox-static"));
    let mode = NodeHeader::new(0o755, 0, 0, 0);
    let mut image = FilesystemWriter::default();
    image.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
    image.set_time(0);
    image.set_root_mode(0o755);
    for path in ["/bin", "/dev", "/etc", "/host", "/pantavisor", "/proc", "/run", "/sbin", "/sys", "/tmp"] {
        image.push_dir(path, mode).unwrap();
    }
    image.push_file(Cursor::new(busybox), "/bin/busybox", mode).unwrap();
    for applet in
        ["sh", "sleep", "cat", "kill", "yes", "chroot", "mkdir", "touch", "ls", "sed", "grep", "head"]
    {
        image.push_symlink("busybox", format!("/bin/{applet}"), mode).unwrap();
    }
    for (path, to) in links {
        image.push_symlink(to, path, mode).unwrap();
    }
    for (path, text) in programs {
        image.push_file(Cursor::new(text.as_bytes().to_vec()), path, mode).unwrap();
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write(&mut bytes).unwrap();
    bytes.into_inner()
}
