//! The command line of `goalpost`, as values.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::ValueExt;
use lexopt::prelude::{Long, Short, Value};

use crate::config::{self, DEFAULT_PATH};
#[cfg(feature = "demo")]
use crate::demo::DemoOptions;

const DEMO_USAGE: &str = if cfg!(feature = "demo") {
    "       goalpost demo [--keep]      show what it does, on a device in a temporary folder\n"
} else {
    ""
};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Be the agent.
    Run(RunOptions),
    /// Show what Goalpost does, on a device in a temporary folder.
    #[cfg(feature = "demo")]
    Demo(DemoOptions),
    /// Put a factory revision into a root that has none.
    Factory(FactoryOptions),
    /// Print a text.
    Say(String),
}

/// Options of `goalpost run`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunOptions {
    /// The configuration file; the default one if not named.
    pub config: Option<PathBuf>,
    /// Settings that win over the file's, key and value.
    pub settings: Vec<(String, String)>,
}

/// Options of `goalpost factory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactoryOptions {
    /// The root of a device that is being made.
    pub root: PathBuf,
    /// Holds `json` and `objects/`, as in a package.
    pub folder: PathBuf,
}

/// Reads the arguments after the program's name. `configured`: whether the default configuration file is there, which is
/// what starting without a command goes by.
///
/// # Errors
/// An argument that is not known, or lacks its value.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    configured: bool,
) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = RunOptions::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(name) if name == "run" => return run(&mut parser, options),
            #[cfg(feature = "demo")]
            Value(name) if name == "demo" => return crate::demo::options::parse(&mut parser),
            #[cfg(not(feature = "demo"))]
            Value(name) if name == "demo" => return Err("this program was built without its demo".into()),
            Value(name) if name == "factory" => return factory(&mut parser),
            Value(name) if name == "help" => return Ok(Command::Say(help())),
            Long("help") | Short('h') => return Ok(Command::Say(help())),
            Long("version") | Short('V') => return Ok(Command::Say(version())),
            Long(_) | Short(_) | Value(_) => {
                take(argument.unexpected_or_option()?, &mut parser, &mut options)?
            }
        }
    }
    if configured || options != RunOptions::default() {
        return Ok(Command::Run(options));
    }
    Err(format!("no command was given, and there is no {DEFAULT_PATH} to run by; see goalpost --help").into())
}

fn run(parser: &mut lexopt::Parser, mut options: RunOptions) -> Result<Command, lexopt::Error> {
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Say(run_help())),
            Long(_) | Short(_) | Value(_) => take(argument.unexpected_or_option()?, parser, &mut options)?,
        }
    }
    Ok(Command::Run(options))
}

fn factory(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut root, mut folder) = (None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Say(FACTORY_HELP.to_owned())),
            Long("root") => root = Some(parser.value()?.into()),
            Value(name) if folder.is_none() => folder = Some(name.into()),
            Long(_) | Short(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    match (root, folder) {
        (Some(root), Some(folder)) => Ok(Command::Factory(FactoryOptions { root, folder })),
        _ => Err("factory wants --root DIR and a FOLDER; see goalpost factory --help".into()),
    }
}

/// An option of `run` that takes a value.
#[derive(Clone, Copy)]
enum RunOption {
    Config,
    Setting(&'static str),
    Set,
}

trait Optional {
    fn unexpected_or_option(self) -> Result<RunOption, lexopt::Error>;
}

impl Optional for lexopt::Arg<'_> {
    fn unexpected_or_option(self) -> Result<RunOption, lexopt::Error> {
        match self {
            Long("config") | Short('c') => Ok(RunOption::Config),
            Long("root") => Ok(RunOption::Setting("root")),
            Long("run-dir") => Ok(RunOption::Setting("run_dir")),
            Long("goalctl") => Ok(RunOption::Setting("goalctl")),
            Long("set") | Short('s') => Ok(RunOption::Set),
            Long(_) | Short(_) | Value(_) => Err(self.unexpected()),
        }
    }
}

