//! The Raspberry Pi's `autoboot.txt`: the partition that is booted, the one that is booted when a reboot asks for a try.
//!
//! ```text
//! [all]
//! tryboot_a_b=1
//! boot_partition=2
//! [tryboot]
//! boot_partition=3
//! ```
//!
//! One digit is written at a time, in place, in a file that has its one sector: a torn write leaves the old or the new one. That
//! a boot was a try the firmware tells in the device tree.

use std::path::Path;

use host::file::Folder;

use super::slots::Chosen;
use super::{BootError, partition};

const FILE: &str = "autoboot.txt";
/// The firmware reads no longer one.
const LONGEST: usize = 512;

/// Where both digits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digits {
    all: usize,
    tryboot: usize,
}

fn digits(text: &[u8]) -> Option<Digits> {
    let (mut all, mut tryboot, mut at, mut in_tryboot) = (None, None, 0, false);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii_end();
        match trimmed.strip_prefix(b"boot_partition=") {
            Some([digit]) if digit.is_ascii_digit() => {
                let place = if in_tryboot { &mut tryboot } else { &mut all };
                *place = Some(at + trimmed.len() - 1);
            }
            Some(_) => return None,
            None if trimmed.starts_with(b"[") => in_tryboot = trimmed == b"[tryboot]",
            None => {}
        }
        at += line.len();
    }
    Some(Digits { all: all?, tryboot: tryboot? })
}

fn load(folder: &Folder) -> Result<(Vec<u8>, Digits), BootError> {
    let text = folder.read(FILE, LONGEST)?;
    let found = digits(&text).ok_or_else(|| BootError::Content {
        path: folder.join(FILE),
        problem: "it must have boot_partition=DIGIT under [all] and under [tryboot]".to_owned(),
    })?;
    Ok((text, found))
}

/// A candidate is not told by this file: the reboot itself asks for it.
pub(super) fn read(folder: &Folder) -> Result<Chosen, BootError> {
    let (text, found) = load(folder)?;
    let slot = |at: usize| text[at] - b'0';
    Ok(Chosen { committed: (slot(found.all), None), candidate: Some((slot(found.tryboot), None)) })
}

pub(super) fn write(folder: &Folder, wanted: &Chosen) -> Result<(), BootError> {
    let (text, found) = load(folder)?;
    let candidate = wanted.candidate.as_ref().map(|(slot, _)| *slot);
    let steps = [(found.tryboot, candidate), (found.all, Some(wanted.committed.0))];
    for (at, slot) in steps {
        let Some(slot) = slot.filter(|slot| *slot <= 9) else { continue };
        let digit = b'0' + slot;
        if text[at] != digit {
            partition::overwrite(folder, FILE, at as u64, &[digit])?;
        }
    }
    Ok(())
}

/// A number that the firmware left in the device tree; `None` where it left none.
pub(super) fn property(firmware: &Path, name: &str) -> Option<u32> {
    let bytes = std::fs::read(firmware.join(name)).ok()?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(all: u8, tryboot: u8) -> Vec<u8> {
        let text =
            format!("[all]\ntryboot_a_b=1\nboot_partition={all}\n[tryboot]\nboot_partition={tryboot}\n");
        let mut text = text.into_bytes();
        text.resize(LONGEST, b'\n');
        text
    }

    fn chosen(committed: u8, candidate: Option<u8>) -> Chosen {
        Chosen { committed: (committed, None), candidate: candidate.map(|slot| (slot, None)) }
    }

    #[test]
    fn one_digit_changes_at_a_time_and_the_file_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, text(2, 3)).unwrap();
        let open = Folder::open(folder.path(), None).unwrap();
        assert_eq!(read(&open).unwrap(), chosen(2, Some(3)));
        for (wanted, expected) in [
            (chosen(2, Some(3)), text(2, 3)),
            (chosen(3, None), text(3, 3)),
            (chosen(3, Some(2)), text(3, 2)),
            (chosen(3, None), text(3, 2)),
        ] {
            let before = std::fs::read(&path).unwrap();
            write(&open, &wanted).unwrap();
            let after = std::fs::read(&path).unwrap();
            assert_eq!(after, expected);
            let changed = before.iter().zip(&after).filter(|(old, new)| old != new).count();
            assert!(changed <= 1, "a sector that is torn anywhere is then the old or the new one");
        }
    }

    #[test]
    fn what_the_firmware_would_read_otherwise_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = Folder::open(folder.path(), None).unwrap();
        assert!(read(&open).unwrap_err().to_string().contains("autoboot.txt"));
        for bad in [
            "",
            "boot_partition=2\n",
            "[all]\nboot_partition=12\n[tryboot]\nboot_partition=3\n",
            &"#".repeat(600),
        ] {
            std::fs::write(folder.path().join(FILE), bad).unwrap();
            assert!(read(&open).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_device_tree_says_whether_it_was_a_try() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tryboot"), [0, 0, 0, 1]).unwrap();
        std::fs::write(folder.path().join("partition"), [1]).unwrap();
        assert_eq!(property(folder.path(), "tryboot"), Some(1));
        assert_eq!(property(folder.path(), "partition"), None);
        assert_eq!(property(folder.path(), "absent"), None);
    }
}
