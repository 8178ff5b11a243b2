//! The system calls of PID 1, each behind a function that is safe to call. No memory is allocated.

use core::ffi::{CStr, c_char, c_int, c_uint};
use core::mem::MaybeUninit;
use core::ptr;

use crate::Then;

/// A process, by its number: a child of ours, so that nobody else has the number before we reap it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(libc::pid_t);

/// How a process ended, as the kernel encodes it.
#[derive(Clone, Copy)]
pub(crate) struct Status(c_int);

/// A program with its arguments, as they came in: the vector ends with a null.
pub(crate) struct Program {
    path: *const c_char,
    arguments: *const *const c_char,
    alone: [*const c_char; 2],
}

/// Options of a mount.
#[derive(Clone, Copy)]
pub(crate) enum Options {
    /// No devices on it, nothing executed from it.
    Plain(&'static CStr),
    /// Device nodes are what it is for.
    Devices(&'static CStr),
}

/// The signals that PID 1 waits for. They are blocked, so that none is lost and no handler runs.
pub(crate) struct Signals(libc::sigset_t);

/// What was heard.
pub(crate) enum Heard {
    Child,
    End(Then),
    /// The time is over, or a signal that means nothing here.
    Nothing,
}

/// The program that is named first, if it is an absolute path, with what follows it; else this one alone.
pub(crate) fn program(arguments: *const *const c_char, otherwise: &'static CStr) -> Program {
    // SAFETY: the C library hands `main` a vector that ends with a null; what is read lies before or at it.
    let named = unsafe {
        !(*arguments).is_null() && !(*arguments.add(1)).is_null() && **arguments.add(1) == b'/'.cast_signed()
    };
    if named {
        // SAFETY: as above, the vector has a second element.
        unsafe { Program { path: *arguments.add(1), arguments: arguments.add(1), alone: [ptr::null(); 2] } }
    } else {
        Program { path: otherwise.as_ptr(), arguments: ptr::null(), alone: [otherwise.as_ptr(), ptr::null()] }
    }
}

impl Signals {
    /// Blocks them.
    pub(crate) fn take() -> Signals {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset makes `set` a value, the other calls get that value and numbers of signals.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGPWR, libc::SIGINT] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let set = set.assume_init();
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
            set
        };
        Signals(set)
    }

    /// Waits for one of them, for so many seconds at most.
    pub(crate) fn wait(&self, seconds: Option<i64>) -> Heard {
        let time = seconds.map(|seconds| libc::timespec { tv_sec: seconds as _, tv_nsec: 0 });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the set is a value, no information is asked for, and the time, if any, outlives the call.
        match unsafe { libc::sigtimedwait(&raw const self.0, ptr::null_mut(), time) } {
            libc::SIGCHLD => Heard::Child,
            libc::SIGTERM | libc::SIGPWR => Heard::End(Then::PowerOff),
            libc::SIGINT => Heard::End(Then::Restart),
            _ => Heard::Nothing,
        }
    }
}

impl Status {
    /// The code it ended with, unless a signal ended it.
    pub(crate) fn code(self) -> Option<c_int> {
        libc::WIFEXITED(self.0).then(|| libc::WEXITSTATUS(self.0))
    }
}

/// Whose first process this is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstOf {
    Machine,
    PidNamespace,
    Nothing,
}

/// Finds out; on a machine, the three-finger salute becomes a SIGINT to us from now on.
pub(crate) fn first_of() -> FirstOf {
    // SAFETY: neither has demands.
    unsafe {
        if libc::getpid() != 1 {
            FirstOf::Nothing
        } else if libc::reboot(libc::LINUX_REBOOT_CMD_CAD_OFF) == 0 {
            FirstOf::Machine
        } else {
            // Where it is refused.
            FirstOf::PidNamespace
        }
    }
}

/// A child that has ended, if there is one.
pub(crate) fn reap() -> Option<(Process, Status)> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((Process(pid), Status(status)))
}

/// Asks a child that was not reaped to end.
pub(crate) fn terminate(process: Process) {
    // SAFETY: kill takes numbers.
    unsafe { libc::kill(process.0, libc::SIGTERM) };
}

/// Seconds since the machine began.
#[allow(clippy::useless_conversion, reason = "these seconds have 32 bits on some machines")]
pub(crate) fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.into()
}

/// Opens the watchdog, which begins to count; it stays open for the agent.
pub(crate) fn open_watchdog() -> Option<c_int> {
    // SAFETY: the path is a C string.
    let found = unsafe { libc::open(c"/dev/watchdog".as_ptr(), libc::O_RDWR) };
    (found >= 0).then_some(found)
}

/// Starts the agent. `None`: there is no room for a process.
pub(crate) fn start(program: &Program, watchdog: Option<c_int>, deaths: u32) -> Option<Process> {
    // SAFETY: this process has one thread, so the child may do whatever it likes.
    match unsafe { libc::fork() } {
        0 => become_agent(program, watchdog, deaths),
        pid if pid > 0 => Some(Process(pid)),
        _ => None,
    }
}

