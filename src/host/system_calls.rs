//! A profile of system calls as the program that the kernel asks about each call.
//!
//! The kernel hands it `struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }`. A call by the table of
//! another architecture than those below kills the process: its numbers mean something else.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use libc::sock_filter;
use model::seccomp::{Answer, Call, Comparison, Machine, Profile, Relation, Rule};
use nix::errno::Errno;

use crate::error::{AsErrno, HostError};

/// As the kernel takes them.
const MOST_INSTRUCTIONS: usize = 4096;

const LARGEST_PROFILE: u64 = 64 * 1024;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// One set of system calls that this machine's kernel takes.
struct Table {
    /// `AUDIT_ARCH_…`
    architecture: u32,
    machine: Machine,
    native: bool,
    names: &'static [u8],
}

/// The names of one architecture's calls, a line for each number: a tenth of what a match over them would take.
macro_rules! names {
    ($architecture:ident) => {{
        const LENGTH: usize = {
            let (mut number, mut length) = (0, 0);
            while number < NUMBERS {
                if let Some(call) = syscalls::$architecture::Sysno::new(number) {
                    length += call.name().len();
                }
                length += 1;
                number += 1;
            }
            length
        };
        const NAMES: [u8; LENGTH] = {
            let mut names = [b'\n'; LENGTH];
            let (mut number, mut at) = (0, 0);
            while number < NUMBERS {
                if let Some(call) = syscalls::$architecture::Sysno::new(number) {
                    let name = call.name().as_bytes();
                    let mut letter = 0;
                    while letter < name.len() {
                        names[at + letter] = name[letter];
                        letter += 1;
                    }
                    at += name.len();
                }
                at += 1;
                number += 1;
            }
            names
        };
        &NAMES
    }};
}

/// Above every number of a call but those that 32-bit ARM keeps for itself.
const NUMBERS: usize = 512;

#[cfg(target_arch = "x86_64")]
const TABLES: [Table; 2] = [
    Table { architecture: 0xc000_003e, machine: Machine::X86_64, native: true, names: names!(x86_64) },
    Table { architecture: 0x4000_0003, machine: Machine::X86, native: false, names: names!(x86) },
];

#[cfg(target_arch = "aarch64")]
const TABLES: [Table; 2] = [
    Table { architecture: 0xc000_00b7, machine: Machine::Arm64, native: true, names: names!(aarch64) },
    Table { architecture: 0x4000_0028, machine: Machine::Arm, native: false, names: names!(arm) },
];

#[cfg(target_arch = "arm")]
const TABLES: [Table; 1] =
    [Table { architecture: 0x4000_0028, machine: Machine::Arm, native: true, names: names!(arm) }];

/// Reads the profile at a path of the device.
pub(crate) fn load(path: &str) -> Result<Vec<sock_filter>, HostError> {
    let failed = HostError::at("read", format!("the system call profile {path}"));
    let text = read(path).map_err(|error| failed(error.as_errno()))?;
    let profile = Profile::parse(&text).map_err(|error| {
        HostError::at("understand", format!("the system call profile {path}, {error}"))(Errno::EINVAL)
    })?;
    let program = program(&profile);
    if program.len() > MOST_INSTRUCTIONS {
        return Err(HostError::at("fit", format!("the system call profile {path} into one filter"))(
            Errno::E2BIG,
        ));
    }
    Ok(program)
}

/// A path may name anything: only a plain file is read.
fn read(path: &str) -> std::io::Result<String> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(Errno::EINVAL.into());
    }
    if facts.len() > LARGEST_PROFILE {
        return Err(Errno::EFBIG.into());
    }
    let mut text = String::new();
    file.take(LARGEST_PROFILE).read_to_string(&mut text)?;
    Ok(text)
}

fn program(profile: &Profile) -> Vec<sock_filter> {
    let mut program = vec![load_word(ARCHITECTURE)];
    for table in &TABLES {
        let body = body(profile, table);
        program.push(branch(EQUAL, table.architecture, 1, 0));
        program.push(sock_filter {
            code: JUMP,
            jt: 0,
            jf: 0,
            k: u32::try_from(body.len()).unwrap_or(u32::MAX),
        });
        program.extend(body);
    }
    program.push(answer(Answer::Kill));
    program
}

/// What one set of calls gets.
fn body(profile: &Profile, table: &Table) -> Vec<sock_filter> {
    let mut body = vec![load_word(NUMBER)];
    if table.machine == Machine::X86_64 {
        // The calls of x32 are numbered from here; no kernel need have them.
        body.push(branch(GREATER_OR_EQUAL, 0x4000_0000, 0, 1));
        body.push(answer(Answer::Errno(38)));
    }
    for rule in &profile.rules {
        if let Some(number) = number(rule, table) {
            body.extend(one(number, rule));
        }
    }
    body.push(answer(profile.otherwise));
    body
}

