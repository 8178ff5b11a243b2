//! Makes the completions (bash, zsh, fish), the man pages, a small program.
//!
//! The first two come from the command line's own description, and land in `goalctl-docs/` beside the program (`target/<target>/<profile>/goalctl-docs/`), or in the folder that the
//! environment variable `GOALCTL_DOCS` names at build time.

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

#[path = "cli.rs"]
mod cli;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=cli.rs");
    println!("cargo::rerun-if-env-changed=GOALCTL_DOCS");
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    shrink(&out)?;
    let docs = folder(&out);
    write_completions(&docs.join("completions"))?;
    write_manual(&docs.join("man"))
}

/// What only the linker can leave out. The device has room for 2 MiB of this program.
fn shrink(out: &Path) -> io::Result<()> {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
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
        std::fs::write(&script, "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT AFTER .text;\n")?;
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
    Ok(())
}

fn folder(out: &Path) -> PathBuf {
    if let Some(chosen) = std::env::var_os("GOALCTL_DOCS") {
        return PathBuf::from(chosen);
    }
    // OUT_DIR is <profile>/build/<package>-<hash>/out.
    let beside_program = out.ancestors().nth(3).unwrap_or(out);
    beside_program.join("goalctl-docs")
}

fn write_completions(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut cli::Cli::command(), "goalctl", folder)?;
    }
    Ok(())
}

fn write_manual(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli::Cli::command(), folder)
}
