//! `goalctl image`: a folder as a squashfs image, without a tool of the host.

use std::io::BufWriter;
use std::path::Path;

use crate::author::layers::{self, LeftOut, Owners};
use crate::author::squashfs;
use crate::failed::Failed;
use crate::meter::Meter;
use crate::output::Output;
use crate::whole::{Whole, unwritable};

pub(crate) fn write(folder: &Path, out: &Path, output: &Output) -> Result<(), Failed> {
    let tree = layers::from_folder(folder, Owners::Root, &mut LeftOut::default())?;
    let mut whole = Whole::begin(out)?;
    let mut meter = Meter::new(tree.bytes());
    let written = squashfs::write(&tree, BufWriter::with_capacity(1 << 20, &mut whole), &mut |count| {
        meter.advance(count)
    });
    meter.clear();
    let bytes = written.map_err(|cause| unwritable(out, &cause))?;
    whole.finish()?;
    output.line(&format!("{}: {bytes} bytes", out.display()))
}
