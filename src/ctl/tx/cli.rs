//! The part of the command line that changes a revision on a device, part by part; `build.rs` reads it too.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Tx {
    /// Start a transaction
    Begin {
        /// current (what the device runs), empty, or a state file or a folder with one (json, .pvr/json)
        #[arg(default_value = "current", value_hint = clap::ValueHint::AnyPath)]
        base: String,
        /// Keep objects here and end with deploy; without it they go to the agent, and commit ends it
        #[arg(value_hint = clap::ValueHint::DirPath)]
        objects: Option<PathBuf>,
    },
    /// Lay a package over it: each part it has anything of becomes the package's
    Add {
        /// A package (tar, tar.gz), a state file, or - for either on standard input
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Remove a part, with all that its signature covers
    Remove {
        /// nginx, _config/nginx or _sigs/nginx.json
        part: String,
    },
    /// Print the state as it is so far
    Show,
    /// Forget the transaction
    Abort,
    /// Give the state to the agent as a revision, and print its name
    Commit {
        /// Its name [default: locals/pvtx-TIME-HASH-NUMBER]
        #[arg(value_name = "locals/NAME")]
        name: Option<String>,
    },
    /// Write the state as a revision's folder, objects linked
    Deploy {
        /// Replaced as a whole once the new one is on the disk
        #[arg(value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Write down steps now, and carry all of them out later
    Queue {
        #[command(subcommand)]
        command: Queue,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// Start a queue
    New {
        /// Where the steps are kept
        queue: PathBuf,
        /// Where objects are kept
        objects: PathBuf,
    },
    /// Write down that a part is to be removed
    Remove {
        /// nginx, _config/nginx or _sigs/nginx.json
        part: String,
    },
    /// Write down that a package is to be added, and keep its objects
    Unpack {
        /// A package (tar, tar.gz), a state file, or - for either on standard input
        file: PathBuf,
    },
    /// Carry out the steps in their order
    Process {
        /// Begin a transaction from this first: current, empty, or a path
        base: Option<String>,
        /// Another queue than the one that was started
        #[arg(requires = "objects")]
        queue: Option<PathBuf>,
        /// With its objects
        objects: Option<PathBuf>,
    },
}
