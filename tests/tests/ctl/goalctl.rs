//! Runs the program, and keeps what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::live::Programs;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn program() -> PathBuf {
    Programs::find("debug").goalctl
}

/// The program with nothing of this machine's own settings.
pub(crate) fn command() -> Command {
    let mut command = Command::new(program());
    command.env_remove("GOALPOST_SOCKET").env_remove("NO_COLOR");
    command
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn goalctl(arguments: &[&str]) -> Said {
    said(command().args(arguments).output().unwrap())
}

/// With the paths of this run taken out, so that it can be compared with a snapshot.
pub(crate) fn without(text: &str, folder: &Path) -> String {
    text.replace(folder.to_str().unwrap(), "[folder]")
}
