//! Writes a package: the same bytes for the same revision, whoever packs it, whenever.

use std::io::Write;
use std::path::Path;

use model::ids::Digest;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::failed::Failed;
use crate::gzip::Encoder;
use crate::whole::{Whole, unwritable};

const BLOCK: usize = 512;

/// A package being written. Until it is finished there is no file of its name.
pub(crate) struct Tarball {
    packed: Packed,
    name: String,
}

enum Packed {
    Plain(Whole),
    Gzip(Encoder<Whole>),
}

/// One object on its way into a package.
pub(crate) struct Member<'a> {
    tarball: &'a mut Tarball,
    digest: Digest,
    size: u64,
    written: u64,
    hasher: Sha256,
}

impl Tarball {
    /// Gzipped if the name says so.
    pub(crate) fn begin(place: &Path) -> Result<Tarball, Failed> {
        let whole = Whole::begin(place)?;
        let gzip = place.extension().is_some_and(|extension| extension == "gz" || extension == "tgz");
        let packed = if gzip { Packed::Gzip(Encoder::new(whole)) } else { Packed::Plain(whole) };
        Ok(Tarball { packed, name: place.display().to_string() })
    }

    pub(crate) fn state(&mut self, state: &[u8]) -> Result<(), Failed> {
        self.header("json", state.len() as u64)?;
        self.bytes(state)?;
        self.pad(state.len() as u64)
    }

    pub(crate) fn object(&mut self, digest: Digest, size: u64) -> Result<Member<'_>, Failed> {
        self.header(&format!("objects/{digest}"), size)?;
        Ok(Member { tarball: self, digest, size, written: 0, hasher: Sha256::new() })
    }

    /// The end mark, then the name.
    pub(crate) fn finish(mut self) -> Result<(), Failed> {
        self.bytes(&[0; 2 * BLOCK])?;
        let name = self.name;
        match self.packed {
            Packed::Plain(whole) => whole.finish(),
            Packed::Gzip(encoder) => {
                encoder.finish().map_err(|cause| unwritable(Path::new(&name), &cause))?.finish()
            }
        }
    }

    /// Without anything of this machine or moment: no owner, no time.
    fn header(&mut self, name: &str, size: u64) -> Result<(), Failed> {
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(|cause| unwritable(Path::new(name), &cause))?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.bytes(header.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        let written = match &mut self.packed {
            Packed::Plain(whole) => whole.write_all(bytes),
            Packed::Gzip(encoder) => encoder.write_all(bytes),
        };
        written.map_err(|cause| unwritable(Path::new(&self.name), &cause))
    }

    /// A member begins at a block.
    fn pad(&mut self, size: u64) -> Result<(), Failed> {
        let beyond = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if beyond == 0 { Ok(()) } else { self.bytes(&[0; BLOCK][beyond..]) }
    }
}

impl Member<'_> {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.written += bytes.len() as u64;
        if self.written > self.size {
            return Err(self.changed());
        }
        self.hasher.update(bytes);
        self.tarball.bytes(bytes)
    }

    /// What its bytes are is known only now.
    pub(crate) fn finish(self) -> Result<(), Failed> {
        let found = Digest::from_bytes(self.hasher.clone().finalize().into());
        if self.written != self.size || found != self.digest {
            return Err(self.changed());
        }
        self.tarball.pad(self.size)
    }

    fn changed(&self) -> Failed {
        Failed::Source {
            what: format!("pack object {}", self.digest),
            cause: "its bytes are not what its name says: it was changed meanwhile, or is damaged".to_owned(),
        }
    }
}
