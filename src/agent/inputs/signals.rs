//! Signals of the process as a descriptor that the runtime can await.
//!
//! They are not delivered but read: [`hold`], before the first thread, has all of them blocked for good. One that nobody has read is
//! still there for the program that is executed in the agent's place, which begins with them blocked: none is lost in between.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use super::descriptor::awaited;

/// What a signal asks of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT, SIGQUIT: the orderly stop, then the end.
    End,
    /// SIGHUP: the orderly stop, then a fresh start.
    Restart,
}

/// The signals that the agent listens to.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
    readable: AsyncFd<OwnedFd>,
}

/// Has them wait until they are read, in this thread and those that it makes.
///
/// # Errors
/// None is known.
pub fn hold() -> io::Result<SigSet> {
    let all =
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP].into_iter().collect::<SigSet>();
    all.thread_block()?;
    Ok(all)
}

impl Signals {
    /// Listens from now on, also to what waits already.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn listen() -> io::Result<Signals> {
        let descriptor = SignalFd::with_flags(&hold()?, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let readable = awaited(descriptor.as_fd().try_clone_to_owned()?)?;
        Ok(Signals { descriptor, readable })
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) -> Asked {
        loop {
            let Ok(mut ready) = self.readable.readable().await else { return std::future::pending().await };
            match self.descriptor.read_signal() {
                Ok(Some(signal)) if signal.ssi_signo == Signal::SIGHUP as u32 => return Asked::Restart,
                Ok(Some(_)) => return Asked::End,
                Ok(None) | Err(_) => ready.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_what_it_asks() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::listen().unwrap();
            nix::sys::signal::raise(Signal::SIGHUP).unwrap();
            assert_eq!(signals.next().await, Asked::Restart);
            nix::sys::signal::raise(Signal::SIGTERM).unwrap();
            assert_eq!(signals.next().await, Asked::End);
        });
    }
}
