//! The command line of `goalpost demo`.

use lexopt::prelude::{Long, Short, Value};

use crate::commands::Command;

/// Options of `goalpost demo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DemoOptions {
    /// What becomes of the device when the show is over.
    pub afterwards: Afterwards,
}

/// What becomes of the demo's device when the show is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Afterwards {
    /// It is stopped and removed.
    #[default]
    Remove,
    /// It runs on until a signal ends it; its folder stays.
    Keep,
}

/// Reads what follows `demo`.
pub(crate) fn parse(parser: &mut lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut options = DemoOptions::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Say(HELP.to_owned())),
            Long("keep") => options.afterwards = Afterwards::Keep,
            Long(_) | Short(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Command::Demo(options))
}

const HELP: &str = "\
Usage: goalpost demo [--keep]

Make a device in a temporary folder with three containers in two groups, show each status change as it happens, post a good
update, then a bad one that is rolled back, and stop. Takes under 20 seconds, needs no root, changes nothing outside its
folder.

      --keep    leave the device running afterwards, and say what to try next
  -h, --help    this text
";
