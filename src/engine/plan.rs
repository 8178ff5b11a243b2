//! Says what going from one revision to another does: a pure function.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use model::key::{Part, Weight};
use model::plan::{Needs, Plan};
use model::recovery::RestartPolicy;
use model::revision::{Container, Revision};

/// What going from `running` to `target` does.
pub fn diff(running: &Revision, target: &Revision) -> Plan {
    let mut plan = Plan {
        from: running.id().clone(),
        to: target.id().clone(),
        needs: Needs::Nothing,
        reboot_because: changed_keys(running.device_parts(), target.device_parts()).map(Into::into).collect(),
        stop: Vec::new(),
        start: Vec::new(),
        restart: Vec::new(),
        stay: Vec::new(),
        mount: Vec::new(),
        fetch: Vec::new(),
    };
    let was = running.containers().map(|old| (Some(old), target.container(&old.name)));
    let is_new =
        target.containers().filter(|new| running.container(&new.name).is_none()).map(|new| (None, Some(new)));
    for pair in was.chain(is_new) {
        add(&mut plan, pair);
    }
    if !plan.reboot_because.is_empty() {
        plan.needs = Needs::Reboot;
        plan.restart.append(&mut plan.stay);
        plan.restart.sort_unstable();
    } else if !(plan.stop.is_empty() && plan.start.is_empty() && plan.restart.is_empty()) {
        plan.needs = Needs::Restart;
    }
    plan.mount = plan.restart.iter().chain(&plan.start).cloned().collect();
    plan.fetch = new_objects(running, target);
    plan
}

/// Whether a container's change needs anything.
pub(crate) fn is_same(old: &Arc<Container>, new: &Arc<Container>) -> bool {
    Arc::ptr_eq(old, new) || changed_keys(&old.parts, &new.parts).next().is_none()
}

fn add(plan: &mut Plan, pair: (Option<&Arc<Container>>, Option<&Arc<Container>>)) {
    let (name, list) = match pair {
        (Some(old), Some(new)) if is_same(old, new) => (&new.name, &mut plan.stay),
        (Some(old), Some(_)) => (&old.name, &mut plan.restart),
        (Some(old), None) => (&old.name, &mut plan.stop),
        (None, Some(new)) => (&new.name, &mut plan.start),
        (None, None) => return,
    };
    list.push(name.clone());
    let policies = [pair.0, pair.1];
    let is_system =
        policies.iter().flatten().any(|container| container.restart_policy == RestartPolicy::System);
    let changes = !matches!(pair, (Some(old), Some(new)) if is_same(old, new));
    if changes && is_system {
        plan.reboot_because.push(format!("{name}: its restart policy is system"));
    }
}

/// Keys whose value differs, or that only one side has, and that matter. Both sides are sorted.
fn changed_keys<'a>(old: &'a [Part], new: &'a [Part]) -> impl Iterator<Item = &'a str> {
    let lacks = |parts: &[Part], part: &Part| match parts.binary_search_by(|other| other.path.cmp(&part.path))
    {
        Ok(index) => parts.get(index).is_none_or(|other| other.value != part.value),
        Err(_) => true,
    };
    let gone = old.iter().filter(|part| !new.iter().any(|other| other.path == part.path));
    let changed = new.iter().filter(move |part| lacks(old, part));
    gone.chain(changed).filter(|part| part.weight() != Weight::Nothing).map(|part| &*part.path)
}

fn new_objects(running: &Revision, target: &Revision) -> Vec<model::ids::Digest> {
    let old: alloc::collections::BTreeSet<_> = running.objects().map(|(_, digest)| *digest).collect();
    let new: alloc::collections::BTreeSet<_> = target.objects().map(|(_, digest)| *digest).collect();
    new.difference(&old).copied().collect()
}
