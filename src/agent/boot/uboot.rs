//! U-Boot's environment in two copies: `pv_rev`, `pv_try` and `pv_trying`, with the partition of each.
//!
//! ```text
//! a copy:  checksum (CRC32 of what follows the counter, 4 bytes), counter (1 byte), name=value NUL … NUL NUL
//! ```
//!
//! The copy with the later counter is in force, if its checksum is right, else the other. The one that is not in force is written:
//! first its variables, then, those being on disk, its counter, then its checksum. (The checksum does not cover the counter: a
//! later one over what was there before would bring that back.) Every other variable is kept as it is.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use model::ids::RevisionId;
use rustix::fs::{Advice, fadvise};

use super::slots::Chosen;
use super::{BootError, at};

/// Checksum and counter.
const HEAD: usize = 5;
/// In this order a copy is written.
const PARTS: [Range<usize>; 3] = [HEAD..usize::MAX, 4..HEAD, 0..4];
/// The largest environment that is read.
const LARGEST: u64 = 1 << 20;
/// The longest file that says where it is.
const CONFIG_BYTES: u64 = 4096;

/// Where both copies are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copies {
    copies: [Copy; 2],
    size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Copy {
    path: PathBuf,
    offset: u64,
}

/// The variables, as in one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Environment {
    counter: u8,
    variables: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Copies {
    /// Reads where they are, as U-Boot's own tools are told: a line each, of device or file, offset and size.
    pub(super) fn read(config: &Path) -> Result<Copies, BootError> {
        let wrong =
            |problem: &str| BootError::Content { path: config.to_owned(), problem: problem.to_owned() };
        let size = at("stat", config, std::fs::metadata(config))?.len();
        if size > CONFIG_BYTES {
            return Err(wrong("it is longer than 4096 bytes"));
        }
        let text = at("read", config, std::fs::read_to_string(config))?;
        let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let found: Option<Vec<(Copy, u64)>> = lines
            .map(|line| {
                let mut words = line.split_ascii_whitespace();
                let (path, offset, size) = (words.next()?, number(words.next()?)?, number(words.next()?)?);
                Some((Copy { path: PathBuf::from(path), offset }, size))
            })
            .collect();
        let found = found.ok_or_else(|| wrong("a line must have a device, an offset and a size"))?;
        let Ok([(first, size), (second, other)]) = <[_; 2]>::try_from(found) else {
            return Err(wrong(
                "it must name two copies: one alone cannot be written so that a power cut loses nothing",
            ));
        };
        if size != other || !(HEAD as u64 + 2..=LARGEST).contains(&size) {
            return Err(wrong("both copies must have the same size, at most 1 MiB"));
        }
        let size = usize::try_from(size).map_err(|_| wrong("the size is too large"))?;
        Ok(Copies { copies: [first, second], size })
    }

    /// Which copy is in force, with what it says.
    fn load(&self) -> Result<(usize, Environment), BootError> {
        let read = |copy: &Copy| -> Result<Option<Environment>, BootError> {
            let mut bytes = vec![0; self.size];
            let file = at("open", &copy.path, File::open(&copy.path))?;
            // Read from the disk, not from what was written a moment ago, where that can be had.
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
            at("read", &copy.path, file.read_exact_at(&mut bytes, copy.offset))?;
            Ok(parse(&bytes))
        };
        match (read(&self.copies[0])?, read(&self.copies[1])?) {
            (Some(first), Some(second)) if is_later(second.counter, first.counter) => Ok((1, second)),
            (Some(first), _) => Ok((0, first)),
            (None, Some(second)) => Ok((1, second)),
            (None, None) => Err(BootError::Content {
                path: self.copies[0].path.clone(),
                problem: "neither copy of U-Boot's environment has a right checksum".to_owned(),
            }),
        }
    }

    fn save(&self, in_force: usize, environment: &Environment) -> Result<(), BootError> {
        let copy = &self.copies[1 - in_force];
        let bytes = encode(environment, self.size)
            .map_err(|problem| BootError::Content { path: copy.path.clone(), problem: problem.to_owned() })?;
        let written = |bytes: &[u8]| -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&copy.path)?;
            for part in PARTS {
                let part = part.start..part.end.min(bytes.len());
                file.write_all_at(&bytes[part.clone()], copy.offset + part.start as u64)?;
                file.sync_all()?;
            }
            Ok(())
        };
        at("write", &copy.path, written(&bytes))?;
        match self.load()? {
            (number, found) if number != in_force && found == *environment => Ok(()),
            _ => Err(BootError::Different { path: copy.path.clone() }),
        }
    }
}

