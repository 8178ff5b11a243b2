//! The state as a whole: its keys, who owns each, the files among them.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::Hasher;

use super::device::{self, UnknownDisk};
use super::fields::At;
use super::groups::{self, default_groups};
use super::run::{Run, run};
use super::{bsp, conf, signature};
use crate::canonical;
use crate::device::{DefaultDisk, Device, DiskKind};
use crate::errors::{Findings, ParseErrors, Place, Remarks, quoted};
use crate::goal::StatusGoal;
use crate::ids::{ContainerName, Digest, GroupName, RevisionId};
use crate::json::{Json, Limits, place_of, push_key};
use crate::key::{self, Part, PartValue, Weight};
use crate::lxc::LxcConf;
use crate::revision::{Container, Defaults, Fnv, Group, ObjectReader, Revision, Signatures};
use crate::run::{Kind, Persistence, Storage};

const STATE: &str = "state";
const SPEC: &str = "pantavisor-service-system@1";
const LEGACY: [&str; 3] = ["groups.json", "disks.json", "disks_v3.json"];
const MOST_CONTAINERS: usize = 1024;

pub(crate) fn parse(
    id: RevisionId,
    state: &[u8],
    defaults: Defaults,
    object: ObjectReader<'_>,
) -> Result<Revision, ParseErrors> {
    let mut findings = Findings::default();
    let json = Json::read(STATE, state, Limits::STATE, &mut findings);
    let revision = json.and_then(|json| {
        let keys = Keys::of(&json, &mut findings)?;
        Parser { keys: &keys, object, findings: &mut findings, defaults }.revision(id, &json)
    });
    let Remarks { warnings, unsupported } = findings.finish()?;
    revision
        .map(|revision| Revision { warnings, unsupported, ..revision })
        .ok_or_else(ParseErrors::unexplained)
}

/// The keys of a state, each a checked path.
pub(crate) struct Keys<'j> {
    by_path: BTreeMap<&'j str, Value<'j>>,
}

#[derive(Clone, Copy)]
enum Value<'j> {
    Object(Digest),
    Inline(&'j Json),
}

impl<'j> Keys<'j> {
    pub(crate) fn of(state: &'j Json, findings: &mut Findings) -> Option<Keys<'j>> {
        let Json::Object(members) = state else {
            findings.error(STATE, Place::File, state.describe(), "a state: an object with \"#spec\"");
            return None;
        };
        let mut by_path = BTreeMap::new();
        let mut spec = None;
        for (path, value) in members {
            if &**path == "#spec" {
                spec = Some(value);
            } else if let Err(allowed) = key::refuse(path) {
                findings.error(STATE, place_of_key(path), format!("the key {}", quoted(path)), allowed);
            } else if let Some(value) = value_of(path, value, findings) {
                by_path.insert(&**path, value);
            }
        }
        check_spec(spec, findings);
        let keys = Keys { by_path };
        keys.refuse_files_as_folders(findings);
        Some(keys)
    }

    /// The object at that key.
    pub(crate) fn object(&self, path: &str) -> Option<Digest> {
        match self.by_path.get(path)? {
            Value::Object(digest) => Some(*digest),
            Value::Inline(_) => None,
        }
    }

    /// Whether there are keys below that path.
    pub(crate) fn has_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.by_path.range(&*below..).next().is_some_and(|(key, _)| key.starts_with(&below))
    }

    fn refuse_files_as_folders(&self, findings: &mut Findings) {
        for path in self.by_path.keys() {
            for (end, _) in path.match_indices('/') {
                if self.by_path.contains_key(&path[..end]) {
                    let found = format!("a file that is also the folder of {}", quoted(path));
                    findings.error(STATE, place_of_key(&path[..end]), found, "a file or a folder");
                }
            }
        }
    }
}

fn place_of_key(path: &str) -> Place {
    let mut place = String::new();
    push_key(&mut place, path);
    place_of(&place)
}

fn check_spec(spec: Option<&Json>, findings: &mut Findings) {
    match spec {
        Some(Json::Text(found)) if &**found == SPEC => {}
        Some(other) => findings.error(STATE, place_of("#spec"), other.describe(), format!("\"{SPEC}\"")),
        None => findings.error(STATE, place_of("#spec"), "nothing", format!("\"{SPEC}\"")),
    }
}

