//! What a container's `run.json` and `lxc.container.conf` come to: mounts, then the steps before its program.
//!
//! The order is the hard part, and it is here:
//!
//! ```text
//! MOUNTED   images -> storage -> root layers (unless a layer is another container's)
//! STARTING  host name, loopback, interfaces -> root -> proc, sys -> /dev -> /pantavisor -> lxc.mount.entry -> cgroup
//!           -> what is hidden or read-only, which covers all of that -> device rules, which deny us too -> limits
//!           -> capabilities -> user -> folder -> label -> exec
//! ```

mod dev;
mod entries;
mod interfaces;
mod places;
mod security;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use model::ids::RevisionId;
use model::lxc::{AutoMounts, Console, Dev, Force, LxcConf, NetKind, Rootfs};
use model::recovery::Role;
use model::report::{Failure, FailureKind};
use model::revision::Container;
use model::run::{Persistence, VolumeSource};
use model::setup::{
    Create, Depth, MountAttribute, MountStep, Namespace, Need, OverlayMarks, Place, SetupStep, StartPlan,
    Tree, Upper,
};
pub use places::Places;

/// What a plan depends on beside the container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Context {
    /// The revision that the container is of.
    pub revision: RevisionId,
    /// Where things are on the device.
    pub places: Places,
    /// What the agent may do.
    pub privileges: Privileges,
    /// The folder of the container's control group, where the host has control groups.
    pub cgroup: Option<String>,
    /// How the number of processes can be limited.
    pub processes: ProcessLimiting,
}

/// What the agent may do on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privileges {
    /// Everything.
    Root,
    /// What root of a user namespace may: no loop devices, no device nodes; images are unpacked folders.
    UserNamespace,
}

/// How the number of a container's processes can be limited here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessLimiting {
    /// By the pids controller.
    Controller,
    /// By its own pid namespace.
    PidNamespace,
    /// Not at all.
    Impossible,
}

/// What `Action::Mount` does: the container's own images, storage and root layers.
///
/// # Errors
/// Its conf asks for what this device or version cannot do.
pub fn mounts(container: &Container, context: &Context) -> Result<Vec<MountStep>, Failure> {
    let places = &context.places;
    let name = container.name.as_str();
    let mut steps = Vec::new();
    let more = container.run.volumes.iter();
    for volume in container.run.root.iter().chain(more) {
        let target = places.volume(name, &volume.file);
        steps.push(match (volume.source, context.privileges) {
            (VolumeSource::Verity(_), _) => {
                return Err(unsupported(format!(
                    "mount {name}/{}: dm-verity is not supported yet",
                    volume.file
                )));
            }
            (VolumeSource::Folder, _) => MountStep::Link {
                path: target,
                to: places.trail(&context.revision, &format!("{name}/{}", volume.file)),
            },
            (VolumeSource::Image(digest), Privileges::Root) => {
                MountStep::Image { file: places.object(&digest), device: places.loop_device(&digest), target }
            }
            (VolumeSource::Image(digest), Privileges::UserNamespace) => {
                MountStep::Link { path: target, to: places.unpacked(&digest) }
            }
        });
    }
    for storage in &container.run.storage {
        let on_disk = match storage.persistence {
            Persistence::Permanent => places.permanent(name, &storage.key),
            Persistence::Revision => places.of_revision(&context.revision, name, &storage.key),
            Persistence::Boot => places.until_boot(name, &storage.key),
        };
        steps.push(MountStep::Folder { path: on_disk.clone(), mode: 0o755 });
        steps.push(MountStep::Link { path: places.volume(name, &storage.key), to: on_disk });
    }
    if let Some(root) = root(container, context) {
        let folders = ["dev", "pantavisor", "proc", "sys", "tmp"];
        steps.extend(folders.map(|folder| MountStep::Folder { path: places.skeleton(folder), mode: 0o755 }));
        let own = places.volume(name, "");
        if layers(&root)
            .all(|layer| layer.anchor.starts_with(&own) || !layer.anchor.starts_with(&places.volumes()))
        {
            let target = places.container_root(name);
            steps.push(MountStep::Mount { tree: root, target, attributes: BTreeSet::new() });
        }
    }
    if container.conf.is_some() {
        steps.push(MountStep::Folder { path: format!("{}/bin", places.pantavisor(name)), mode: 0o755 });
        steps.push(MountStep::File { path: format!("{}/bin/goalctl", places.pantavisor(name)) });
        let folders = METADATA.iter().filter(|_| sees_all(container));
        steps.extend(folders.map(|kind| MountStep::Folder {
            path: format!("{}/{kind}", places.pantavisor(name)),
            mode: 0o755,
        }));
    }
    Ok(steps)
}

