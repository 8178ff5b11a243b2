//! The part of the command line that brings a revision to a device, has it run; `build.rs` reads it too.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Post {
    /// A state file, a folder as pvr keeps it, or a package (tar, tar.gz)
    #[arg(value_name = "FILE|FOLDER|PACKAGE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// The name it gets on the device [default: locals/ and the first 12 digits of its sha256]
    #[arg(long, value_name = "locals/NAME")]
    pub(crate) name: Option<String>,
    /// What it is, kept beside it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Run it once it is there
    #[arg(long)]
    pub(crate) run: bool,
    #[command(flatten)]
    pub(crate) how: HowToRun,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Its name: a number, or locals/NAME
    #[arg(value_name = "REV")]
    pub(crate) revision: String,
    /// Say that it is to be committed once it has proved stable, which every run is here (LOCAL_RUN_COMMIT)
    #[arg(long, conflicts_with = "once")]
    pub(crate) commit: bool,
    /// Never commit it: it runs until the next boot or request (TRY_ONCE)
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) how: HowToRun,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct HowToRun {
    /// Run it even if it failed before (with post: implies --run)
    #[arg(long)]
    pub(crate) force: bool,
    /// Show what happens until the update is over (with post: implies --run)
    #[arg(long)]
    pub(crate) follow: bool,
}
