//! Starting containers, from the agent's side: ask the launcher, then wait on a descriptor for what becomes of it.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use model::setup::{MountStep, Namespace, StartPlan};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::channel::{self, Packet, Wait};
use crate::child::{GO, LAUNCHER, NETWORK_AT_ONCE, NETWORK_IN_TURN, NETWORK_SHARED};
use crate::error::{AsErrno, HostError};
use crate::interface::Outside;
use crate::keeping;
use crate::launcher::{CONSOLE, DONE, FAILED, HELLO, Held, KEEP, PROCESS, SPARE, START, WORK};
use crate::process::Process;
use crate::wire::{self, Wire};

/// The launcher, as the agent holds it. Shared by reference; every call is one packet.
#[derive(Debug)]
pub struct Launcher {
    control: OwnedFd,
    process: OwnedFd,
    held: Held,
}

/// A container to start.
#[derive(Debug)]
pub struct Start<'a> {
    /// What is done before its program.
    pub plan: &'a StartPlan,
    /// Where its program's standard output goes.
    pub output: BorrowedFd<'a>,
    /// Where its program's standard error goes.
    pub errors: BorrowedFd<'a>,
    /// The folder of its control group, where there is one.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// A container whose program was executed.
#[derive(Debug)]
pub struct Spawned {
    /// Its first process: our child, to be reaped by [`Process::ending`].
    pub process: Process,
    /// The agent's side of its `/dev/console` and standard input, if its plan has one. Closed, writes to the console fail at once.
    pub console: Option<OwnedFd>,
}

/// A start that was asked for. Its descriptor is readable when [`Pending::advance`] has something to do.
#[derive(Debug)]
pub struct Pending {
    answer: OwnedFd,
    process: Option<Process>,
    console: Option<OwnedFd>,
    failed: Option<HostError>,
}

/// Mounting or unmounting that was asked for. Its descriptor is readable when [`Working::advance`] has something to do.
#[derive(Debug)]
pub struct Working {
    answer: OwnedFd,
    failed: Vec<HostError>,
}

impl Launcher {
    /// Executes `program` (our own binary, whose `main` begins with [`crate::child::run_if_child`]) as the launcher.
    /// `folder` is where containers' mounts are put, in a mount namespace of the launcher; on the device it stays empty.
    /// Beside it is the socket where the launcher meets an agent that comes after us.
    ///
    /// # Errors
    /// The program cannot be executed, or the launcher cannot make its namespaces.
    pub fn start(program: &Path, folder: &Path) -> Result<Launcher, HostError> {
        Launcher::execute(program, folder, None)
    }

    /// Another launcher for the same containers' mounts, after the old one has ended.
    ///
    /// # Errors
    /// As [`Launcher::start`].
    pub fn start_again(&self, program: &Path, folder: &Path) -> Result<Launcher, HostError> {
        Launcher::execute(program, folder, Some(&self.held))
    }

