//! What a file operation's error means to the engine.

use host::file::FileError;
use model::report::{Failure, FailureKind};
use rustix::io::Errno;

/// The kind that an error number means.
pub(crate) fn kind_of(errno: Errno) -> FailureKind {
    match errno {
        // FBIG is RLIMIT_FSIZE or the file system's bound when writing.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => FailureKind::NoSpace,
        Errno::ROFS | Errno::ACCESS | Errno::PERM => FailureKind::Denied,
        Errno::NOENT => FailureKind::Missing,
        Errno::IO | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::BUSY | Errno::AGAIN | Errno::INTR => {
            FailureKind::Transient
        }
        _ => FailureKind::Permanent,
    }
}

/// The failure that a file operation's error is.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
pub(crate) fn failure(error: FileError) -> Failure {
    Failure::new(kind_of(error.errno), error.to_string())
}

/// Whether there was no room.
pub(crate) fn is_full(failure: &Failure) -> bool {
    failure.kind == FailureKind::NoSpace
}
