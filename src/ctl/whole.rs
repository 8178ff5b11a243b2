//! A file that carries its name only once it is whole, on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::bundle::pieces;
use crate::failed::Failed;

/// A file being written beside its place, as `NAME.part`. Dropped unfinished, nothing of it stays.
#[derive(Debug)]
pub(crate) struct Whole {
    place: PathBuf,
    part: PathBuf,
    file: Option<File>,
}

impl Whole {
    pub(crate) fn begin(place: &Path) -> Result<Whole, Failed> {
        let mut part = place.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // What a run that was cut off has left. Opened anew, because a link of that name is not to be followed.
        let file = match std::fs::remove_file(&part) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            Ok(()) | Err(_) => OpenOptions::new().write(true).create_new(true).open(&part),
        };
        let file = file.map_err(|cause| unwritable(&part, &cause))?;
        Ok(Whole { place: place.to_owned(), part, file: Some(file) })
    }

    /// Puts it in its place, once its bytes are on the disk.
    pub(crate) fn finish(mut self) -> Result<(), Failed> {
        if let Some(file) = self.file.take() {
            let moved = file.sync_all().and_then(|()| std::fs::rename(&self.part, &self.place));
            if let Err(cause) = moved {
                let _ = std::fs::remove_file(&self.part);
                return Err(unwritable(&self.place, &cause));
            }
        }
        sync_folder(&self.place)
    }
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Whole {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.as_mut().map_or(Ok(0), |file| file.seek(to))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Why it was not finished is told by whoever did not; a rest that cannot be removed is found under its name.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

pub(crate) fn write(place: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let mut whole = Whole::begin(place)?;
    whole.write_all(bytes).map_err(|cause| unwritable(place, &cause))?;
    whole.finish()
}

/// All that the source has; `written` hears the size of each piece.
pub(crate) fn fill(place: &Path, source: &mut dyn Read, written: &mut dyn FnMut(u64)) -> Result<(), Failed> {
    let mut whole = Whole::begin(place)?;
    pieces(source, &mut |piece| {
        written(piece.len() as u64);
        whole.write_all(piece).map_err(|cause| unwritable(place, &cause))
    })?;
    whole.finish()
}

/// Removes it for good, if it is there.
pub(crate) fn remove(place: &Path) -> Result<(), Failed> {
    match std::fs::remove_file(place) {
        Ok(()) => sync_folder(place),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(unwritable(place, &cause)),
    }
}

/// Makes sure of what was made, renamed or removed beside `place`.
pub(crate) fn sync_folder(place: &Path) -> Result<(), Failed> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|cause| unwritable(folder, &cause))
}

pub(crate) fn make_folder(folder: &Path) -> Result<(), Failed> {
    std::fs::create_dir_all(folder).map_err(|cause| unwritable(folder, &cause))
}

pub(crate) fn unwritable(path: &Path, cause: &impl ToString) -> Failed {
    Failed::Source { what: format!("write {}", path.display()), cause: cause.to_string() }
}
