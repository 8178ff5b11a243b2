//! What was done to a disk, as it was asked of the kernel.

/// One change of what lies beneath a folder. Paths are relative to it, "" is the folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    MakeFolder {
        path: String,
    },
    Create {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    Truncate {
        path: String,
        length: usize,
    },
    Write {
        path: String,
        at: At,
        bytes: Vec<u8>,
    },
    Rename {
        from: String,
        to: String,
    },
    Exchange {
        one: String,
        other: String,
    },
    Link {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// A sync was asked for; what comes after it is not part of it. `by` tells it from others that run at the same time.
    SyncBegins {
        path: String,
        by: u32,
    },
    /// It returned.
    SyncEnds {
        by: u32,
    },
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Byte(usize),
    End,
}
