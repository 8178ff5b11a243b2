//! `Durable` in two copies, the newest of which is never written to.
//!
//! A copy is one line, `goalpost-durable <generation> <length> <sha256>`, then `length` bytes; whatever follows is of a
//! former, longer one. A save writes over the *other* copy, in place: the newest stays whole whatever happens, and
//! writing over blocks that a file already has needs no room, so that a full disk can still save.

use host::file::{FileError, Folder, Readers};
use model::durable::Durable;
use model::ids::Digest;
use model::report::{Failure, FailureKind};

use super::failure;
use crate::digest::Sha256;

const PATHS: [&str; 2] = ["durable/0", "durable/1"];
const MAGIC: &str = "goalpost-durable";
/// The longest first line, with room to spare.
const HEAD: usize = 160;
/// Blocks that a copy has from the start.
const RESERVED: usize = 16 * 1024;

/// What is known of the two copies.
#[derive(Debug)]
pub(super) struct Copies {
    newest: Newest,
}

#[derive(Debug)]
enum Newest {
    /// Neither copy exists whole, and no save can have ended well.
    NeverSaved,
    /// Both were there, neither is whole.
    Lost {
        why: String,
    },
    Whole {
        slot: usize,
        generation: u64,
        body: Vec<u8>,
    },
}

/// What one copy is.
enum Found {
    Absent,
    Torn(String),
    Whole { generation: u64, body: Vec<u8> },
}

impl Copies {
    pub(super) fn read(folder: &Folder) -> Copies {
        let newest = match PATHS.map(|path| read_copy(folder, path)) {
            [Found::Whole { generation, body }, Found::Whole { generation: other, .. }]
                if generation >= other =>
            {
                Newest::Whole { slot: 0, generation, body }
            }
            [_, Found::Whole { generation, body }] => Newest::Whole { slot: 1, generation, body },
            [Found::Whole { generation, body }, _] => Newest::Whole { slot: 0, generation, body },
            [Found::Torn(one), Found::Torn(other)] => Newest::Lost { why: format!("{one}; {other}") },
            // The first save makes both copies before it ends, one after the other.
            [Found::Absent | Found::Torn(_), Found::Absent] | [Found::Absent, Found::Torn(_)] => {
                Newest::NeverSaved
            }
        };
        Copies { newest }
    }

    pub(super) fn load(&self) -> Result<Option<Durable>, Failure> {
        match &self.newest {
            Newest::NeverSaved => Ok(None),
            Newest::Lost { why } => Err(Failure::new(
                FailureKind::Corrupt,
                format!("read what was saved: neither copy is whole: {why}"),
            )),
            Newest::Whole { slot, body, .. } => Durable::from_bytes(body).map(Some).map_err(|error| {
                Failure::new(
                    FailureKind::Unsupported,
                    format!("read what was saved in {}: {error}", PATHS[*slot]),
                )
            }),
        }
    }

    pub(super) fn save(&mut self, folder: &Folder, durable: &Durable) -> Result<(), Failure> {
        let body = durable.to_bytes().map_err(|error| {
            Failure::new(FailureKind::Permanent, format!("save the agent's decisions: {error}"))
        })?;
        let (slots, generation): (&[usize], u64) = match &self.newest {
            Newest::NeverSaved | Newest::Lost { .. } => (&[0, 1], 1),
            Newest::Whole { slot: 0, generation, .. } => (&[1], generation.saturating_add(1)),
            Newest::Whole { generation, .. } => (&[0], generation.saturating_add(1)),
        };
        let copy = copy_of(generation, &body);
        for slot in slots {
            write_copy(folder, PATHS[*slot], &copy).map_err(failure)?;
            self.newest = Newest::Whole { slot: *slot, generation, body: body.clone() };
        }
        Ok(())
    }
}

fn checksum(generation: u64, body: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(&generation.to_be_bytes());
    hash.update(body);
    hash.finish()
}

fn copy_of(generation: u64, body: &[u8]) -> Vec<u8> {
    let head = format!("{MAGIC} {generation} {} {}\n", body.len(), checksum(generation, body));
    let mut copy = head.into_bytes();
    copy.extend_from_slice(body);
    copy
}

fn write_copy(folder: &Folder, path: &str, copy: &[u8]) -> Result<(), FileError> {
    let file = match folder.append(path) {
        Err(error) if error.is_missing() => {
            let mut file = folder.create(path, Readers::Owner)?;
            file.write(&vec![b' '; RESERVED.max(copy.len())])?;
            folder.sync_folder("durable")?;
            file
        }
        opened => opened?,
    };
    file.write_at(0, copy)?;
    file.sync()
}

fn read_copy(folder: &Folder, path: &str) -> Found {
    match folder.read(path, HEAD + RESERVED.max(Durable::MAX_BYTES)) {
        Err(error) if error.is_missing() => Found::Absent,
        Err(error) => Found::Torn(error.to_string()),
        Ok(bytes) => parse_copy(&bytes).unwrap_or_else(|| Found::Torn(format!("{path} is torn"))),
    }
}

fn parse_copy(bytes: &[u8]) -> Option<Found> {
    let end = bytes.iter().take(HEAD).position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let [MAGIC, generation, length, sum] = head.split(' ').collect::<Vec<_>>()[..] else { return None };
    let (generation, length) = (generation.parse().ok()?, length.parse::<usize>().ok()?);
    let body = bytes[end + 1..].get(..length)?;
    let whole = checksum(generation, body) == sum.parse().ok()?;
    whole.then(|| Found::Whole { generation, body: body.to_vec() })
}
