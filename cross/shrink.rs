//! What only the linker can leave out of our programs: the build scripts of `goalpost` and `goalctl` include this file.

use std::path::Path;
use std::{env, fs, io};

/// Asks the linker for the smallest program it can make for this target; `out` is the build script's `OUT_DIR`.
pub(crate) fn shrink(out: &Path) -> io::Result<()> {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    println!("cargo::rustc-check-cfg=cfg(lean)");
    if !is("CARGO_CFG_TARGET_OS", "linux") {
        return Ok(());
    }
    // A static program that may lie anywhere carries 24 bytes for each pointer in its tables; packed, they are bits. glibc
    // reads them since 2.36, musl since 1.2.4, which is not everywhere yet. 85 KiB.
    if is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    // Nothing unwinds in the size profile, where a panic aborts (cargo does not tell a build script so): its message comes
    // without a backtrace, whose names are stripped anyway. 240 KiB.
    if is("OPT_LEVEL", "z") {
        let script = out.join("no-unwind-tables.ld");
        // musl's start files name their own, which are empty.
        let tables = "*(EXCLUDE_FILE(*crtbegin*.o *crtend*.o) .eh_frame)";
        fs::write(&script, format!("SECTIONS {{ /DISCARD/ : {{ {tables} }} }} INSERT AFTER .text;\n"))?;
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
        // lean.rs; the unwinder's own entry comes along with its neighbours, and is left lying.
        println!("cargo::rustc-cfg=lean");
        println!("cargo::rustc-link-arg-bins=-Wl,-z,muldefs");
    }
    Ok(())
}
