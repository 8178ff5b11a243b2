//! The launcher: a small process with one thread, which makes every process of every container.
//!
//! It lives in the mount namespace that holds the containers' own mounts, so the agent's mount table stays as small as it
//! was. A container's child stands there while it takes what it needs, then goes to an empty namespace and attaches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;
use nix::unistd::{chdir, pivot_root};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::channel::{self, Packet, Wait};
use crate::child::{self, NETWORK_AT_ONCE, NETWORK_SHARED, Network, Output};
use crate::error::HostError;
use crate::keeping::{self, Kept};
use crate::spare::Spare;
use crate::sys::{self, Cloned, ParentOf};
use crate::{mount, process, wire};

/// The first byte of a packet to the launcher.
pub(crate) const START: u8 = b'S';
/// The first byte of a packet to the launcher.
pub(crate) const WORK: u8 = b'W';
/// The first byte of a packet to the launcher: a container's name, with the agent's side of its console, or without it any more.
pub(crate) const KEEP: u8 = b'K';
/// The first byte of a packet to the launcher: a network namespace will be wanted, and until then there is time to make it.
pub(crate) const SPARE: u8 = b'N';
/// The first byte of a packet from the launcher: it is there, with its two namespaces.
pub(crate) const HELLO: u8 = b'H';
/// The first byte of an answer: the process, with its pidfd.
pub(crate) const PROCESS: u8 = b'P';
/// The first byte of an answer: a step failed.
pub(crate) const FAILED: u8 = b'E';
/// The first byte of an answer: the work is done.
pub(crate) const DONE: u8 = b'D';
/// The first byte of an answer: the agent's side of the container's console.
pub(crate) const CONSOLE: u8 = b'C';

/// Bytes of what an error is about, of which more than this is not told.
const LONGEST_SUBJECT: usize = 6 * 1024;

/// The mount namespaces that a launcher works with. They outlive it in the agent's hands.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where all containers' own mounts are, beside everything of the device.
    pub(crate) hold: OwnedFd,
    /// One small read-only tmpfs; copying it costs next to nothing.
    pub(crate) empty: OwnedFd,
}

/// What a child inherits from the launcher.
pub(crate) struct Kit {
    pub(crate) empty: OwnedFd,
    /// A file system without content, to lay over what is hidden.
    pub(crate) nothing: String,
    pub(crate) last_capability: u8,
}

/// Serves until the agent is gone, then meets the next one for what it keeps.
pub(crate) fn serve(
    control: &OwnedFd,
    meeting: &OwnedFd,
    folder: &str,
    held: Option<Held>,
) -> Result<(), HostError> {
    sys::reset_signals().map_err(HostError::at("reset", "signals"))?;
    sys::ignore_children().map_err(HostError::at("ignore", "SIGCHLD"))?;
    let held = match held {
        Some(held) => {
            enter(&held.hold).map_err(HostError::at("enter", "the mount namespace that was held"))?;
            held
        }
        None => prepare(folder)?,
    };
    process::serve_at_once();
    channel::send(control.as_fd(), &[HELLO], &[held.hold.as_fd(), held.empty.as_fd()])
        .map_err(HostError::at("answer", "the agent"))?;
    let kit = Kit { empty: held.empty, nothing: nothing(folder), last_capability: last_capability() };
    drop(held.hold);
    let (mut kept, mut spare) = (Kept::new(), Spare::start()?);
    // A reset is an end, too: the agent was killed with an answer unread.
    while let Ok(mut packet) = channel::receive(control.as_fd(), Wait::Yes) {
        match packet.bytes.split_first() {
            None => break,
            Some((&KEEP, name)) => keeping::keep(&mut kept, name, packet.descriptors.pop()),
            Some((&SPARE, _)) => spare.want(),
            Some(_) => obey(packet, &kit, &mut spare),
        }
    }
    drop(spare);
    keeping::hand_over(meeting, kept)
}

/// A request names its own channel for the answer; without one nobody waits.
fn obey(packet: Packet, kit: &Kit, spare: &mut Spare) {
    let mut descriptors = packet.descriptors.into_iter();
    let Some(answer) = descriptors.next() else { return };
    let outcome = match (packet.bytes.split_first(), descriptors.next(), descriptors.next()) {
        (Some((&START, request)), Some(output), Some(errors)) => {
            start(request, &answer, &Output { output, errors }, descriptors.next().as_ref(), kit, spare)
        }
        (Some((&WORK, _)), _, _) => work(&answer),
        _ => Err(HostError::at("understand", "the agent")(nix::errno::Errno::EPROTO)),
    };
    if let Err(error) = outcome {
        report(answer.as_fd(), &error);
    }
}

