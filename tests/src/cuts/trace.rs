//! A real agent's changes of its disk, read from what strace saw of it.
//!
//! Every call that can change a file is traced, with all its bytes. One that touches the root and is not understood is an error,
//! so that no change can be missed.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::change::{At, Change};

/// Whatever can change names or bytes. Not in it: times and modes, which no check looks at.
pub const CALLS: &str = "trace=open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,\
    copy_file_range,sendfile,splice,fsync,fdatasync,sync,syncfs,sync_file_range,msync,rename,renameat,renameat2,link,linkat,\
    unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,symlink,symlinkat";

/// A change, with when it was asked for, since 1970.
#[derive(Debug, Clone)]
pub struct Traced {
    pub when: Duration,
    pub change: Change,
}

/// One argument of a call.
#[derive(Debug, Clone)]
enum Argument {
    /// A descriptor, with the path that it is open on (or that AT_FDCWD stands for).
    Descriptor(String),
    Text(Vec<u8>),
    Other(String),
}

/// A call as far as it was seen.
struct Call<'a> {
    thread: u32,
    when: Duration,
    name: &'a str,
    arguments: &'a str,
}

/// The changes beneath `root` in the order in which they took effect.
///
/// # Panics
/// If a call that touches the root is not understood.
pub fn changes(text: &str, root: &Path) -> Vec<Traced> {
    let root = root.to_str().expect("temporary folders have plain names");
    let mut begun: HashMap<u32, String> = HashMap::new();
    let mut changes = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Ok(thread) = thread.parse() else { continue };
        let Some((when, rest)) = rest.trim_start().split_once(' ') else { continue };
        let when = Duration::from_secs_f64(when.parse().expect("strace -ttt prints seconds"));
        let whole = if let Some(rest) = rest.strip_prefix("<... ") {
            let Some(former) = begun.remove(&thread) else { continue };
            let (_, end) = rest.split_once(" resumed>").expect("that is how strace goes on");
            former + end
        } else if let Some(part) = rest.strip_suffix(" <unfinished ...>") {
            if let Some(path) = synced(part, root) {
                changes.push(Traced { when, change: Change::SyncBegins { path, by: thread } });
            }
            begun.insert(thread, part.to_owned());
            continue;
        } else {
            rest.to_owned()
        };
        let is_resumed = rest.starts_with("<... ");
        let Some((call, outcome)) = whole.rsplit_once(" = ") else { continue };
        let Some((name, arguments)) = call.trim_end().split_once('(') else { continue };
        if outcome.starts_with('-') || outcome.starts_with('?') || !whole.contains(root) {
            if is_resumed && synced(call, root).is_some() {
                changes.push(Traced { when, change: Change::SyncEnds { by: thread } });
            }
            continue;
        }
        let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
        if let Some(path) = synced(call, root) {
            if !is_resumed {
                changes.push(Traced { when, change: Change::SyncBegins { path, by: thread } });
            }
            changes.push(Traced { when, change: Change::SyncEnds { by: thread } });
            continue;
        }
        let call = Call { thread, when, name, arguments };
        call.take(root, &mut changes);
    }
    changes
}

/// What a call for a sync is about, if it is one, and beneath the root.
fn synced(call: &str, root: &str) -> Option<String> {
    let arguments = call.strip_prefix("fsync(").or_else(|| call.strip_prefix("fdatasync("))?;
    let Argument::Descriptor(path) =
        arguments_of(arguments.trim_end().trim_end_matches(')')).into_iter().next()?
    else {
        return None;
    };
    beneath(&path, root)
}

fn beneath(path: &str, root: &str) -> Option<String> {
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
}