/// What `Action::Start` does.
///
/// # Errors
/// Its conf asks for what this device or version cannot do.
pub fn start(container: &Container, context: &Context) -> Result<StartPlan, Failure> {
    let Some(conf) = container.conf.as_deref() else {
        return Err(unsupported(format!("start {}: it has no program", container.name)));
    };
    let namespaces = namespaces(conf)?;
    let cgroup = security::cgroup(conf, context)?;
    let mut steps = Vec::new();
    if namespaces.contains(&Namespace::Uts) {
        let name = conf.host_name.as_deref().unwrap_or(container.name.as_str());
        steps.push(SetupStep::HostName { name: name.to_owned() });
    }
    if namespaces.contains(&Namespace::Network) {
        steps.push(SetupStep::LoopbackUp);
    }
    steps.extend(interfaces::steps(conf, &namespaces, context.privileges)?);
    steps.push(SetupStep::Root { tree: entered_root(container, conf, context), attributes: BTreeSet::new() });
    automatic(conf.auto_mounts, &namespaces, context, &mut steps);
    if conf.dev == Dev::Made {
        dev::made(conf, container.run.dev_log, &namespaces, context.privileges, &mut steps);
    }
    pantavisor(container, context, &mut steps);
    for entry in &conf.mounts {
        steps.push(entries::mount(entry, context)?);
    }
    cgroup_mount(conf, context, &mut steps);
    security::steps(conf, context, &namespaces, &mut steps)?;
    steps.push(SetupStep::Execute {
        arguments: conf.command.iter().map(|word| String::from(&**word)).collect(),
        environment: environment(conf),
    });
    Ok(StartPlan { namespaces, cgroup, steps })
}

pub(crate) fn unsupported(detail: String) -> Failure {
    Failure::new(FailureKind::Unsupported, detail)
}

/// Whether `Action::Start` makes a network namespace.
#[must_use]
pub fn has_own_network(container: &Container) -> bool {
    let own = container.conf.as_deref().map(namespaces);
    own.is_some_and(|own| own.is_ok_and(|own| own.contains(&Namespace::Network)))
}

fn namespaces(conf: &LxcConf) -> Result<BTreeSet<Namespace>, Failure> {
    let mut own = BTreeSet::new();
    for namespace in conf.namespaces.iter() {
        own.extend(match namespace {
            model::lxc::Namespace::Mount => None,
            model::lxc::Namespace::Pid => Some(Namespace::Pid),
            model::lxc::Namespace::Uts => Some(Namespace::Uts),
            model::lxc::Namespace::Ipc => Some(Namespace::Ipc),
            model::lxc::Namespace::Cgroup => Some(Namespace::Cgroup),
            model::lxc::Namespace::Net => Some(Namespace::Network),
            model::lxc::Namespace::User | model::lxc::Namespace::Time => {
                return Err(unsupported(format!("make a {} namespace: not supported", namespace.name())));
            }
        });
    }
    for interface in &conf.net {
        match interface.kind {
            NetKind::None => {
                own.remove(&Namespace::Network);
            }
            NetKind::Empty | NetKind::Phys { .. } | NetKind::Veth { .. } => {}
        }
    }
    Ok(own)
}