fn value_of<'j>(path: &str, value: &'j Json, findings: &mut Findings) -> Option<Value<'j>> {
    const OBJECT: &str = "an object: the 64 hex characters of its sha256";
    const EITHER: &str =
        "JSON given inline (an object or an array), or the 64 hex characters of an object's sha256";
    let inline_allowed = path.ends_with(".json");
    match value {
        Json::Text(text) => {
            if let Ok(digest) = text.parse() {
                return Some(Value::Object(digest));
            }
        }
        Json::Array(_) | Json::Object(_) if inline_allowed => return Some(Value::Inline(value)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {}
    }
    findings.error(STATE, place_of_key(path), value.describe(), if inline_allowed { EITHER } else { OBJECT });
    None
}

struct Parser<'a, 'o> {
    keys: &'a Keys<'a>,
    object: ObjectReader<'o>,
    findings: &'a mut Findings,
    defaults: Defaults,
}

impl<'a> Parser<'a, '_> {
    fn revision(&mut self, id: RevisionId, json: &Json) -> Option<Revision> {
        let (groups, device) = self.device();
        let runs = self.runs();
        let mut parts = self.parts(&runs);
        let containers = self.containers(runs, &groups, &mut parts);
        for container in containers.values() {
            self.check_disks(container, &device);
            self.check_volumes(container, &containers);
        }
        Some(Revision {
            id,
            fingerprint: fingerprint(&canonical::write(json)),
            groups: groups.groups,
            containers,
            device,
            device_parts: parts.remove(&None).unwrap_or_default().into(),
            signatures: self.signatures(),
            warnings: Box::default(),
            unsupported: Box::default(),
        })
    }

    /// The JSON file at that key, inline or from its object.
    fn file(&mut self, path: &'a str) -> Option<Cow<'a, Json>> {
        match *self.keys.by_path.get(path)? {
            Value::Inline(json) => Some(Cow::Borrowed(json)),
            Value::Object(digest) => {
                let bytes = self.bytes(path, &digest)?;
                Json::read(path, &bytes, Limits::FILE, self.findings).map(Cow::Owned)
            }
        }
    }

    fn bytes(&mut self, path: &str, digest: &Digest) -> Option<Vec<u8>> {
        match (self.object)(path, digest) {
            Ok(bytes) => Some(bytes),
            Err(why) => {
                let found = format!("object {digest}, failed to {why}");
                self.findings.error(path, Place::File, found, "an object that can be read");
                None
            }
        }
    }

    /// The groups, and what the state says about the device itself.
    fn device(&mut self) -> (Groups, Device) {
        let (groups, mut device) = match self.file("device.json") {
            Some(json) => {
                self.warn_of_legacy();
                device::device(&At::root(&json, "device.json"), self.findings)
            }
            None => self.legacy_device(),
        };
        device.bsp = self.file("bsp/run.json").and_then(|json| {
            bsp::bsp(&At::root(&json, "bsp/run.json"), self.keys, self.findings).map(Box::new)
        });
        if let Some(json) = self.file("bsp/drivers.json") {
            device.drivers = bsp::drivers(&At::root(&json, "bsp/drivers.json"), self.findings);
        }
        let groups = match groups {
            Some(groups) => Groups { groups, origin: Origin::Revision },
            None => Groups { groups: default_groups(), origin: Origin::Default },
        };
        (groups, device)
    }

    fn warn_of_legacy(&mut self) {
        for path in LEGACY {
            if self.keys.by_path.contains_key(path) {
                self.findings.warn(path, Place::File, "ignored: device.json is there");
            }
        }
    }

    fn legacy_device(&mut self) -> (Option<Box<[Group]>>, Device) {
        let groups = self
            .file("groups.json")
            .map(|json| groups::groups(&At::root(&json, "groups.json"), self.findings));
        let mut disks = Vec::new();
        for (path, unknown) in [("disks.json", UnknownDisk::Refused), ("disks_v3.json", UnknownDisk::Skipped)]
        {
            if let Some(json) = self.file(path) {
                device::disks(&At::root(&json, path), unknown, &mut disks, self.findings);
            }
        }
        (groups, Device { disks: disks.into(), ..Device::default() })
    }

    /// Every `<container>/run.json`, in key order.
    fn runs(&mut self) -> BTreeMap<ContainerName, Run> {
        let mut runs = BTreeMap::new();
        for path in self.keys.by_path.keys().copied() {
            let Some(folder) = path.strip_suffix("/run.json") else { continue };
            if folder.contains('/')
                || folder == "bsp"
                || matches!(folder, "_config" | "_hostconfig" | "_sigs")
            {
                continue;
            }
            let name: ContainerName = match folder.parse() {
                Ok(name) => name,
                Err(bad) => {
                    let found = format!("the folder {}", quoted(folder));
                    self.findings.error(
                        STATE,
                        place_of_key(path),
                        found,
                        format!("a container's name: {}", bad.allowed.trim_start_matches("must be ")),
                    );
                    continue;
                }
            };
            let Some(json) = self.file(path) else { continue };
            if let Some(run) = run(&At::root(&json, path), &name, self.keys, self.findings) {
                runs.insert(name, run);
            }
        }
        if runs.len() > MOST_CONTAINERS {
            let found = format!("{} containers", runs.len());
            self.findings.error(STATE, Place::File, found, format!("at most {MOST_CONTAINERS} containers"));
        }
        runs
    }

    /// Every key with its owner; none is the device.
    fn parts(&self, runs: &BTreeMap<ContainerName, Run>) -> BTreeMap<Option<ContainerName>, Vec<Part>> {
        let mut parts: BTreeMap<Option<ContainerName>, Vec<Part>> = BTreeMap::new();
        for (path, value) in &self.keys.by_path {
            let owner = key::possible_owner(path).filter(|name| runs.contains_key(name));
            let value = match value {
                Value::Object(digest) => PartValue::Object(*digest),
                Value::Inline(_) if Weight::of(path) == Weight::Nothing => PartValue::Inert,
                Value::Inline(json) => PartValue::Inline(canonical::write(json).into()),
            };
            parts.entry(owner).or_default().push(Part { path: (*path).into(), value });
        }
        parts
    }

    fn containers(
        &mut self,
        runs: BTreeMap<ContainerName, Run>,
        groups: &Groups,
        parts: &mut BTreeMap<Option<ContainerName>, Vec<Part>>,
    ) -> BTreeMap<ContainerName, Arc<Container>> {
        let places = groups.places(&runs, self.findings);
        let mut containers = BTreeMap::new();
        for ((name, run), group) in runs.into_iter().zip(places) {
            let Some(defaults) = groups.groups.get(group) else { continue };
            let parts = parts.remove(&Some(name.clone())).unwrap_or_default().into();
            let container = self.container(name.clone(), run, group, defaults, parts);
            containers.insert(name, Arc::new(container));
        }
        containers
    }

    fn container(
        &mut self,
        name: ContainerName,
        run: Run,
        group: usize,
        defaults: &Group,
        parts: Box<[Part]>,
    ) -> Container {
        let role = run.role.unwrap_or_else(|| {
            let (file, role) = (format!("{name}/run.json"), self.defaults.role_when_absent);
            self.findings.warn(
                &file,
                place_of("roles"),
                format!("not given: the device gives {}", role.as_str()),
            );
            role
        });
        let conf = self.conf(&name, &run);
        let goal = if run.spec.kind == Kind::Data { Some(StatusGoal::Mounted) } else { run.status_goal };
        Container {
            name,
            group,
            status_goal: goal.unwrap_or(defaults.status_goal),
            restart_policy: run.restart_policy.unwrap_or(defaults.restart_policy),
            deadline: run.goal_timeout.unwrap_or(defaults.timeout),
            recovery: run.recovery.unwrap_or_else(|| defaults.recovery.clone()),
            lifetime: run.lifetime,
            role,
            run: run.spec,
            conf,
            parts,
        }
    }

    /// The container's conf, if it has a program.
    fn conf(&mut self, name: &ContainerName, run: &Run) -> Option<Box<LxcConf>> {
        let Kind::Lxc { config } = &run.spec.kind else { return None };
        let path = format!("{name}/{config}");
        let Some(digest) = self.keys.object(&path) else {
            let file = format!("{name}/run.json");
            let allowed = format!("a file of the container; the state has no object {path}");
            self.findings.error(&file, place_of("config"), quoted(config), allowed);
            return None;
        };
        let bytes = self.bytes(&path, &digest)?;
        let conf = conf::conf(&path, &bytes, self.findings);
        let file = format!("{name}/run.json");
        let already = self.findings.refused_at(&file, &place_of("root-volume"));
        if conf.rootfs.is_none() && run.spec.root.is_none() && !already {
            self.findings.error(
                &file,
                place_of("root-volume"),
                "nothing",
                "an image, or lxc.rootfs.path in its conf",
            );
        }
        Some(Box::new(conf))
    }

    /// Storage lies on a disk that the device has; and never elsewhere than it asks for, unencrypted perhaps.
    fn check_disks(&mut self, container: &Container, device: &Device) {
        let file = format!("{}/run.json", container.name);
        for storage in &container.run.storage {
            let mut place = String::from("storage");
            push_key(&mut place, &storage.key);
            let Some(name) = &storage.disk else {
                self.check_default_disk(&file, &place, storage, device);
                continue;
            };
            push_key(&mut place, "disk");
            if device.disks.iter().any(|disk| disk.name == *name) {
                self.findings.unsupported(format!(
                    "{file}: {place}: disk {name} is asked for, and this version writes to its own disk only"
                ));
                continue;
            }
            let names: Vec<&str> = device.disks.iter().map(|disk| &*disk.name).collect();
            let allowed = match names.as_slice() {
                [] => String::from("no disk: device.json has none"),
                _ => format!("a disk of device.json: {}", names.join(", ")),
            };
            self.findings.error(&file, place_of(&place), quoted(name), allowed);
        }
    }

    /// A folder is on the agent's own disk; what does not last needs none.
    fn check_default_disk(&mut self, file: &str, place: &str, storage: &Storage, device: &Device) {
        let default = device.disks.iter().find(|disk| disk.default == DefaultDisk::Yes);
        let Some(disk) = default.filter(|disk| disk.kind != DiskKind::Directory) else { return };
        if storage.persistence != Persistence::Boot {
            self.findings.unsupported(format!(
                "{file}: {place}: it lies on the default disk {} of device.json, and this version writes to its own disk only",
                disk.name
            ));
        }
    }

    /// `/volumes/<container>/<image or storage>` is something that will be there.
    fn check_volumes(&mut self, container: &Container, all: &BTreeMap<ContainerName, Arc<Container>>) {
        let Some(conf) = &container.conf else { return };
        for path in conf.device_paths() {
            let Some(rest) = path.strip_prefix("/volumes/") else { continue };
            let mut segments = rest.split('/');
            let (owner, volume) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
            let known = all
                .iter()
                .find(|(name, _)| name.as_str() == owner)
                .is_some_and(|(_, owner)| owner.has_volume(volume));
            if !known {
                let Kind::Lxc { config } = &container.run.kind else { continue };
                let file = format!("{}/{config}", container.name);
                let text =
                    format!("{}: no container of this revision has such an image or storage", quoted(path));
                self.findings.warn(&file, Place::File, text);
            }
        }
    }

    fn signatures(&mut self) -> Signatures {
        let mut count = 0;
        for path in self.keys.by_path.keys().copied().filter(|path| path.starts_with("_sigs/")) {
            count += 1;
            if let Some(json) = self.file(path) {
                signature::signature(&At::root(&json, path), self.findings);
            }
        }
        if count == 0 { Signatures::Absent } else { Signatures::NotVerified(count) }
    }
}

