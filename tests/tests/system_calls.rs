//! System call profiles, asked by real programs in a container what they let through.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::explicit_write,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]
#![allow(dead_code, reason = "the bench is shared with tests that use more of it")]

mod rooted;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use model::report::Exit;
use model::setup::{CgroupPlan, Depth, Namespace, Place, ProcessLimit, SetupStep, StartPlan, Tree};
use rooted::{Bench, Outcome};

/// EDQUOT: nothing on the way to ftruncate gives it otherwise.
const MARK: &str = "Disk quota exceeded";

#[test]
fn every_comparison_is_one_of_64_bits() {
    let Some(bench) = Bench::new() else { return };
    let values: [u64; 8] = [0, 7, 8, 9, 0x1_0000_0007, 0x1_0000_0008, 0x1_0000_0009, 0x2_0000_0000];
    type Holds = fn(u64, u64) -> bool;
    let relations: [(&str, Holds); 8] = [
        ("SCMP_CMP_EQ", |value, with| value == with),
        ("!=", |value, with| value != with),
        ("<", |value, with| value < with),
        ("SCMP_CMP_LE", |value, with| value <= with),
        (">", |value, with| value > with),
        ("SCMP_CMP_GE", |value, with| value >= with),
        ("SCMP_CMP_MASKED_EQ,0x100000001", |value, with| value & 0x1_0000_0001 == with & 0x1_0000_0001),
        ("&=,8", |value, with| value & 8 == with & 8),
    ];
    let tries: String =
        values.map(|value| format!("truncate -s {value} /big 2>&1 || true; echo {value};")).concat();
    for with in [8, 0x1_0000_0008_u64] {
        for (relation, holds) in &relations {
            let comparison = format!("[1,{with},{}]", relation);
            let profile = format!("2\ndenylist\nftruncate errno 122 {comparison}\n");
            let text = run(&bench, &profile, &tries).unwrap().text;
            let mut lines = text.lines().peekable();
            for value in values {
                let refused = lines.next_if(|line| line.contains(MARK)).is_some();
                assert_eq!(lines.next(), Some(&*value.to_string()), "{text}");
                assert_eq!(refused, holds(value, with), "{value} {relation} {with}");
            }
        }
    }
}

#[test]
fn a_profile_answers_as_it_says() {
    let Some(bench) = Bench::new() else { return };
    let denied = "2\ndenylist\nreject_force_umount\n[all]\nmkdir errno 1\nmkdirat errno 1\nsethostname kill\nno_such_call\n";
    let text = run(&bench, denied, "mkdir /a; echo went on; umount -f / || echo not forced").unwrap().text;
    assert!(text.contains("Operation not permitted"), "{text}");
    assert!(
        text.contains("went on") && text.contains("Permission denied") && text.contains("not forced"),
        "{text}"
    );
    let killed = run(&bench, denied, "exec hostname x").unwrap();
    assert_eq!(killed.exit, Exit::Signal(31), "{}", killed.text);
    let elsewhere = "2\ndenylist\n[mips]\nmkdir errno 1\nmkdirat errno 1\n";
    assert_eq!(run(&bench, elsewhere, "mkdir /b && echo made").unwrap().text, "made\n");
    // What is on no list is refused, and what stands first does not hide what is told more closely.
    let allowed = "2\nallowlist allow\nmkdir errno 1\nmkdir allow [1,0777,SCMP_CMP_GE]\nmkdirat errno 1\n";
    assert_eq!(
        run(&bench, &allowed.replace("0777", "1"), "mkdir /c && echo made").unwrap().exit,
        end_of_mkdir()
    );
}

/// There is no mkdir on 64-bit ARM, and so no rule of that name; its mkdirat is refused.
fn end_of_mkdir() -> Exit {
    if cfg!(target_arch = "aarch64") { Exit::Code(1) } else { Exit::Code(0) }
}

/// The calls of 32-bit programs have other numbers; a profile that could be passed by them would be none.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_profile_holds_for_32_bit_calls() {
    let Some(bench) = Bench::new() else { return };
    let source = r#"
        #include <stdio.h>
        static char name[] = "/made";
        int main(void) {
            long path = (long)name, answer;
            if (path >> 32) { puts("no such path for 32 bits"); return 3; }
            __asm__ volatile("int $0x80" : "=a"(answer) : "a"(39), "b"(path), "c"(0755) : "memory");
            printf("%ld\n", answer);
            return 0;
        }
    "#;
    let file = bench.folder().join("calls.c");
    fs::write(&file, source).unwrap();
    let made = Command::new("gcc")
        .args(["-static", "-no-pie", "-o"])
        .arg(bench.root().join("bin/calls"))
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    let both = "2\ndenylist\n[all]\nmkdir errno 122\n";
    assert_eq!(run(&bench, both, "exec calls").unwrap().text, "-122\n");
    let one = "2\ndenylist\n[x86_64]\nmkdir errno 122\n";
    assert_eq!(run(&bench, one, "exec calls").unwrap().text, "0\n");
}

#[test]
fn a_profile_that_is_none_fails_the_start_with_its_place() {
    let Some(bench) = Bench::new() else { return };
    let here = bench.folder().display().to_string();
    let sentence =
        |outcome: Result<Outcome, host::HostError>| outcome.unwrap_err().to_string().replace(&here, "BENCH");
    assert_eq!(
        sentence(run(&bench, "2\ndenylist\nmkdir sometimes\n", "true")),
        "understand the system call profile BENCH/profile, line 3: expected allow, log, errno NUMBER (0 to 4095), trap or \
         kill: Invalid argument (EINVAL)"
    );
    let many: String = (0..1024).map(|_| "read errno 1 [0,1,<],[1,1,<],[2,1,<]\n").collect();
    assert_eq!(
        sentence(run(&bench, &format!("2\ndenylist\n{many}"), "true")),
        "fit the system call profile BENCH/profile into one filter: Argument list too long (E2BIG)"
    );
    for (path, why) in [
        (Path::new("/dev/null"), "Invalid argument (EINVAL)"),
        (&bench.folder().join("nothing"), "No such file or directory (ENOENT)"),
    ] {
        let name = path.display().to_string().replace(&here, "BENCH");
        assert_eq!(
            sentence(run_with(&bench, path, "true")),
            format!("read the system call profile {name}: {why}")
        );
    }
}

fn run(bench: &Bench, profile: &str, script: &str) -> Result<Outcome, host::HostError> {
    let file = bench.folder().join("profile");
    fs::write(&file, profile).unwrap();
    run_with(bench, &file, script)
}

fn run_with(bench: &Bench, profile: &Path, script: &str) -> Result<Outcome, host::HostError> {
    let place = Place::of_device(bench.root().display().to_string());
    let steps = vec![
        SetupStep::Root { tree: Tree::Bind { place, depth: Depth::One }, attributes: BTreeSet::new() },
        SetupStep::SystemCalls { profile: profile.display().to_string() },
        SetupStep::Execute {
            arguments: vec!["sh".into(), "-c".into(), script.into()],
            environment: vec!["PATH=/bin".into()],
        },
    ];
    let cgroup = CgroupPlan { processes: ProcessLimit::Unlimited, values: Vec::new() };
    bench.run(&StartPlan { namespaces: BTreeSet::from([Namespace::Pid]), cgroup, steps })
}
