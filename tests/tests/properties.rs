//! Long random lives of bigger devices: each law of design.md after each of at least 200,000 events.
//!
//! `GOALPOST_SEED=n` lives the one life with that seed again; `GOALPOST_EVENTS=n` lives longer.
#![allow(clippy::print_stdout, reason = "how many events there were is what a reader of the log looks for")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]

use std::env;

use tests::journal::tell;
use tests::random::{live, scenario};
use tests::shell::Shell;

const EVENTS: usize = 240_000;
const EVENTS_OF_A_LIFE: usize = 1_500;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn live_with(seed: u64) -> usize {
    let scenario = scenario(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    match live(&scenario, seed, EVENTS_OF_A_LIFE) {
        Ok(way) => way.len(),
        Err(found) => panic!("GOALPOST_SEED={seed}: {}", tell(&scenario, Shell::Honest, found)),
    }
}

#[test]
fn every_law_holds_in_long_random_lives() {
    if let Some(seed) = number("GOALPOST_SEED") {
        println!("{} events", live_with(seed));
        return;
    }
    let wanted = number("GOALPOST_EVENTS").and_then(|it| usize::try_from(it).ok()).unwrap_or(EVENTS);
    let mut lived = 0;
    let mut seeds = 0;
    while lived < wanted {
        lived += live_with(seeds);
        seeds += 1;
    }
    println!("{lived} events in {seeds} lives");
}
