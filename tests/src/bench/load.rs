//! A load of GET requests over keep-alive connections, bounded in count, on a Unix socket of this machine.
//!
//! Which processor the kernel gives to client and server is chance, and changes a ratio more than anything that they do. So it is
//! said: one connection is a conversation, in turns, on one processor; many keep a client busy on one and each server on another.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::live::Client;

use super::Times;

/// What is asked of every server.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub path: &'a str,
    pub connections: usize,
    pub requests: usize,
    pub rounds: usize,
}

/// Where it is put: a socket, and the process whose first thread answers there.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    pub socket: &'a Path,
    pub process: u32,
}

/// What became of it at one server.
#[derive(Debug)]
pub struct Answered {
    /// Of the median round.
    pub per_second: f64,
    /// From asking on every connection to the last one's answer.
    pub latencies: Times,
}

impl Load<'_> {
    /// Puts it on each server in turn.
    pub fn compare(self, servers: &[Server<'_>]) -> Vec<Answered> {
        let _placed = place(servers, if self.connections == 1 { Processors::One } else { Processors::Two });
        let mut rounds = vec![Vec::new(); servers.len()];
        let mut latencies = vec![Vec::new(); servers.len()];
        for round in 0..=self.rounds {
            for (index, server) in servers.iter().enumerate() {
                let (took, mut times) = self.put_on(server.socket);
                if round > 0 {
                    rounds[index].push(took);
                    latencies[index].append(&mut times);
                }
            }
        }
        rounds.into_iter().zip(latencies).map(|(rounds, times)| self.answered(rounds, times)).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand requests fit")]
    fn answered(self, rounds: Vec<Duration>, latencies: Vec<Duration>) -> Answered {
        let asked = self.requests / self.connections * self.connections;
        let median = Times::new("", rounds).median();
        Answered { per_second: asked as f64 / median.as_secs_f64(), latencies: Times::new("", latencies) }
    }

    fn put_on(self, socket: &Path) -> (Duration, Vec<Duration>) {
        let mut clients: Vec<Client> = (0..self.connections).map(|_| Client::connect(socket)).collect();
        let mut times = Vec::with_capacity(self.requests);
        let start = Instant::now();
        // One thread: the client is the same for all, and with many connections all have a request under way at once.
        for _ in 0..self.requests / self.connections {
            let asked = Instant::now();
            clients.iter_mut().for_each(|client| client.ask(self.path));
            for client in &mut clients {
                assert_eq!(client.answer().code, 200, "GET {}", self.path);
            }
            times.push(asked.elapsed());
        }
        (start.elapsed(), times)
    }
}

/// How many processors a client and its servers have, as far as there are so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processors {
    /// For all.
    One,
    /// The client has one, all servers the other.
    Two,
}

/// Puts this thread and the servers on processors, until what is returned is dropped.
pub fn place(servers: &[Server<'_>], processors: Processors) -> Vec<Placed> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("a process may ask where it runs");
    let mut free = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).is_ok_and(|is_set| is_set));
    let ours = free.next().expect("it runs somewhere");
    let theirs = match processors {
        Processors::One => ours,
        Processors::Two => free.next().unwrap_or(ours),
    };
    let processes = servers.iter().map(|server| Pid::from_raw(server.process.cast_signed()));
    processes.map(|process| Placed::on(process, theirs)).chain([Placed::on(this, ours)]).collect()
}

/// A process whose first thread is on one processor, until this is dropped.
#[derive(Debug)]
pub struct Placed {
    process: Pid,
    before: CpuSet,
}

impl Placed {
    fn on(process: Pid, processor: usize) -> Placed {
        let before = sched_getaffinity(process).expect("the server runs");
        let mut only = CpuSet::new();
        only.set(processor).and_then(|()| sched_setaffinity(process, &only)).expect("it was allowed before");
        Placed { process, before }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // A server that is gone is nowhere.
        let _ = sched_setaffinity(self.process, &self.before);
    }
}
