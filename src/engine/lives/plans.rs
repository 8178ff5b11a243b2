//! What an update would do, told before it is tried.

use super::*;
use crate::diff;
use model::plan::{Needs, Plan};

const SYSTEM: &str = r#""restart_policy":"system""#;

fn plan(groups: [&[&str]; 2], old: &[(&str, &str, u32)], new: &[(&str, &str, u32)]) -> Plan {
    let [was, is] = groups;
    diff(&revision("0", was, old), &revision("locals/x", is, new))
}

fn names(names: &[ContainerName]) -> Vec<&str> {
    names.iter().map(ContainerName::as_str).collect()
}

#[test]
fn containers_that_differ_restart_and_the_others_stay() {
    let plan = plan(
        [&["a"], &["a"]],
        &[("changed", "", 1), ("gone", "", 1), ("same", "", 1), ("sys", SYSTEM, 1)],
        &[("changed", "", 2), ("new", "", 3), ("same", "", 1), ("sys", SYSTEM, 1)],
    );
    assert_eq!(plan.needs, Needs::Restart);
    assert_eq!(
        (names(&plan.restart), names(&plan.stop), names(&plan.start), names(&plan.stay)),
        (alloc::vec!["changed"], alloc::vec!["gone"], alloc::vec!["new"], alloc::vec!["same", "sys"]),
    );
    assert_eq!(names(&plan.mount), ["changed", "new"]);
    let fetch: Vec<String> = plan.fetch.iter().map(|digest| digest.to_string()).collect();
    assert_eq!(fetch, [format!("{:064x}", 2), format!("{:064x}", 3)]);
}

#[test]
fn nothing_changed_needs_nothing() {
    let plan = plan([&["a"], &["a"]], &[("one", "", 1)], &[("one", "", 1)]);
    assert_eq!((plan.needs, plan.restart.len(), plan.stay.len()), (Needs::Nothing, 0, 1));
}

#[test]
fn a_system_container_or_the_device_itself_needs_a_reboot_and_says_why() {
    let changed = plan([&["a"], &["a"]], &[("one", SYSTEM, 1)], &[("one", SYSTEM, 2)]);
    let gone = plan([&["a"], &["a"]], &[("one", SYSTEM, 1), ("two", "", 1)], &[("two", "", 1)]);
    let device =
        plan([&["a"], &["a", "b"]], &[("one", r#""group":"a""#, 1)], &[("one", r#""group":"a""#, 1)]);
    for (plan, why) in [
        (&changed, "one: its restart policy is system"),
        (&gone, "one: its restart policy is system"),
        (&device, "device.json"),
    ] {
        assert_eq!((plan.needs, plan.reboot_because.join(", ")), (Needs::Reboot, why.to_string()));
        assert!(plan.stay.is_empty(), "everything stops");
    }
}