    fn execute(program: &Path, folder: &Path, held: Option<&Held>) -> Result<Launcher, HostError> {
        let failed = || HostError::at("execute", program.display().to_string());
        let (ours, theirs) = channel::pair().map_err(HostError::at("make", "a channel"))?;
        let meeting = keeping::meeting(folder)?;
        let mut given = vec![theirs.as_fd(), meeting.as_fd()];
        given.extend(held.iter().flat_map(|held| [held.hold.as_fd(), held.empty.as_fd()]));
        // Copies without CLOEXEC would be inherited by whatever another thread executes meanwhile; the child gets its own.
        let mut actions = PosixSpawnFileActions::init().map_err(failed())?;
        let mut arguments = vec![LAUNCHER.to_owned(), c_text(&folder.display().to_string())?];
        // Numbers that none of these has, so that dup2 meets neither its own number, where it would keep CLOEXEC, nor another's.
        let highest = given.iter().map(AsRawFd::as_raw_fd).max().unwrap_or(2);
        for (descriptor, number) in given.iter().zip(highest + 1..) {
            actions.add_dup2(descriptor.as_raw_fd(), number).map_err(failed())?;
            arguments.push(c_text(&number.to_string())?);
        }
        let mut attributes = PosixSpawnAttr::init().map_err(failed())?;
        attributes.set_sigmask(&SigSet::empty()).map_err(failed())?;
        // A group of its own: Control-C in a terminal is for the agent, which still needs its launcher to stop in order.
        attributes.set_pgroup(nix::unistd::Pid::from_raw(0)).map_err(failed())?;
        let flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETPGROUP;
        attributes.set_flags(flags).map_err(failed())?;
        let path = c_text(&program.display().to_string())?;
        let environment: [CString; 0] = [];
        let pid =
            posix_spawn(path.as_c_str(), &actions, &attributes, &arguments, &environment).map_err(failed())?;
        drop(theirs);
        let pid = Pid::from_raw(pid.as_raw()).ok_or_else(|| failed()(Errno::ESRCH))?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(HostError::at("open", "the launcher"))?;
        let packet =
            channel::receive(ours.as_fd(), Wait::Yes).map_err(HostError::at("hear from", "the launcher"))?;
        match heard(packet)? {
            Heard::Hello { hold, empty } => {
                Ok(Launcher { control: ours, process, held: Held { hold, empty } })
            }
            Heard::Failed(error) => Err(error),
            Heard::Closed | Heard::Process(_) | Heard::Done | Heard::Console(_) => {
                Err(HostError::at("hear from", "the launcher")(Errno::EPROTO))
            }
        }
    }

    /// Begins a start. Before its program runs it waits for [`Pending::let_go`]: meanwhile the caller makes what only the program
    /// needs. The plan's `cgroup` is the caller's to carry out before, with [`crate::cgroup`].
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn begin_start(&self, start: &Start<'_>) -> Result<Pending, HostError> {
        let (flags, network) = namespaces(start.plan);
        let mut bytes = vec![START];
        (flags.bits(), network).put(&mut bytes);
        let mut descriptors = vec![start.output, start.errors];
        descriptors.extend(start.cgroup);
        let answer = self.ask(&bytes, &descriptors)?;
        let mut plan = Vec::with_capacity(4096);
        start.plan.steps.put(&mut plan);
        hand_over(&answer, &plan)?;
        Ok(Pending { answer, process: None, console: None, failed: None })
    }

