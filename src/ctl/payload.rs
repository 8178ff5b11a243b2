//! The first process of a demo container: it says what it is told to say, reaps, and waits for its end in the kernel.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::cli::Payload;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::Output;
use crate::signal;

/// How the payload ended: with the code it was told to, or because it was asked to.
pub(crate) async fn run(mode: Payload, client: &Client, output: &Output) -> Result<u8, Failed> {
    // Blocked, a signal is kept for `wait` even by a first process, for which the kernel drops unhandled ones.
    let ends = awaited();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&ends), None)
        .map_err(|errno| failed("block signals", errno))?;
    match mode {
        Payload::Serve => output.line("serving")?,
        Payload::NeverReady => output.line("serving, and not going to be ready")?,
        Payload::Ready => {
            signal::send(client, crate::cli::Signal::Ready).await?;
            output.line("serving, and said ready")?;
        }
        Payload::Crash { code } => {
            output.line(&format!("ending with code {code}"))?;
            return Ok(code);
        }
    }
    let told = wait_for_end(&ends)?;
    output.line(&format!("ending on {told}"))?;
    Ok(0)
}

fn awaited() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPWR, Signal::SIGCHLD].into_iter().collect()
}

fn wait_for_end(signals: &SigSet) -> Result<Signal, Failed> {
    loop {
        let told = signals.wait().map_err(|errno| failed("wait for a signal", errno))?;
        if told != Signal::SIGCHLD {
            return Ok(told);
        }
        reap();
    }
}

/// Everybody that has ended so far: orphans come to a first process, and one SIGCHLD may stand for many.
fn reap() {
    while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
}

fn failed(what: &str, errno: nix::errno::Errno) -> Failed {
    Failed::Source { what: what.to_owned(), cause: errno.desc().to_owned() }
}
