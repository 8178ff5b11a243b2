//! Two partitions with a kernel each: the one that is booted, the one that is tried.
//!
//! The partition that is booted is never written. Which of the two that is, and which is tried once, the boot loader's own
//! variables say; which revision each was made for, a file under the root does (U-Boot's variables say it too).

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use host::file::{Folder, Readers};
use model::boot::{BootVars, BootedAs};
use model::ids::RevisionId;

use crate::init::modules;

use super::{BootError, Bsp, Options, Place, at, bsp, grub, tryboot, uboot};

/// The longest file of names that is read.
const NAMES_BYTES: usize = 16 * 1024;

/// Whose variables they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Tryboot,
    UBoot,
    Grub,
}

/// What the boot loader's variables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The partition that is booted, with the revision where the variables name it.
    pub committed: (u8, Option<RevisionId>),
    /// The partition that is booted once.
    pub candidate: Option<(u8, Option<RevisionId>)>,
}

/// How the kernel says it was booted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Revision(RevisionId),
    Slot(u8),
}

/// A boot loader that boots from one of two partitions.
#[derive(Debug)]
pub struct Slots {
    by: By,
    places: [Place; 2],
    variables: Place,
    modules: String,
    root: PathBuf,
    command_line: PathBuf,
    firmware: PathBuf,
    /// The next reboot is a try, for a loader that must be told with the reboot itself.
    tries: AtomicBool,
}

impl Slots {
    pub(super) fn new(by: By, options: &Options, root: &Path) -> Slots {
        Slots {
            by,
            places: options.slots.clone(),
            variables: options.variables.clone(),
            modules: options.modules.clone(),
            root: root.to_owned(),
            command_line: PathBuf::from("/proc/cmdline"),
            firmware: PathBuf::from("/proc/device-tree/chosen/bootloader"),
            tries: AtomicBool::new(false),
        }
    }

    /// The same, told by these in place of the kernel.
    #[must_use]
    pub fn told_by(self, command_line: &Path, firmware: &Path) -> Slots {
        Slots { command_line: command_line.to_owned(), firmware: firmware.to_owned(), ..self }
    }

