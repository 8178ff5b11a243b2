//! The command line, which `build.rs` reads too: the completions and the man pages are made from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[cfg(feature = "author")]
#[path = "author/cli.rs"]
pub(crate) mod author;
#[path = "deliver/cli.rs"]
pub(crate) mod deliver;
#[path = "network.rs"]
mod network;
#[path = "tx/cli.rs"]
pub(crate) mod tx;

pub(crate) use deliver::{Post, Run};
pub(crate) use network::Network;
pub(crate) use tx::Tx;

/// What every command takes stands apart from its own options.
const EVERYWHERE: &str = "Options of every command";

const EXAMPLES: &str = "\
Examples:
  goalctl ps -w                             watch every container on its way
  goalctl post ./my-revision --run --follow bring a folder to the device and see how it goes
  goalctl --host 192.168.1.5 get ./device   over a network: what that device runs, as a folder
  goalctl signal ready                      inside a container: tell the agent that it can do its work
  goalctl check revision.tgz                find every mistake, without a device

Exit codes:
  0  done
  1  refused or failed; the text says what, where and what to do
  2  the command line is wrong
  3  no agent answers at the socket, or at the host
  4  the update was tried and rolled back
  5  the update was refused before it was tried

Socket: --socket, else $GOALPOST_SOCKET, else /pantavisor/pv-ctrl if it is there (inside a container), else
/run/goalpost/pv-ctrl. --host URL goes to port 12368 and /cgi-bin/pvr unless URL says otherwise, as pvr does: in plain
HTTP, for networks that you trust, or with https:// where something before the agent ends TLS (a token, a certificate of
ours). Colour: --color; with auto, only on a terminal and without $NO_COLOR.

Completions (bash, zsh, fish) and man pages are made when goalctl is built: in goalctl-docs/ beside the program, or in
the folder that GOALCTL_DOCS names then.";

/// Sends signals from a container, brings revisions to a device, and shows what runs and why.
#[derive(Debug, Parser)]
#[command(name = "goalctl", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
#[cfg_attr(
    not(feature = "author"),
    command(before_help = "\
This goalctl is a device's: init, clone, add, diff, app and image are left out (cargo feature author).")
)]
pub(crate) struct Cli {
    /// The agent's control socket
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub(crate) socket: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) network: Network,
    /// When to colour what is printed; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    pub(crate) color: When,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell the agent something about the container this runs in
    #[command(after_help = "\
Examples:
  goalctl signal ready

Without goalctl: curl --unix-socket /pantavisor/pv-ctrl -d '{\"type\":\"ready\",\"payload\":\"\"}' http://localhost/signal")]
    Signal {
        /// What to say
        #[arg(value_enum)]
        signal: Signal,
    },
    /// Bring a revision to the device: the objects it lacks, then the state
    #[command(after_help = "\
Examples:
  goalctl post ./my-revision                     a folder as pvr keeps it; it gets a name of its own
  goalctl post rev.tgz --name locals/try --run --follow
  goalctl post . -m 'new app'                    a working folder: once it is taken, .pvr has it as committed, too
  goalctl post state.json                        objects in objects/ beside it, or on the device already
  goalctl --host 192.168.1.5 post rev.tgz --follow   over a network; it is run at once

A post that is cut off goes on where it was, also within an object, when the same command comes again.

Exit codes with --follow: 0 the update is done, 4 it was rolled back, 5 it was refused before it was tried.")]
    Post(Post),
    /// Write what the device runs into a new folder
    #[command(after_help = "\