/// The root as layers, or none where it is a folder as it is.
fn root(container: &Container, context: &Context) -> Option<Tree> {
    let places = &context.places;
    let name = container.name.as_str();
    let conf = container.conf.as_deref()?;
    let (mut lower, upper): (Vec<Place>, _) = match &conf.rootfs {
        Some(Rootfs::Overlay { lower, upper }) => {
            (lower.iter().map(|path| places.of_conf(path)).collect(), Some(upper_of(upper, context)))
        }
        Some(Rootfs::Folder(path)) => (vec![places.of_conf(path)], None),
        None => {
            let image = Place::of_device(places.volume(name, &container.run.root.as_ref()?.file));
            let layer = container
                .run
                .writable_layer()
                .map(|storage| format!("/volumes/{name}/{}/upper", storage.key));
            (vec![image], layer.map(|path| upper_of(&path, context)))
        }
    };
    let config = format!("_config/{name}/");
    if container.parts.iter().any(|part| part.path.starts_with(&config)) {
        lower.insert(0, Place::of_device(places.trail(&context.revision, config.trim_end_matches('/'))));
    } else if matches!(conf.rootfs, Some(Rootfs::Folder(_))) {
        return None;
    }
    if upper.is_none() {
        // An image that cannot be written to may lack the folders that every container needs.
        lower.push(Place::of_device(places.skeleton("")));
    }
    Some(Tree::Overlay { lower, upper, marks: marks(context) })
}

fn upper_of(path: &str, context: &Context) -> Upper {
    let work = match path.trim_end_matches('/').rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/work"),
        None => format!("{path}.work"),
    };
    Upper { changes: context.places.of_conf(path), work: context.places.of_conf(&work) }
}

pub(crate) fn marks(context: &Context) -> OverlayMarks {
    match context.privileges {
        Privileges::Root => OverlayMarks::Trusted,
        Privileges::UserNamespace => OverlayMarks::User,
    }
}

fn layers(tree: &Tree) -> impl Iterator<Item = &Place> {
    let lower: &[Place] = match tree {
        Tree::Overlay { lower, .. } => lower,
        Tree::Bind { place, .. } => core::slice::from_ref(place),
        Tree::New { .. } => &[],
    };
    lower.iter()
}

/// What was made when it was mounted, or, where it lies over another container's volume, what can be made only now.
fn entered_root(container: &Container, conf: &LxcConf, context: &Context) -> Tree {
    let places = &context.places;
    let name = container.name.as_str();
    let own = places.volume(name, "");
    let as_folder = || match &conf.rootfs {
        Some(Rootfs::Folder(path)) => places.of_conf(path),
        Some(Rootfs::Overlay { .. }) | None => Place::of_device(places.container_root(name)),
    };
    match root(container, context) {
        Some(root)
            if layers(&root)
                .any(|at| at.anchor.starts_with(&places.volumes()) && !at.anchor.starts_with(&own)) =>
        {
            root
        }
        Some(_) => Tree::Bind { place: Place::of_device(places.container_root(name)), depth: Depth::One },
        None => Tree::Bind { place: as_folder(), depth: Depth::All },
    }
}

fn automatic(
    auto: AutoMounts,
    namespaces: &BTreeSet<Namespace>,
    context: &Context,
    steps: &mut Vec<SetupStep>,
) {
    let plain = [MountAttribute::NoSuid, MountAttribute::NoDevices, MountAttribute::NoExecution];
    if auto.proc.is_some() {
        steps.push(fresh("proc", "/proc", &[], &plain, own(namespaces, Namespace::Pid, context)));
    }
    if let Some(access) = auto.sys {
        let mut attributes = plain.to_vec();
        if access != model::lxc::Access::ReadWrite {
            attributes.push(MountAttribute::ReadOnly);
        }
        let source = own(namespaces, Namespace::Network, context);
        steps.push(fresh("sysfs", "/sys", &[], &attributes, source));
        // As LXC has it: the settings of its own interfaces.
        if access == model::lxc::Access::Mixed && matches!(source, Source::Fresh) {
            steps.push(SetupStep::Writable { path: "/sys/devices/virtual/net".to_owned() });
        }
    }
}

/// Whether a kernel file system may be mounted anew, or only the device's be shown.
#[derive(Clone, Copy)]
enum Source {
    Fresh,
    TheDevices,
}

