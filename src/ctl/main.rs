//! `goalctl`, the control tool of Goalpost.

mod address;
mod arrivals;
#[cfg(feature = "author")]
mod author;
mod bundle;
mod check;
mod cli;
mod client;
mod committed;
mod config;
mod control;
mod deliver;
mod device;
mod events;
mod export;
mod failed;
mod folder;
mod gzip;
#[cfg(feature = "author")]
mod image;
mod import;
mod keys;
#[cfg(all(lean, not(test)))]
#[path = "../../cross/lean.rs"]
mod lean;
mod logs;
mod meta;
mod meter;
mod object;
mod output;
mod package;
mod payload;
mod place;
mod plan;
mod pvtx;
mod remote;
mod resolve;
mod show;
mod signal;
mod sse;
mod tarball;
mod tx;
mod watch;
mod whole;

/// As in the agent.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::control::Turn;
use crate::events::Until;
use crate::failed::Failed;
use crate::output::Output;
use crate::place::{Host, Place};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "pvtx")) {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return ExitCode::from(pvtx::main(&words));
    }
    let cli = Cli::parse();
    let output = Output::new(cli.color);
    match block_on(Box::pin(carry_out(cli, &output))) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            complain(&failed);
            ExitCode::from(failed.exit_code())
        }
    }
}

/// Boxed: the runtime is in the program once, whatever it runs.
fn block_on(work: Pin<Box<dyn Future<Output = Result<u8, Failed>> + '_>>) -> Result<u8, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed =
        |cause: std::io::Error| Failed::Source { what: "start".to_owned(), cause: cause.to_string() };
    runtime.map_err(failed)?.block_on(work)
}

fn complain(failed: &Failed) {
    if matches!(failed, Failed::ReaderGone) {
        return;
    }
    let mut text = format!("goalctl: {failed}\n");
    if let Some(hint) = failed.hint() {
        text.push_str(&format!("  {hint}\n"));
    }
    // If even this cannot be written, the exit code still tells.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

async fn carry_out(cli: Cli, output: &Output) -> Result<u8, Failed> {
    let client = Client::new(place(&cli)?);
    let client = &client;
    match cli.command {
        Command::DemoPayload { mode } => return payload::run(mode, client, output).await,
        Command::Signal { signal } => signal::send(client, signal).await,
        Command::Post(post) => match client.place() {
            Place::Socket(_) => deliver::post(client, output, &post).await,
            Place::Host(host) => remote::post(client, host, output, &post).await,
        },
        Command::Get { folder } => remote::get(client, output, &folder).await,
        Command::Run(run) => deliver::run(client, output, &run).await,
        Command::Ps { watch: false, format } => device::ps(client, output, format).await,
        Command::Ps { watch: true, format } => watch::containers(client, output, format).await,
        Command::Groups { format } => show::groups(client, output, format).await,
        Command::Status { format } => device::status(client, output, format).await,
        Command::Events { follow, since, format } => {
            let until = if follow { Until::Forever } else { Until::Remembered };
            events::print(client, output, since, until, format).await
        }
        Command::Logs(logs) => logs::print(client, output, &logs).await,
        Command::Config { format } => config::print(client, output, format).await,
        Command::Meta(meta) => meta::carry_out(client, output, &meta).await,
        Command::Steps { format } => show::steps(client, output, format).await,
        Command::Progress { revision, format } => show::progress(client, output, &revision, format).await,
        Command::Start { name } => control::ask(client, "start", &name).await,
        Command::Stop { name } => control::ask(client, "stop", &name).await,
        Command::Restart { name } => control::ask(client, "restart", &name).await,
        Command::Check { path, format } => check::check(&path, output, format),
        Command::Plan { from, to, format } => plan::print(client, output, &from, &to, format).await,
        Command::Gc => control::collect(client, output).await,
        Command::Factory { revision } => control::make_factory(client, output, revision.as_deref()).await,
        Command::Reboot(sure) => control::turn(client, output, Turn::Reboot, sure).await,
        Command::Poweroff(sure) => control::turn(client, output, Turn::Off, sure).await,
        Command::Export { from, file } => export::export(client, output, &from, &file).await,
        Command::Import { file, folder } => import::import(&file, &folder, output).await,
        Command::Tx { command } => tx::run(client, output, command).await,
        #[cfg(feature = "author")]
        Command::Init { dir } => author::init(&dir, output),
        #[cfg(feature = "author")]
        Command::Clone(asked) => author::clone(client, &cli.network, &asked, output).await,
        #[cfg(feature = "author")]
        Command::Add(asked) => author::mark(&asked, output),
        #[cfg(feature = "author")]
        Command::Diff(asked) => author::diff(client, &asked, output).await,
        #[cfg(feature = "author")]
        Command::App(asked) => author::app(&asked, output).await,
        #[cfg(feature = "author")]
        Command::Image { folder, out } => image::write(&folder, &out, output),
    }?;
    Ok(0)
}

/// Over a network only what the device endpoint answers can be asked.
fn place(cli: &Cli) -> Result<Place, Failed> {
    let wrong = |text: &str| Err(Failed::Usage { text: text.to_owned() });
    let Some(host) = &cli.network.host else {
        return match cli.network.credential() {
            Some(option) if !names_a_device(&cli.command) => wrong(&format!("{option} goes with --host")),
            Some(_) | None => Ok(Place::Socket(cli.socket.clone().unwrap_or_else(default_socket))),
        };
    };
    if !is_answered_over_a_network(&cli.command) {
        let authoring = if cfg!(feature = "author") { "clone device, diff --device, " } else { "" };
        return wrong(&format!(
            "--host goes with post, get, {authoring}progress and events; all else is asked at the agent's socket"
        ));
    }
    Host::parse(host, &cli.network).map(Place::Host)
}

/// By an address among its words.
fn names_a_device(command: &Command) -> bool {
    #[cfg(feature = "author")]
    if let Command::Clone(asked) = command {
        return asked.source.contains("://");
    }
    let _ = command;
    false
}

fn is_answered_over_a_network(command: &Command) -> bool {
    #[cfg(feature = "author")]
    if let Command::Clone(asked) = command {
        return asked.source == "device";
    }
    #[cfg(feature = "author")]
    if let Command::Diff(asked) = command {
        return asked.device;
    }
    matches!(
        command,
        Command::Post(_) | Command::Get { .. } | Command::Progress { .. } | Command::Events { .. }
    )
}

fn default_socket() -> PathBuf {
    const IN_A_CONTAINER: &str = "/pantavisor/pv-ctrl";
    if let Some(path) = std::env::var_os("GOALPOST_SOCKET").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let inside = Path::new(IN_A_CONTAINER);
    if inside.exists() { inside.to_owned() } else { PathBuf::from("/run/goalpost/pv-ctrl") }
}
