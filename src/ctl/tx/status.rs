//! `.status`: how far a transaction is, in the binary form that the field's tools read and write.
//!
//! Numbers are 32 bits in the order of the host, paths are 4096 bytes filled up with zeros:
//!
//! ```text
//!      0  status     4  is_local     8  object folder          a transaction ends here
//!   4104  queue folder   8200  count   8204  error             a queue ends here
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const PATH: usize = 4096;
const TRANSACTION: usize = 8 + PATH;
const QUEUE: usize = TRANSACTION + PATH + 8;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A queue was started, no transaction.
    Set,
    Active,
    Aborted,
    Committed,
    Deployed,
}

const PHASES: [(Phase, i32); 5] =
    [(Phase::Set, 1), (Phase::Active, 2), (Phase::Aborted, 3), (Phase::Committed, 4), (Phase::Deployed, 5)];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    pub(crate) objects: Objects,
    pub(crate) queue: Option<Queue>,
}

/// Where objects go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Objects {
    ToTheAgent,
    Into(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) folder: PathBuf,
    /// Steps so far, which is the number of the next.
    pub(crate) count: i32,
    /// Kept as it was found; nothing sets it.
    pub(crate) error: i32,
}

impl Status {
    /// None if a path is too long for it, or empty.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let (is_local, objects) = match &self.objects {
            Objects::ToTheAgent => (0i32, None),
            Objects::Into(folder) => (1, Some(folder)),
        };
        let number = PHASES.iter().find(|(phase, _)| *phase == self.phase).map_or(0, |(_, number)| *number);
        let mut bytes = [number.to_ne_bytes(), is_local.to_ne_bytes()].concat();
        push_path(&mut bytes, objects.map(PathBuf::as_path))?;
        if let Some(queue) = &self.queue {
            push_path(&mut bytes, Some(&queue.folder))?;
            bytes.extend([queue.count.to_ne_bytes(), queue.error.to_ne_bytes()].concat());
        }
        Some(bytes)
    }

    /// None if it is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Status> {
        if bytes.len() != TRANSACTION && bytes.len() != QUEUE {
            return None;
        }
        let number = number(bytes, 0)?;
        let (phase, _) = PHASES.into_iter().find(|(_, known)| *known == number)?;
        let objects = match self::number(bytes, 4)? {
            0 => Objects::ToTheAgent,
            _ => Objects::Into(path(bytes, 8)?),
        };
        let queue = match path(bytes, TRANSACTION) {
            Some(folder) => {
                let (count, error) = (self::number(bytes, QUEUE - 8)?, self::number(bytes, QUEUE - 4)?);
                Some(Queue { folder, count, error })
            }
            None => None,
        };
        Some(Status { phase, objects, queue })
    }
}

fn push_path(bytes: &mut Vec<u8>, path: Option<&Path>) -> Option<()> {
    let text = path.map_or(&[][..], |path| path.as_os_str().as_bytes());
    // The last byte is always a zero: they are read as C strings.
    if text.len() >= PATH || text.contains(&0) || path.is_some() == text.is_empty() {
        return None;
    }
    let end = bytes.len() + PATH;
    bytes.extend(text);
    bytes.resize(end, 0);
    Some(())
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn path(bytes: &[u8], at: usize) -> Option<PathBuf> {
    let text = bytes.get(at..at + PATH)?.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_what_it_was_written_as() {
        let queue = Queue { folder: "/q".into(), count: 7, error: 0 };
        for status in [
            Status { phase: Phase::Active, objects: Objects::ToTheAgent, queue: None },
            Status { phase: Phase::Deployed, objects: Objects::Into("/o".into()), queue: None },
            Status { phase: Phase::Set, objects: Objects::Into("/o".into()), queue: Some(queue) },
        ] {
            assert_eq!(Status::decode(&status.encode().unwrap()).unwrap(), status);
        }
    }

    #[test]
    fn every_byte_is_where_the_field_has_it() {
        let queue = Queue { folder: "/queue".into(), count: 3, error: 0 };
        let status =
            Status { phase: Phase::Active, objects: Objects::Into("/obj".into()), queue: Some(queue) };
        let bytes = status.encode().unwrap();
        assert_eq!(bytes.len(), 8208);
        assert_eq!(bytes[..8], [2i32.to_ne_bytes(), 1i32.to_ne_bytes()].concat());
        assert_eq!(&bytes[8..13], b"/obj\0");
        assert_eq!(&bytes[4104..4111], b"/queue\0");
        assert_eq!(bytes[8200..], [3i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat());
    }

    #[test]
    fn what_is_no_status_is_told_from_one() {
        assert_eq!(Status::decode(b""), None);
        assert_eq!(Status::decode(&[2; 4104]), None);
        assert_eq!(Status::decode(&[0; 4104]), None);
        assert_eq!(Status::decode(&[0; 4105]), None);
        let long = Objects::Into("/".repeat(4096).into());
        assert_eq!(Status { phase: Phase::Set, objects: long, queue: None }.encode(), None);
    }
}
