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
#[path = "../../cross/shrink.rs"]
mod shrink;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=cli.rs");
    println!("cargo::rerun-if-changed=author/cli.rs");
    println!("cargo::rerun-if-changed=deliver/cli.rs");
    println!("cargo::rerun-if-changed=network.rs");
    println!("cargo::rerun-if-changed=tx/cli.rs");
    println!("cargo::rerun-if-changed=../../cross/shrink.rs");
    println!("cargo::rerun-if-env-changed=GOALCTL_DOCS");
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    shrink::shrink(&out)?;
    let docs = folder(&out);
    write_completions(&docs.join("completions"))?;
    write_manual(&docs.join("man"))
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