fn take(
    option: RunOption,
    parser: &mut lexopt::Parser,
    options: &mut RunOptions,
) -> Result<(), lexopt::Error> {
    let value = parser.value()?;
    match option {
        RunOption::Config => options.config = Some(value.into()),
        RunOption::Setting(key) => {
            let path = std::path::absolute(&value).map_err(|error| format!("{key}: {error}"))?;
            let text = path.into_os_string().string()?;
            options.settings.push((key.to_owned(), text));
        }
        RunOption::Set => {
            let text = value.string()?;
            let (key, value) =
                text.split_once('=').ok_or_else(|| format!("--set wants KEY=VALUE, not {text:?}"))?;
            options.settings.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(())
}

fn version() -> String {
    format!("goalpost {}\n", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    format!(
        "\
goalpost brings every container of a revision to its status goal, or puts the last good revision back.

Usage: goalpost run [OPTION]...    be the agent (the default where {DEFAULT_PATH} is there)
       goalpost factory            make the root of a device, for an image
{DEMO_USAGE}       goalpost --help | --version

Each command has its own --help. To talk to a running agent, use goalctl.

Exit codes: 0 ended as asked; 1 failed, the reason is on standard error; 2 wrong command line or configuration.
"
    )
}

fn run_help() -> String {
    format!(
        "\
Usage: goalpost run [OPTION]...

Be the agent: start the containers of the committed revision, answer the control sockets, until SIGTERM (stops everything in
order, then ends) or SIGHUP (stops everything in order, then starts anew).

  -c, --config FILE     read settings from FILE (default {DEFAULT_PATH}, which may be absent)
      --root DIR        what outlives a boot: objects, revisions, disks, logs, state
      --run-dir DIR     what does not: sockets and the runtime record
      --goalctl FILE    the control tool to show to containers
  -s, --set KEY=VALUE   any setting
  -h, --help            this text

The command line wins over the environment (GOALPOST_ROOT, GOALPOST_ROLES_DEFAULT, …), which wins over the file. Settings:

{}
GOALPOST_LOG sets what is logged to standard error (error, warn, info, debug; default info).

Examples:
  goalpost run --root /data --run-dir /run/goalpost
  goalpost run -c ./test.toml --set commit_delay=2s
  goalctl --socket /run/goalpost/pv-ctrl ps
",
        config::describe_keys()
    )
}

const FACTORY_HELP: &str = "\
Usage: goalpost factory --root DIR FOLDER

Make DIR the root of a device whose factory revision is in FOLDER: its file json is the state, its folder objects has each file
that the state names, called by its sha256 (what a package holds, unpacked).

  -h, --help    this text
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, configured: bool) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from), configured).map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_settings_before_or_without_the_command() {
        let expected = RunOptions {
            config: Some("x.toml".into()),
            settings: vec![
                ("root".to_owned(), "/a".to_owned()),
                ("commit_delay".to_owned(), "2s".to_owned()),
            ],
        };
        let options = "--config x.toml --root /a --set commit_delay=2s";
        assert_eq!(parsed(&format!("run {options}"), false), Ok(Command::Run(expected.clone())));
        assert_eq!(parsed(options, false), Ok(Command::Run(expected)));
        assert_eq!(parsed("", true), Ok(Command::Run(RunOptions::default())));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        assert_eq!(parsed("run --rooot /a", false).unwrap_err(), "invalid option '--rooot'");
        if cfg!(feature = "demo") {
            assert_eq!(parsed("demo --root /a", false).unwrap_err(), "invalid option '--root'");
        }
        assert_eq!(parsed("run --set x", false).unwrap_err(), "--set wants KEY=VALUE, not \"x\"");
        assert!(parsed("", false).unwrap_err().starts_with("no command was given"));
    }

    #[test]
    fn every_command_has_a_help() {
        let demo = cfg!(feature = "demo").then_some("demo -h");
        for line in ["--help", "help", "run --help", "factory -h", "--version"].into_iter().chain(demo) {
            assert!(matches!(parsed(line, false), Ok(Command::Say(_))), "{line}");
        }
    }
}
