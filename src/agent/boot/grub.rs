//! GRUB's environment block: 1024 bytes in a file that never moves, lines of text, filled with `#`.
//!
//! ```text
//! # GRUB Environment Block
//! pv_slot=2          the partition that is booted
//! pv_try=0           the one that is booted once; 0: none
//! pv_trying=0        written by GRUB before it boots that one: 1, it had its try
//! ```
//!
//! Each is one digit and is written alone, in place: a torn write leaves the old or the new one, and the three are
//! written in an order in which each state between boots what was, or what is to be.

use host::file::Folder;

use super::slots::Chosen;
use super::{BootError, partition};

const FILE: &str = "grubenv";
const BYTES: usize = 1024;
const HEAD: &[u8] = b"# GRUB Environment Block\n";
const NAMES: [&str; 3] = ["pv_slot", "pv_try", "pv_trying"];

/// Where the three digits are, in the order of `NAMES`.
fn digits(block: &[u8]) -> Result<[usize; 3], &'static str> {
    if block.len() != BYTES || !block.starts_with(HEAD) {
        return Err("it is no environment block of GRUB, which has 1024 bytes");
    }
    let mut found = [None; 3];
    let mut at = 0;
    for line in block.split_inclusive(|byte| *byte == b'\n') {
        for (name, place) in NAMES.iter().zip(&mut found) {
            let value = line.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let Some([digit, b'\n']) = value
                && digit.is_ascii_digit()
            {
                *place = Some(at + name.len() + 1);
            }
        }
        at += line.len();
    }
    match found {
        [Some(slot), Some(candidate), Some(trying)] => Ok([slot, candidate, trying]),
        _ => Err("it must have pv_slot, pv_try and pv_trying, a digit each; set them with grub-editenv"),
    }
}

fn load(folder: &Folder) -> Result<(Vec<u8>, [usize; 3]), BootError> {
    let block = folder.read(FILE, BYTES)?;
    let found = digits(&block)
        .map_err(|problem| BootError::Content { path: folder.join(FILE), problem: problem.to_owned() })?;
    Ok((block, found))
}

pub(super) fn read(folder: &Folder) -> Result<Chosen, BootError> {
    let (block, [slot, candidate, _]) = load(folder)?;
    let number = |at: usize| block[at] - b'0';
    let candidate = Some(number(candidate)).filter(|slot| *slot != 0);
    Ok(Chosen { committed: (number(slot), None), candidate: candidate.map(|slot| (slot, None)) })
}

pub(super) fn write(folder: &Folder, wanted: &Chosen) -> Result<(), BootError> {
    let (mut block, [slot, candidate, trying]) = load(folder)?;
    for (at, digit) in steps(wanted, &block, [slot, candidate, trying]) {
        if block[at] != digit {
            partition::overwrite(folder, FILE, at as u64, &[digit])?;
            block[at] = digit;
        }
    }
    Ok(())
}

/// What is committed first; a candidate that had its try is taken back before the mark of it, and a new one is named last.
fn steps(wanted: &Chosen, block: &[u8], [slot, candidate, trying]: [usize; 3]) -> Vec<(usize, u8)> {
    let digit = |slot: u8| b'0' + slot.min(9);
    let tried = wanted.candidate.as_ref().map_or(b'0', |(slot, _)| digit(*slot));
    let mut steps = vec![(slot, digit(wanted.committed.0))];
    if block[trying] != b'0' {
        steps.extend([(candidate, b'0'), (trying, b'0')]);
    }
    steps.push((candidate, tried));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(slot: u8, candidate: u8, trying: u8) -> Vec<u8> {
        let text = format!("pv_slot={slot}\nother=a b\\\\c\npv_try={candidate}\npv_trying={trying}\n");
        let mut block = [HEAD, text.as_bytes()].concat();
        block.resize(BYTES, b'#');
        block
    }

    /// What board/qemu-x86_64/grub.cfg does with it.
    fn boots(block: &[u8]) -> (u8, bool) {
        let [slot, candidate, trying] = digits(block).unwrap().map(|at| block[at] - b'0');
        if candidate != 0 && trying == 0 { (candidate, true) } else { (slot, false) }
    }

    fn chosen(committed: u8, candidate: Option<u8>) -> Chosen {
        Chosen { committed: (committed, None), candidate: candidate.map(|slot| (slot, None)) }
    }

    #[test]
    fn whatever_is_cut_between_or_torn_within_boots_the_old_or_the_new() {
        for (was, wanted) in [
            (block(2, 0, 0), chosen(2, Some(3))),
            (block(2, 3, 1), chosen(3, None)),
            (block(2, 3, 1), chosen(2, None)),
            (block(2, 3, 1), chosen(2, Some(3))),
            (block(3, 3, 1), chosen(3, Some(2))),
        ] {
            let places = digits(&was).unwrap();
            let mut now = was.clone();
            let mut seen = vec![boots(&was)];
            for (at, digit) in steps(&wanted, &was, places) {
                let mut next = now.clone();
                next[at] = digit;
                for torn in 0..=BYTES {
                    let mixed = [&next[..torn], &now[torn..]].concat();
                    assert!(mixed == now || mixed == next);
                }
                now = next;
                seen.push(boots(&now));
            }
            let last = boots(&now);
            assert_eq!(
                last,
                wanted.candidate.as_ref().map_or((wanted.committed.0, false), |(slot, _)| (*slot, true))
            );
            seen.dedup();
            assert!(seen.len() <= 2, "{was:?}: {seen:?}");
        }
    }

    #[test]
    fn the_file_stays_where_it_is_and_what_it_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        std::fs::write(&path, block(2, 0, 0)).unwrap();
        let open = Folder::open(folder.path(), None).unwrap();
        write(&open, &chosen(2, Some(3))).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), block(2, 3, 0));
        std::fs::write(&path, block(2, 3, 1)).unwrap();
        write(&open, &chosen(3, None)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), block(3, 0, 0));
        assert_eq!(read(&open).unwrap(), chosen(3, None));
        let long = String::from_utf8(block(2, 0, 0)).unwrap().replace("pv_slot=2\n", "pv_slot=22\n");
        for bad in [&b""[..], &[b'#'; BYTES], &block(2, 0, 0)[1..], &[0; 4096], &long.as_bytes()[..BYTES]] {
            std::fs::write(&path, bad).unwrap();
            assert!(read(&open).is_err());
        }
    }
}
