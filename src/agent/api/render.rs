//! The published report as the JSON that outsiders read.
//!
//! Rendered once per report, on the first question after it was published; every further answer shares the bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use model::progress::Progress;
use model::recovery::{AutoRecovery, BackoffPolicy, RecoveryPolicy, RestartPolicy, Role};
use model::report::{ContainerReport, DeviceReport, GoalReport, GroupReport, Phase};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The latest report's bytes.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    latest: Mutex<Option<Pages>>,
}

/// What one report looks like.
#[derive(Debug, Clone)]
struct Pages {
    of: Arc<DeviceReport>,
    containers: Bytes,
    groups: Bytes,
    /// As it was asked for last.
    status: Option<(StatusOf, Bytes)>,
}

/// What GET /status tells besides the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StatusOf {
    /// The latest event.
    pub(super) event: u64,
    /// What the disk has to say just now.
    pub(super) disk: Option<String>,
}

impl Rendered {
    /// For GET /containers.
    pub(super) fn containers(&self, report: &Arc<DeviceReport>) -> Bytes {
        self.pages(report, |pages| pages.containers.clone())
    }

    /// For GET /groups.
    pub(super) fn groups(&self, report: &Arc<DeviceReport>) -> Bytes {
        self.pages(report, |pages| pages.groups.clone())
    }

    /// The whole report, for GET /status.
    pub(super) fn status(&self, report: &Arc<DeviceReport>, of: StatusOf) -> Bytes {
        self.pages(report, |pages| match &pages.status {
            Some((known, text)) if *known == of => text.clone(),
            Some(_) | None => {
                let text = status(report, &of);
                pages.status = Some((of, text.clone()));
                text
            }
        })
    }

    fn pages<T>(&self, report: &Arc<DeviceReport>, take: impl FnOnce(&mut Pages) -> T) -> T {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        take(match &mut *latest {
            Some(pages) if Arc::ptr_eq(&pages.of, report) => pages,
            old => old.insert(Pages::of(report)),
        })
    }
}

impl Pages {
    fn of(report: &Arc<DeviceReport>) -> Pages {
        let containers: Vec<_> = report.containers.iter().map(Container::of).collect();
        let groups: Vec<_> = report.groups.iter().map(Group::of).collect();
        Pages { of: report.clone(), containers: json(&containers), groups: json(&groups), status: None }
    }
}

/// `value` as JSON text.
pub(super) fn json(value: &impl Serialize) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("strings, numbers and lists of them always serialize"))
}

/// A progress document in the field's form.
pub(super) fn document(progress: &Progress) -> Box<RawValue> {
    RawValue::from_string(progress.to_json()).expect("a progress document is JSON")
}

fn status(report: &DeviceReport, of: &StatusOf) -> Bytes {
    json(&Status {
        event: of.event,
        revision: report.revision.as_ref().map(|revision| revision.as_str()),
        fallback: report.fallback.as_str(),
        fallback_proven: report.fallback_proven,
        phase: report.phase,
        status: report.status.map(model::goal::Status::as_str),
        update: report
            .update
            .as_ref()
            .map(|(revision, progress)| Update { revision: revision.as_str(), progress: document(progress) }),
        notes: report.notes.iter().map(|note| &**note).chain(of.disk.as_deref()).collect(),
        groups: report.groups.iter().map(Group::of).collect(),
        containers: report.containers.iter().map(ContainerInFull::of).collect(),
    })
}

#[derive(Serialize)]
struct Container<'a> {
    name: &'a str,
    group: &'a str,
    status: &'static str,
    status_goal: &'static str,
    restart_policy: RestartPolicy,
    roles: [Role; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_recovery: Option<ContainerRecovery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_stopped: Option<&'static str>,
}

#[derive(Serialize)]
struct ContainerRecovery {
    policy: RecoveryPolicy,
    max_retries: u32,
    current_retries: u32,
    stable_timeout: Seconds,
    is_stable: &'static str,
    backoff_policy: Backoff,
}

#[derive(Serialize)]
struct Group<'a> {
    name: &'a str,
    status_goal: &'static str,
    restart_policy: RestartPolicy,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto_recovery: Option<GroupRecovery>,
}

