//! PID 1 of a device: so small that it has nothing to die of, while the agent does the work and may be started again.
//!
//! ```text
//! mounts, watchdog ──> start the agent ──> wait for a signal, or the end of a pause <──────────────┐
//!                            ▲               │ a child ended: reaped; the agent among them ─ pause ┤ (grows with each
//!                            └───────────────┤ the pause is over                                   │  short life)
//!                                            │ TERM, PWR, INT: the agent is asked to end ──────────┘
//!                                            └ the agent has ended, and said or was asked what follows:
//!                                              end the rest, sync, unmount, reboot(2)
//! ```
//!
//! `goalpost-init [PROGRAM [ARGUMENT]...]`, where a program begins with `/`: whatever else the kernel hands over from its
//! command line is ignored. The agent finds in its environment `GOALPOST_INIT=1`, `GOALPOST_DEATHS` (short lives running) and
//! `GOALPOST_WATCHDOG` (the number of the open watchdog, if there is one). It ends with [`RESTART`] or [`POWER_OFF`]; the
//! argument of a restart, such as `0 tryboot`, is in [`ARGUMENT`].
#![no_main]

mod life;
mod mounts;
mod sys;

use core::ffi::{CStr, c_char, c_int};

use life::{Lives, Next};
use sys::{FirstOf, Process, Signals};

/// Exit code of an agent that wants the device restarted. The agent's `effects/leave.rs` has the same two numbers.
const RESTART: c_int = 100;
/// Exit code of an agent that wants the device off.
const POWER_OFF: c_int = 101;
/// What the boot loader is to be told by a restart.
const ARGUMENT: &CStr = c"/run/goalpost-reboot";
const AGENT: &CStr = c"/bin/goalpost";

/// What becomes of the device.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Restart,
    PowerOff,
}

#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, arguments: *const *const c_char) -> c_int {
    let of = sys::first_of();
    if of == FirstOf::Nothing {
        sys::say(c"goalpost-init: this is for the first process of a machine or of a pid namespace\n");
        return 2;
    }
    let signals = Signals::take();
    mounts::make(of);
    let program = sys::program(arguments, AGENT);
    let mut device = Device { of, program, watchdog: None, lives: Lives::new() };
    let then = device.live(&signals);
    device.end(then)
}

struct Device {
    of: FirstOf,
    program: sys::Program,
    watchdog: Option<c_int>,
    lives: Lives,
}

impl Device {
    /// Until the device is to end.
    fn live(&mut self, signals: &Signals) -> Then {
        let mut asked = None;
        let mut agent = self.start();
        loop {
            match (signals.wait(self.lives.pause_left(sys::now())), agent) {
                (sys::Heard::Child, _) => {
                    while let Some((pid, status)) = sys::reap() {
                        if agent == Some(pid) {
                            agent = None;
                            if let Some(then) = asked.or_else(|| wanted(status)) {
                                return then;
                            }
                            sys::say(c"goalpost-init: the agent has ended, and is started again\n");
                            if let Next::GiveUp = self.lives.ended(sys::now()) {
                                sys::say(c"goalpost-init: it keeps ending: the device restarts\n");
                                return Then::Restart;
                            }
                        }
                    }
                }
                (sys::Heard::End(then), Some(pid)) => {
                    asked = Some(then);
                    sys::terminate(pid);
                }
                (sys::Heard::End(then), None) => return then,
                (sys::Heard::Nothing, _) => {}
            }
            if agent.is_none() && self.lives.is_due(sys::now()) {
                agent = self.start();
            }
        }
    }

    fn start(&mut self) -> Option<Process> {
        // Its driver may have come with a module that the agent loaded.
        self.watchdog = self.watchdog.or_else(sys::open_watchdog);
        let process = sys::start(&self.program, self.watchdog, self.lives.deaths());
        self.lives.started(sys::now());
        if process.is_none() {
            self.lives.ended(sys::now());
        }
        process
    }

    /// Ends whatever is left, then the device. If the kernel refuses, the kernel panics as PID 1 ends, and restarts by itself
    /// where it is told to (`panic=`).
    fn end(&self, then: Then) -> c_int {
        sys::end_all();
        mounts::put_away(self.of);
        sys::reboot(then, ARGUMENT)
    }
}

fn wanted(status: sys::Status) -> Option<Then> {
    match status.code() {
        Some(RESTART) => Some(Then::Restart),
        Some(POWER_OFF) => Some(Then::PowerOff),
        Some(_) | None => None,
    }
}
