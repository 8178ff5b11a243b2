//! `device.json` with its legacy neighbours.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::fields::{At, Fields};
use super::groups;
use super::run::storage;
use crate::canonical;
use crate::device::{DefaultDisk, Device, Disk, DiskKind, Pool};
use crate::errors::Findings;
use crate::json::{Json, place_of, push_key};
use crate::revision::Group;

/// What to do with a disk of an unknown type.
#[derive(Clone, Copy)]
pub(crate) enum UnknownDisk {
    /// `disks`, `disks_v2`: an error.
    Refused,
    /// `disks_v3`: a warning.
    Skipped,
}

/// Reads `device.json`: its groups, if it has any, and the rest.
pub(crate) fn device(at: &At<'_>, findings: &mut Findings) -> (Option<Box<[Group]>>, Device) {
    let Some(mut fields) = at.fields(findings, "a device.json: an object") else {
        return (None, Device::default());
    };
    let groups = fields.take("groups").map(|at| groups::groups(&at, findings));
    let mut all = Vec::new();
    for (key, unknown) in [
        ("disks", UnknownDisk::Refused),
        ("disks_v2", UnknownDisk::Refused),
        ("disks_v3", UnknownDisk::Skipped),
    ] {
        if let Some(at) = fields.take(key) {
            disks(&at, unknown, &mut all, findings);
        }
    }
    let device = Device {
        disks: all.into(),
        volumes: fields.take("volumes").map(|at| storage(&at, findings)).unwrap_or_default(),
        pools: fields.take("network").map(|at| network(&at, findings)).unwrap_or_default(),
        bsp: None,
        drivers: Box::default(),
    };
    fields.finish(findings);
    (groups, device)
}

/// Reads an array of disks.
pub(crate) fn disks(at: &At<'_>, unknown: UnknownDisk, all: &mut Vec<Disk>, findings: &mut Findings) {
    let items = at.items(findings, 64, "an array of disks").unwrap_or_default();
    for item in &items {
        let Some(disk) = disk(item, unknown, findings) else { continue };
        if all.iter().any(|other| other.name == disk.name) {
            let mut place = item.path.clone();
            push_key(&mut place, "name");
            let found = format!("\"{}\" again", disk.name);
            findings.error(item.file, place_of(&place), found, "a name that no disk before it has");
        } else {
            all.push(disk);
        }
    }
}

fn disk(at: &At<'_>, unknown: UnknownDisk, findings: &mut Findings) -> Option<Disk> {
    let mut fields = at.fields(findings, "a disk: an object with a name and a type")?;
    let name =
        fields.demand("name", findings, "the disk's name").and_then(|at| at.filled_text(findings, 128));
    let kind = fields.demand("type", findings, DISK_TYPES).and_then(|at| disk_kind(&at, unknown, findings));
    let yes_or_no = [("yes", DefaultDisk::Yes), ("no", DefaultDisk::No)];
    let default = fields.take("default").and_then(|at| at.word(findings, &yes_or_no, "\"yes\" or \"no\""));
    let path = fields.take("path").and_then(|at| at.text(findings, 1024)).map(Box::from);
    for accepted in [
        "uuid",
        "provision",
        "provision_ops",
        "format",
        "format_ops",
        "mount_target",
        "mount_ops",
        "description",
    ] {
        fields.take(accepted);
    }
    fields.finish(findings);
    Some(Disk { name: name?.into(), kind: kind?, default: default.unwrap_or(DefaultDisk::No), path })
}

const DISK_TYPES: &str = "\"directory\", \"volume-disk\", \"swap-disk\", \"dm-crypt-versatile\", \"dm-crypt-caam\" or \
    \"dm-crypt-dcp\"";

fn disk_kind(at: &At<'_>, unknown: UnknownDisk, findings: &mut Findings) -> Option<DiskKind> {
    let table = [
        ("directory", DiskKind::Directory),
        ("volume-disk", DiskKind::Volume),
        ("swap-disk", DiskKind::SwapDisk),
        ("dm-crypt-versatile", DiskKind::DmCryptVersatile),
        ("dm-crypt-caam", DiskKind::DmCryptCaam),
        ("dm-crypt-dcp", DiskKind::DmCryptDcp),
    ];
    match (unknown, at.value) {
        (UnknownDisk::Skipped, Json::Text(text)) if !table.iter().any(|(word, _)| **word == **text) => {
            at.warn(findings, format!("unknown type of disk {}, the disk is skipped", at.value.describe()));
            None
        }
        (UnknownDisk::Skipped | UnknownDisk::Refused, _) => at.word(findings, &table, DISK_TYPES),
    }
}

fn network(at: &At<'_>, findings: &mut Findings) -> Box<[Pool]> {
    let Some(mut fields) = at.fields(findings, "an object with \"pools\"") else { return Box::default() };
    let pools = fields.take("pools").map(|at| pools(&at, findings)).unwrap_or_default();
    fields.finish(findings);
    pools
}

fn pools(at: &At<'_>, findings: &mut Findings) -> Box<[Pool]> {
    let Some(mut fields) = at.fields(findings, "an object of address pools by their names") else {
        return Box::default();
    };
    let mut pools = Vec::new();
    for (name, at) in fields.rest() {
        if matches!(at.value, Json::Object(_)) {
            pools.push(Pool { name: name.into(), text: canonical::write(at.value).into() });
        } else {
            at.refuse(findings, "an address pool: an object");
        }
    }
    pools.into()
}

/// A member that names a file.
pub(crate) fn file_name<'j>(fields: &mut Fields<'j>, key: &str, findings: &mut Findings) -> Option<At<'j>> {
    // Field tools write "" for a file that is not there.
    fields.take(key).filter(|at| !matches!(at.value, Json::Text(text) if text.is_empty())).inspect(|at| {
        at.text(findings, 255);
    })
}
