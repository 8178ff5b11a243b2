//! What went wrong in the kernel: which operation, on what, with which errno.

use std::borrow::Cow;
use std::io;

use model::report::{Failure, FailureKind};
use nix::errno::Errno;

/// An operation that the kernel refused. Reads well after "failed to".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} {subject}: {} ({:?})", .errno.desc(), .errno)]
pub struct HostError {
    /// What was tried: "mount", "make folder", …
    pub op: Cow<'static, str>,
    /// On what: a path, a name.
    pub subject: String,
    /// Why not.
    pub errno: Errno,
}

impl HostError {
    /// For `map_err`: the operation and its subject, waiting for the errno.
    pub fn at<E: AsErrno>(op: &'static str, subject: impl Into<String>) -> impl FnOnce(E) -> HostError {
        move |errno| HostError { op: Cow::Borrowed(op), subject: subject.into(), errno: errno.as_errno() }
    }

    /// As the engine takes it in.
    pub fn failure(&self) -> Failure {
        Failure::new(self.kind(), self.to_string())
    }

    fn kind(&self) -> FailureKind {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "errno has 130 variants; the rest are the container's fault"
        )]
        match self.errno {
            Errno::ENOSPC | Errno::EDQUOT => FailureKind::NoSpace,
            Errno::EACCES | Errno::EPERM | Errno::EROFS => FailureKind::Denied,
            Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => FailureKind::Missing,
            Errno::ENOSYS | Errno::EOPNOTSUPP => FailureKind::Unsupported,
            Errno::EUCLEAN | Errno::EBADMSG => FailureKind::Corrupt,
            Errno::EAGAIN
            | Errno::EBUSY
            | Errno::EINTR
            | Errno::EIO
            | Errno::ENOMEM
            | Errno::EMFILE
            | Errno::ENFILE
            | Errno::EPIPE
            | Errno::ECONNRESET => FailureKind::Transient,
            _ => FailureKind::Permanent,
        }
    }
}

/// An error that is an errno underneath.
pub trait AsErrno {
    /// The errno.
    fn as_errno(&self) -> Errno;
}

impl AsErrno for Errno {
    fn as_errno(&self) -> Errno {
        *self
    }
}

impl AsErrno for rustix::io::Errno {
    fn as_errno(&self) -> Errno {
        Errno::from_raw(self.raw_os_error())
    }
}

impl AsErrno for io::Error {
    fn as_errno(&self) -> Errno {
        Errno::from_raw(self.raw_os_error().unwrap_or(libc::EIO))
    }
}
