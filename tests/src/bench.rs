//! What the benchmarks share: interleaved runs, medians, ratios.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

pub mod floor;
pub mod hello;
pub mod load;
pub mod peers;

use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};

/// A contender in an interleaved run: its name, with one timed run of the work.
pub struct Contender<'a> {
    pub name: &'a str,
    pub run: Box<dyn FnMut() -> Duration + 'a>,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<'a> Contender<'a> {
    pub fn new(name: &'a str, run: impl FnMut() -> Duration + 'a) -> Contender<'a> {
        Contender { name, run: Box::new(run) }
    }
}

/// One contender's times, sorted.
#[derive(Debug)]
pub struct Times {
    pub name: String,
    sorted: Vec<Duration>,
}

impl Times {
    pub fn new(name: &str, mut times: Vec<Duration>) -> Times {
        times.sort();
        Times { name: name.to_owned(), sorted: times }
    }

    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.sorted.len() - 1;
        self.sorted[(self.sorted.len() * percent / 100).min(last)]
    }
}

/// Runs all contenders in turn, A B C A B C …, after one round that is not counted.
pub fn interleaved(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Vec<Times> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..=rounds {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let took = (contender.run)();
            if round > 0 {
                times.push(took);
            }
        }
    }
    contenders.iter().zip(times).map(|(contender, times)| Times::new(contender.name, times)).collect()
}

/// How long `work` takes.
pub fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Time itself is what is measured here: how much happens in it.
pub fn wait(length: Duration) {
    let timeout = PollTimeout::try_from(length).expect("a minute fits");
    let none: &mut [PollFd<'_>; 0] = &mut [];
    poll(none, timeout).expect("nothing interrupts it");
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A table of one subject: the first row is ours, the others are peers with their goals as a ratio ours/theirs.
pub fn print_ratios(what: &str, times: &[Times], goals: &[(&str, f64)]) {
    let ours = &times[0];
    println!("\n{what}");
    println!(
        "  {:<34} {:>9.3} ms median {:>9.3} ms p90",
        ours.name,
        milliseconds(ours.median()),
        milliseconds(ours.percentile(90))
    );
    for peer in &times[1..] {
        let ratio = ours.median().as_secs_f64() / peer.median().as_secs_f64();
        let goal = goals.iter().find(|(name, _)| peer.name.starts_with(name)).map(|(_, goal)| *goal);
        let verdict = match goal {
            Some(goal) if ratio <= goal => format!("goal {goal}: met"),
            Some(goal) => format!("goal {goal}: NOT met"),
            None => String::new(),
        };
        println!(
            "  {:<34} {:>9.3} ms median {:>9.3} ms p90   ours/this {ratio:.3}  {verdict}",
            peer.name,
            milliseconds(peer.median()),
            milliseconds(peer.percentile(90)),
        );
    }
}