pub(super) fn read(copies: &Copies) -> Result<Chosen, BootError> {
    let (_, environment) = copies.load()?;
    let lacks = |problem: &str| BootError::Content {
        path: copies.copies[0].path.clone(),
        problem: format!("U-Boot's environment {problem}"),
    };
    let part = environment.number("pv_rev_part").ok_or_else(|| lacks("has no pv_rev_part"))?;
    let candidate = environment.number("pv_try_part").map(|part| (part, environment.revision("pv_try")));
    Ok(Chosen {
        committed: (part, environment.revision("pv_rev")),
        candidate: candidate.filter(|(_, revision)| revision.is_some()),
    })
}

pub(super) fn write(copies: &Copies, wanted: &Chosen) -> Result<(), BootError> {
    let (in_force, was) = copies.load()?;
    let mut next = was.clone();
    let mut set = |name: &str, value: Option<String>| match value {
        Some(value) => _ = next.variables.insert(name.into(), value.into()),
        None => _ = next.variables.remove(name.as_bytes()),
    };
    let text = |revision: &Option<RevisionId>| revision.as_ref().map(ToString::to_string);
    set("pv_rev", text(&wanted.committed.1));
    set("pv_rev_part", Some(wanted.committed.0.to_string()));
    set("pv_try", wanted.candidate.as_ref().and_then(|(_, revision)| text(revision)));
    set("pv_try_part", wanted.candidate.as_ref().map(|(part, _)| part.to_string()));
    set("pv_trying", None);
    if next.variables == was.variables {
        return Ok(());
    }
    next.counter = was.counter.wrapping_add(1);
    copies.save(in_force, &next)
}

impl Environment {
    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.variables.get(name.as_bytes())?).ok()
    }

    fn number(&self, name: &str) -> Option<u8> {
        self.text(name)?.parse().ok()
    }

    fn revision(&self, name: &str) -> Option<RevisionId> {
        self.text(name)?.parse().ok()
    }
}

/// As U-Boot compares them: counters go round.
fn is_later(one: u8, other: u8) -> bool {
    match (one, other) {
        (0, 255) => true,
        (255, 0) => false,
        (one, other) => one > other,
    }
}

fn parse(bytes: &[u8]) -> Option<Environment> {
    let (checksum, rest) = bytes.split_first_chunk::<4>()?;
    let (counter, text) = rest.split_first()?;
    if crc32(text) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let lines = text.split(|byte| *byte == 0).take_while(|line| !line.is_empty());
    let variables = lines.filter_map(|line| {
        let middle = line.iter().position(|byte| *byte == b'=')?;
        Some((line[..middle].to_vec(), line[middle + 1..].to_vec()))
    });
    Some(Environment { counter: *counter, variables: variables.collect() })
}

