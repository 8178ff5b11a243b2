//! One container's `run.json`.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::fields::{At, Fields};
use super::groups::{auto_recovery, restart_policy, status_goal};
use super::state::Keys;
use crate::errors::Findings;
use crate::goal::StatusGoal;
use crate::ids::{ContainerName, GroupName};
use crate::json::Json;
use crate::recovery::{AutoRecovery, Lifetime, RestartPolicy, Role};
use crate::run::{
    AfterReading, DevLog, Kind, LogFile, LogSource, Needs, Persistence, PoolAddress, RunSpec, Storage,
    Volume, VolumeSource, Wants,
};

/// `run.json` as it stands: what it leaves to its group is not filled in.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) spec: RunSpec,
    pub(crate) group: Option<GroupName>,
    pub(crate) status_goal: Option<StatusGoal>,
    pub(crate) restart_policy: Option<RestartPolicy>,
    pub(crate) goal_timeout: Option<Duration>,
    pub(crate) recovery: Option<AutoRecovery>,
    pub(crate) lifetime: Lifetime,
    pub(crate) role: Option<Role>,
}

/// Reads `run.json` of the container `name`. `keys` knows which files the state has.
pub(crate) fn run(
    at: &At<'_>,
    name: &ContainerName,
    keys: &Keys<'_>,
    findings: &mut Findings,
) -> Option<Run> {
    let mut fields = at.fields(findings, "a run.json: an object")?;
    spec_version(&mut fields, "service-manifest-run@1", findings);
    own_name(&mut fields, name, findings);
    let kind = kind(&mut fields, findings);
    let volumes = Volumes { container: name, keys };
    let run = Run {
        group: group(&mut fields, findings),
        status_goal: fields.take("status_goal").and_then(|at| status_goal(&at, findings)),
        restart_policy: fields.take("restart_policy").and_then(|at| restart_policy(&at, findings)),
        goal_timeout: fields.take("goal_timeout").and_then(|at| at.seconds(findings)),
        recovery: fields.take("auto_recovery").and_then(|at| auto_recovery(&at, findings)),
        lifetime: lifetime(&mut fields, findings),
        role: fields.take("roles").and_then(|at| role(&at, findings)),
        spec: RunSpec {
            kind: kind?,
            root: fields.take("root-volume").and_then(|at| volumes.one(&at, findings)),
            volumes: fields.take("volumes").map(|at| volumes.all(&at, findings)).unwrap_or_default(),
            storage: fields.take("storage").map(|at| storage(&at, findings)).unwrap_or_default(),
            wants: wants(&mut fields, findings),
            logs: fields.take("logs").map(|at| logs(&at, findings)).unwrap_or_default(),
            exports: fields.take("exports").and_then(|at| at.texts(findings, 256)).unwrap_or_default(),
            dev_log: match fields.take("dev-log").and_then(|at| at.bool(findings)) {
                Some(true) | None => DevLog::Present,
                Some(false) => DevLog::Absent,
            },
        },
    };
    contradictions(&run, at, findings);
    for accepted in ["automodfw", "remount", "conditions"] {
        fields.take(accepted);
    }
    for reserved in ["readiness", "liveness", "setup_script", "limits", "environment"] {
        if let Some(at) = fields.take(reserved) {
            at.warn(findings, "reserved for a later version, ignored by this one");
        }
    }
    fields.finish(findings);
    Some(run)
}

pub(crate) fn spec_version(fields: &mut Fields<'_>, version: &'static str, findings: &mut Findings) {
    if let Some(at) = fields.demand("#spec", findings, version) {
        at.word(findings, &[(version, ())], version);
    }
}

fn own_name(fields: &mut Fields<'_>, name: &ContainerName, findings: &mut Findings) {
    let Some(at) = fields.demand("name", findings, "the container's name, which is its folder's") else {
        return;
    };
    if at.text(findings, 1024).is_some_and(|found| found != name.as_str()) {
        at.refuse(findings, format!("\"{name}\", the name of its folder"));
    }
}

