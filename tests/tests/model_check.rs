//! Every life of a small device: two containers in two groups, two revisions, up to three power cuts, each save working,
//! failing, or cut before or after; each law of design.md after each choice.
#![allow(clippy::print_stdout, reason = "the number of states is what a reader of the log looks for")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails panics")]

use std::time::Instant;

use model::ids::RevisionId;
use model::request::{AfterShutdown, Control};
use tests::choice::Ask;
use tests::explore::{explore, explore_up_to};
use tests::journal::tell;
use tests::scenario::{Faults, Loader, Scenario, State};
use tests::shell::Shell;
use tests::witness::Law;

const RETRIED: &str =
    r#","auto_recovery":{"policy":"on-failure","max_retries":1,"retry_delay":2,"backoff_policy":"never"}"#;

/// `a` must be started before `b`, which must say that it is ready.
fn state(a: u32, b: u32, device: u32, more: &str) -> String {
    State::default()
        .group("first", "STARTED", more)
        .group("second", "READY", more)
        .container("a", "first", a, "")
        .container("b", "second", b, "")
        .device(device)
        .json()
}

fn scenario(name: &str, loader: Loader, first: &str, second: &str, faults: Faults) -> Scenario {
    let scenario = Scenario::new(name, loader).with("0", first).unwrap().with("locals/x", second).unwrap();
    Scenario { asks: vec![Ask::Run(x())], faults: Faults { asks: 1, ..faults }, ..scenario }
}

fn x() -> RevisionId {
    "locals/x".parse().unwrap()
}

fn holds(scenario: &Scenario) {
    let began = Instant::now();
    match explore(scenario, Shell::Honest) {
        Ok(explored) => println!("{:24} {explored:?} in {:.1?}", scenario.name, began.elapsed()),
        Err(found) => panic!("{}", tell(scenario, Shell::Honest, found)),
    }
}

/// An update that restarts `b` alone.
fn without_reboot(loader: Loader, more: &str, faults: Faults) -> Scenario {
    scenario("no-reboot", loader, &state(1, 1, 0, more), &state(1, 2, 0, more), faults)
}

/// An update that boots.
fn with_reboot(loader: Loader, more: &str, faults: Faults) -> Scenario {
    scenario("reboot", loader, &state(1, 1, 0, more), &state(1, 2, 1, more), faults)
}

#[test]
fn update_without_reboot_and_three_power_cuts() {
    holds(&without_reboot(Loader::Kernel, "", Faults { cuts: 3, saves: 2, ..Faults::default() }));
}

#[test]
fn update_with_reboot_and_three_power_cuts() {
    holds(&with_reboot(Loader::Kernel, "", Faults { cuts: 3, saves: 2, ..Faults::default() }));
}

#[test]
fn update_without_reboot_and_slow_or_failing_effects() {
    let faults = Faults { effects: 1, ..Faults::default() };
    holds(&without_reboot(Loader::Kernel, RETRIED, Faults { cuts: 1, ..faults }));
    holds(&without_reboot(Loader::Kernel, "", Faults { stalls: 1, ..faults }));
}

#[test]
fn update_with_reboot_and_slow_or_failing_effects() {
    let faults = Faults { effects: 1, stalls: 1, ..Faults::default() };
    holds(&with_reboot(Loader::StandIn, "", faults));
}

#[test]
fn containers_that_end_and_agents_that_are_killed() {
    let faults = Faults { kills: 1, ends: 1, ..Faults::default() };
    holds(&without_reboot(Loader::StandIn, RETRIED, faults));
    holds(&with_reboot(Loader::Kernel, RETRIED, Faults { kills: 2, ..Faults::default() }));
}