#[derive(Serialize)]
struct GroupRecovery {
    policy: RecoveryPolicy,
    max_retries: u32,
    stable_timeout: Seconds,
    backoff_policy: Backoff,
}

#[derive(Serialize)]
struct Status<'a> {
    event: u64,
    revision: Option<&'a str>,
    fallback: &'a str,
    fallback_proven: bool,
    phase: Phase,
    status: Option<&'static str>,
    update: Option<Update<'a>>,
    notes: Vec<&'a str>,
    groups: Vec<Group<'a>>,
    containers: Vec<ContainerInFull<'a>>,
}

#[derive(Serialize)]
struct Update<'a> {
    revision: &'a str,
    progress: Box<RawValue>,
}

#[derive(Serialize)]
struct ContainerInFull<'a> {
    name: &'a str,
    group: &'a str,
    status: &'static str,
    status_goal: &'static str,
    goal: GoalReport,
    restart_policy: RestartPolicy,
    role: Role,
    retries: u32,
    stable: bool,
    user_stopped: bool,
    generation: Option<u64>,
    pid: Option<u32>,
    reason: &'a str,
}

impl<'a> Container<'a> {
    fn of(report: &'a ContainerReport) -> Container<'a> {
        Container {
            name: report.name.as_str(),
            group: report.group.as_str(),
            status: report.status.as_str(),
            status_goal: report.status_goal.as_str(),
            restart_policy: report.restart_policy,
            roles: [report.role],
            auto_recovery: match report.recovery.policy {
                RecoveryPolicy::No => None,
                policy @ (RecoveryPolicy::Always
                | RecoveryPolicy::OnFailure
                | RecoveryPolicy::UnlessStopped) => Some(ContainerRecovery {
                    policy,
                    max_retries: report.recovery.max_retries,
                    current_retries: report.retries,
                    stable_timeout: Seconds(report.recovery.stable_timeout),
                    is_stable: yes_or_no(report.stable),
                    backoff_policy: Backoff(report.recovery.backoff_policy),
                }),
            },
            user_stopped: match report.restart_policy {
                RestartPolicy::System => None,
                RestartPolicy::Container => Some(yes_or_no(report.user_stopped)),
            },
        }
    }
}

impl<'a> Group<'a> {
    fn of(report: &'a GroupReport) -> Group<'a> {
        Group {
            name: report.name.as_str(),
            status_goal: report.status_goal.as_str(),
            restart_policy: report.restart_policy,
            status: report.status.as_str(),
            auto_recovery: GroupRecovery::of(&report.recovery),
        }
    }
}

impl GroupRecovery {
    fn of(recovery: &AutoRecovery) -> Option<GroupRecovery> {
        match recovery.policy {
            RecoveryPolicy::No => None,
            policy @ (RecoveryPolicy::Always | RecoveryPolicy::OnFailure | RecoveryPolicy::UnlessStopped) => {
                Some(GroupRecovery {
                    policy,
                    max_retries: recovery.max_retries,
                    stable_timeout: Seconds(recovery.stable_timeout),
                    backoff_policy: Backoff(recovery.backoff_policy),
                })
            }
        }
    }
}

impl<'a> ContainerInFull<'a> {
    fn of(report: &'a ContainerReport) -> ContainerInFull<'a> {
        ContainerInFull {
            name: report.name.as_str(),
            group: report.group.as_str(),
            status: report.status.as_str(),
            status_goal: report.status_goal.as_str(),
            goal: report.goal,
            restart_policy: report.restart_policy,
            role: report.role,
            retries: report.retries,
            stable: report.stable,
            user_stopped: report.user_stopped,
            generation: report.generation.map(|generation| generation.0),
            pid: report.pid,
            reason: &report.reason,
        }
    }
}

/// The field writes these booleans as strings.
fn yes_or_no(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_f64(self.0.as_secs_f64()),
        }
    }
}

struct Backoff(BackoffPolicy);

impl Serialize for Backoff {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            BackoffPolicy::Reboot => serializer.serialize_str("reboot"),
            BackoffPolicy::Never => serializer.serialize_str("never"),
            BackoffPolicy::After(wait) => serializer.collect_str(&format_args!("{}s", wait.as_secs_f64())),
        }
    }
}
