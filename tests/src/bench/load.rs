//! A load of GET requests over keep-alive connections, bounded in count, on a Unix socket of this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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
    pub fn compare(self, servers: &[PathBuf]) -> Vec<Answered> {
        let mut rounds = vec![Vec::new(); servers.len()];
        let mut latencies = vec![Vec::new(); servers.len()];
        for round in 0..=self.rounds {
            for (index, socket) in servers.iter().enumerate() {
                let (took, mut times) = self.put_on(socket);
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
