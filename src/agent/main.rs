//! The agent of Goalpost, as a program.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use agent::commands::{self, Command, RunOptions};
use agent::config::{Config, DEFAULT_PATH};
use agent::{demo, start};
use log::LevelFilter;

/// A wrong command line or configuration.
const WRONG: u8 = 2;
/// Blocking calls at once; more than that wait for one another, not for the loop.
const BLOCKING_THREADS: usize = 8;
/// A thread that has had nothing to do for so long ends, with its stack.
const THREAD_IDLE: Duration = Duration::from_millis(200);
const THREAD_STACK: usize = 256 * 1024;

fn main() -> ExitCode {
    host::child::run_if_child();
    let configured = Path::new(DEFAULT_PATH).exists();
    match commands::parse(std::env::args_os().skip(1), configured) {
        Ok(Command::Say(text)) => say(&text),
        Ok(Command::Run(options)) => run(&options),
        Ok(Command::Factory(options)) => finish(
            agent::factory::make(&options.root, &options.folder)
                .map_err(|failure| failure.detail.to_string()),
        ),
        Ok(Command::Demo(options)) => finish(
            prepare(LevelFilter::Error)
                .and_then(|runtime| runtime.block_on(demo::demo(options)).map_err(|error| error.to_string())),
        ),
        Err(error) => refuse(&error.to_string()),
    }
}

fn run(options: &RunOptions) -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let mut config = match Config::load(options.config.as_deref(), variable, &options.settings) {
        Ok(config) => config,
        Err(error) => return refuse(&format!("failed to {error}")),
    };
    config.start_over_as = std::env::args_os().collect();
    finish(prepare(LevelFilter::Info).and_then(|runtime| {
        runtime.block_on(async {
            let agent = start::start(config).await.map_err(|error| error.to_string())?;
            agent.live().await;
            Ok(())
        })
    }))
}

/// What must come before the first thread: who we are, where log lines go.
fn prepare(level: LevelFilter) -> Result<tokio::runtime::Runtime, String> {
    env_logger::Builder::new()
        .filter_level(level)
        .parse_env("GOALPOST_LOG")
        .format(|out, record| writeln!(out, "{:<5} {}", record.level(), record.args()))
        .init();
    start::become_capable().map_err(|error| error.to_string())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(THREAD_IDLE)
        .thread_stack_size(THREAD_STACK)
        .build()
        .map_err(|error| format!("make the runtime: {error}"))
}

fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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