fn kind(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Kind> {
    let config = fields.take("config");
    let Some(at) = fields.take("type") else {
        if let Some(config) = config {
            config.warn(findings, "ignored: without \"type\" nothing is started");
        }
        return Some(Kind::Data);
    };
    at.word(findings, &[("lxc", ())], "\"lxc\", or no type for a container that is only mounted")?;
    let Some(config) = config else {
        at.warn(
            findings,
            "nothing says which file is the lxc.container.conf: taken as \"lxc.container.conf\"",
        );
        return Some(Kind::Lxc { config: "lxc.container.conf".into() });
    };
    Some(Kind::Lxc { config: config.filled_text(findings, 255)?.into() })
}

fn group(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<GroupName> {
    let runlevel = fields.take("runlevel");
    if let Some(at) = fields.take("group") {
        if let Some(runlevel) = runlevel {
            runlevel.warn(findings, "ignored: \"group\" is given too");
        }
        return at.id(findings);
    }
    let at = runlevel?;
    let [data, root, platform, app] = GroupName::defaults();
    let table = [("data", 0), ("root", 1), ("platform", 2), ("app", 3)];
    let index = at.word(findings, &table, "\"data\", \"root\", \"platform\" or \"app\"")?;
    [data, root, platform, app].into_iter().nth(index)
}

fn lifetime(fields: &mut Fields<'_>, findings: &mut Findings) -> Lifetime {
    fields
        .take("lifetime")
        .and_then(|at| at.word(findings, &[("once", Lifetime::Once)], "\"once\", or no lifetime"))
        .unwrap_or_default()
}

fn role(at: &At<'_>, findings: &mut Findings) -> Option<Role> {
    const ALLOWED: &str = "an array of \"mgmt\" and \"nobody\"";
    let items = at.items(findings, 16, ALLOWED)?;
    let table = [("mgmt", Role::Mgmt), ("nobody", Role::Nobody)];
    let roles: Vec<Role> =
        items.iter().filter_map(|item| item.word(findings, &table, "\"mgmt\" or \"nobody\"")).collect();
    Some(if roles.contains(&Role::Mgmt) { Role::Mgmt } else { Role::Nobody })
}

/// What each field allows, and all together do not.
fn contradictions(run: &Run, at: &At<'_>, findings: &mut Findings) {
    if run.spec.kind == Kind::Data && matches!(run.status_goal, Some(StatusGoal::Started | StatusGoal::Ready))
    {
        let goal = run.status_goal.map_or("", StatusGoal::as_str);
        findings.error(
            at.file,
            crate::json::place_of("status_goal"),
            format!("\"{goal}\" without a \"type\""),
            "\"MOUNTED\" for a container that has no program, or \"type\": \"lxc\"",
        );
    }
}

struct Volumes<'a> {
    container: &'a ContainerName,
    keys: &'a Keys<'a>,
}

impl Volumes<'_> {
    fn all(&self, at: &At<'_>, findings: &mut Findings) -> Box<[Volume]> {
        let items = at.items(findings, 64, "an array of file names").unwrap_or_default();
        items.iter().filter_map(|item| self.one(item, findings)).collect()
    }

    fn one(&self, at: &At<'_>, findings: &mut Findings) -> Option<Volume> {
        let text = at.filled_text(findings, 255)?;
        let (verity, file) = match text.strip_prefix("dm:") {
            Some(file) => (true, file),
            None => (false, text),
        };
        let key = format!("{}/{file}", self.container);
        let source = if let Some(digest) = self.keys.object(&key) {
            if verity { VolumeSource::Verity(digest) } else { VolumeSource::Image(digest) }
        } else if !verity && self.keys.has_folder(&key) {
            VolumeSource::Folder
        } else {
            at.refuse(findings, format!("a file of the container; the state has no object {key}"));
            return None;
        };
        if verity {
            findings.unsupported(format!(
                "{}: {}: {text} is to be mounted with dm-verity, which this version cannot do",
                at.file, at.path
            ));
        }
        Some(Volume { file: file.into(), source })
    }
}

/// Storage by its key, of a container or of the device.
pub(crate) fn storage(at: &At<'_>, findings: &mut Findings) -> Box<[Storage]> {
    let Some(mut fields) = at.fields(findings, "an object of storages by their keys") else {
        return Box::default();
    };
    let mut all = Vec::new();
    for (key, at) in fields.rest() {
        if key.is_empty() || key.len() > 255 || key.contains(['/', '\0']) || key == "." || key == ".." {
            let found = crate::errors::quoted(key);
            findings.error(at.file, at.place(), found, "a key of 1 to 255 bytes that is one path segment");
            continue;
        }
        all.extend(one_storage(key, &at, findings));
    }
    all.into()
}

fn one_storage(key: &str, at: &At<'_>, findings: &mut Findings) -> Option<Storage> {
    let mut fields = at.fields(findings, "a storage: an object with a persistence")?;
    let table = [
        ("permanent", Persistence::Permanent),
        ("revision", Persistence::Revision),
        ("boot", Persistence::Boot),
    ];
    const ALLOWED: &str = "\"permanent\", \"revision\" or \"boot\"";
    let persistence =
        fields.demand("persistence", findings, ALLOWED).and_then(|at| at.word(findings, &table, ALLOWED));
    let disk = fields.take("disk").and_then(|at| at.filled_text(findings, 128)).map(Box::from);
    fields.finish(findings);
    Some(Storage { key: key.into(), persistence: persistence?, disk })
}

