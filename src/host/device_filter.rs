//! Device rules as the program that a control group of version 2 asks about each use of a device.
//!
//! The kernel hands it `struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }`, with the kind of device in the
//! lower half of `access_type` and the access wanted in the upper, both as `BPF_DEVCG_…` numbers. It answers 1 to allow.

use std::os::fd::BorrowedFd;

use model::lxc::{DeviceRule, Devices, Verdict};
use nix::errno::Errno;

use crate::sys;

/// Lets the rules decide about the group's devices.
pub(crate) fn attach(group: BorrowedFd<'_>, rules: &[DeviceRule]) -> Result<(), Errno> {
    sys::attach_device_program(group, &program(rules))
}

const ACCESS: u8 = 2;
const MAJOR: u8 = 3;
const MINOR: u8 = 4;
const WANTED: u8 = 5;
const SCRATCH: u8 = 6;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const AND_NUMBER: u8 = 0x57;
const SHIFT_RIGHT_NUMBER: u8 = 0x77;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const EVERY_ACCESS: u8 = 7;

/// The last rule that matches decides, so the program asks from the last to the first; without a match the answer is no.
///
/// A rule matches a use only if it covers all access that is wanted, or, for a denial, any of it.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, ACCESS, 1, 0, 0),
        instruction(LOAD_WORD, MAJOR, 1, 4, 0),
        instruction(LOAD_WORD, MINOR, 1, 8, 0),
        instruction(MOVE, WANTED, ACCESS, 0, 0),
        instruction(SHIFT_RIGHT_NUMBER, WANTED, 0, 0, 16),
        instruction(AND_NUMBER, ACCESS, 0, 0, 0xffff),
    ];
    for rule in rules.iter().rev() {
        program.extend(one(rule));
        // What lies before a rule about every device never counts, and the kernel refuses code that cannot be reached.
        if rule.devices == Devices::All && rule.access.bits() == EVERY_ACCESS {
            return program;
        }
    }
    program.extend([instruction(MOVE_NUMBER, 0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

fn one(rule: &DeviceRule) -> Vec<u64> {
    let (kind, major, minor) = match rule.devices {
        Devices::All => (None, None, None),
        Devices::Block(major, minor) => (Some(BLOCK), major, minor),
        Devices::Character(major, minor) => (Some(CHARACTER), major, minor),
    };
    let mut tests = Vec::new();
    if let Some(kind) = kind {
        tests.push((ACCESS, kind));
    }
    tests.extend(major.map(|major| (MAJOR, major.cast_signed())));
    tests.extend(minor.map(|minor| (MINOR, minor.cast_signed())));
    let access = access_test(rule);
    let answer = [
        instruction(MOVE_NUMBER, 0, 0, 0, i32::from(rule.verdict == Verdict::Allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    let length = tests.len() + access.len() + answer.len();
    let mut code = Vec::with_capacity(length);
    for (register, number) in tests {
        code.push(instruction(JUMP_UNLESS_EQUAL, register, 0, beyond(length, code.len()), number));
    }
    for part in access {
        code.push(match part {
            Access::Compute(instruction) => instruction,
            Access::SkipUnlessZero => {
                instruction(JUMP_UNLESS_EQUAL, SCRATCH, 0, beyond(length, code.len()), 0)
            }
            Access::SkipIfZero => instruction(JUMP_IF_EQUAL, SCRATCH, 0, beyond(length, code.len()), 0),
        });
    }
    code.extend(answer);
    code
}

const JUMP_IF_EQUAL: u8 = 0x15;

enum Access {
    Compute(u64),
    SkipUnlessZero,
    SkipIfZero,
}

fn access_test(rule: &DeviceRule) -> Vec<Access> {
    let covered = rule.access.bits();
    let masked = |mask: u8| {
        [
            Access::Compute(instruction(MOVE, SCRATCH, WANTED, 0, 0)),
            Access::Compute(instruction(AND_NUMBER, SCRATCH, 0, 0, i32::from(mask))),
        ]
    };
    if covered == EVERY_ACCESS {
        return Vec::new();
    }
    match rule.verdict {
        Verdict::Allow => {
            masked(EVERY_ACCESS & !covered).into_iter().chain([Access::SkipUnlessZero]).collect()
        }
        Verdict::Deny => masked(covered).into_iter().chain([Access::SkipIfZero]).collect(),
    }
}

/// From the instruction at `at` to just behind the rule.
fn beyond(length: usize, at: usize) -> i16 {
    i16::try_from(length - at - 1).unwrap_or(i16::MAX)
}

/// The kernel's `struct bpf_insn` as it lies in memory of a little-endian machine.
fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    let registers = from << 4 | to;
    u64::from(code)
        | u64::from(registers) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number.cast_unsigned()) << 32
}
