//! `lxc.mount.entry`, an fstab line.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::conf::{Line, is_absolute};
use super::words::fstab_field;
use crate::errors::{Findings, quoted};
use crate::lxc::{Create, MountEntry, MountFlag, MountKind, WhenMissing, Writes};

const FLAGS: [(&str, MountFlag); 17] = [
    ("nosuid", MountFlag::NoSuid),
    ("nodev", MountFlag::NoDev),
    ("noexec", MountFlag::NoExec),
    ("noatime", MountFlag::NoAtime),
    ("nodiratime", MountFlag::NoDirAtime),
    ("relatime", MountFlag::RelAtime),
    ("strictatime", MountFlag::StrictAtime),
    ("sync", MountFlag::Sync),
    ("dirsync", MountFlag::DirSync),
    ("private", MountFlag::Private),
    ("rprivate", MountFlag::RecursivePrivate),
    ("slave", MountFlag::Slave),
    ("rslave", MountFlag::RecursiveSlave),
    ("shared", MountFlag::Shared),
    ("rshared", MountFlag::RecursiveShared),
    ("unbindable", MountFlag::Unbindable),
    ("runbindable", MountFlag::RecursiveUnbindable),
];

/// Words that ask for what is so anyway.
const DEFAULTS: [&str; 7] = ["defaults", "suid", "dev", "exec", "async", "atime", "diratime"];

/// Reads one entry.
pub(crate) fn entry(line: &Line<'_>, findings: &mut Findings) -> Option<MountEntry> {
    let fields: Vec<String> = line.value.split_whitespace().map(fstab_field).collect();
    let [source, target, kind, options, rest @ ..] = fields.as_slice() else {
        line.refuse(findings, "SOURCE TARGET TYPE OPTIONS 0 0");
        return None;
    };
    if rest.len() > 2 || !rest.iter().all(|number| number.parse::<u8>().is_ok()) {
        line.refuse(findings, "SOURCE TARGET TYPE OPTIONS 0 0");
        return None;
    }
    let target = target_of(target, line, findings)?;
    let options = Options::of(options, line, findings)?;
    options.entry(source, target, kind, line, findings)
}

/// Relative to the container's root; where it leads is settled there, when it is mounted.
fn target_of(text: &str, line: &Line<'_>, findings: &mut Findings) -> Option<Box<str>> {
    let relative = text.trim_start_matches('/');
    if relative.len() < text.len() {
        line.warn(findings, "the target is taken as relative to the container's root");
    }
    let segments: Vec<&str> =
        relative.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
    if segments.is_empty() || segments.iter().any(|segment| *segment == ".." || segment.len() > 255) {
        line.refuse_found(
            findings,
            quoted(text),
            "a target below the container's root, relative to it, without ..",
        );
        return None;
    }
    Some(segments.join("/").into())
}

struct Options<'o> {
    bind: Bind,
    writes: Writes,
    flags: Vec<MountFlag>,
    create: Create,
    when_missing: WhenMissing,
    lower: Vec<Box<str>>,
    upper: Option<Box<str>>,
    work: Option<Box<str>>,
    others: Vec<&'o str>,
}

#[derive(PartialEq)]
enum Bind {
    No,
    One,
    Recursive,
}

impl<'o> Options<'o> {
    fn of(text: &'o str, line: &Line<'_>, findings: &mut Findings) -> Option<Options<'o>> {
        let mut options = Options {
            bind: Bind::No,
            writes: Writes::Allowed,
            flags: Vec::new(),
            create: Create::Nothing,
            when_missing: WhenMissing::Fail,
            lower: Vec::new(),
            upper: None,
            work: None,
            others: Vec::new(),
        };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            if let Err(allowed) = options.word(word) {
                line.refuse_found(findings, quoted(word), allowed);
                return None;
            }
        }
        Some(options)
    }

    fn word(&mut self, word: &'o str) -> Result<(), &'static str> {
        match word {
            "bind" => self.bind = Bind::One,
            "rbind" => self.bind = Bind::Recursive,
            "rw" => self.writes = Writes::Allowed,
            "ro" => self.writes = Writes::Refused,
            "optional" => self.when_missing = WhenMissing::Skip,
            "create=dir" => self.create = Create::Folder,
            "create=file" => self.create = Create::File,
            _ if word.starts_with("create=") => return Err("create=dir or create=file"),
            _ if DEFAULTS.contains(&word) => {}
            _ => match FLAGS.iter().find(|(name, _)| *name == word) {
                Some((_, flag)) => self.flags.push(*flag),
                None => self.layer(word)?,
            },
        }
        Ok(())
    }

    fn layer(&mut self, word: &'o str) -> Result<(), &'static str> {
        const ALLOWED: &str = "folders by absolute paths without ..";
        let path = |path: &str| is_absolute(path).then(|| Box::from(path)).ok_or(ALLOWED);
        match word.split_once('=') {
            Some(("lowerdir", folders)) => {
                self.lower = folders.split(':').map(path).collect::<Result<_, _>>()?
            }
            Some(("upperdir", folder)) => self.upper = Some(path(folder)?),
            Some(("workdir", folder)) => self.work = Some(path(folder)?),
            Some(_) | None => self.others.push(word),
        }
        Ok(())
    }

    fn entry(
        self,
        source: &str,
        target: Box<str>,
        kind: &str,
        line: &Line<'_>,
        findings: &mut Findings,
    ) -> Option<MountEntry> {
        let overlay = matches!(kind, "overlay" | "overlayfs");
        if overlay && (self.lower.is_empty() || self.upper.is_some() != self.work.is_some()) {
            line.refuse(findings, "an overlay with lowerdir=, and both or none of upperdir= and workdir=");
            return None;
        }
        if self.bind != Bind::No {
            if let Some(word) = self.others.first() {
                line.refuse_found(
                    findings,
                    quoted(word),
                    "an option that a bind mount has: rw, ro, noexec, create=dir, …",
                );
                return None;
            }
            if !is_absolute(source) && !is_device_path(source) {
                line.refuse_found(findings, quoted(source), "a source without ..");
                return None;
            }
        } else if kind == "none" || kind == "bind" {
            line.refuse_found(findings, quoted(kind), "a file system's name, or the option bind or rbind");
            return None;
        }
        let kind = match self.bind {
            Bind::One => MountKind::Bind,
            Bind::Recursive => MountKind::RecursiveBind,
            Bind::No if overlay => {
                MountKind::Overlay { lower: self.lower.into(), upper: self.upper, work: self.work }
            }
            Bind::No => MountKind::FileSystem(kind.into()),
        };
        Some(MountEntry {
            source: source.into(),
            target,
            kind,
            writes: self.writes,
            flags: self.flags.into(),
            create: self.create,
            when_missing: self.when_missing,
            options: self.others.join(",").into(),
        })
    }
}

/// A path of the device that is given without its leading slash.
fn is_device_path(path: &str) -> bool {
    !path.is_empty() && !path.split('/').any(|segment| segment == "..")
}