fn wants(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Box<Wants>> {
    let drivers = fields.take("drivers").map(|at| needs(&at, "driver", findings));
    let services = fields.take("services").map(|at| needs(&at, "service", findings));
    let network = fields.take("network").and_then(|at| network(&at, findings));
    if drivers.is_none() && services.is_none() && network.is_none() {
        return None;
    }
    let wants =
        Wants { drivers: drivers.unwrap_or_default(), services: services.unwrap_or_default(), network };
    (wants != Wants::default()).then(|| Box::new(wants))
}

fn needs(at: &At<'_>, sort: &str, findings: &mut Findings) -> Needs {
    let Some(mut fields) =
        at.fields(findings, "an object of \"required\", \"optional\" and \"manual\" arrays")
    else {
        return Needs::default();
    };
    let mut names =
        |key, findings: &mut Findings| fields.take(key).map(|at| named(&at, findings)).unwrap_or_default();
    let needs = Needs {
        required: names("required", findings),
        optional: names("optional", findings),
        manual: names("manual", findings),
    };
    fields.finish(findings);
    if !needs.required.is_empty() {
        findings.unsupported(format!(
            "{}: {}.required: {sort} {} is required, and this version cannot provide {sort}s",
            at.file,
            at.path,
            needs.required.join(", ")
        ));
    }
    needs
}

/// An array of names, each a string or an object with a `name`.
fn named(at: &At<'_>, findings: &mut Findings) -> Box<[Box<str>]> {
    let items = at.items(findings, 256, "an array of names").unwrap_or_default();
    items.iter().filter_map(|item| name_of(item, findings)).collect()
}

fn name_of(at: &At<'_>, findings: &mut Findings) -> Option<Box<str>> {
    if !matches!(at.value, Json::Object(_)) {
        return at.filled_text(findings, 256).map(Box::from);
    }
    let mut fields = at.fields(findings, "an object with a name")?;
    let name = fields.demand("name", findings, "a name")?;
    name.filled_text(findings, 256).map(Box::from)
}

fn network(at: &At<'_>, findings: &mut Findings) -> Option<PoolAddress> {
    let mut fields = at.fields(findings, "an object with a pool")?;
    let pool = fields.demand("pool", findings, "the name of an address pool");
    let pool = pool.and_then(|at| at.filled_text(findings, 128));
    let hostname = fields.take("hostname").and_then(|at| at.filled_text(findings, 253)).map(Box::from);
    let ip = fields.take("ip").and_then(|at| ip(&at, findings));
    let mac = fields.take("mac").and_then(|at| mac(&at, findings));
    fields.finish(findings);
    let pool = pool?;
    findings.unsupported(format!(
        "{}: {}: an address of pool {pool} is wanted, and this version has no address pools",
        at.file, at.path
    ));
    Some(PoolAddress { pool: pool.into(), hostname, ip, mac })
}

fn ip(at: &At<'_>, findings: &mut Findings) -> Option<core::net::IpAddr> {
    let parsed = at.text(findings, 64)?.parse().ok();
    if parsed.is_none() {
        at.refuse(findings, "an IPv4 or IPv6 address");
    }
    parsed
}

fn mac(at: &At<'_>, findings: &mut Findings) -> Option<[u8; 6]> {
    let parsed = mac_of(at.text(findings, 64)?);
    if parsed.is_none() {
        at.refuse(findings, "a hardware address such as \"02:00:5e:00:53:01\"");
    }
    parsed
}

fn mac_of(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

fn logs(at: &At<'_>, findings: &mut Findings) -> Box<[LogFile]> {
    let items = at.items(findings, 64, "an array of log files").unwrap_or_default();
    let logs: Box<[LogFile]> = items.iter().filter_map(|item| log(item, findings)).collect();
    if !logs.is_empty() {
        at.warn(
            findings,
            "not collected by this version, which collects what the container itself writes out",
        );
    }
    logs
}

fn log(at: &At<'_>, findings: &mut Findings) -> Option<LogFile> {
    let mut fields = at.fields(findings, "a log file: an object with a file")?;
    let source = if fields.take("lxc").is_some() {
        Some(LogSource::Start)
    } else if fields.take("console").is_some() {
        Some(LogSource::Console)
    } else {
        let file = fields.demand("file", findings, "the path of a file in the container");
        file.and_then(|at| at.filled_text(findings, 1024)).map(|file| LogSource::File(file.into()))
    };
    let max_size = fields.take("maxsize").and_then(|at| at.whole(findings, 1 << 40));
    let truncate = fields.take("truncate").and_then(|at| at.bool(findings));
    let name = fields.take("name").and_then(|at| at.filled_text(findings, 128)).map(Box::from);
    fields.finish(findings);
    let after_reading = if truncate == Some(true) { AfterReading::Truncate } else { AfterReading::Keep };
    Some(LogFile { source: source?, max_size, after_reading, name })
}