fn become_agent(program: &Program, watchdog: Option<c_int>, deaths: u32) -> ! {
    let mut numbers = [[0; 12]; 2];
    let [deaths_text, watchdog_text] = &mut numbers;
    let arguments = if program.arguments.is_null() { program.alone.as_ptr() } else { program.arguments };
    // SAFETY: all are C strings that outlive the calls; the set is made a value by sigemptyset; the vector ends with a null.
    unsafe {
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::setsid();
        libc::setenv(c"GOALPOST_INIT".as_ptr(), c"1".as_ptr(), 1);
        libc::setenv(c"GOALPOST_DEATHS".as_ptr(), decimal(deaths, deaths_text), 1);
        if let Some(watchdog) = watchdog {
            libc::setenv(c"GOALPOST_WATCHDOG".as_ptr(), decimal(watchdog.cast_unsigned(), watchdog_text), 1);
        }
        libc::execv(program.path, arguments);
    }
    say(c"goalpost-init: failed to execute the agent\n");
    abort()
}

/// A number as a C string.
fn decimal(mut number: c_uint, text: &mut [c_char; 12]) -> *const c_char {
    let mut begin: *const c_char = ptr::null();
    for place in text.iter_mut().rev().skip(1) {
        *place = b'0'.cast_signed() as c_char + (number % 10) as c_char;
        begin = ptr::from_ref(place);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    begin
}

#[allow(
    clippy::cast_sign_loss,
    clippy::unnecessary_cast,
    reason = "the number's type is another on each machine"
)]
/// The initramfs cannot be pivoted away from, by containers neither: a view of it on top of it can.
pub(crate) fn leave_rootfs() {
    const RAMFS: u64 = 0x8584_58f6;
    const TMPFS: u64 = 0x0102_1994;
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    let view = c"/.root";
    // SAFETY: the paths are C strings; statfs makes `found` a value where it returns 0. Nothing is open yet that a change of the
    // root would mislead.
    unsafe {
        if libc::statfs(c"/".as_ptr(), found.as_mut_ptr()) != 0 {
            return;
        }
        let kind = found.assume_init().f_type as u64;
        if kind & 0xffff_ffff != RAMFS && kind & 0xffff_ffff != TMPFS {
            return;
        }
        libc::mkdir(view.as_ptr(), 0o755);
        if libc::mount(c"/".as_ptr(), view.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null()) == 0
            && libc::chdir(view.as_ptr()) == 0
            && libc::mount(c".".as_ptr(), c"/".as_ptr(), ptr::null(), libc::MS_MOVE, ptr::null()) == 0
        {
            libc::chroot(c".".as_ptr());
        }
        libc::chdir(c"/".as_ptr());
        libc::rmdir(view.as_ptr());
    }
}

pub(crate) fn make_folder(path: &CStr) {
    // SAFETY: the path is a C string.
    unsafe { libc::mkdir(path.as_ptr(), 0o755) };
}

pub(crate) fn mount(kind: &CStr, place: &CStr, options: Options) {
    let (flags, text) = match options {
        Options::Plain(text) => (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, text),
        Options::Devices(text) => (libc::MS_NOSUID, text),
    };
    // SAFETY: all are C strings.
    unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, text.as_ptr().cast()) };
}

/// Whether it could be.
pub(crate) fn unmount(place: &CStr) -> bool {
    // SAFETY: the path is a C string.
    unsafe { libc::umount2(place.as_ptr(), 0) == 0 }
}

pub(crate) fn make_read_only(place: &CStr) {
    let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
    // SAFETY: the path is a C string, the kernel ignores the rest.
    unsafe { libc::mount(ptr::null(), place.as_ptr(), ptr::null(), flags, ptr::null()) };
}

pub(crate) fn sync() {
    // SAFETY: sync has no demands.
    unsafe { libc::sync() };
}

/// Ends every process but this one. The agent has ended what obeys.
pub(crate) fn end_all() {
    // SAFETY: kill and waitpid take numbers; no status is asked for.
    unsafe {
        libc::kill(-1, libc::SIGKILL);
        while libc::waitpid(-1, ptr::null_mut(), 0) > 0 {}
    }
}

/// Ends the machine, or the pid namespace. Returns only if the kernel refuses.
pub(crate) fn reboot(then: Then, argument: &CStr) -> c_int {
    let mut text = [0u8; 128];
    // SAFETY: the path is a C string; read writes at most what is named, and leaves a zero at the end; the numbers and the C string
    // are what reboot(2) asks for.
    unsafe {
        match then {
            Then::PowerOff => libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF),
            Then::Restart => {
                let file = libc::open(argument.as_ptr(), libc::O_RDONLY);
                if file >= 0 && libc::read(file, text.as_mut_ptr().cast(), text.len() - 1) > 0 {
                    libc::syscall(
                        libc::SYS_reboot,
                        libc::LINUX_REBOOT_MAGIC1,
                        libc::LINUX_REBOOT_MAGIC2,
                        libc::LINUX_REBOOT_CMD_RESTART2,
                        text.as_ptr(),
                    );
                }
                libc::reboot(libc::LINUX_REBOOT_CMD_RESTART)
            }
        }
    }
}

/// To the console, where there is one.
pub(crate) fn say(text: &CStr) {
    let bytes = text.to_bytes();
    // SAFETY: the bytes outlive the call.
    unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
}

pub(crate) fn abort() -> ! {
    // SAFETY: _exit has no demands.
    unsafe { libc::_exit(127) }
}
