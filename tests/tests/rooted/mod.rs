//! A folder with a root made of busybox, and a launcher, for tests that need real namespaces.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use host::{HostError, Launcher, Spawned, Start};
use model::report::Exit;
use model::setup::StartPlan;

/// Where a test's containers live.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    /// The launcher.
    pub(crate) launcher: Launcher,
}

/// What a container wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Standard output, then standard error.
    pub(crate) text: String,
    /// How it ended.
    pub(crate) exit: Exit,
}

impl Bench {
    /// None, loudly, where the test cannot run.
    pub(crate) fn new() -> Option<Bench> {
        if !nix::unistd::geteuid().is_root() {
            skip("not root");
            return None;
        }
        let busybox = Path::new("/bin/busybox");
        if !busybox.exists() {
            skip("no /bin/busybox (Debian's busybox-static)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("root/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for name in APPLETS {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        let hold = folder.path().join("hold");
        fs::create_dir(&hold).unwrap();
        let launcher = Launcher::start(program(), &hold).unwrap();
        Some(Bench { folder, launcher })
    }

    /// Everything of this test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A root folder with busybox.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Where the launcher puts mounts; empty outside of its namespace.
    pub(crate) fn hold(&self) -> PathBuf {
        self.folder.path().join("hold")
    }

    /// Starts a container whose output goes nowhere.
    pub(crate) fn spawn(&self, plan: &StartPlan) -> Result<Spawned, HostError> {
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let start = Start { plan, output: write.as_fd(), errors: write.as_fd(), cgroup: None };
        self.launcher.begin_start(&start)?.wait()
    }

    /// Runs a container to its end.
    pub(crate) fn run(&self, plan: &StartPlan) -> Result<Outcome, HostError> {
        let (mut read, write) = std::io::pipe().unwrap();
        let start = Start { plan, output: write.as_fd(), errors: write.as_fd(), cgroup: None };
        let spawned = self.launcher.begin_start(&start)?.wait()?;
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        Ok(Outcome { text, exit: spawned.process.wait_for_end()? })
    }
}

/// The launcher alone.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_host-launcher"))
}

/// Says why a test does not run. CI looks for it.
pub(crate) fn skip(why: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {why}").unwrap();
}

const APPLETS: [&str; 25] = [
    "sh", "ls", "cat", "echo", "hostname", "grep", "ip", "id", "wc", "pwd", "touch", "head", "mount",
    "umount", "ps", "true", "mkdir", "stat", "readlink", "sleep", "env", "tty", "mknod", "kill", "truncate",
];
