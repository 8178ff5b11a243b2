//! Groups of a device, with what a group and a container have in common: goal, restart policy, recovery.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::fields::At;
use crate::errors::Findings;
use crate::goal::StatusGoal;
use crate::ids::GroupName;
use crate::json::{Json, place_of, push_key};
use crate::recovery::{AutoRecovery, BackoffPolicy, RecoveryPolicy, RestartPolicy};
use crate::revision::Group;

const MOST_GROUPS: usize = 64;

/// `device.json`'s `groups`, or the legacy `groups.json`.
pub(crate) fn groups(at: &At<'_>, findings: &mut Findings) -> Box<[Group]> {
    let Some(items) = at.items(findings, MOST_GROUPS, "an array of groups") else { return Box::default() };
    if items.is_empty() {
        at.refuse(findings, "an array of at least one group");
    }
    let mut groups: Vec<Group> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(group) = group(item, findings) else { continue };
        if groups.iter().any(|other| other.name == group.name) {
            let mut place = item.path.clone();
            push_key(&mut place, "name");
            let found = format!("\"{}\" again", group.name);
            findings.error(item.file, place_of(&place), found, "a name that no group before it has");
        } else {
            groups.push(group);
        }
    }
    groups.into()
}

fn group(at: &At<'_>, findings: &mut Findings) -> Option<Group> {
    let mut fields = at.fields(findings, "a group: an object with a name")?;
    let name = fields.demand("name", findings, "the group's name").and_then(|name| name.id(findings));
    if let Some(description) = fields.take("description") {
        description.text(findings, 4096);
    }
    let status_goal = fields.take("status_goal").and_then(|goal| self::status_goal(&goal, findings));
    let policy = fields.take("restart_policy").and_then(|policy| restart_policy(&policy, findings));
    let timeout = fields.take("timeout").and_then(|timeout| timeout.seconds(findings));
    let recovery = fields.take("auto_recovery").and_then(|recovery| auto_recovery(&recovery, findings));
    fields.finish(findings);
    Some(Group {
        name: name?,
        status_goal: status_goal.unwrap_or(StatusGoal::Started),
        restart_policy: policy.unwrap_or(RestartPolicy::Container),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
        recovery: recovery.unwrap_or_default(),
    })
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a revision without groups of its own has.
pub(crate) fn default_groups() -> Box<[Group]> {
    let group = |name: GroupName, status_goal, restart_policy, recovery| Group {
        name,
        status_goal,
        restart_policy,
        timeout: DEFAULT_TIMEOUT,
        recovery,
    };
    let app = AutoRecovery {
        policy: RecoveryPolicy::OnFailure,
        max_retries: 5,
        retry_delay: Duration::from_secs(5),
        backoff_factor: 2000,
        stable_timeout: Duration::from_secs(30),
        ..AutoRecovery::default()
    };
    let [data, root, platform, last] = GroupName::defaults();
    Box::new([
        group(data, StatusGoal::Mounted, RestartPolicy::System, AutoRecovery::default()),
        group(root, StatusGoal::Started, RestartPolicy::System, AutoRecovery::default()),
        group(platform, StatusGoal::Started, RestartPolicy::System, AutoRecovery::default()),
        group(last, StatusGoal::Started, RestartPolicy::Container, app),
    ])
}

pub(crate) fn status_goal(at: &At<'_>, findings: &mut Findings) -> Option<StatusGoal> {
    let table =
        [("MOUNTED", StatusGoal::Mounted), ("STARTED", StatusGoal::Started), ("READY", StatusGoal::Ready)];
    at.word(findings, &table, "\"MOUNTED\", \"STARTED\" or \"READY\"")
}

pub(crate) fn restart_policy(at: &At<'_>, findings: &mut Findings) -> Option<RestartPolicy> {
    let table = [("system", RestartPolicy::System), ("container", RestartPolicy::Container)];
    at.word(findings, &table, "\"system\" or \"container\"")
}

pub(crate) fn auto_recovery(at: &At<'_>, findings: &mut Findings) -> Option<AutoRecovery> {
    let mut fields = at.fields(findings, "a recovery: an object")?;
    let mut recovery = AutoRecovery::default();
    if let Some(policy) = fields.take("policy").and_then(|policy| recovery_policy(&policy, findings)) {
        recovery.policy = policy;
    }
    if let Some(retries) = fields.take("max_retries").and_then(|at| at.whole(findings, 1_000_000)) {
        recovery.max_retries = u32::try_from(retries).unwrap_or(u32::MAX);
    }
    if let Some(delay) = fields.take("retry_delay").and_then(|at| at.seconds(findings)) {
        recovery.retry_delay = delay;
    }
    if let Some(factor) = fields.take("backoff_factor").and_then(|at| at.factor(findings)) {
        recovery.backoff_factor = factor;
    }
    if let Some(window) = fields.take("reset_window").and_then(|at| at.seconds(findings)) {
        recovery.reset_window = window;
    }
    if let Some(timeout) = fields.take("stable_timeout").and_then(|at| at.seconds(findings)) {
        recovery.stable_timeout = timeout;
    }
    if let Some(policy) = fields.take("backoff_policy").and_then(|at| backoff_policy(&at, findings)) {
        recovery.backoff_policy = policy;
    }
    if let Some(ladder) = fields.take("ladder") {
        recovery.ladder = self::ladder(&ladder, findings);
    }
    fields.finish(findings);
    Some(recovery)
}

fn recovery_policy(at: &At<'_>, findings: &mut Findings) -> Option<RecoveryPolicy> {
    let table = [
        ("no", RecoveryPolicy::No),
        ("always", RecoveryPolicy::Always),
        ("on-failure", RecoveryPolicy::OnFailure),
        ("unless-stopped", RecoveryPolicy::UnlessStopped),
    ];
    at.word(findings, &table, "\"no\", \"always\", \"on-failure\" or \"unless-stopped\"")
}

fn ladder(at: &At<'_>, findings: &mut Findings) -> Vec<Duration> {
    const ALLOWED: &str = "an array of at least one number of seconds";
    let Some(steps) = at.items(findings, 64, ALLOWED) else { return Vec::new() };
    if steps.is_empty() {
        at.refuse(findings, ALLOWED);
    }
    steps.iter().filter_map(|step| step.seconds(findings)).collect()
}

fn backoff_policy(at: &At<'_>, findings: &mut Findings) -> Option<BackoffPolicy> {
    let parsed = match at.value {
        Json::Text(text) => backoff_policy_of(text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
    };
    if parsed.is_none() {
        at.refuse(
            findings,
            "\"reboot\", \"never\", or a time of 1s to 365d such as \"30s\", \"10min\", \"1h\"",
        );
    }
    parsed
}

fn backoff_policy_of(text: &str) -> Option<BackoffPolicy> {
    match text {
        "reboot" => return Some(BackoffPolicy::Reboot),
        "never" => return Some(BackoffPolicy::Never),
        _ => {}
    }
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (amount, unit): (u64, &str) = (text[..unit_at].parse().ok()?, &text[unit_at..]);
    let factor = match unit {
        "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = amount.checked_mul(factor)?;
    (1..=365 * 86_400).contains(&seconds).then(|| BackoffPolicy::After(Duration::from_secs(seconds)))
}