impl Call<'_> {
    fn take(&self, root: &str, changes: &mut Vec<Traced>) {
        let arguments = arguments_of(self.arguments);
        let mut push = |change| changes.push(Traced { when: self.when, change });
        let path = |folder: usize, name: usize| self.path(&arguments, folder, name, root);
        let alone = |name: usize| self.absolute(&arguments, name, root);
        let open_on = |at: usize| match &arguments[at] {
            Argument::Descriptor(path) => beneath(path, root),
            Argument::Text(_) | Argument::Other(_) => None,
        };
        match self.name {
            "openat" | "openat2" => {
                let flags = self.arguments;
                let Some(path) = path(0, 1) else { return };
                if flags.contains("O_CREAT") {
                    push(Change::Create { path: path.clone() });
                }
                if flags.contains("O_TRUNC") {
                    push(Change::Truncate { path, length: 0 });
                }
            }
            "open" | "creat" => {
                if let Some(path) = alone(0) {
                    assert!(!self.arguments.contains("O_CREAT"), "{}", self.told());
                    assert!(!self.arguments.contains("O_TRUNC"), "{}: {path}", self.told());
                }
            }
            "write" | "pwrite64" => {
                let Some(path) = open_on(0) else { return };
                let Argument::Text(bytes) = &arguments[1] else { self.not_understood() };
                let at = match arguments.get(3) {
                    Some(Argument::Other(at)) => At::Byte(at.parse().expect("an offset is a number")),
                    _ => At::End,
                };
                push(Change::Write { path, at, bytes: bytes.clone() });
            }
            "ftruncate" => {
                let (Some(path), Argument::Other(length)) = (open_on(0), &arguments[1]) else { return };
                push(Change::Truncate { path, length: length.parse().expect("a length is a number") });
            }
            "fallocate" => {
                let (Some(path), Argument::Other(length)) = (open_on(0), &arguments[3]) else { return };
                push(Change::Truncate { path, length: length.parse().expect("a length is a number") });
            }
            "rename" => self.renamed(alone(0), alone(1), &mut push),
            "renameat" => self.renamed(path(0, 1), path(2, 3), &mut push),
            "renameat2" if self.arguments.ends_with("RENAME_EXCHANGE") => match (path(0, 1), path(2, 3)) {
                (Some(one), Some(other)) => push(Change::Exchange { one, other }),
                _ => self.not_understood(),
            },
            "renameat2" => self.renamed(path(0, 1), path(2, 3), &mut push),
            "linkat" => match (path(0, 1), path(2, 3)) {
                (Some(from), Some(to)) => push(Change::Link { from, to }),
                (_, None) => {}
                (None, Some(_)) => self.not_understood(),
            },
            "unlink" | "rmdir" => alone(0).into_iter().for_each(|path| push(Change::Remove { path })),
            "unlinkat" => path(0, 1).into_iter().for_each(|path| push(Change::Remove { path })),
            "mkdir" => alone(0).into_iter().for_each(|path| push(Change::MakeFolder { path })),
            "mkdirat" => path(0, 1).into_iter().for_each(|path| push(Change::MakeFolder { path })),
            "symlinkat" => {
                let (Some(path), Argument::Text(target)) = (path(1, 2), &arguments[0]) else { return };
                push(Change::Symlink { path, target: String::from_utf8_lossy(target).into_owned() });
            }
            _ => self.not_understood(),
        }
    }

    fn renamed(&self, from: Option<String>, to: Option<String>, push: &mut impl FnMut(Change)) {
        match (from, to) {
            (Some(from), Some(to)) => push(Change::Rename { from, to }),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => self.not_understood(),
        }
    }

    /// What a folder's descriptor and a name in it lead to.
    fn path(&self, arguments: &[Argument], folder: usize, name: usize, root: &str) -> Option<String> {
        let (Argument::Descriptor(folder), Argument::Text(name)) = (&arguments[folder], &arguments[name])
        else {
            self.not_understood()
        };
        let name = String::from_utf8_lossy(name);
        if name.starts_with('/') { beneath(&name, root) } else { beneath(&format!("{folder}/{name}"), root) }
    }

    fn absolute(&self, arguments: &[Argument], name: usize, root: &str) -> Option<String> {
        let Argument::Text(name) = &arguments[name] else { self.not_understood() };
        beneath(&String::from_utf8_lossy(name), root)
    }

    fn told(&self) -> String {
        format!("thread {}: {}({})", self.thread, self.name, self.arguments)
    }

    #[expect(clippy::panic, reason = "a change that is not understood would be one that no check sees")]
    fn not_understood(&self) -> ! {
        panic!("the recorder does not know this call: {:.300}", self.told())
    }
}

fn arguments_of(text: &str) -> Vec<Argument> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b',' => at += 1,
            b'"' => {
                let (text, end) = quoted(bytes, at + 1);
                found.push(Argument::Text(text));
                at = end;
            }
            _ => {
                let end = end_of_argument(bytes, at);
                let word = &text[at..end];
                let open = word.split_once('<').filter(|(number, _)| {
                    *number == "AT_FDCWD" || number.bytes().all(|byte| byte.is_ascii_digit())
                });
                found.push(match open {
                    Some((_, path)) => {
                        Argument::Descriptor(path.split('>').next().unwrap_or_default().to_owned())
                    }
                    None => Argument::Other(word.to_owned()),
                });
                at = end;
            }
        }
    }
    found
}

/// Past a word, with what is in its brackets.
fn end_of_argument(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'{' | b'[' | b'<' | b'(' => depth += 1,
            b'}' | b']' | b'>' | b')' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
    }
    bytes.len()
}

/// A string as C writes it, with where it ends.
fn quoted(bytes: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut text = Vec::new();
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => {
                let escaped = bytes.get(at).copied().unwrap_or(b'\\');
                at += 1;
                text.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'v' => 0x0b,
                    b'f' => 0x0c,
                    b'0'..=b'7' => {
                        let mut value = u32::from(escaped - b'0');
                        for _ in 0..2 {
                            let Some(digit) = bytes.get(at).filter(|digit| (b'0'..=b'7').contains(digit))
                            else {
                                break;
                            };
                            value = value * 8 + u32::from(digit - b'0');
                            at += 1;
                        }
                        u8::try_from(value).unwrap_or(u8::MAX)
                    }
                    other => other,
                });
            }
            other => text.push(*other),
        }
    }
    assert!(!bytes[at.min(bytes.len())..].starts_with(b"..."), "strace cut a string short");
    (text, at)
}
