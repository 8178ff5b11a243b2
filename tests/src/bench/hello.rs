//! Servers that answer every request with the same bytes: the ceiling that the agent's own answers are held against.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::load::Server;
use super::peers;

/// A process of its own, as the agent is.
#[derive(Debug)]
pub struct Hello {
    pub name: &'static str,
    socket: PathBuf,
    process: Child,
}

impl Hello {
    /// hyper, which `cargo bench` builds beside the benchmarks.
    pub fn hyper(folder: &Path, body: &[u8]) -> Hello {
        let own = std::env::current_exe().expect("a running program has a path");
        let built = own.ancestors().nth(2).expect("a benchmark lies in <profile>/deps");
        Hello::start("hyper hello world, same body", &built.join("hyper-hello"), folder, body)
    }

    /// libevent's HTTP server, where its headers are installed.
    pub fn libevent(folder: &Path, body: &[u8]) -> Option<Hello> {
        let Some(program) = peers::compile(folder, "libevent_hello.c", &["-levent"]) else {
            println!("libevent's headers are not installed: no ratio to it (Debian: libevent-dev)");
            return None;
        };
        Some(Hello::start("libevent hello world, same body", &program, folder, body))
    }

    fn start(name: &'static str, program: &Path, folder: &Path, body: &[u8]) -> Hello {
        let own = program.file_name().expect("a program has a name");
        let (socket, file) = (folder.join(own).with_extension("socket"), folder.join("body"));
        let _ = fs::remove_file(&socket);
        fs::write(&file, body).expect("a temporary folder can be written");
        // At the priority that the agent gives itself and its session.
        let mut process = Command::new("setsid")
            .args(["sh", "-c", r#"echo -10 > /proc/self/autogroup; exec nice -n -10 "$@""#, "sh"])
            .arg(program)
            .args([&socket, &file])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was just built");
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut String::new()).expect("it says that it listens");
        Hello { name, socket, process }
    }

    pub fn server(&self) -> Server<'_> {
        Server { socket: &self.socket, process: self.process.id() }
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
