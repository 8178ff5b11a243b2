//! `goalctl`, the control tool of Goalpost.

mod address;
mod arrivals;
mod bundle;
mod check;
mod cli;
mod client;
mod config;
mod control;
mod deliver;
mod device;
mod events;
mod export;
mod failed;
mod folder;
mod image;
mod import;
mod keys;
mod logs;
mod meta;
mod meter;
mod output;
mod package;
mod payload;
mod plan;
mod pvtx;
mod show;
mod signal;
mod sse;
mod tarball;
mod tx;
mod watch;
mod whole;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::events::Until;
use crate::failed::Failed;
use crate::output::Output;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if words.next().is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == "pvtx")) {
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        return ExitCode::from(pvtx::main(&words));
    }
    let cli = Cli::parse();
    let output = Output::new(cli.color);
    match block_on(carry_out(cli, &output)) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            complain(&failed);
            ExitCode::from(failed.exit_code())
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
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
    let client = Client::new(cli.socket.unwrap_or_else(default_socket));
    let client = &client;
    match cli.command {
        Command::DemoPayload { mode } => return payload::run(mode, client, output).await,
        Command::Signal { signal } => signal::send(client, signal).await,
        Command::Post(post) => deliver::post(client, output, &post).await,
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
        Command::Progress { revision } => show::progress(client, output, &revision).await,
        Command::Start { name } => control::ask(client, "start", &name).await,
        Command::Stop { name } => control::ask(client, "stop", &name).await,
        Command::Restart { name } => control::ask(client, "restart", &name).await,
        Command::Check { path, format } => check::check(&path, output, format),
        Command::Plan { from, to, format } => plan::print(client, output, &from, &to, format).await,
        Command::Gc => control::collect(client, output).await,
        Command::Export { from, file } => export::export(client, output, &from, &file).await,
        Command::Import { file, folder } => import::import(&file, &folder, output).await,
        Command::Tx { command } => tx::run(client, output, command).await,
        Command::Image { folder, out } => image::write(&folder, &out, output),
    }?;
    Ok(0)
}

fn default_socket() -> PathBuf {
    const IN_A_CONTAINER: &str = "/pantavisor/pv-ctrl";
    if let Some(path) = std::env::var_os("GOALPOST_SOCKET").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let inside = Path::new(IN_A_CONTAINER);
    if inside.exists() { inside.to_owned() } else { PathBuf::from("/run/goalpost/pv-ctrl") }
}
