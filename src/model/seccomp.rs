//! A profile of system calls, in the form that `lxc.seccomp.profile` names: which calls get which answer.
//!
//! Two forms are read. The first is `1`, `allowlist`, then a number of a call on each line. The second:
//!
//! ```text
//! 2
//! denylist                  # or allowlist; then what a call gets that no rule is about (kill where that is left out)
//! reject_force_umount       # no umount2 with MNT_FORCE
//! [all]                     # or one architecture's name: the rules below are for its calls
//! kexec_load errno 1        # a call; what it gets (kill in a denylist, allow in an allowlist, where that is left out)
//! ioctl errno 1 [1,0x5412,SCMP_CMP_EQ]     # only where arguments are as told: [index,value,comparison,mask]
//! ```

use alloc::boxed::Box;
use alloc::vec::Vec;

/// What a container's system calls are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Those that no rule is about.
    pub otherwise: Answer,
    /// The first that matches decides; those with the most comparisons come first.
    pub rules: Vec<Rule>,
}

/// What the kernel does about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is carried out.
    Allow,
    /// It is carried out, and the kernel's log tells of it.
    Log,
    /// It fails with this error number.
    Errno(u16),
    /// It raises SIGSYS.
    Trap,
    /// The process is killed.
    Kill,
}

/// What is said of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// On which machines.
    pub machine: Machine,
    /// Which call.
    pub call: Call,
    /// What it gets.
    pub answer: Answer,
    /// All must hold.
    pub comparisons: Vec<Comparison>,
}

/// A system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// By name; a machine that has none of that name has nothing to filter.
    Named(Box<str>),
    /// By its number on the machine that runs.
    Numbered(u32),
}

/// Whose calls are meant. A machine that also runs 32-bit programs has two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// Every set that this machine has.
    All,
    /// i386.
    X86,
    /// x86-64.
    X86_64,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Arm64,
    /// None that the agent runs on.
    Foreign,
}

/// A test of one argument, as an unsigned number of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub relation: Relation,
    /// With what.
    pub value: u64,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// `SCMP_CMP_EQ`, `==`
    Equal,
    /// `SCMP_CMP_NE`, `!=`
    NotEqual,
    /// `SCMP_CMP_LT`, `<`
    Less,
    /// `SCMP_CMP_LE`, `<=`
    LessOrEqual,
    /// `SCMP_CMP_GT`, `>`
    Greater,
    /// `SCMP_CMP_GE`, `>=`
    GreaterOrEqual,
    /// `SCMP_CMP_MASKED_EQ`, `&=`: the bits of this mask are those of the value.
    Masked(u64),
}

/// Where a profile is not understood. What stands there is not repeated: the file is the device's, not the revision's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}")]
pub struct NotUnderstood {
    /// From 1.
    pub line: usize,
    /// What may stand there.
    pub expected: &'static str,
}

impl Profile {
    /// The most rules that a profile may have; the kernel takes 4096 instructions, and a rule takes one at least twice.
    pub const MOST_RULES: usize = 1024;

    /// Reads a profile.
    pub fn parse(text: &str) -> Result<Profile, NotUnderstood> {
        crate::read::seccomp::profile(text)
    }
}
