//! A real agent's life, cut before each change that it made of its disk: what it had said by then is true afterwards.
//!
//! The life is recorded once: a factory boot, metadata, posts, updates that commit and updates that are rolled back, with and
//! without a new boot, a collection, an orderly stop. Every disk that a cut may leave is then given to the agent's own code,
//! and some of them to a real agent.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]

mod expected;
mod recorded;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::geteuid;
use tests::cuts::change::Change;
use tests::cuts::disk::{Found, Scope, lay_down};

use crate::expected::Expected;
use crate::recorded::Recorded;

/// Disks that a real agent is started on.
const FOR_A_REAL_AGENT: usize = 24;
/// Where names that begin with a dot are removed at a start.
const TEMPORARY: [&str; 5] = ["objects/.", "trails/.", "logs/.", "cache/.", "disks/rev/."];
/// Failures that are told.
const TOLD: usize = 12;

/// A disk that a cut may leave, with what must be true of it.
struct Case {
    found: Found,
    scope: Scope,
    expected: Expected,
    what: String,
}

#[test]
#[ignore = "takes longer than a run of all tests may: its cases are to be fewer first"]
fn what_the_agent_said_is_true_after_a_cut_before_any_of_its_changes() {
    assert!(geteuid().is_root(), "this test starts containers on the real kernel: run it as root");
    let recorded = Recorded::life();
    eprintln!("{}", recorded.summary());
    let (cases, to_check) = mpsc::sync_channel(64);
    let (to_check, failed) = (Mutex::new(to_check), Mutex::new(0));
    let (checked, sample) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let possible = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next: Result<Case, _> = to_check.lock().unwrap().recv();
                    let Ok(case) = next else { return };
                    let place = in_memory();
                    lay_down(&case.found, place.path());
                    if let Err(why) = case.expected.check(place.path(), case.scope) {
                        let mut failed = failed.lock().unwrap();
                        *failed += 1;
                        if *failed <= TOLD {
                            eprintln!("{}:\n    {why}", case.what);
                        }
                    }
                    let number = checked.fetch_add(1, Ordering::Relaxed);
                    if number % 251 == 0 {
                        sample.lock().unwrap().push(case);
                    }
                }
            });
        }
        let possible = every_case(&recorded, |case| cases.send(case).unwrap());
        drop(cases);
        possible
    });
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    eprintln!(
        "{} changes, {possible} disks that a cut may leave, {} of them different and checked, {} s of processor time",
        recorded.changes.len(),
        checked.load(Ordering::Relaxed),
        usage.user_time().tv_sec() + usage.system_time().tv_sec(),
    );
    let failed = failed.into_inner().unwrap();
    assert_eq!(failed, 0, "so many cuts fail; the first of them are told above");

    let sample = sample.into_inner().unwrap();
    let step = sample.len().div_ceil(FOR_A_REAL_AGENT).max(1);
    let mut real = 0;
    for case in sample.iter().step_by(step) {
        recorded::real_agent_on(case).unwrap_or_else(|why| panic!("a real agent, {}:\n    {why}", case.what));
        real += 1;
    }
    eprintln!("{real} of them checked with a real agent");
}

/// Hands out each different case, and returns how many there were, different or not.
fn every_case(recorded: &Recorded, mut hand_out: impl FnMut(Case)) -> usize {
    let (mut disk, mut seen, mut possible) = (recorded.before.clone(), HashSet::new(), 0);
    for (at, traced) in recorded.changes.iter().enumerate() {
        let expected = recorded.expected(traced.when);
        // That a sync was asked for changes nothing yet.
        if let Change::SyncBegins { .. } = traced.change {
            disk.carry_out(&traced.change);
            continue;
        }
        disk.after_a_cut(|found, scope, fate| {
            possible += 1;
            if seen.insert(hash_of(&found, &expected)) {
                let what = format!("cut before change {at}, {:.120?}; {fate}", traced.change);
                hand_out(Case { found, scope, expected: expected.clone(), what });
            }
        });
        disk.carry_out(&traced.change);
    }
    possible
}

/// What lies beneath a temporary name goes at the next start, whatever it is: one such disk stands for all.
fn hash_of(found: &Found, expected: &Expected) -> u64 {
    let mut hash = DefaultHasher::new();
    for (path, lies) in found {
        let temporary = TEMPORARY.iter().find(|holder| path.starts_with(**holder));
        match temporary.and_then(|holder| path[holder.len()..].find('/')) {
            Some(_beneath) => {}
            None => (path, lies).hash(&mut hash),
        }
    }
    expected.hash(&mut hash);
    hash.finish()
}

/// A folder in memory where there is one: a sync there costs nothing.
fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
