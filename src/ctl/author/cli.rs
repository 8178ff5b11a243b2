//! The part of the command line that authors use; `build.rs` reads it too.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The working folder
    #[arg(short = 'C', long = "folder", global = true, value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Clone {
    /// `device` (what the device at --socket or --host runs), a control socket, http://HOST:12368/cgi-bin/pvr, a package
    /// (tar, tar.gz), a state file, a folder
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub(crate) source: String,
    /// The folder that is made [default: named after SOURCE]
    #[arg(value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Mark {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Files or folders below the working folder [default: all of it]
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The working folder
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Compare with what the device runs, instead of what was cloned or committed last
    #[arg(long)]
    pub(crate) device: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct App {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a container from an image
    #[command(after_help = "\
Examples:
  goalctl app add web --from docker://docker.io/library/nginx:1.27 --platform linux/arm64 --status-goal STARTED
  goalctl app add web --from ./web-image.tar --volume /data:permanent --arg PV_LXC_EXTRA_ENV='[\"TZ=UTC\"]'
  goalctl app add tool --from ./rootfs --config config.json --group app

SOURCE, found out by looking at it:
  docker://HOST/NAME[:TAG][@sha256:…]   an image in a registry
  a folder with oci-layout, or a tar of it
  a docker save archive
  a folder, or a tar of one             the root itself
Tars may be packed with gzip or zstd. --config is a JSON object with any of Entrypoint, Cmd, Env, User, WorkingDir, Volumes.")]
    Add(Box<Add>),
    /// Make a container's image anew from where it came from, or from elsewhere; its arguments stay
    #[command(after_help = "\
Examples:
  goalctl app update web
  goalctl app update web --from docker://docker.io/library/nginx:1.28")]
    Update(Box<Update>),
    /// Make run.json and lxc.container.conf anew from an edited src.json
    #[command(after_help = "\
Examples:
  goalctl app install web                        after setting args.PV_STATUS_GOAL in web/src.json")]
    Install {
        /// Which containers
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove containers, with their configuration and signature
    #[command(after_help = "\
Examples:
  goalctl app rm web")]
    Rm {
        /// Which containers
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Show the containers of the folder
    #[command(after_help = "\
Examples:
  goalctl app ls
  goalctl app ls -C ../other --json | jq -r '.[].name'")]
    Ls {
        #[command(flatten)]
        format: Format,
    },
    /// Show a container: where it came from, what it was told
    #[command(after_help = "\
Examples:
  goalctl app info web
  goalctl app info web --json")]
    Info {
        /// Which container
        name: String,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The container's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) from: From,
    /// Where it must get to
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) status_goal: Option<Goal>,
    /// The group it starts with
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// What an update of it restarts: the device, or the container alone
    #[arg(long, value_enum)]
    pub(crate) restart_policy: Option<RestartPolicy>,
    /// An argument for src.json; V may be a JSON array or object
    #[arg(long = "arg", value_name = "K=V")]
    pub(crate) args: Vec<String>,
    /// A path that outlives a start: permanent, revision or boot, each also as WORD@DISK; ovl:PATH for a writable layer of it
    #[arg(long = "volume", value_name = "PATH:PERSISTENCE")]
    pub(crate) volumes: Vec<String>,
    /// What is to be said over the image's own configuration (JSON)
    #[arg(long, value_hint = clap::ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct From {
    /// Where the image is (below)
    #[arg(long = "from", value_name = "SOURCE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) source: String,
    /// Which of an image's platforms [default: this machine's, or the only one]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Which image of an archive or a layout that has several
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Access {
    #[arg(from_global)]
    pub(crate) ca: Option<PathBuf>,
    /// A file with USER:PASSWORD for the registry
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) login: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Which container
    pub(crate) name: String,
    /// Where the image is [default: where it came from]
    #[arg(long, value_name = "SOURCE", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) from: Option<String>,
    /// Which of an image's platforms [default: as before]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<String>,
    /// Which image of an archive or a layout that has several [default: as before]
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    #[value(name = "MOUNTED")]
    Mounted,
    #[value(name = "STARTED")]
    Started,
    #[value(name = "READY")]
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestartPolicy {
    System,
    Container,
}