    pub(super) fn booted(&self, otherwise: &RevisionId) -> Result<BootedAs, BootError> {
        let text = at("read", &self.command_line, std::fs::read_to_string(&self.command_line))?;
        let value = |name: &str| {
            text.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let told = |name: &str, slot: &str| {
            let revision = value(name).and_then(|text| text.parse().ok()).map(Told::Revision);
            revision.or_else(|| value(slot).and_then(|text| text.parse().ok()).map(Told::Slot))
        };
        let (mut committed, mut tried) = (told("pv_rev", "pv_slot"), told("pv_try", "pv_try_slot"));
        if self.by == By::Tryboot {
            if let Some(number) = tryboot::property(&self.firmware, "partition") {
                committed = u8::try_from(number).ok().map(Told::Slot);
            }
            let is_try = tryboot::property(&self.firmware, "tryboot") == Some(1);
            tried = if is_try { committed.clone() } else { None };
        }
        let names = self.names()?;
        let name = |told: &Told| match told {
            Told::Revision(revision) => Some(revision.clone()),
            Told::Slot(number) => names.get(number).cloned(),
        };
        let Some(told) = committed else {
            log::warn!("op=learn-boot error=\"the kernel's command line names no revision\"");
            return Ok(BootedAs::Committed(otherwise.clone()));
        };
        let booted = name(&told);
        // Only both of the same name mean a try.
        match (booted, tried == Some(told)) {
            (Some(revision), true) => Ok(BootedAs::Trying(revision)),
            (Some(revision), false) => Ok(BootedAs::Committed(revision)),
            (None, _) => Ok(BootedAs::Committed(otherwise.clone())),
        }
    }

    pub(super) fn set(&self, vars: &BootVars, bsp: Bsp<'_>) -> Result<(), BootError> {
        self.tries.store(false, Ordering::Relaxed);
        let now = self.read()?;
        let mut names = self.names()?;
        let committed = self.committed_slot(&vars.committed, &now, &names, bsp)?;
        names.insert(committed, vars.committed.clone());
        let mut wanted = Chosen { committed: (committed, Some(vars.committed.clone())), candidate: None };
        if let Some(candidate) = &vars.candidate {
            let files = bsp(candidate)?;
            // U-Boot's variables name the revision themselves, so that one kernel can serve two of them.
            let slot = match (files.is_empty(), self.by) {
                (true, By::UBoot) => committed,
                (true, By::Tryboot | By::Grub) => {
                    let problem = "it brings no kernel (bsp/run.json)".to_owned();
                    return Err(BootError::Revision { revision: candidate.clone(), problem });
                }
                (false, _) => self.other(committed),
            };
            if slot != committed {
                names.remove(&slot);
                self.keep_names(&names)?;
                bsp::install(&self.open(self.place(slot))?, &files)?;
                names.insert(slot, candidate.clone());
            }
            wanted.candidate = Some((slot, Some(candidate.clone())));
        }
        self.keep_names(&names)?;
        self.write(&wanted)?;
        self.tries.store(vars.candidate.is_some(), Ordering::Relaxed);
        Ok(())
    }

    /// Where the revision to be committed is: where it was tried, where it is, or beside the same kernel. Else it is put where
    /// nothing is booted from.
    fn committed_slot(
        &self,
        revision: &RevisionId,
        now: &Chosen,
        names: &BTreeMap<u8, RevisionId>,
        bsp: Bsp<'_>,
    ) -> Result<u8, BootError> {
        let current = now.committed.0;
        let name = |(slot, name): &(u8, Option<RevisionId>)| name.as_ref().or(names.get(slot)).cloned();
        // A device that has just been made knows no names yet: what it boots is what it was made with.
        if name(&now.committed).is_none_or(|name| name == *revision) {
            return Ok(current);
        }
        let tried = now.candidate.as_ref().filter(|tried| name(tried).as_ref() == Some(revision));
        if let Some((slot, _)) = tried {
            return Ok(*slot);
        }
        let files = bsp(revision)?;
        if files.is_empty() {
            return Ok(current);
        }
        let other = self.other(current);
        let named: Vec<u8> =
            if names.get(&other) == Some(revision) { vec![other, current] } else { vec![current, other] };
        for slot in named {
            if bsp::has(&self.open(self.place(slot))?, &files) {
                return Ok(slot);
            }
        }
        bsp::install(&self.open(self.place(other))?, &files)?;
        Ok(other)
    }

    fn read(&self) -> Result<Chosen, BootError> {
        match self.by {
            By::UBoot => uboot::read(&self.uboot()?),
            By::Tryboot => tryboot::read(&self.open(&self.variables)?),
            By::Grub => grub::read(&self.open(&self.variables)?),
        }
        .and_then(|chosen| {
            let known = self.places.iter().any(|place| place.number() == chosen.committed.0);
            let number = chosen.committed.0;
            let problem = "the boot loader boots it, but it is neither boot.first nor boot.second".to_owned();
            if known { Ok(chosen) } else { Err(BootError::Partition { number, problem }) }
        })
    }

    fn write(&self, wanted: &Chosen) -> Result<(), BootError> {
        match self.by {
            By::UBoot => uboot::write(&self.uboot()?, wanted),
            By::Tryboot => tryboot::write(&self.open(&self.variables)?, wanted),
            By::Grub => grub::write(&self.open(&self.variables)?, wanted),
        }
    }

    fn uboot(&self) -> Result<uboot::Copies, BootError> {
        let path = match &self.variables {
            Place::Path(path) => path.clone(),
            Place::Partition(_) => PathBuf::from("/etc/fw_env.config"),
        };
        uboot::Copies::read(&path)
    }

    fn other(&self, slot: u8) -> u8 {
        let [first, second] = [self.places[0].number(), self.places[1].number()];
        if slot == first { second } else { first }
    }

    fn place(&self, slot: u8) -> &Place {
        if slot == self.places[0].number() { &self.places[0] } else { &self.places[1] }
    }

    /// With the modules that a partition needs: without one that fails, the kernel says what it lacks.
    fn open(&self, place: &Place) -> Result<Folder, BootError> {
        let modules = matches!(place, Place::Partition(_)).then(|| self.modules.split_ascii_whitespace());
        for failure in modules.into_iter().flatten().filter_map(|name| modules::load(name).err()) {
            log::warn!("op=open-boot-partition error={:?}", failure.to_string());
        }
        place.open(&self.root)
    }

    fn names(&self) -> Result<BTreeMap<u8, RevisionId>, BootError> {
        let root = Folder::open(&self.root, None)?;
        match root.read("boot/slots.json", NAMES_BYTES) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.is_missing() => Ok(BTreeMap::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn keep_names(&self, names: &BTreeMap<u8, RevisionId>) -> Result<(), BootError> {
        if self.names()? == *names {
            return Ok(());
        }
        let root = Folder::open(&self.root, None)?;
        root.make_folders("boot")?;
        let path = self.root.join("boot/slots.json");
        let bytes = at("write", &path, serde_json::to_vec(names).map_err(Into::into))?;
        Ok(root.replace("boot/slots.json", &bytes, Readers::All)?)
    }

    pub(super) fn reboot_argument(&self) -> Option<&'static CStr> {
        (self.by == By::Tryboot && self.tries.load(Ordering::Relaxed)).then_some(c"0 tryboot")
    }
}
