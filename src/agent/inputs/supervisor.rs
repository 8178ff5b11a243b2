//! The service manager that started the agent, told how it is doing where it wants to know.

use std::time::Duration;

use model::report::{DeviceReport, Phase};
use sd_notify::NotifyState;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// A systemd, or whoever set NOTIFY_SOCKET; without one, every word goes nowhere.
#[derive(Debug)]
pub struct Supervisor {
    listening: Listening,
    status: String,
    watchdog: Option<Interval>,
}

/// Whether anybody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listening {
    Yes,
    No,
}

impl Supervisor {
    /// Reads from the environment whether anybody wants to know, and whether as a watchdog.
    pub fn from_environment() -> Supervisor {
        let listening = match std::env::var_os("NOTIFY_SOCKET") {
            Some(_) => Listening::Yes,
            None => Listening::No,
        };
        Supervisor { listening, status: String::new(), watchdog: sd_notify::watchdog_enabled().map(half_of) }
    }

    /// The agent answers its sockets.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// One line of what the device is doing, and that the orderly stop has begun; told only when it changed.
    pub fn follow(&mut self, report: &DeviceReport) {
        if let Listening::No = self.listening {
            return;
        }
        let line = describe(report);
        if line == self.status {
            return;
        }
        match report.phase {
            Phase::ShuttingDown => tell(&[NotifyState::Stopping, NotifyState::Status(&line)]),
            Phase::Booting
            | Phase::Running
            | Phase::Verifying
            | Phase::Trying
            | Phase::Testing
            | Phase::RollingBack
            | Phase::OnlyAnswering => tell(&[NotifyState::Status(&line)]),
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

    /// The loop is alive.
    pub fn alive(&self) {
        tell(&[NotifyState::Watchdog]);
    }
}

fn describe(report: &DeviceReport) -> String {
    let revision = report.revision.as_ref().map_or("no revision".to_owned(), |id| format!("revision {id}"));
    match report.status {
        Some(status) => format!("{revision}, {:?}, {status}", report.phase),
        None => format!("{revision}, {:?}", report.phase),
    }
}

/// One sign of life per half of the watchdog's length, as its manual asks.
fn half_of(length: Duration) -> Interval {
    let half = (length / 2).max(Duration::from_millis(1));
    let mut interval = tokio::time::interval_at(Instant::now() + half, half);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// A service manager that does not listen changes nothing for the device.
fn tell(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        log::warn!("op=notify error={error:?}");
    }
}
