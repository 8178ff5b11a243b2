//! Processes that are not known by their number alone.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use model::report::Exit;
use nix::errno::Errno;
use nix::unistd::{getpid, getsid};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::error::HostError;
use crate::sys;

/// Has the kernel serve this thread before those of usual priority; what it makes is of usual priority again. Whoever gave this
/// process another priority, or no right to change it, is obeyed.
pub fn serve_first() {
    const PRIORITY: i32 = -10;
    if rustix::process::getpriority_process(None) != Ok(0) || sys::schedule(libc::SCHED_OTHER, 0).is_err() {
        return;
    }
    let _ = rustix::process::setpriority_process(None, PRIORITY);
    // With `autogroup`, sessions share the processors before the threads of each do, and every container is one. Somebody else's
    // session, such as a shell's, is left as it is; the first process of all has none, and is a peer of all sessions.
    if getsid(None) == Ok(getpid()) {
        let _ = fs::write("/proc/self/autogroup", PRIORITY.to_string());
    }
}

/// Has the kernel serve this thread before whatever else there is, where that is allowed: for one that works less than a
/// millisecond at a time, and whom everybody waits for. What it makes is of usual priority again.
pub(crate) fn serve_at_once() {
    const LEAST: i32 = 1;
    if rustix::process::getpriority_process(None) != Ok(0) || sys::schedule(libc::SCHED_FIFO, LEAST).is_err()
    {
        serve_first();
    }
}

/// A process, held by descriptor: readable once it has ended.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    started: StartTime,
    descriptor: OwnedFd,
}

/// When a process started, in clock ticks since boot: with its number, an identity that is never used twice in a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartTime(pub u64);

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It has not ended.
    Running,
    /// It has ended, so.
    Ended(Exit),
}

impl Process {
    pub(crate) fn of_child(pid: u32, descriptor: OwnedFd) -> Process {
        // A child that was not reaped yet keeps its entry; only a hidden /proc makes this unknown.
        let started = start_time(pid).unwrap_or(StartTime(0));
        Process { pid, started, descriptor }
    }

    /// A process that a former life of this program noted down: `None` if it has ended since.
    ///
    /// # Errors
    /// The kernel has no room for a descriptor.
    pub fn find(pid: u32, started: StartTime) -> Result<Option<Process>, HostError> {
        let subject = || format!("process {pid}");
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let descriptor = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(HostError::at("open", subject())(errno)),
        };
        // Read after opening: if the number has been given to another since, its start time tells.
        match start_time(pid) {
            Some(now) if now == started => Ok(Some(Process { pid, started, descriptor })),
            Some(_) | None => Ok(None),
        }
    }

    /// Its number, as this host has it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started.
    pub fn started(&self) -> StartTime {
        self.started
    }

    /// Sends it a signal, by number. One that has ended already is left in peace.
    ///
    /// # Errors
    /// Not permitted, or no such signal.
    pub fn signal(&self, signal: u8) -> Result<(), HostError> {
        match sys::signal_process(self.descriptor.as_fd(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(HostError::at("signal", format!("process {} with {signal}", self.pid))(errno)),
        }
    }

    /// What became of it; a child of ours is reaped. Never blocks.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn ending(&self) -> Result<Ending, HostError> {
        self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    /// Waits for its end; a child of ours is reaped.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn wait_for_end(&self) -> Result<Exit, HostError> {
        match self.wait(WaitIdOptions::EXITED)? {
            Ending::Ended(exit) => Ok(exit),
            Ending::Running => Ok(Exit::Unknown),
        }
    }

    fn wait(&self, options: WaitIdOptions) -> Result<Ending, HostError> {
        let failed = || HostError::at("wait for", format!("process {}", self.pid));
        loop {
            return match waitid(WaitId::PidFd(self.descriptor.as_fd()), options) {
                Ok(None) => Ok(Ending::Running),
                Ok(Some(status)) => {
                    Ok(Ending::Ended(exit(status.exit_status(), status.terminating_signal())))
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CHILD) => self.ending_of_stranger(options),
                Err(errno) => Err(failed()(errno)),
            };
        }
    }

    /// Of a process whose status goes to another.
    fn ending_of_stranger(&self, options: WaitIdOptions) -> Result<Ending, HostError> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut watched = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = options.contains(WaitIdOptions::NOHANG).then_some(&at_once);
        match poll(&mut watched, timeout) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Ending::Running),
            Ok(_) => Ok(Ending::Ended(Exit::Unknown)),
            Err(errno) => Err(HostError::at("watch", format!("process {}", self.pid))(errno)),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn exit(code: Option<i32>, signal: Option<i32>) -> Exit {
    match (code, signal) {
        (Some(code), _) => Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Exit::Signal(u8::try_from(signal).unwrap_or(0)),
        (None, None) => Exit::Unknown,
    }
}

/// Field 22 of `/proc/PID/stat`, counted after the name, which may hold anything.
fn start_time(pid: u32) -> Option<StartTime> {
    // All of it comes in one read: 52 numbers and a name of 15 bytes.
    let mut stat = [0; 1024];
    let length = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let stat = String::from_utf8_lossy(stat.get(..length)?);
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok().map(StartTime)
}