struct Groups {
    groups: Box<[Group]>,
    origin: Origin,
}

#[derive(PartialEq)]
enum Origin {
    Default,
    Revision,
}

impl Groups {
    /// The index of each container's group, in the order of `runs`.
    fn places(&self, runs: &BTreeMap<ContainerName, Run>, findings: &mut Findings) -> Vec<usize> {
        let mut root_is_free = self.origin == Origin::Default
            && !runs.values().any(|run| run.group.as_ref().is_some_and(|group| group.as_str() == "root"));
        runs.iter()
            .map(|(name, run)| match &run.group {
                Some(group) => self.find(group).unwrap_or_else(|| {
                    self.refuse(name, group, findings);
                    0
                }),
                None if self.origin == Origin::Revision => self.groups.len().saturating_sub(1),
                None if core::mem::take(&mut root_is_free) => 1,
                None => 2,
            })
            .collect()
    }

    fn find(&self, name: &GroupName) -> Option<usize> {
        self.groups.iter().position(|group| group.name == *name)
    }

    fn refuse(&self, container: &ContainerName, group: &GroupName, findings: &mut Findings) {
        let names: Vec<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        let file = format!("{container}/run.json");
        let allowed = format!("one of the revision's groups: {}", names.join(", "));
        findings.error(&file, place_of("group"), format!("\"{group}\""), allowed);
    }
}