fn encode(environment: &Environment, size: usize) -> Result<Vec<u8>, &'static str> {
    let mut text = Vec::with_capacity(size);
    for (name, value) in &environment.variables {
        let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'=');
        if !is_name || value.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r')) {
            return Err("a variable's name or value has a character that U-Boot's environment cannot hold");
        }
        text.extend([name, &b"="[..], value, &b"\0"[..]].concat());
    }
    text.push(0);
    if text.len() > size - HEAD {
        return Err("the variables do not fit into U-Boot's environment");
    }
    text.resize(size - HEAD, 0);
    let head = [&crc32(&text).to_le_bytes()[..], &[environment.counter]].concat();
    Ok([head, text].concat())
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 192;

    fn environment(counter: u8, variables: &[(&str, &str)]) -> Environment {
        let own = |text: &str| text.as_bytes().to_vec();
        Environment {
            counter,
            variables: variables.iter().map(|(name, value)| (own(name), own(value))).collect(),
        }
    }

    fn device() -> (tempfile::TempDir, Copies) {
        let folder = tempfile::tempdir().unwrap();
        let (config, disk) = (folder.path().join("fw_env.config"), folder.path().join("disk"));
        std::fs::write(&config, format!("# two\n{0} 0x40 0xc0\n{0} 0x200 192\n", disk.display())).unwrap();
        let copy =
            encode(&environment(255, &[("bootdelay", "2"), ("pv_rev", "0"), ("pv_rev_part", "2")]), SIZE);
        let mut bytes = vec![0xff; 0x400];
        bytes[0x200..0x2c0].copy_from_slice(&copy.unwrap());
        std::fs::write(&disk, bytes).unwrap();
        (folder, Copies::read(&config).unwrap())
    }

    fn chosen(committed: (u8, &str), candidate: Option<(u8, &str)>) -> Chosen {
        let named = |(slot, name): (u8, &str)| (slot, Some(name.parse().unwrap()));
        Chosen { committed: named(committed), candidate: candidate.map(named) }
    }

    #[test]
    fn counters_go_round_and_other_variables_stay() {
        let (_folder, copies) = device();
        let (before, try_x, good_x) =
            (chosen((2, "0"), None), chosen((2, "0"), Some((3, "locals/x"))), chosen((3, "locals/x"), None));
        assert_eq!(read(&copies).unwrap(), before);
        for wanted in [&try_x, &good_x, &good_x, &try_x] {
            write(&copies, wanted).unwrap();
            assert_eq!(read(&copies).unwrap(), *wanted);
        }
        let (in_force, found) = copies.load().unwrap();
        assert_eq!((in_force, found.counter, found.text("bootdelay")), (0, 2, Some("2")));
    }

    #[test]
    fn a_write_that_is_torn_anywhere_leaves_the_old_or_the_new() {
        let (_folder, copies) = device();
        let disk = copies.copies[0].path.clone();
        let mut was = read(&copies).unwrap();
        for wanted in [
            chosen((2, "0"), Some((3, "locals/x"))),
            chosen((3, "locals/x"), None),
            chosen((3, "locals/x"), Some((2, "locals/much-longer"))),
            chosen((2, "locals/much-longer"), None),
            chosen((2, "7"), None),
        ] {
            let in_force = copies.load().unwrap().0;
            let before = std::fs::read(&disk).unwrap();
            write(&copies, &wanted).unwrap();
            let after = std::fs::read(&disk).unwrap();
            let start = usize::try_from(copies.copies[1 - in_force].offset).unwrap();
            let order: Vec<usize> = PARTS.iter().flat_map(|part| part.start..part.end.min(SIZE)).collect();
            for torn in 0..=SIZE {
                let mut bytes = before.clone();
                for at in order[..torn].iter().map(|at| start + at) {
                    bytes[at] = after[at];
                }
                std::fs::write(&disk, &bytes).unwrap();
                let found = read(&copies).unwrap();
                assert!(found == was || found == wanted, "{torn} of {wanted:?}: {found:?}");
            }
            assert_eq!(std::fs::read(&disk).unwrap(), after);
            was = wanted;
        }
    }

    #[test]
    fn what_an_environment_cannot_hold_is_refused() {
        for (name, value) in
            [("a", "x\0y"), ("a", "x\ny"), ("a=b", "x"), ("", "x"), ("a\0", "x"), ("a", &"x".repeat(184))]
        {
            assert!(encode(&environment(0, &[(name, value)]), SIZE).is_err(), "{name:?}");
        }
        assert!(encode(&environment(0, &[("a", &"x".repeat(183))]), SIZE).is_ok());
    }

    #[test]
    fn what_is_no_environment_is_an_error_that_says_so() {
        let (_folder, copies) = device();
        std::fs::write(&copies.copies[0].path, [0xff; 0x400]).unwrap();
        assert!(read(&copies).unwrap_err().to_string().contains("neither copy"));
        for config in
            ["", "/x 0 64\n", "/x 0 64\n/x 64 32\n", "/x\n", "/x 0 0xffffffffff\n/x 1 0xffffffffff\n"]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("fw_env.config");
            std::fs::write(&path, config).unwrap();
            assert!(Copies::read(&path).is_err(), "{config:?}");
        }
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
