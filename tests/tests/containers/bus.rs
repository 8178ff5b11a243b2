//! A system bus of a test's own: a real `dbus-daemon`, with a service on it that has logind's name and records what it is asked.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use zbus::connection::Builder;

const PATIENCE: Duration = Duration::from_secs(60);

/// What logind answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    /// To CanReboot and CanPowerOff.
    pub(crate) can: &'static str,
    /// Whether Reboot and PowerOff are carried out or refused.
    pub(crate) obeys: bool,
}

/// Ends with the test.
pub(crate) struct Bus {
    folder: tempfile::TempDir,
    daemon: Child,
    asked: Receiver<String>,
    /// Dropped: the service ends.
    _until: tokio::sync::oneshot::Sender<()>,
}

impl Bus {
    pub(crate) fn with_logind(answers: Answers) -> Bus {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path());
        let (tell, asked) = mpsc::channel();
        let (until, ended) = tokio::sync::oneshot::channel();
        let (up, is_up) = mpsc::channel();
        let address = address(folder.path());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let logind = Logind { answers, tell };
                let _service = Builder::address(address.as_str())
                    .name("org.freedesktop.login1")
                    .serve_at("/org/freedesktop/login1", logind)
                    .build()
                    .await
                    .unwrap();
                up.send(()).unwrap();
                let _ = ended.await;
            });
        });
        is_up.recv_timeout(PATIENCE).unwrap();
        Bus { folder, daemon, asked, _until: until }
    }

    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(crate) fn address(&self) -> String {
        address(self.folder.path())
    }

    /// The next thing that logind is asked.
    pub(crate) fn next_asked(&self) -> String {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    /// Everything that it was asked since.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

fn address(folder: &Path) -> String {
    format!("unix:path={}", folder.join("bus").display())
}

/// A bus on a private socket, on which anybody may own any name; it listens when this returns.
fn daemon(folder: &Path) -> Child {
    use std::io::{BufRead, BufReader};
    let configuration = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>{}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_destination="*"/>
<allow eavesdrop="false"/></policy></busconfig>"#,
        address(folder)
    );
    let file = folder.join("bus.conf");
    std::fs::write(&file, configuration).unwrap();
    let mut daemon = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", file.display()))
        .args(["--nofork", "--nopidfile", "--print-address"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("dbus-daemon: {error}; install the package dbus"));
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("unix:"), "dbus-daemon does not listen: {line:?}");
    daemon
}

struct Logind {
    answers: Answers,
    tell: Sender<String>,
}

impl Logind {
    fn carry_out(&self, what: &str, interactive: bool) -> zbus::fdo::Result<()> {
        let _ = self.tell.send(format!("{what} {interactive}"));
        if self.answers.obeys {
            return Ok(());
        }
        Err(zbus::fdo::Error::AccessDenied("somebody forbids it".to_owned()))
    }

    fn can(&self, what: &str) -> String {
        let _ = self.tell.send(what.to_owned());
        self.answers.can.to_owned()
    }
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn can_reboot(&self) -> String {
        self.can("CanReboot")
    }

    fn can_power_off(&self) -> String {
        self.can("CanPowerOff")
    }

    fn reboot(&self, interactive: bool) -> zbus::fdo::Result<()> {
        self.carry_out("Reboot", interactive)
    }

    fn power_off(&self, interactive: bool) -> zbus::fdo::Result<()> {
        self.carry_out("PowerOff", interactive)
    }
}