fn number(rule: &Rule, table: &Table) -> Option<u32> {
    match &rule.call {
        Call::Numbered(number) => table.native.then_some(*number),
        Call::Named(name) if rule.machine == Machine::All || rule.machine == table.machine => {
            let at = table.names.split(|byte| *byte == b'\n').position(|other| other == name.as_bytes());
            at.and_then(|number| u32::try_from(number).ok())
        }
        Call::Named(_) => None,
    }
}

/// Loads the number again at its end, which the comparisons have replaced.
fn one(number: u32, rule: &Rule) -> Vec<sock_filter> {
    let tests: Vec<Vec<Instruction>> = rule.comparisons.iter().map(test).collect();
    let length: u8 = tests.iter().map(|test| u8::try_from(test.len()).unwrap_or(u8::MAX)).sum();
    let mut instructions = vec![branch(EQUAL, number, 0, length + 1)];
    let mut left = length;
    for test in tests {
        let mut within = u8::try_from(test.len()).unwrap_or(u8::MAX);
        for instruction in test {
            left -= 1;
            within -= 1;
            let to = |to| match to {
                To::Next => 0,
                To::Holds => within,
                To::Fails => left + 1,
            };
            instructions.push(match instruction {
                Instruction::Plain(plain) => plain,
                Instruction::Branch(code, value, yes, no) => branch(code, value, to(yes), to(no)),
            });
        }
    }
    instructions.push(answer(rule.answer));
    if length > 0 {
        instructions.push(load_word(NUMBER));
    }
    instructions
}

/// Where a branch leads: to the next instruction, behind its comparison, or behind its rule.
#[derive(Clone, Copy)]
enum To {
    Next,
    Holds,
    Fails,
}

enum Instruction {
    Plain(sock_filter),
    Branch(u16, u32, To, To),
}

/// The upper half of an argument decides unless it is equal; then the lower one does.
fn test(comparison: &Comparison) -> Vec<Instruction> {
    use Instruction::{Branch, Plain};
    use To::{Fails, Holds, Next};
    let [low, high] = halves(comparison.value);
    let at = ARGUMENTS + 8 * u32::from(comparison.argument);
    let load_low = Plain(load_word(at));
    let load_high = Plain(load_word(at + 4));
    let ordered = |above, below, load_high, load_low, last| {
        vec![load_high, Branch(GREATER, high, above, Next), Branch(EQUAL, high, Next, below), load_low, last]
    };
    match comparison.relation {
        Relation::Equal => {
            vec![load_high, Branch(EQUAL, high, Next, Fails), load_low, Branch(EQUAL, low, Holds, Fails)]
        }
        Relation::NotEqual => {
            vec![load_high, Branch(EQUAL, high, Next, Holds), load_low, Branch(EQUAL, low, Fails, Holds)]
        }
        Relation::Masked(mask) => {
            let [mask_low, mask_high] = halves(mask);
            vec![
                load_high,
                Plain(sock_filter { code: AND, jt: 0, jf: 0, k: mask_high }),
                Branch(EQUAL, high & mask_high, Next, Fails),
                load_low,
                Plain(sock_filter { code: AND, jt: 0, jf: 0, k: mask_low }),
                Branch(EQUAL, low & mask_low, Holds, Fails),
            ]
        }
        Relation::Greater => ordered(Holds, Fails, load_high, load_low, Branch(GREATER, low, Holds, Fails)),
        Relation::GreaterOrEqual => {
            ordered(Holds, Fails, load_high, load_low, Branch(GREATER_OR_EQUAL, low, Holds, Fails))
        }
        Relation::Less => {
            ordered(Fails, Holds, load_high, load_low, Branch(GREATER_OR_EQUAL, low, Fails, Holds))
        }
        Relation::LessOrEqual => {
            ordered(Fails, Holds, load_high, load_low, Branch(GREATER, low, Fails, Holds))
        }
    }
}

fn halves(value: u64) -> [u32; 2] {
    let low = u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(value >> 32).unwrap_or(u32::MAX);
    [low, high]
}

fn load_word(at: u32) -> sock_filter {
    sock_filter { code: LOAD, jt: 0, jf: 0, k: at }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn answer(answer: Answer) -> sock_filter {
    let k = match answer {
        Answer::Allow => libc::SECCOMP_RET_ALLOW,
        Answer::Log => libc::SECCOMP_RET_LOG,
        Answer::Errno(number) => libc::SECCOMP_RET_ERRNO | u32::from(number),
        Answer::Trap => libc::SECCOMP_RET_TRAP,
        Answer::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    sock_filter { code: RETURN, jt: 0, jf: 0, k }
}
