//! `pvtx`: the command line of the field's transaction tool, with its texts on standard error, its exit codes.

use std::io::Write;
use std::path::PathBuf;

use crate::cli::When;
use crate::cli::tx::{Queue, Tx};
use crate::client::Client;
use crate::failed::Failed;
use crate::output::Output;
use crate::place::Place;

const HELP: &str = "\
Usage: pvtx COMMAND [SUB-COMMAND] args...

A transaction starts with 'begin', is built up with 'add' and 'remove', and is
finalized with either 'commit' (remote) or 'deploy' (local).

Commands:
  begin <base> [object]      start: base is current, empty or a path; with object it is local
  add <file | ->             lay a state JSON or a tarball (json, objects/) over it
  remove <part>              take a part away
  show                       print the state so far
  abort                      forget it
  commit [name]              give it to the agent, and print its revision
  deploy <directory>         write it as a revision's directory
  queue new <queue> <object>          start a queue
  queue remove <part>                 write down a removal
  queue unpack <tarball | ->          write down a package
  queue process [base [queue object]] carry out what was written down
  help                       this

Environment: PVTXDIR (default: /var/cache/pvtx as root, else ~/.local/share/pvtx)
";

/// What was asked, or why it cannot be: the command as errors name it, the text, the exit code.
type Asked = Result<(&'static str, Tx), (&'static str, String, u8)>;

pub(crate) fn main(words: &[String]) -> u8 {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = Output::new(When::Never);
    let (code, help) = match words.first() {
        None | Some(&"") => (255, true),
        Some(&("help" | "--help")) => (0, true),
        Some(_) => (0, false),
    };
    if help {
        return output.bytes(HELP.as_bytes()).map_or(1, |()| code);
    }
    let (name, command) = match asked(&words) {
        Ok(asked) => asked,
        Err((name, text, code)) => return complain(name, &text, code),
    };
    let client = Client::new(Place::Socket(crate::default_socket()));
    let run = async { crate::tx::run(&client, &output, command).await.map(|()| 0) };
    match crate::block_on(Box::pin(run)) {
        Ok(code) => code,
        Err(Failed::Transaction { code, text }) => complain(name, &text, code),
        Err(failed) => complain(name, &failed.to_string(), 255),
    }
}

fn asked(words: &[&str]) -> Asked {
    let word = |at: usize| words.get(at).copied().map(str::to_owned);
    let path = |at: usize| words.get(at).map(PathBuf::from);
    let need = |name, at: usize, text: &str, code| path(at).ok_or((name, text.to_owned(), code));
    Ok(match words[0] {
        "begin" => {
            ("begin", Tx::Begin { base: word(1).unwrap_or_else(|| "current".to_owned()), objects: path(2) })
        }
        "add" => ("add", Tx::Add { file: need("add", 1, "missing argument, file or - is needed", 255)? }),
        "remove" => {
            let part = word(1).ok_or(("remove", "must supply a part name".to_owned(), 4))?;
            ("remove", Tx::Remove { part })
        }
        "show" => ("show", Tx::Show),
        "abort" => ("abort", Tx::Abort),
        "commit" => ("commit", Tx::Commit { name: word(1) }),
        "deploy" => ("deploy", Tx::Deploy { folder: need("deploy", 1, "missing deploy folder", 1)? }),
        "queue" => {
            let (name, command) = queue(words)?;
            (name, Tx::Queue { command })
        }
        other => return Err(unknown(other)),
    })
}

fn queue(words: &[&str]) -> Result<(&'static str, Queue), (&'static str, String, u8)> {
    let path = |at: usize| words.get(at).map(PathBuf::from);
    let need = |name, at: usize, text: &str| path(at).ok_or((name, text.to_owned(), 1));
    Ok(match words.get(1).copied().unwrap_or("") {
        "new" => {
            let queue = need("queue new", 2, "queue argument is required")?;
            (
                "queue new",
                Queue::New { queue, objects: need("queue new", 3, "objects argument is required")? },
            )
        }
        "remove" => {
            let part = words.get(2).ok_or(("queue remove", "missing argument 'part'".to_owned(), 1))?;
            ("queue remove", Queue::Remove { part: (*part).to_owned() })
        }
        "unpack" => {
            let file = need("queue unpack", 2, "missing argument, file or - is required")?;
            ("queue unpack", Queue::Unpack { file })
        }
        "process" => {
            let base = words.get(2).map(|base| (*base).to_owned());
            ("queue process", Queue::Process { base, queue: path(3), objects: path(4) })
        }
        other => return Err(unknown(other)),
    })
}

fn unknown(word: &str) -> (&'static str, String, u8) {
    let text = format!("sub command not found: {word}\nplease use 'help' to find the right sub command");
    ("command process", text, 255)
}

fn complain(name: &str, text: &str, code: u8) -> u8 {
    // If even this cannot be written, the exit code still tells.
    let _ = std::io::stderr().write_all(format!("ERROR: {name}: {text}\n").as_bytes());
    code
}
