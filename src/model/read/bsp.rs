//! `bsp/run.json`, `bsp/drivers.json`: the kernel with what it is booted with, where it is ours.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::device::file_name;
use super::fields::{At, Fields};
use super::run::spec_version;
use super::state::Keys;
use crate::device::{BootImage, Bsp, DriverAlias};
use crate::errors::Findings;
use crate::json::place_of;

/// Reads `bsp/run.json`.
pub(crate) fn bsp(at: &At<'_>, keys: &Keys<'_>, findings: &mut Findings) -> Option<Bsp> {
    let mut fields = at.fields(findings, "a bsp/run.json: an object")?;
    let mut files = Files { fields: &mut fields, keys };
    let kernel = kernel(&mut files, at, findings);
    let modules = files.one("modules", findings).map(|file| (None, file));
    let firmware = files.one("firmware", findings);
    let addons = fields.take("addons").and_then(|at| at.texts(findings, 64)).unwrap_or_default();
    for accepted in ["#spec", "initrd_config"] {
        fields.take(accepted);
    }
    let mut released = None;
    for (key, at) in fields.rest() {
        match key.strip_prefix("modules_").filter(|release| !release.is_empty()) {
            Some(release) => {
                let file = at.filled_text(findings, 255).filter(|file| is_there(&at, file, keys, findings));
                released = file.map(|file| (Some(Box::from(release)), Box::from(file)));
            }
            None => at.warn(findings, "unknown key, kept and ignored"),
        }
    }
    Some(Bsp { kernel: kernel?, modules: modules.or(released), firmware, addons })
}

struct Files<'f, 'j> {
    fields: &'f mut Fields<'j>,
    keys: &'f Keys<'f>,
}

impl Files<'_, '_> {
    fn one(&mut self, key: &str, findings: &mut Findings) -> Option<Box<str>> {
        let at = file_name(self.fields, key, findings)?;
        let file = at.text(&mut Findings::default(), 255)?;
        is_there(&at, file, self.keys, findings).then(|| file.into())
    }
}

fn is_there(at: &At<'_>, file: &str, keys: &Keys<'_>, findings: &mut Findings) -> bool {
    let there = keys.object(&format!("bsp/{file}")).is_some();
    if !there {
        at.refuse(findings, format!("a file of the BSP; the state has no object bsp/{file}"));
    }
    there
}

fn kernel(files: &mut Files<'_, '_>, at: &At<'_>, findings: &mut Findings) -> Option<BootImage> {
    let linux = files.one("linux", findings);
    let (initrd, fdt) = (files.one("initrd", findings), files.one("fdt", findings));
    let (fit, pi) = (files.one("fit", findings), files.one("rpiab", findings));
    match (linux, fit, pi) {
        (Some(linux), None, None) => Some(BootImage::Parts { linux, initrd, fdt }),
        (None, Some(fit), None) => Some(BootImage::Fit(fit)),
        (None, None, Some(image)) => Some(BootImage::RaspberryPi(image)),
        (None, None, None) => {
            let named = ["linux", "fit", "rpiab"];
            if named.iter().any(|key| findings.refused_at(at.file, &place_of(key))) {
                return None;
            }
            findings.error(
                at.file,
                place_of("linux"),
                "no kernel",
                "one of \"linux\", \"fit\" and \"rpiab\"",
            );
            None
        }
        (_, _, _) => {
            findings.error(
                at.file,
                place_of("linux"),
                "two kernels",
                "one of \"linux\", \"fit\" and \"rpiab\"",
            );
            None
        }
    }
}

/// Reads `bsp/drivers.json`.
pub(crate) fn drivers(at: &At<'_>, findings: &mut Findings) -> Box<[DriverAlias]> {
    const SECTION: &str = "\"all\" or \"fitconfig:NAME\"";
    let Some(mut fields) = at.fields(findings, "a drivers.json: an object") else { return Box::default() };
    spec_version(&mut fields, "driver-aliases@1", findings);
    let mut aliases = Vec::new();
    for (section, at) in fields.rest() {
        let known =
            section == "all" || section.strip_prefix("fitconfig:").is_some_and(|name| !name.is_empty());
        if !known {
            at.warn(findings, format!("unknown section, kept and ignored: known are {SECTION}"));
            continue;
        }
        let Some(mut names) = at.fields(findings, "an object of driver aliases") else { continue };
        for (name, at) in names.rest() {
            let modules = at.texts(findings, 64).unwrap_or_default();
            aliases.push(DriverAlias { section: section.into(), name: name.into(), modules });
        }
    }
    aliases.into()
}