/// Root of a user namespace may mount only what is its own namespace's view.
fn own(namespaces: &BTreeSet<Namespace>, namespace: Namespace, context: &Context) -> Source {
    match context.privileges {
        Privileges::UserNamespace if !namespaces.contains(&namespace) => Source::TheDevices,
        Privileges::UserNamespace | Privileges::Root => Source::Fresh,
    }
}

fn fresh(
    kind: &str,
    target: &str,
    options: &[(&str, &str)],
    attributes: &[MountAttribute],
    source: Source,
) -> SetupStep {
    let options = options.iter().map(|(option, value)| (option.to_string(), value.to_string())).collect();
    let tree = match source {
        Source::Fresh => Tree::New { kind: kind.to_owned(), options },
        Source::TheDevices => Tree::Bind { place: Place::of_device(target), depth: Depth::All },
    };
    SetupStep::Mount {
        tree,
        target: target.to_owned(),
        attributes: attributes.iter().copied().collect(),
        create: Create::Folder,
        need: Need::Required,
    }
}

fn bind(from: String, target: &str, attributes: &[MountAttribute], create: Create, need: Need) -> SetupStep {
    let tree = Tree::Bind { place: Place::of_device(from), depth: Depth::One };
    SetupStep::Mount {
        tree,
        target: target.to_owned(),
        attributes: attributes.iter().copied().collect(),
        create,
        need,
    }
}

/// The folders of metadata in `/pantavisor`. One of the role `mgmt` sees all of it, the rest has files of its own there.
const METADATA: [&str; 2] = ["user-meta", "device-meta"];

fn sees_all(container: &Container) -> bool {
    match container.role {
        Role::Mgmt => true,
        Role::Nobody => false,
    }
}

/// The container's own folder, with its sockets, then the control tool.
fn pantavisor(container: &Container, context: &Context, steps: &mut Vec<SetupStep>) {
    let attributes = [MountAttribute::ReadOnly, MountAttribute::NoSuid, MountAttribute::NoDevices];
    let folder = context.places.pantavisor(container.name.as_str());
    steps.push(bind(folder, "/pantavisor", &attributes, Create::Folder, Need::Required));
    if let Some(goalctl) = &context.places.goalctl {
        steps.push(bind(
            goalctl.clone(),
            "/pantavisor/bin/goalctl",
            &attributes,
            Create::Nothing,
            Need::Required,
        ));
    }
    for kind in METADATA.iter().filter(|_| sees_all(container)) {
        let (all, here) = (context.places.metadata(kind), format!("/pantavisor/{kind}"));
        steps.push(bind(all, &here, &attributes, Create::Nothing, Need::Required));
    }
}

/// With a cgroup namespace and the right to mount, a container's init is expected to mount it itself.
fn cgroup_mount(conf: &LxcConf, context: &Context, steps: &mut Vec<SetupStep>) {
    let (Some(access), Some(folder)) = (conf.auto_mounts.cgroup, &context.cgroup) else { return };
    let may_mount = security::kept(conf).contains(security::SYS_ADMIN);
    if may_mount && conf.auto_mounts.cgroup_force == Force::No {
        return;
    }
    let mut attributes = vec![MountAttribute::NoSuid, MountAttribute::NoDevices, MountAttribute::NoExecution];
    if access == model::lxc::Access::ReadOnly {
        attributes.push(MountAttribute::ReadOnly);
    }
    steps.push(bind(folder.clone(), "/sys/fs/cgroup", &attributes, Create::Nothing, Need::Optional));
}

fn environment(conf: &LxcConf) -> Vec<String> {
    let given = |name: &str| conf.environment.iter().any(|(known, _)| &**known == name);
    let ours = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("TERM", "linux"),
        ("container", "lxc"),
    ];
    let ours =
        ours.into_iter().filter(|(name, _)| !given(name)).map(|(name, value)| format!("{name}={value}"));
    ours.chain(conf.environment.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

/// Whether the container has a console of its own.
fn has_console(console: &Console) -> bool {
    matches!(console, Console::Terminal)
}
