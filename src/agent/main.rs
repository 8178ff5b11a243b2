//! The agent of Goalpost, as a program.

#[cfg(all(lean, not(test)))]
#[path = "../../cross/lean.rs"]
mod lean;

/// musl's own maps and unmaps pages for what is longer than a kilobyte or two: four hundred times in the start of three containers.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use agent::commands::{self, Command, RunOptions};
use agent::config::{Config, DEFAULT_PATH};
use agent::init::{self, Parent, Prepared};
use agent::inputs::signals;
use agent::start::{self, StartError};
use log::LevelFilter;

/// A wrong command line or configuration.
const WRONG: u8 = 2;
/// Blocking calls at once; more than that wait for one another, not for the loop.
const BLOCKING_THREADS: usize = 8;
/// A thread that has had nothing to do for so long ends, with its stack.
const THREAD_IDLE: Duration = Duration::from_millis(200);
const THREAD_STACK: usize = 256 * 1024;

fn main() -> ExitCode {
    #[cfg(panic = "unwind")]
    end_by_panics();
    host::child::run_if_child();
    let parent = Parent::find(|name| std::env::var(name).ok());
    let is_first = std::process::id() == 1;
    let configured = is_first || parent.is_some() || Path::new(DEFAULT_PATH).exists();
    match commands::parse(std::env::args_os().skip(1), configured) {
        Ok(Command::Say(text)) => say(&text),
        Ok(Command::Run(options)) => run(&options, parent.as_ref()),
        Ok(Command::Factory(options)) => finish(
            agent::factory::make(&options.root, &options.folder)
                .map(|()| 0)
                .map_err(|failure| failure.detail.to_string()),
        ),
        #[cfg(feature = "demo")]
        Ok(Command::Demo(options)) => finish(
            log_lines(LevelFilter::Error)
                .and_then(|()| prepare())
                .and_then(|runtime| {
                    runtime.block_on(agent::demo::demo(options)).map_err(|error| error.to_string())
                })
                .map(|()| 0),
        ),
        Err(error) => refuse(&error.to_string()),
    }
}

/// As in the release profile: a panic ends the agent, not a task of it. The profile of the tests unwinds, because a test harness
/// does, and libraries need not be compiled a second time.
#[cfg(panic = "unwind")]
fn end_by_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

fn run(options: &RunOptions, parent: Option<&Parent>) -> ExitCode {
    init::make_way();
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    let (defaults, file) = match parent {
        Some(_) => (Config::of_device(), options.config.clone().or_else(init::config_path)),
        None => (Config::default(), options.config.clone()),
    };
    let mut config = match Config::load_over(defaults, file.as_deref(), environment, &options.settings) {
        Ok(config) => config,
        Err(error) => return refuse(&format!("failed to {error}")),
    };
    config.start_over_as = std::env::args_os().collect();
    finish(log_lines(LevelFilter::Info).and_then(|()| {
        let prepared = match parent {
            Some(parent) => parent.prepare(&config).map_err(|error| error.to_string())?,
            None => Prepared::default(),
        };
        prepare()?.block_on(async {
            match start::start_with(config, prepared).await {
                Ok(agent) => Ok(agent.live().await),
                Err(StartError::Endpoint(error)) => {
                    complain(&format!("failed to {error}"));
                    Ok(WRONG)
                }
                Err(error) => Err(error.to_string()),
            }
        })
    }))
}

/// Where log lines go.
fn log_lines(level: LevelFilter) -> Result<(), String> {
    env_logger::Builder::new()
        .filter_level(level)
        .parse_env("GOALPOST_LOG")
        .format(|out, record| writeln!(out, "{:<5} {}", record.level(), record.args()))
        .init();
    Ok(())
}

/// What must come before the first thread: that signals wait, and who we are.
fn prepare() -> Result<tokio::runtime::Runtime, String> {
    signals::hold().map_err(|error| format!("hold signals: {error}"))?;
    start::become_capable().map_err(|error| error.to_string())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_IDLE)
        .thread_stack_size(THREAD_STACK)
        .build()
        .map_err(|error| format!("make the runtime: {error}"))
}

fn finish(outcome: Result<u8, String>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(text) => {
            complain(&format!("failed to {text}"));
            ExitCode::FAILURE
        }
    }
}

fn refuse(text: &str) -> ExitCode {
    complain(text);
    ExitCode::from(WRONG)
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Nobody may be listening; the exit code says it too.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "goalpost: {text}");
}
