//! Unpacks what is compressed into files without a name, which are gone when they are closed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::author::members::wrong;
use crate::author::tree::{Section, SectionReader};
use crate::bundle::bad;
use crate::failed::Failed;
use crate::meter::Meter;

/// All that one image may unpack to. A bomb ends here.
const MOST_UNPACKED: u64 = 16 * 1024 * 1024 * 1024;

/// Where files without a name are made, with what may still be written there.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    left: u64,
}

impl Spool {
    pub(crate) fn new(folder: &Path) -> Spool {
        Spool { folder: folder.to_owned(), left: MOST_UNPACKED }
    }

    /// A file that has no name from its first moment on.
    pub(crate) fn file(&self) -> Result<File, Failed> {
        let path = self.folder.join(format!("spool.{}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|cause| self.failed(&cause))?;
        std::fs::remove_file(&path).map_err(|cause| self.failed(&cause))?;
        Ok(file)
    }

    /// The bytes themselves where they are not compressed, else what they unpack to.
    pub(crate) fn unpacked(&mut self, name: &str, section: &Section) -> Result<Section, Failed> {
        let mut head = Vec::new();
        let read = section.reader().take(6).read_to_end(&mut head);
        read.map_err(|cause| wrong(name, &cause.to_string()))?;
        let meter = Meter::new(section.size);
        let packed = BufReader::with_capacity(256 * 1024, Metered { reader: section.reader(), meter });
        if head.starts_with(&[0x1f, 0x8b]) {
            self.keep(name, &mut flate2::bufread::MultiGzDecoder::new(packed))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let frames = Frames { source: packed, frame: None };
            self.keep(name, &mut { frames })
        } else if head.starts_with(b"\xfd7zXZ\0") || head.starts_with(b"BZh") {
            Err(wrong(name, "packed with xz or bzip2, which is not read; pack it with gzip or zstd"))
        } else {
            Ok(section.clone())
        }
    }

    fn keep(&mut self, name: &str, source: &mut dyn Read) -> Result<Section, Failed> {
        let mut file = BufWriter::with_capacity(256 * 1024, self.file()?);
        let mut piece = vec![0; 256 * 1024];
        loop {
            let count = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(wrong(name, &format!("it does not unpack: {cause}"))),
            };
            self.left = self
                .left
                .checked_sub(count as u64)
                .ok_or_else(|| wrong(name, "an image that unpacks to more than 16 GiB is refused"))?;
            file.write_all(&piece[..count]).map_err(|cause| self.failed(&cause))?;
        }
        let file = file.into_inner().map_err(|cause| self.failed(cause.error()))?;
        Section::whole(file).map_err(|cause| self.failed(&cause))
    }

    fn failed(&self, cause: &io::Error) -> Failed {
        let what = format!("keep what is unpacked in {}", self.folder.display());
        Failed::Source { what, cause: cause.to_string() }
    }
}

/// Shows how far it is read, and leaves no trace of that.
struct Metered {
    reader: SectionReader,
    meter: Meter,
}

impl Read for Metered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(into)?;
        if count > 0 {
            self.meter.advance(count as u64);
        }
        Ok(count)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.meter.clear();
    }
}

/// zstd frames, one after the other.
struct Frames<R: Read> {
    source: BufReader<R>,
    frame: Option<Box<ruzstd::decoding::FrameDecoder>>,
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        use ruzstd::decoding::BlockDecodingStrategy;
        use std::io::BufRead;
        loop {
            let Some(frame) = &mut self.frame else {
                if self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                let mut frame = Box::new(ruzstd::decoding::FrameDecoder::new());
                frame.init(&mut self.source).map_err(io::Error::other)?;
                self.frame = Some(frame);
                continue;
            };
            let count = frame.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            if frame.is_finished() {
                self.frame = None;
            } else {
                let enough = BlockDecodingStrategy::UptoBytes(into.len());
                frame.decode_blocks(&mut self.source, enough).map_err(io::Error::other)?;
            }
        }
    }
}

/// Refuses a path that is no plain file before it is opened: a pipe would never end.
pub(crate) fn plain_file(path: &Path) -> Result<(), Failed> {
    let found = std::fs::metadata(path).map_err(|cause| crate::bundle::unreadable(path, &cause))?;
    if found.is_file() { Ok(()) } else { Err(bad(path, "neither a folder nor a plain file")) }
}