    /// Begins to make mounts. They are there, all of them, or none is.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn begin_mount(&self, plan: &[MountStep]) -> Result<Working, HostError> {
        self.begin_work(0, plan)
    }

    /// Begins to take the mounts of a plan away.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn begin_unmount(&self, plan: &[MountStep]) -> Result<Working, HostError> {
        self.begin_work(1, plan)
    }

    /// Keeps the agent's side of a container's console for the next agent, or nothing of it any more.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn keep(&self, name: &str, console: Option<BorrowedFd<'_>>) -> Result<(), HostError> {
        let packet = [&[KEEP], name.as_bytes()].concat();
        let console: Vec<_> = console.into_iter().collect();
        channel::send(self.control.as_fd(), &packet, &console).map_err(HostError::at("ask", "the launcher"))
    }

    fn begin_work(&self, undo: u8, plan: &[MountStep]) -> Result<Working, HostError> {
        let mut bytes = Vec::with_capacity(1024);
        undo.put(&mut bytes);
        (plan.len() as u64).put(&mut bytes);
        plan.iter().for_each(|step| step.put(&mut bytes));
        let answer = self.ask(&[WORK], &[])?;
        hand_over(&answer, &bytes)?;
        Ok(Working { answer, failed: Vec::new() })
    }

    /// Says that a network namespace will be wanted: it is made as long as nothing else is asked for.
    ///
    /// # Errors
    /// The launcher is gone.
    pub fn expect_network(&self) -> Result<(), HostError> {
        channel::send(self.control.as_fd(), &[SPARE], &[]).map_err(HostError::at("ask", "the launcher"))
    }

    /// Asks for a process. Returns our end of its answer, by which it gets its plan.
    fn ask(&self, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<OwnedFd, HostError> {
        let (ours, theirs) = channel::pair().map_err(HostError::at("make", "a channel"))?;
        let mut given = vec![theirs.as_fd()];
        given.extend_from_slice(descriptors);
        channel::send(self.control.as_fd(), request, &given).map_err(HostError::at("ask", "the launcher"))?;
        Ok(ours)
    }

    /// Readable once the launcher has ended, which it does not by itself.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

impl Pending {
    /// Lets the program run. If its process is gone, [`Pending::advance`] says why.
    pub fn let_go(&self) {
        if channel::send(self.answer.as_fd(), &[GO], &[]).is_err() {
            self.hold_back();
        }
    }

    /// Gives the start up before it was let go; waits until nothing of it is left.
    pub fn abandon(mut self) {
        self.hold_back();
        let _ = self.take_in(Wait::Yes);
    }

    /// Its process hears that it may not go on, says so, and is reaped by whoever hears that. Without a process there is nobody.
    fn hold_back(&self) {
        let _ = rustix::net::shutdown(&self.answer, rustix::net::Shutdown::Write);
    }

    /// The process, once it was made: it can be ended before its program runs.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// What became of the start: `None` until the descriptor is readable again. After an error nothing of the container is left.
    pub fn advance(&mut self) -> Option<Result<Spawned, HostError>> {
        self.take_in(Wait::No)
    }

    /// Lets it go, and waits for what becomes of it.
    ///
    /// # Errors
    /// The step that failed.
    pub fn wait(mut self) -> Result<Spawned, HostError> {
        self.let_go();
        self.take_in(Wait::Yes)
            .unwrap_or_else(|| Err(HostError::at("hear from", "the launcher")(Errno::EAGAIN)))
    }

    fn take_in(&mut self, wait: Wait) -> Option<Result<Spawned, HostError>> {
        loop {
            let heard = match channel::receive(self.answer.as_fd(), wait) {
                Err(rustix::io::Errno::AGAIN) => return None,
                // Told once, when it ended without having read all of ours: what it said before is still there.
                Err(rustix::io::Errno::CONNRESET) => continue,
                Err(errno) => Err(HostError::at("hear from", "the launcher")(errno)),
                Ok(packet) => heard(packet),
            };
            match heard {
                Ok(Heard::Process(process)) => self.process = Some(process),
                Ok(Heard::Console(console)) => self.console = Some(console),
                Ok(Heard::Failed(error)) => self.failed = Some(error),
                Ok(Heard::Closed) => return Some(self.close()),
                Ok(Heard::Hello { .. } | Heard::Done) => {}
                Err(error) => {
                    self.failed = Some(error);
                    return Some(self.close());
                }
            }
        }
    }

    fn close(&mut self) -> Result<Spawned, HostError> {
        match (self.failed.take(), self.process.take()) {
            (None, Some(process)) => Ok(Spawned { process, console: self.console.take() }),
            (None, None) => Err(HostError::at("hear from", "the launcher")(Errno::ECONNRESET)),
            (Some(error), process) => {
                // It has told why, and is on its way out.
                if let Some(process) = process {
                    process.signal(9)?;
                    process.wait_for_end()?;
                }
                Err(error)
            }
        }
    }
}

impl AsFd for Pending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }
}

impl Working {
    /// How it went: `None` until the descriptor is readable again.
    pub fn advance(&mut self) -> Option<Result<(), Vec<HostError>>> {
        self.take_in(Wait::No)
    }

    /// Waits for how it goes.
    ///
    /// # Errors
    /// The step that failed first, then what could not be taken away again.
    pub fn wait(mut self) -> Result<(), Vec<HostError>> {
        let lost = || Err(vec![HostError::at("hear from", "the launcher")(Errno::EAGAIN)]);
        self.take_in(Wait::Yes).unwrap_or_else(lost)
    }

