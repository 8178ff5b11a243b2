//! Names that cannot be wrong: each is checked once, when it is made from text.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not the name or number it was offered as. The text itself is in [`BadId::found`], cut to 80 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {found:?}: {allowed}")]
pub struct BadId {
    /// What it was offered as: "revision", "container name", …
    pub kind: &'static str,
    /// What was found, cut to 80 characters.
    pub found: String,
    /// What would have been allowed, as a sentence fragment.
    pub allowed: &'static str,
}

impl BadId {
    fn new(kind: &'static str, found: &str, allowed: &'static str) -> BadId {
        BadId { kind, found: found.chars().take(80).collect(), allowed }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A revision's name on the device: a decimal number, or `locals/<name>` with 1 to 64 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionId(Arc<str>);

impl RevisionId {
    const ALLOWED: &str = "must be a decimal number, or locals/NAME with NAME of 1 to 64 characters of [A-Za-z0-9._-], not . or ..";

    /// The revision that the device was made with.
    pub fn factory() -> RevisionId {
        RevisionId(Arc::from("0"))
    }

    /// The name as it stands in paths under `trails/` or in the API under `/steps/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name was given on the device (`locals/…`), not by a hub.
    pub fn is_local(&self) -> bool {
        self.0.starts_with("locals/")
    }
}

impl FromStr for RevisionId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<RevisionId, BadId> {
        let good = match text.strip_prefix("locals/") {
            Some(name) => {
                (1..=64).contains(&name.len()) && name.bytes().all(is_plain) && name != "." && name != ".."
            }
            None => {
                (1..=18).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_digit())
                    && (text == "0" || !text.starts_with('0'))
            }
        };
        if good { Ok(RevisionId(Arc::from(text))) } else { Err(BadId::new("revision", text, Self::ALLOWED)) }
    }
}

/// A container's name: the first element of its keys in the state, 1 to 128 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerName(Arc<str>);

impl ContainerName {
    const ALLOWED: &str = "must be 1 to 128 characters of [A-Za-z0-9._-], not starting with . or _, and not bsp or a file of the device";

    /// The name as it stands in paths.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<ContainerName, BadId> {
        let good = (1..=128).contains(&text.len())
            && text.bytes().all(is_plain)
            && !text.starts_with(['.', '_'])
            && text != "bsp";
        if good {
            Ok(ContainerName(Arc::from(text)))
        } else {
            Err(BadId::new("container name", text, Self::ALLOWED))
        }
    }
}

/// A group's name: 1 to 64 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// The groups of a revision that brings none: data, root, platform, app, in start order.
    pub fn defaults() -> [GroupName; 4] {
        ["data", "root", "platform", "app"].map(|name| GroupName(Arc::from(name)))
    }

    /// The name as the state gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<GroupName, BadId> {
        if (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
            Ok(GroupName(Arc::from(text)))
        } else {
            Err(BadId::new("group name", text, "must be 1 to 64 characters of [A-Za-z0-9._-]"))
        }
    }
}

/// A sha256, which is the name of an object. Text form: 64 lower-case hex characters; upper case is read too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the 32 bytes that a hash function returned.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Digest, BadId> {
        let bad = || BadId::new("object name", text, "must be 64 hex characters, the sha256 of the object");
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (hex_digit(pair[0]).ok_or_else(bad)?, hex_digit(pair[1]).ok_or_else(bad)?);
            *byte = high << 4 | low;
        }
        Ok(Digest(bytes))
    }
}

fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        b'A'..=b'F' => Some(character - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of a container, from spawn to reap. Never used twice on a device while its runtime record lives (one boot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

impl Generation {
    /// The life after this one.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Ties a reply to the channel that waits for it. The shell makes them, counting up; the engine only passes them on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

macro_rules! text_id {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text_id!(RevisionId, ContainerName, GroupName);

macro_rules! serde_as_text {
    ($($id:ty),*) => {$(
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$id, D::Error> {
                let text = alloc::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(RevisionId, ContainerName, GroupName, Digest);