fn start(
    request: &[u8],
    answer: &OwnedFd,
    output: &Output,
    cgroup: Option<&OwnedFd>,
    kit: &Kit,
    spare: &mut Spare,
) -> Result<(), HostError> {
    let (flags, network): (i32, u8) = wire::from_bytes(request)
        .ok_or_else(|| HostError::at("understand", "the agent")(nix::errno::Errno::EPROTO))?;
    let flags = CloneFlags::from_bits_truncate(flags);
    let network = match network {
        NETWORK_SHARED => Network::Shared,
        when => Network::Own { made: spare.take(), at_once: when == NETWORK_AT_ONCE },
    };
    let cgroup = cgroup.map(AsFd::as_fd);
    match sys::clone_process(flags, ParentOf::OurParent, cgroup)
        .map_err(HostError::at("make", "a process"))?
    {
        Cloned::Child => child::become_container(answer.as_fd(), output, cgroup, &network, kit),
        Cloned::Parent { pid, process } => {
            let mut bytes = vec![PROCESS];
            bytes.extend_from_slice(&pid.to_ne_bytes());
            channel::send(answer.as_fd(), &bytes, &[process.as_fd()])
                .map_err(HostError::at("answer", "the agent"))
        }
    }
}

fn work(answer: &OwnedFd) -> Result<(), HostError> {
    match sys::clone_process(CloneFlags::empty(), ParentOf::Us, None)
        .map_err(HostError::at("make", "a process"))?
    {
        Cloned::Parent { .. } => Ok(()),
        Cloned::Child => {
            match mount::work(answer.as_fd()) {
                // A peer that is gone needs no answer.
                Ok(()) => channel::send(answer.as_fd(), &[DONE], &[]).unwrap_or_default(),
                Err(errors) => errors.iter().for_each(|error| report(answer.as_fd(), error)),
            }
            sys::end(0)
        }
    }
}

/// Tells the agent. A peer that is gone needs no answer.
pub(crate) fn report(answer: BorrowedFd<'_>, error: &HostError) {
    let mut error = error.clone();
    // It goes in one packet: a list of many layers may be longer than what anybody reads.
    error.subject.truncate(error.subject.floor_char_boundary(LONGEST_SUBJECT));
    let mut bytes = vec![FAILED];
    bytes.extend(wire::to_bytes(&error));
    let _ = channel::send(answer, &bytes, &[]);
}

/// Makes both namespaces, and stays in the one that holds.
fn prepare(folder: &str) -> Result<Held, HostError> {
    let held = (|| -> Result<Held, nix::errno::Errno> {
        let own =
            openat(CWD, "/proc/self/ns", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| nix::errno::Errno::from_raw(errno.raw_os_error()))?;
        let current = || {
            openat(&own, "mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| nix::errno::Errno::from_raw(errno.raw_os_error()))
        };
        sys::unshare(CloneFlags::CLONE_NEWNS)?;
        // What the device mounts later shall be seen here too, and nothing from here out there.
        change("/", MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
        tmpfs(folder, MsFlags::empty(), "mode=755")?;
        change(folder, MsFlags::MS_PRIVATE)?;
        nix::unistd::mkdir(nothing(folder).as_str(), nix::sys::stat::Mode::from_bits_truncate(0o755))?;
        let hidden = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        tmpfs(&nothing(folder), hidden, "mode=555,size=4k,nr_inodes=1")?;
        let hold = current()?;
        sys::unshare(CloneFlags::CLONE_NEWNS)?;
        change("/", MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
        tmpfs(folder, hidden, "mode=555,size=4k,nr_inodes=1")?;
        chdir(folder)?;
        pivot_root(".", ".")?;
        umount2(".", MntFlags::MNT_DETACH)?;
        let empty = current()?;
        enter(&hold)?;
        Ok(Held { hold, empty })
    })();
    held.map_err(HostError::at("make", "the mount namespace that holds all containers"))
}

fn change(path: &str, propagation: MsFlags) -> Result<(), nix::errno::Errno> {
    mount(None::<&str>, path, None::<&str>, propagation, None::<&str>)
}

fn tmpfs(path: &str, flags: MsFlags, options: &str) -> Result<(), nix::errno::Errno> {
    mount(Some("goalpost"), path, Some("tmpfs"), flags, Some(options))
}

fn nothing(folder: &str) -> String {
    format!("{folder}/nothing")
}

/// Enters a mount namespace.
pub(crate) fn enter(namespace: &OwnedFd) -> Result<(), nix::errno::Errno> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(|errno| nix::errno::Errno::from_raw(errno.raw_os_error()))
}

fn last_capability() -> u8 {
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    // A kernel that hides it is asked for each number; those it does not have answer EINVAL.
    text.trim().parse().unwrap_or(63)
}
