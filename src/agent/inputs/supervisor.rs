//! The service manager that started the agent, told how it is doing where it wants to know.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use host::device::Watchdog;
use model::report::{DeviceReport, Phase};
use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

/// A systemd, or whoever set NOTIFY_SOCKET; without one, every word goes nowhere.
#[derive(Debug)]
pub struct Supervisor {
    line: Option<UnixDatagram>,
    status: String,
    watchdog: Option<Interval>,
    hardware: Option<Watchdog>,
}

impl Supervisor {
    /// Reads from the environment whether anybody wants to know, and whether as a watchdog. On a device of our own it is the
    /// hardware that wants to.
    pub fn from_environment(hardware: Option<(Watchdog, Duration)>) -> Supervisor {
        let line = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(line) => Some(line),
            Err(error) => {
                log::warn!("op=connect-service-manager error={error:?}");
                None
            }
        });
        let length = hardware.as_ref().map(|(_, length)| *length).or_else(sd_notify::watchdog_enabled);
        let hardware = hardware.map(|(watchdog, _)| watchdog);
        Supervisor { line, status: String::new(), watchdog: length.map(half_of), hardware }
    }

    /// The agent answers its sockets.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// One line of what the device is doing, and that the orderly stop has begun; told only when it changed.
    pub fn follow(&mut self, report: &DeviceReport) {
        if self.line.is_none() {
            return;
        }
        let line = describe(report);
        if line == self.status {
            return;
        }
        match report.phase {
            Phase::ShuttingDown => self.tell(&[NotifyState::Stopping, NotifyState::Status(&line)]),
            Phase::Booting
            | Phase::Running
            | Phase::Verifying
            | Phase::Trying
            | Phase::Testing
            | Phase::RollingBack
            | Phase::OnlyAnswering => self.tell(&[NotifyState::Status(&line)]),
        }
        self.status = line;
    }

    /// Waits until the watchdog wants a sign of life; for ever if there is none. Cancel-safe.
    pub async fn wants_sign_of_life(&mut self) {
        match &mut self.watchdog {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Never waits: a service manager that does not read misses a line, and the device notices nothing.
    fn tell(&self, words: &[NotifyState<'_>]) {
        let text: String = words.iter().map(|word| format!("{word}\n")).collect();
        if let Some(line) = &self.line
            && let Err(error) = line.send(text.as_bytes())
        {
            log::warn!("op=notify error={error:?}");
        }
    }

    /// The loop is alive.
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
        if let Some(Err(error)) = self.hardware.as_ref().map(Watchdog::feed) {
            log::error!("op=feed-watchdog error={:?}", error.to_string());
        }
    }
}

fn describe(report: &DeviceReport) -> String {
    let revision = report.revision.as_ref().map_or("no revision".to_owned(), |id| format!("revision {id}"));
    match report.status {
        Some(status) => format!("{revision}, {:?}, {status}", report.phase),
        None => format!("{revision}, {:?}", report.phase),
    }
}

/// One sign of life at once, and one per half of the watchdog's length, as its manual asks: how long ago the last one was before the
/// loop began, nobody knows.
fn half_of(length: Duration) -> Interval {
    let half = (length / 2).max(Duration::from_millis(1));
    let mut interval = tokio::time::interval(half);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A name that begins with `@` is not a path.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let line = UnixDatagram::unbound()?;
    line.set_nonblocking(true)?;
    line.connect_addr(&address)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_that_does_not_read_delays_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor {
            line: Some(connect(path.as_os_str()).unwrap()),
            status: String::new(),
            watchdog: None,
            hardware: None,
        };
        for _ in 0..1000 {
            supervisor.ready();
        }
        let mut told = [0; 64];
        let length = manager.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1\n");
    }

    #[test]
    fn a_watchdog_is_fed_as_the_loop_begins() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let wanted = runtime.block_on(async {
            let watchdog = Some(half_of(Duration::from_secs(3600)));
            let mut supervisor = Supervisor { line: None, status: String::new(), watchdog, hardware: None };
            tokio::time::timeout(Duration::from_secs(60), supervisor.wants_sign_of_life()).await
        });
        assert_eq!(wanted, Ok(()));
    }
}
