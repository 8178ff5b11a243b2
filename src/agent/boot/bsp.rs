//! The kernel of a revision, with what it is booted with, put into a boot partition.

use std::path::PathBuf;

use host::file::{Folder, Readers};
use model::device::BootImage;
use model::ids::Digest;
use model::revision::{PartValue, Revision};

use super::{BootError, at, partition};
use crate::digest;

/// Names what is in the partition, with the sha256 of each; written last.
const MARK: &str = "pv-bsp.txt";
/// Longer than any mark.
const MARK_BYTES: usize = 4096;
/// Bytes copied at a time.
const CHUNK: usize = 256 * 1024;

/// One file that the boot loader loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile {
    /// What it is called there.
    pub name: &'static str,
    /// Its sha256.
    pub digest: Digest,
    /// Where it lies now.
    pub from: PathBuf,
}

/// What a revision is booted with; `trail` is where it lies. Nothing, if the kernel is not ours.
///
/// # Errors
/// It cannot be installed.
pub fn files(revision: &Revision, trail: &std::path::Path) -> Result<Vec<BootFile>, BootError> {
    let Some(bsp) = &revision.device().bsp else { return Ok(Vec::new()) };
    let refused = |problem: String| BootError::Revision { revision: revision.id().clone(), problem };
    if let Some(addon) = bsp.addons.first() {
        return Err(refused(format!(
            "its BSP lays bsp/{addon} over the initrd (addons), which this version cannot do"
        )));
    }
    let named: Vec<(&'static str, &str)> = match &bsp.kernel {
        BootImage::Parts { linux, initrd, fdt } => {
            let initrd = initrd.as_deref().map(|file| ("pv-initrd.img", file));
            let fdt = fdt.as_deref().map(|file| ("pv-fdt.dtb", file));
            [("pv-kernel.img", &**linux)].into_iter().chain(initrd).chain(fdt).collect()
        }
        BootImage::Fit(fit) => vec![("pantavisor.fit", fit)],
        BootImage::RaspberryPi(_) => {
            return Err(refused(
                "its BSP is a whole boot partition (rpiab), which this version cannot install".into(),
            ));
        }
    };
    let found = named.into_iter().map(|(name, file)| {
        let key = format!("bsp/{file}");
        let part = revision.device_parts().iter().find(|part| *part.path == *key);
        match part.map(|part| &part.value) {
            Some(PartValue::Object(digest)) => Ok(BootFile { name, digest: *digest, from: trail.join(&key) }),
            Some(PartValue::Inline(_) | PartValue::Inert) | None => {
                Err(refused(format!("{key} is no object of it")))
            }
        }
    });
    found.collect()
}

/// Whether exactly these files are in the partition, by their bytes.
pub(super) fn has(folder: &Folder, files: &[BootFile]) -> bool {
    let marked = folder.read(MARK, MARK_BYTES).is_ok_and(|found| found == mark(files).as_bytes());
    let is_right = |file: &BootFile| {
        let found = folder.open_file(file.name).ok().and_then(|opened| digest::of_reader(opened).ok());
        found == Some(file.digest)
    };
    marked && files.iter().all(is_right)
}

/// Puts the files into the partition in place of what was there, and reads them back. Until the end the partition says that it
/// holds nothing.
pub(super) fn install(folder: &Folder, files: &[BootFile]) -> Result<(), BootError> {
    if has(folder, files) {
        return Ok(());
    }
    folder.remove(MARK)?;
    for name in ["pv-kernel.img", "pv-initrd.img", "pv-fdt.dtb", "pantavisor.fit"] {
        folder.remove(name)?;
    }
    partition::sync(folder)?;
    for file in files {
        copy(folder, file)?;
    }
    folder.write_new(MARK, mark(files).as_bytes(), Readers::All)?;
    partition::sync(folder)?;
    if has(folder, files) { Ok(()) } else { Err(BootError::Different { path: folder.join(MARK) }) }
}

fn copy(folder: &Folder, file: &BootFile) -> Result<(), BootError> {
    let mut from = at("open", &file.from, std::fs::File::open(&file.from))?;
    let mut to = folder.create(file.name, Readers::All)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match at("read", &file.from, std::io::Read::read(&mut from, &mut chunk))? {
            0 => break,
            length => to.write(&chunk[..length])?,
        }
    }
    to.sync()?;
    let _ = rustix::fs::fadvise(to.as_file(), 0, None, rustix::fs::Advice::DontNeed);
    Ok(())
}

fn mark(files: &[BootFile]) -> String {
    files.iter().map(|file| format!("{} {}\n", file.digest, file.name)).collect()
}
