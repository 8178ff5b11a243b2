//! A load of GET requests over keep-alive connections, bounded in count, on a Unix socket of this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::live::Client;

use super::{Times, milliseconds};

const ROUNDS: usize = 7;
const REQUESTS: usize = 8_000;

/// Requests per second of each contender, in turn, with the ratio of the first to the others.
pub fn compare(containers: usize, connections: usize, contenders: &[(&str, PathBuf)]) {
    let mut rates = vec![Vec::new(); contenders.len()];
    let mut latencies = Vec::new();
    for round in 0..=ROUNDS {
        for (index, (_, socket)) in contenders.iter().enumerate() {
            let (took, mut times) = load(socket, connections);
            if round > 0 {
                rates[index].push(took);
                if index == 0 {
                    latencies.append(&mut times);
                }
            }
        }
    }
    println!("\nGET /containers, {containers} containers, {connections} keep-alive connections");
    let rates: Vec<f64> = rates.into_iter().map(|times| per_second(&Times::new("", times))).collect();
    for ((name, _), rate) in contenders.iter().zip(&rates) {
        println!("  {name:<34} {rate:>9.0} per second   ours/this {:.2}", rates[0] / rate);
    }
    let p99 = Times::new("", latencies).percentile(99);
    println!(
        "  p99 {:.3} ms   (goals: 0.8 of hyper, 1.5 of libevent, p99 0.1 ms on one connection)",
        milliseconds(p99)
    );
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand fit")]
fn per_second(times: &Times) -> f64 {
    REQUESTS as f64 / times.median().as_secs_f64()
}

fn load(socket: &Path, connections: usize) -> (Duration, Vec<Duration>) {
    let mut clients: Vec<Client> = (0..connections).map(|_| Client::connect(socket)).collect();
    let mut times = Vec::with_capacity(REQUESTS);
    let start = Instant::now();
    // One thread: the client is the same for all, and with many connections all have a request under way at once.
    for _ in 0..REQUESTS / connections {
        let asked = Instant::now();
        clients.iter_mut().for_each(|client| client.ask("/containers"));
        for client in &mut clients {
            assert_eq!(client.answer().code, 200);
        }
        times.push(asked.elapsed());
    }
    (start.elapsed(), times)
}