    fn take_in(&mut self, wait: Wait) -> Option<Result<(), Vec<HostError>>> {
        loop {
            let heard = match channel::receive(self.answer.as_fd(), wait) {
                Err(rustix::io::Errno::AGAIN) => return None,
                // Told once, when it ended without having read all of ours: what it said before is still there.
                Err(rustix::io::Errno::CONNRESET) => continue,
                Err(errno) => Err(HostError::at("hear from", "the launcher")(errno)),
                Ok(packet) => heard(packet),
            };
            match heard {
                // Its last word: that the process ends takes longer, and changes nothing.
                Ok(Heard::Done) => return Some(Ok(())),
                Ok(Heard::Failed(error)) => self.failed.push(error),
                Ok(Heard::Closed) => return Some(self.close()),
                Ok(Heard::Hello { .. } | Heard::Process(_) | Heard::Console(_)) => {}
                Err(error) => {
                    self.failed.push(error);
                    return Some(self.close());
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), Vec<HostError>> {
        match self.failed.is_empty() {
            true => Err(vec![HostError::at("hear from", "the process that mounts")(Errno::ECONNRESET)]),
            false => Err(std::mem::take(&mut self.failed)),
        }
    }
}

impl AsFd for Working {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }
}

/// What the other side says.
enum Heard {
    Closed,
    Hello { hold: OwnedFd, empty: OwnedFd },
    Process(Process),
    Console(OwnedFd),
    Failed(HostError),
    Done,
}

fn heard(packet: Packet) -> Result<Heard, HostError> {
    let odd = || HostError::at("understand", "the launcher")(Errno::EPROTO);
    let mut descriptors = packet.descriptors.into_iter();
    let Some((tag, body)) = packet.bytes.split_first() else { return Ok(Heard::Closed) };
    let mut descriptor = || descriptors.next().ok_or_else(odd);
    match *tag {
        HELLO => Ok(Heard::Hello { hold: descriptor()?, empty: descriptor()? }),
        PROCESS => {
            let pid = wire::from_bytes(body).ok_or_else(odd)?;
            Ok(Heard::Process(Process::of_child(pid, descriptor()?)))
        }
        CONSOLE => Ok(Heard::Console(descriptor()?)),
        FAILED => Ok(Heard::Failed(wire::from_bytes(body).ok_or_else(odd)?)),
        DONE => Ok(Heard::Done),
        _ => Err(odd()),
    }
}

fn hand_over(answer: &OwnedFd, plan: &[u8]) -> Result<(), HostError> {
    channel::send_long(answer.as_fd(), plan).map_err(HostError::at("hand the plan to", "the launcher"))
}

/// What clone3 makes, and when the child makes a network namespace by itself.
fn namespaces(plan: &StartPlan) -> (CloneFlags, u8) {
    let flags = plan.namespaces.iter().fold(CloneFlags::empty(), |flags, namespace| {
        flags
            | match namespace {
                Namespace::Pid => CloneFlags::CLONE_NEWPID,
                Namespace::Uts => CloneFlags::CLONE_NEWUTS,
                Namespace::Ipc => CloneFlags::CLONE_NEWIPC,
                Namespace::Cgroup => CloneFlags::CLONE_NEWCGROUP,
                Namespace::Network => CloneFlags::empty(),
            }
    });
    let network = match plan.namespaces.contains(&Namespace::Network) {
        false => NETWORK_SHARED,
        true if Outside::is_needed(&plan.steps) => NETWORK_IN_TURN,
        true => NETWORK_AT_ONCE,
    };
    (flags, network)
}

fn c_text(text: &str) -> Result<CString, HostError> {
    CString::new(text).map_err(|_| HostError::at("use", text)(Errno::EINVAL.as_errno()))
}
