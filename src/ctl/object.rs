//! An object on its way to its place, which it reaches only if its bytes are what its name says.

use std::io::Write;
use std::path::{Path, PathBuf};

use model::ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::failed::Failed;
use crate::whole::{Whole, unwritable};

pub(crate) struct Object {
    digest: Digest,
    place: PathBuf,
    file: Whole,
    hash: Sha256,
}

impl Object {
    pub(crate) fn begin(place: &Path, digest: Digest) -> Result<Object, Failed> {
        Ok(Object { digest, file: Whole::begin(place)?, place: place.to_owned(), hash: Sha256::new() })
    }

    pub(crate) fn take(&mut self, piece: &[u8]) -> Result<(), Failed> {
        self.hash.update(piece);
        self.file.write_all(piece).map_err(|cause| unwritable(&self.place, &cause))
    }

    pub(crate) fn finish(self) -> Result<(), Failed> {
        let found = Digest::from_bytes(self.hash.finalize().into());
        if found == self.digest {
            return self.file.finish();
        }
        let cause = format!("its bytes have the sha256 {found}");
        Err(Failed::Source { what: format!("keep object {}", self.digest), cause })
    }
}
