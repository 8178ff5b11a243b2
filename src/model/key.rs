//! Keys of a state: relative paths that are safe to make on disk, each owned by a container or by the device.

use alloc::boxed::Box;

use crate::ids::{ContainerName, Digest};

/// One key of a state with the identity of its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Part {
    /// The key: a relative path without `.`, `..`, empty or overlong segments.
    pub path: Box<str>,
    /// What it holds.
    pub value: PartValue,
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PartValue {
    /// A file, by its sha256.
    Object(Digest),
    /// A file given inline: its canonical text.
    Inline(Box<str>),
    /// A file given inline whose change needs nothing; its text is not kept.
    Inert,
}

impl Part {
    /// Whether a change of it needs a restart or a reboot.
    pub fn weight(&self) -> Weight {
        Weight::of(&self.path)
    }
}

/// What a change of a key needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Nothing: it only says how something was made, signed or is read.
    Nothing,
    /// Its owner's restart, or a reboot where the owner is the device or has restart policy system.
    Owner,
}

impl Weight {
    /// By the key alone.
    pub fn of(path: &str) -> Weight {
        let mut segments = path.split('/');
        let (first, second, third) = (segments.next().unwrap_or(""), segments.next(), segments.next());
        match (first, second, third) {
            ("README.md" | "checkpoint.json" | "#spec", None, None) => Weight::Nothing,
            ("_sigs", Some(_), _) => Weight::Nothing,
            (_, Some("src.json" | "build.json" | "args.json"), None) if !first.starts_with('_') => {
                Weight::Nothing
            }
            (_, _, _) => Weight::Owner,
        }
    }
}

/// Who a key might belong to, by its path alone; a container of that name makes it so, else it is the device's.
pub(crate) fn possible_owner(path: &str) -> Option<ContainerName> {
    let (first, rest) = path.split_once('/')?;
    if first == "_config" {
        let (container, _) = rest.split_once('/')?;
        return container.parse().ok();
    }
    first.parse().ok()
}

/// Why a path cannot be a key.
pub(crate) fn refuse(path: &str) -> Result<(), &'static str> {
    const LONGEST: usize = 1024;
    if path.is_empty() {
        return Err("a path of at least one character");
    }
    if path.len() > LONGEST {
        return Err("a path of at most 1024 bytes");
    }
    if path.starts_with('/') {
        return Err("a relative path");
    }
    if path.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("a path without control characters");
    }
    if path.split('/').any(|segment| segment.is_empty()) {
        return Err("a path without empty segments");
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("a path without . and ..");
    }
    if path.split('/').any(|segment| segment.len() > 255) {
        return Err("a path whose segments have at most 255 bytes");
    }
    if path.split('/').next().is_some_and(|first| first == ".pv" || first == ".pvr") {
        return Err("a path outside .pv and .pvr, which the device keeps for itself");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_says_how_something_was_made_needs_nothing() {
        for path in [
            "README.md",
            "checkpoint.json",
            "_sigs/web.json",
            "web/src.json",
            "web/build.json",
            "web/args.json",
        ] {
            assert_eq!(Weight::of(path), Weight::Nothing, "{path}");
        }
        for path in
            ["web/run.json", "_config/web/src.json", "_config/src.json", "web/etc/src.json", "device.json"]
        {
            assert_eq!(Weight::of(path), Weight::Owner, "{path}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = "a".repeat(256);
        for path in ["", "/a", "a//b", "a/", "a/../b", "./a", "a\0", "a\nb", ".pv/x", ".pvr", &long] {
            assert!(refuse(path).is_err(), "{path:?}");
        }
        for path in ["a", "a/b.c", "..a/b..", ".pvx", "é/ü"] {
            assert_eq!(refuse(path), Ok(()), "{path:?}");
        }
    }
}
