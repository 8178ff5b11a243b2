//! Signals of the process as a descriptor that the runtime can await.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::signal::Signal;
use signal_hook::low_level::pipe;
use tokio::net::UnixStream;

/// What a signal asks of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM, SIGINT, SIGQUIT: the orderly stop, then the end.
    End,
    /// SIGHUP: the orderly stop, then a fresh start.
    Restart,
}

/// The signals that the agent listens to. Each has its own pipe, so none hides another.
#[derive(Debug)]
pub struct Signals {
    end: UnixStream,
    restart: UnixStream,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// No descriptor, or a handler cannot be set.
    pub fn listen() -> io::Result<Signals> {
        let (end, end_signal) = UnixStream::pair()?;
        let (restart, restart_signal) = UnixStream::pair()?;
        let write_end = |stream: UnixStream| stream.into_std().map(OwnedFd::from);
        let end_signal = write_end(end_signal)?;
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
            pipe::register_raw(signal as i32, end_signal.try_clone()?)?;
        }
        pipe::register_raw(Signal::SIGHUP as i32, write_end(restart_signal)?)?;
        Ok(Signals { end, restart })
    }

    /// The next signal. Cancel-safe.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            () = taken(&self.end) => Asked::End,
            () = taken(&self.restart) => Asked::Restart,
        }
    }
}

/// Signals that came in together are one.
async fn taken(stream: &UnixStream) {
    loop {
        if stream.readable().await.is_err() {
            return std::future::pending().await;
        }
        match stream.try_read(&mut [0; 64]) {
            Ok(read) if read > 0 => return,
            Ok(_) => return std::future::pending().await,
            Err(_) => {}
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