Examples:
  goalctl get ./my-device
  goalctl --host 192.168.1.5 --token-file token get ./my-device
  goalctl --host https://device.lan:443 --ca ca.pem --client-cert me.pem --client-key me.key get ./my-device")]
    Get {
        /// Where it goes; made if it is not there
        #[arg(value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Run a revision that is on the device
    #[command(after_help = "\
Examples:
  goalctl run locals/try --follow
  goalctl run locals/try --once                  never committed: the next boot, or a run of what is, brings that back
  goalctl run 0                                  back to the factory revision")]
    Run(Run),
    /// Make the rollback point, or the one before it, the factory revision 0
    #[command(after_help = "\
Examples:
  goalctl factory                                what runs, once it is the rollback point
  goalctl factory locals/good")]
    Factory {
        /// Its name: a number, or locals/NAME [default: what runs]
        #[arg(value_name = "REV")]
        revision: Option<String>,
    },
    /// Show every container: its status, its goal, why it is where it is
    #[command(after_help = "\
Examples:
  goalctl ps
  goalctl ps -w                                  a line for each change, until interrupted
  goalctl ps --json | jq -r '.[] | select(.status != \"READY\") | .name'")]
    Ps {
        /// Stay, and show each change
        #[arg(short, long)]
        watch: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Show the groups in start order
    #[command(after_help = "\
Examples:
  goalctl groups
  goalctl groups --json | jq -r '.[].name'")]
    Groups {
        #[command(flatten)]
        format: Format,
    },
    /// Show the device: what it runs, what it would fall back to, its update, what to know
    #[command(after_help = "\
Examples:
  goalctl status
  goalctl status --json | jq -r .revision")]
    Status {
        #[command(flatten)]
        format: Format,
    },
    /// Show what happened
    #[command(after_help = "\
Examples:
  goalctl events                                 what the agent still remembers
  goalctl events -f --since 120                  from event 121 on, and what follows")]
    Events {
        /// Stay, and show what follows
        #[arg(short, long)]
        follow: bool,
        /// Only what came after the event of this number
        #[arg(long, value_name = "ID")]
        since: Option<u64>,
        #[command(flatten)]
        format: Format,
    },
    /// Show what a container has written
    #[command(after_help = "\
Examples:
  goalctl logs web --tail 20
  goalctl logs -f web")]
    Logs(Logs),
    /// Show what the agent is configured to: each key, its value, where it came from
    #[command(after_help = "\
Examples:
  goalctl config
  goalctl config --json                          with each key's default, bounds and meaning

Keys are set in a TOML file, in the agent's environment (commit_delay is GOALPOST_COMMIT_DELAY) or on its command line (--set
commit_delay=2s), each over the former.")]
    Config {
        #[command(flatten)]
        format: Format,
    },
    /// Show, set or remove what is told about the device, key by key
    #[command(after_help = "\
Examples:
  goalctl meta user                              every key of the user's
  goalctl meta user set web.colour green         the container web reads it in /pantavisor/user-meta/colour
  goalctl meta user set web.key - < key.pem      from standard input, at most 4096 bytes
  goalctl meta device get interfaces --json

A container with the role mgmt sees all keys as files in /pantavisor/user-meta and /pantavisor/device-meta, any other
container NAME those that begin with NAME and a dot, without that.")]
    Meta(Meta),
    /// Show the revisions on the device, with how their updates went
    #[command(after_help = "\
Examples:
  goalctl steps
  goalctl steps --json | jq -r '.[] | select(.progress.status == \"ERROR\") | .name'")]
    Steps {
        #[command(flatten)]
        format: Format,
    },
    /// Show how the update to a revision went, as its progress document tells it
    #[command(after_help = "\
Examples:
  goalctl progress locals/try                    its end, in per cent, and why
  goalctl progress current --json                the document itself")]
    Progress {
        /// Its name: a number, locals/NAME, or current
        #[arg(value_name = "REV")]
        revision: String,
        #[command(flatten)]
        format: Format,
    },
    /// Start a container that was stopped
    #[command(after_help = "\
Examples:
  goalctl start web; goalctl ps -w               answered at once: ps shows it on its way")]
    Start {
        /// Which container
        name: String,
    },
    /// Stop a container, until it is started or the device boots
    #[command(after_help = "\
Examples:
  goalctl stop web                               asked to end, forced to after its grace period; answered at once")]
    Stop {
        /// Which container
        name: String,
    },
    /// Stop a container, then start it
    #[command(after_help = "\
Examples:
  goalctl restart web")]
    Restart {
        /// Which container
        name: String,
    },
    /// Find every mistake in a revision, without an agent
    #[command(after_help = "\
Examples:
  goalctl check ./my-revision
  goalctl check revision.tgz --json

Exit codes: 0 nothing wrong (warnings may be), 1 at least one error.")]
    Check {
        /// A state file, a folder as pvr keeps it, or a package (tar, tar.gz)
        #[arg(value_hint = clap::ValueHint::AnyPath)]
        path: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Show what an update would stop, start, restart, mount, fetch
    #[command(after_help = "\
Examples:
  goalctl plan current locals/try")]
    Plan {
        /// The revision it would start from: a name, or current
        #[arg(value_name = "A")]
        from: String,
        /// The revision it would go to
        #[arg(value_name = "B")]
        to: String,
        #[command(flatten)]
        format: Format,
    },
    /// Remove revisions and objects that nothing needs
    #[command(after_help = "\
Examples:
  goalctl gc                                     kept are what runs, the rollback point, the factory revision")]
    Gc,
    /// Stop every container in order, then reboot the device
    #[command(after_help = "\
Examples:
  goalctl reboot --yes                           in a script, where nobody is asked")]
    Reboot(Sure),
    /// Stop every container in order, then switch the device off
    #[command(after_help = "\
Examples:
  goalctl poweroff --yes                         in a script, where nobody is asked")]
    Poweroff(Sure),
    /// Make a working folder: the next revision as files, in the layout that pvr keeps
    #[cfg(feature = "author")]
    #[command(after_help = "\
Examples:
  goalctl init dev; cd dev
  goalctl app add web --from ./web-image.tar     its first container
  goalctl post .                                 to the device; `goalctl diff` begins anew")]
    Init {
        /// The folder; made if it is not there
        #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Make a working folder of a revision: the device's, a package's, another folder's
    #[cfg(feature = "author")]
    #[command(after_help = "\
Examples:
  goalctl clone device my-device                 what the device runs
  goalctl clone http://192.168.1.5:12368/cgi-bin/pvr my-device
  goalctl --host 192.168.1.5 --token-file token clone device my-device
  goalctl clone backup.tgz")]
    Clone(author::Clone),
    /// Tell pvr of new files in a working folder (the next revision has every file, with or without this)
    #[cfg(feature = "author")]
    #[command(after_help = "\
Examples:
  goalctl add                                    all that pvr does not know yet
  goalctl add web/run.json")]
    Add(author::Mark),
    /// Show what a working folder changes
    #[cfg(feature = "author")]
    #[command(after_help = "\
Examples:
  goalctl diff                                   against what was cloned, or committed by pvr
  goalctl diff --device                          against what the device runs")]
    Diff(author::Diff),
    /// Make containers of a working folder, change them, show them
    #[cfg(feature = "author")]
    #[command(after_help = "\
Examples:
  goalctl init dev; cd dev
  goalctl app add web --from docker://docker.io/library/nginx:1.27 --platform linux/arm64
  goalctl app ls
  goalctl post . -m 'a web server' --run --follow")]
    App(author::App),
    /// Make a squashfs image of a folder: all owned by root, no extended attributes, the same bytes each time
    #[cfg(feature = "author")]
    #[command(after_help = "\
Examples:
  goalctl image ./rootfs root.squashfs")]
    Image {
        /// The folder that becomes the root of the image
        #[arg(value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
        /// Where the image goes
        #[arg(value_name = "OUT.squashfs", value_hint = clap::ValueHint::FilePath)]
        out: PathBuf,
    },
    /// Pack a revision as a package: the same bytes each time
    #[command(
        allow_missing_positional = true,
        after_help = "\
Examples:
  goalctl export backup.tgz                      what the device runs
  goalctl export locals/try try.tar
  goalctl export ./my-revision my-revision.tgz"
    )]
    Export {
        /// A revision on the device (a number, locals/NAME, current), or a folder or state file with a path that is none of
        /// these (./0)
        #[arg(value_name = "REV|FOLDER", default_value = "current", value_hint = clap::ValueHint::AnyPath)]
        from: String,
        /// Where the package goes; gzipped if it ends in .gz or .tgz
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Lay a package over a working folder: each part it has anything of becomes the package's
    #[command(after_help = "\
Examples:
  goalctl import backup.tgz ./my-revision
  goalctl import app.tgz                         into this folder")]
    Import {
        /// A package (tar, tar.gz), or a state file with objects/ beside it
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// The folder; made if it is not there
        #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Change a revision on the device itself, part by part, as pvtx does
    #[command(after_help = "\
Examples:
  goalctl tx begin current; goalctl tx add app.tgz; goalctl tx remove old; goalctl tx commit
  goalctl tx begin empty /tmp/objects; goalctl tx add - < app.tgz; goalctl tx deploy /storage/trails/0

Called by the name pvtx (a link is enough), goalctl takes pvtx's own command line.
The transaction lives in $PVTXDIR [default: /var/cache/pvtx as root, else ~/.local/share/pvtx].
Exit codes beside the usual ones: 1 nothing was begun (add), 3 (remove, queue process), 11 (show, commit, deploy);
12 the transaction is local (commit), or one is open (queue new); 255 one is open (begin, queue process), or it is remote (deploy).")]
    Tx {
        #[command(subcommand)]
        command: Tx,
    },
    /// Be the first process of a container in `goalpost demo`
    #[command(hide = true)]
    DemoPayload {
        #[command(subcommand)]
        mode: Payload,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Signal {
    /// It can do its work
    Ready,
    /// It is still there
    Alive,
}

#[derive(Debug, Args)]
pub(crate) struct Meta {
    /// Set by its user, or told by the device
    #[arg(value_enum)]
    pub(crate) whose: Whose,
    #[command(subcommand)]
    pub(crate) action: Option<MetaAction>,
    /// JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Whose {
    User,
    Device,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MetaAction {
    /// Show every key
    Ls,
    /// Show the value of one key
    Get {
        /// Which key
        key: String,
    },
    /// Set a key
    Set {
        /// Which key
        key: String,
        /// Its value; - for standard input
        value: String,
    },
    /// Remove a key
    Rm {
        /// Which key
        key: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct Format {
    /// JSON, for programs (a stream: one document per line)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Sure {
    /// Do not ask whether it is meant; without a terminal there is nobody to ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Which container
    pub(crate) name: String,
    /// Stay, and show what follows
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// Only what came at or after this stamp (RFC 3339, as each line begins: 2026-01-31T12:00:00Z; or seconds since 1970)
    #[arg(long, value_name = "STAMP")]
    pub(crate) since: Option<String>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Payload {
    /// Run until told to end
    Serve,
    /// Say ready, then run until told to end
    Ready,
    /// Run until told to end, with a goal never met
    NeverReady,
    /// End at once with this code
    Crash {
        /// The code
        code: u8,
    },
}