#[test]
fn what_is_asked_meanwhile() {
    let scenario = without_reboot(Loader::Absent, RETRIED, Faults { cuts: 1, saves: 1, ..Faults::default() });
    let control = |control| Ask::Control("b".parse().unwrap(), control);
    let stops = [Ask::ShutDown(AfterShutdown::Restart), Ask::Collect, control(Control::Stop)];
    let asks = stops.into_iter().chain([control(Control::Start), control(Control::Restart), Ask::Run(x())]);
    let faults = Faults { asks: 2, ..scenario.faults };
    holds(&Scenario { name: "asked".to_owned(), asks: asks.collect(), faults, ..scenario });
}

/// Whatever happens, what is tried once is never committed, and the next boot or request brings back what was before.
#[test]
fn tried_once_and_three_power_cuts() {
    let faults = Faults { cuts: 3, saves: 2, ..Faults::default() };
    for scenario in [without_reboot(Loader::Kernel, "", faults), with_reboot(Loader::Kernel, "", faults)] {
        let name = format!("once, {}", scenario.name);
        holds(&Scenario { name, asks: vec![Ask::TryOnce(x())], ..scenario });
    }
}

#[test]
fn tried_once_by_agents_that_are_killed_and_what_is_asked_then() {
    let asks = [Ask::TryOnce(x()), Ask::Run(x()), Ask::Run(RevisionId::factory())];
    for (scenario, faults) in [
        (
            without_reboot(Loader::Absent, "", Faults::default()),
            Faults { kills: 1, saves: 1, ..Faults::default() },
        ),
        (without_reboot(Loader::Kernel, "", Faults::default()), Faults { cuts: 1, ..Faults::default() }),
        (with_reboot(Loader::StandIn, "", Faults::default()), Faults { kills: 1, ..Faults::default() }),
    ] {
        let (name, faults) = (format!("once, then more, {}", scenario.name), Faults { asks: 2, ..faults });
        holds(&Scenario { name, asks: asks.to_vec(), faults, ..scenario });
    }
}

#[test]
fn a_factory_revision_replaced_beside_power_cuts() {
    let asks = [Ask::Run(x()), Ask::MakeFactory(None), Ask::Run(RevisionId::factory())];
    let faults = Faults { cuts: 1, asks: 3, ..Faults::default() };
    let scenario = without_reboot(Loader::Kernel, "", faults);
    holds(&Scenario { name: "factory".to_owned(), asks: asks.to_vec(), faults, ..scenario });
    let faults = Faults { effects: 1, stalls: 1, ..Faults::default() };
    let scenario = without_reboot(Loader::Kernel, "", faults);
    let faults = Faults { asks: 2, ..scenario.faults };
    holds(&Scenario { name: "factory, slow".to_owned(), asks: asks[..2].to_vec(), faults, ..scenario });
}

/// A checker that finds nothing where something is wrong would be worth nothing.
fn breaks(scenario: &Scenario, shell: Shell) -> Law {
    let found = explore_up_to(scenario, shell, 200_000).expect_err("a broken shell is caught");
    println!("{shell:?}: {}, after {} choices", found.violation, found.way.len());
    found.violation.law
}

#[test]
fn a_shell_that_never_syncs_is_caught() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    breaks(&without_reboot(Loader::Kernel, "", faults), Shell::NeverSyncs);
}

#[test]
fn a_shell_that_acts_before_it_saves_is_caught() {
    let faults = Faults { saves: 1, ..Faults::default() };
    breaks(&with_reboot(Loader::Kernel, "", faults), Shell::ActsFirst);
}

#[test]
fn a_shell_that_unmounts_beside_a_mount_is_caught() {
    let faults = Faults { stalls: 4, ..Faults::default() };
    let law = breaks(&without_reboot(Loader::Kernel, RETRIED, faults), Shell::UnmountsBesideMounts);
    assert_eq!(law, Law::Contract);
}

#[test]
fn a_shell_that_forgets_to_redo_is_caught() {
    let faults = Faults { cuts: 1, ..Faults::default() };
    let law = breaks(&without_reboot(Loader::Kernel, "", faults), Shell::ForgetsToRedo);
    assert_eq!(law, Law::DiskAndLoaderAgree);
}