/// Tells states apart in hash tables, decides nothing.
fn fingerprint(text: &str) -> u64 {
    let mut hash = Fnv::default();
    hash.write(text.as_bytes());
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "abababababababababababababababababababababababababababababababab";

    fn container(name: &str, more: &str) -> String {
        format!(
            r##""{name}/run.json": {{"#spec": "service-manifest-run@1", "name": "{name}", "type": "lxc",
            "config": "lxc.container.conf", "root-volume": "root.squashfs", "roles": ["nobody"]{more}}},
            "{name}/root.squashfs": "{HEX}", "{name}/lxc.container.conf": "{HEX}""##
        )
    }

    fn revision(members: &[String]) -> Revision {
        let state = format!(r##"{{"#spec": "{SPEC}", {}}}"##, members.join(", "));
        parse(RevisionId::factory(), state.as_bytes(), Defaults::default(), &mut |_, _| Ok(Vec::new()))
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn group_of<'r>(revision: &'r Revision, name: &str) -> &'r str {
        let container = revision.container(&name.parse().unwrap()).unwrap();
        revision.groups()[container.group].name.as_str()
    }

    #[test]
    fn the_first_container_without_a_group_is_root_and_the_others_are_platform() {
        let revision =
            revision(&[container("c", ""), container("b", ""), container("a", r#", "group": "app""#)]);
        assert_eq!(["a", "b", "c"].map(|name| group_of(&revision, name)), ["app", "root", "platform"]);
    }

    #[test]
    fn nobody_becomes_root_where_somebody_is() {
        let revision = revision(&[container("a", ""), container("b", r#", "runlevel": "root""#)]);
        assert_eq!(["a", "b"].map(|name| group_of(&revision, name)), ["platform", "root"]);
    }

    #[test]
    fn with_groups_of_its_own_the_last_one_takes_the_rest() {
        let device = r#""device.json": {"groups": [{"name": "one"}, {"name": "two", "timeout": 7}]}"#;
        let revision = revision(&[device.into(), container("a", ""), container("b", r#", "group": "one""#)]);
        assert_eq!(["a", "b"].map(|name| group_of(&revision, name)), ["two", "one"]);
        assert_eq!(revision.container(&"a".parse().unwrap()).unwrap().deadline.as_secs(), 7);
    }

    #[test]
    fn a_recovery_of_its_own_replaces_the_groups_whole() {
        let more = r#", "group": "app", "auto_recovery": {"policy": "always", "backoff_factor": 1.2345}"#;
        let revision = revision(&[container("a", more)]);
        let recovery = &revision.container(&"a".parse().unwrap()).unwrap().recovery;
        assert_eq!((recovery.max_retries, recovery.backoff_factor), (0, 1235));
    }

    #[test]
    fn each_key_has_one_owner() {
        let revision = revision(&[
            container("a", ""),
            format!(
                r#""a/src.json": {{}}, "_config/a/etc/x": "{HEX}", "_config/b/etc/x": "{HEX}", "b/y": "{HEX}""#
            ),
        ]);
        let paths = |parts: &[Part]| parts.iter().map(|part| String::from(&*part.path)).collect::<Vec<_>>();
        assert_eq!(
            paths(&revision.container(&"a".parse().unwrap()).unwrap().parts),
            ["_config/a/etc/x", "a/lxc.container.conf", "a/root.squashfs", "a/run.json", "a/src.json"]
        );
        assert_eq!(paths(revision.device_parts()), ["_config/b/etc/x", "b/y"]);
        assert_eq!(revision.objects().count(), 5);
    }

    #[test]
    fn the_device_may_give_the_least_where_a_container_says_nothing() {
        let state = format!(
            r##"{{"#spec": "{SPEC}", "a/run.json": {{"#spec": "service-manifest-run@1", "name": "a"}}}}"##
        );
        let defaults = Defaults { role_when_absent: crate::recovery::Role::Nobody };
        let revision =
            parse(RevisionId::factory(), state.as_bytes(), defaults, &mut |_, _| Ok(Vec::new())).unwrap();
        let container = revision.container(&"a".parse().unwrap()).unwrap();
        assert_eq!(container.role, crate::recovery::Role::Nobody);
        assert_eq!(container.status_goal, StatusGoal::Mounted);
    }
}
