//! `lxc.mount.entry` as steps.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use model::lxc::{self, MountEntry, MountFlag, MountKind, WhenMissing, Writes};
use model::report::Failure;
use model::setup::{Create, Depth, MountAttribute, Need, SetupStep, Tree, Upper};

use super::{Context, marks, unsupported};

pub(super) fn mount(entry: &MountEntry, context: &Context) -> Result<SetupStep, Failure> {
    let places = &context.places;
    let bind = |depth| Tree::Bind { place: places.of_conf(&entry.source), depth };
    let tree = match &entry.kind {
        MountKind::Bind => bind(Depth::One),
        MountKind::RecursiveBind => bind(Depth::All),
        MountKind::Overlay { lower, upper, work } => Tree::Overlay {
            lower: lower.iter().map(|path| places.of_conf(path)).collect(),
            upper: match (upper, work) {
                (Some(upper), Some(work)) => {
                    Some(Upper { changes: places.of_conf(upper), work: places.of_conf(work) })
                }
                (None, _) => None,
                (Some(upper), None) => {
                    let detail =
                        format!("mount an overlay on /{}: upperdir={upper} without a workdir", entry.target);
                    return Err(unsupported(detail));
                }
            },
            marks: marks(context),
        },
        MountKind::FileSystem(kind) => Tree::New { kind: kind.to_string(), options: options(entry) },
    };
    Ok(SetupStep::Mount {
        tree,
        target: format!("/{}", entry.target.trim_start_matches('/')),
        attributes: attributes(entry)?,
        create: match entry.create {
            lxc::Create::Nothing => Create::Nothing,
            lxc::Create::Folder => Create::Folder,
            lxc::Create::File => Create::File,
        },
        need: match entry.when_missing {
            WhenMissing::Fail => Need::Required,
            WhenMissing::Skip => Need::Optional,
        },
    })
}

fn options(entry: &MountEntry) -> Vec<(String, String)> {
    let given = entry.options.split(',').filter(|option| !option.is_empty());
    let given = given.map(|option| option.split_once('=').unwrap_or((option, "")));
    let source = Some(("source", &*entry.source)).filter(|(_, source)| source.starts_with('/'));
    source.into_iter().chain(given).map(|(option, value)| (option.into(), value.into())).collect()
}

fn attributes(entry: &MountEntry) -> Result<BTreeSet<MountAttribute>, Failure> {
    let mut attributes = BTreeSet::new();
    if entry.writes == Writes::Refused {
        attributes.insert(MountAttribute::ReadOnly);
    }
    for flag in &entry.flags {
        attributes.extend(match flag {
            MountFlag::NoSuid => Some(MountAttribute::NoSuid),
            MountFlag::NoDev => Some(MountAttribute::NoDevices),
            MountFlag::NoExec => Some(MountAttribute::NoExecution),
            MountFlag::NoAtime => Some(MountAttribute::NoAccessTime),
            // The kernel's default, or how every mount of a container is: nothing of it goes back to the device.
            MountFlag::RelAtime
            | MountFlag::NoDirAtime
            | MountFlag::StrictAtime
            | MountFlag::Private
            | MountFlag::RecursivePrivate
            | MountFlag::Slave
            | MountFlag::RecursiveSlave
            | MountFlag::Sync
            | MountFlag::DirSync => None,
            MountFlag::Shared
            | MountFlag::RecursiveShared
            | MountFlag::Unbindable
            | MountFlag::RecursiveUnbindable => {
                let detail = format!(
                    "mount on /{} with {flag:?}: this propagation is not supported yet",
                    entry.target
                );
                return Err(unsupported(detail));
            }
        });
    }
    Ok(attributes)
}
