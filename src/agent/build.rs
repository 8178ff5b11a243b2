//! Makes a small program.

use std::io;
use std::path::PathBuf;

#[path = "../../cross/shrink.rs"]
mod shrink;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=../../cross/shrink.rs");
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    shrink::shrink(&out)
}
