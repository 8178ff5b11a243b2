//! A real agent's life, cut before each change that it made of its disk: what it had said by then is true afterwards.
//!
//! The life is recorded once: a factory boot, metadata, posts, updates that commit and updates that are rolled back, with and
//! without a new boot, a collection, an orderly stop. Every disk that a cut may leave (`tests::cuts::disk` says which) is then
//! given to the agent's own code, those that a start cannot tell apart once; and some of them to a real agent.
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
use tests::cuts::disk::{Found, Hashes, Scope, lay_down};
use tests::cuts::trace::Traced;

use crate::expected::Expected;
use crate::recorded::{Forgotten, Recorded};

/// Disks that a real agent is started on.
const FOR_A_REAL_AGENT: usize = 8;
/// Failures after which no more are looked for.
const TOLD: usize = 12;

/// A disk that a cut may leave, with what must be true of it.
struct Case {
    found: Found,
    scope: Scope,
    expected: Expected,
    what: String,
}

/// What came of the checks of a record.
#[derive(Default)]
struct Outcome {
    possible: usize,
    checked: AtomicUsize,
    failed: Mutex<Vec<String>>,
    /// Some of the cases, for a real agent.
    sample: Mutex<Vec<Case>>,
}

#[test]
fn what_the_agent_said_is_true_after_a_cut_before_any_of_its_changes() {
    assert!(geteuid().is_root(), "this test starts containers on the real kernel: run it as root");
    let recorded = Recorded::life();
    eprintln!("{}", recorded.summary());
    let outcome = check(&recorded, &recorded.changes);
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    eprintln!(
        "{} changes, {} disks that a cut may leave, {} of them different and checked, {} s of processor time",
        recorded.changes.len(),
        outcome.possible,
        outcome.checked.load(Ordering::Relaxed),
        usage.user_time().tv_sec() + usage.system_time().tv_sec(),
    );
    let failed = outcome.failed.into_inner().unwrap();
    assert!(failed.is_empty(), "cuts fail:\n{}", failed.join("\n"));
    let real = real_agents(&outcome.sample.into_inner().unwrap());
    eprintln!("{real} of them checked with a real agent");

    // The same life of an agent that forgets to sync must not pass.
    for forgotten in [Forgotten::Files, Forgotten::Folders] {
        let caught = check(&recorded, &recorded.without_syncs(forgotten)).failed.into_inner().unwrap();
        let first = caught.first().unwrap_or_else(|| panic!("no sync of {forgotten:?}, and nothing fails"));
        eprintln!("no sync of {forgotten:?} is caught: {first:.400}");
    }
}

/// Checks every disk that a cut may leave, on every processor, until so many fail that the rest says nothing new.
fn check(recorded: &Recorded, changes: &[Traced]) -> Outcome {
    let mut outcome = Outcome::default();
    let (cases, to_check) = mpsc::sync_channel(64);
    let to_check = Mutex::new(to_check);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let possible = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next: Result<Case, _> = to_check.lock().unwrap().recv();
                    let Ok(case) = next else { return };
                    outcome.take(case);
                }
            });
        }
        let possible = every_case(recorded, changes, |case| {
            let goes_on = outcome.failed.lock().unwrap().len() < TOLD;
            if goes_on {
                cases.send(case).unwrap();
            }
            goes_on
        });
        drop(cases);
        possible
    });
    outcome.possible = possible;
    outcome
}

impl Outcome {
    fn take(&self, case: Case) {
        let place = in_memory();
        lay_down(&case.found, place.path());
        if let Err(why) = case.expected.check(place.path(), case.scope) {
            self.failed.lock().unwrap().push(format!("{}:\n    {why}", case.what));
        }
        if self.checked.fetch_add(1, Ordering::Relaxed).is_multiple_of(101) {
            self.sample.lock().unwrap().push(case);
        }
    }
}

/// Starts a real agent on some of the disks, as many at a time as there are processors.
fn real_agents(sample: &[Case]) -> usize {
    let step = sample.len().div_ceil(FOR_A_REAL_AGENT).max(1);
    let cases: Vec<_> = sample.iter().step_by(step).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    recorded::real_agent_on(case)
                        .unwrap_or_else(|why| panic!("a real agent, {}:\n    {why}", case.what));
                }
            });
        }
    });
    cases.len()
}

/// Hands out each different case while they are wanted, and returns how many there were, different or not.
fn every_case(recorded: &Recorded, changes: &[Traced], mut hand_out: impl FnMut(Case) -> bool) -> usize {
    let (mut disk, mut seen, mut possible) = (recorded.before.clone(), HashSet::new(), 0);
    let (mut hashes, mut goes_on) = (Hashes::default(), true);
    for (at, traced) in changes.iter().enumerate() {
        if !goes_on {
            break;
        }
        let expected = recorded.expected(traced.when);
        let facts = hash_of(&expected);
        // That a sync was asked for changes nothing yet.
        if !matches!(traced.change, Change::SyncBegins { .. }) {
            disk.after_a_cut(|draft, scope, fate| {
                possible += 1;
                let print = draft.fingerprint(&mut hashes);
                if goes_on && seen.insert((print, facts)) {
                    let what = format!("cut before change {at}, {:.120?}; {fate}", traced.change);
                    goes_on =
                        hand_out(Case { found: draft.found(), scope, expected: expected.clone(), what });
                }
            });
        }
        disk.carry_out(&traced.change);
    }
    possible
}

fn hash_of(expected: &Expected) -> u64 {
    let mut hash = DefaultHasher::new();
    expected.hash(&mut hash);
    hash.finish()
}

/// A folder in memory where there is one: a sync there costs nothing.
fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
