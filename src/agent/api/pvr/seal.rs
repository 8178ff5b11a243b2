//! Addresses that nobody can make but us, each for one object, one use, a bounded time.

use std::time::Duration;

use engine::Time;
use model::ids::Digest;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::digest::Sha256;
use crate::inputs::clock;

/// How long a sealed address can be used from when it was given out.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

/// What a sealed address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Get,
    /// Of exactly so many bytes.
    Put(u64),
}

/// A key of this life of the agent; nothing is remembered of what was sealed with it.
pub(super) struct Seal {
    key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    pub(super) fn new() -> std::io::Result<Seal> {
        let mut key = [0; 32];
        let filled = getrandom(&mut key, GetRandomFlags::empty())?;
        if filled == key.len() { Ok(Seal { key }) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The query of an address for the bytes of `object`.
    pub(super) fn query(&self, object: &Digest, what: Use) -> String {
        let until = seconds(clock::now() + LIFETIME);
        let seal = self.of_object(object, what, until);
        match what {
            Use::Get => format!("until={until}&seal={seal}"),
            Use::Put(size) => format!("size={size}&until={until}&seal={seal}"),
        }
    }

    /// Whether we gave that out, and its time is not over.
    pub(super) fn is_ours(&self, object: &Digest, what: Use, until: u64, seal: &Digest) -> bool {
        self.is_same(&self.of_object(object, what, until), seal) && seconds(clock::now()) <= until
    }

    /// What is kept of a secret: it cannot be told from this.
    pub(super) fn of_secret(&self, secret: &[u8]) -> Digest {
        self.of(b"secret", secret)
    }

    fn of_object(&self, object: &Digest, what: Use, until: u64) -> Digest {
        let mut text = [0; 48];
        text[..32].copy_from_slice(object.as_bytes());
        text[32..40].copy_from_slice(&until.to_be_bytes());
        match what {
            Use::Get => self.of(b"get", &text),
            Use::Put(size) => {
                text[40..].copy_from_slice(&size.to_be_bytes());
                self.of(b"put", &text)
            }
        }
    }

    /// Keyed twice, so that nothing can be appended to what was sealed.
    fn of(&self, kind: &[u8], text: &[u8]) -> Digest {
        let mut inner = Sha256::new();
        [&self.key[..], kind, &[0], text].into_iter().for_each(|part| inner.update(part));
        let mut outer = Sha256::new();
        outer.update(&self.key);
        outer.update(inner.finish().as_bytes());
        outer.finish()
    }

    /// In a time that says nothing about where two digests differ.
    pub(super) fn is_same(&self, one: &Digest, other: &Digest) -> bool {
        self.of(b"same", one.as_bytes()) == self.of(b"same", other.as_bytes())
    }
}

fn seconds(time: Time) -> u64 {
    time.as_micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_for_one_object_one_use_and_one_time() {
        let (seal, other) = (Seal::new().unwrap(), Seal::new().unwrap());
        let (one, two) = (crate::digest::of(b"one"), crate::digest::of(b"two"));
        let until = seconds(clock::now() + LIFETIME);
        let given = seal.of_object(&one, Use::Put(3), until);
        assert!(seal.is_ours(&one, Use::Put(3), until, &given));
        assert!(!seal.is_ours(&two, Use::Put(3), until, &given));
        assert!(!seal.is_ours(&one, Use::Put(4), until, &given));
        assert!(!seal.is_ours(&one, Use::Get, until, &given));
        assert!(!seal.is_ours(&one, Use::Put(3), until + 1, &given));
        assert!(!other.is_ours(&one, Use::Put(3), until, &given));
        let past = seconds(clock::now()) - 1;
        assert!(!seal.is_ours(&one, Use::Get, past, &seal.of_object(&one, Use::Get, past)));
    }
}
