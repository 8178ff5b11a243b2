//! How far a long piece of work is: one line on a terminal, rewritten in place.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Counts bytes, and shows them with their rate and what remains. Silent where nobody watches.
#[derive(Debug)]
pub(crate) struct Meter {
    total: u64,
    done: u64,
    begun: Instant,
    shown: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Nobody watches.
    Never,
    NotYet,
    /// This long after the beginning.
    At(Duration),
}

const WIDTH: u64 = 30;
/// Faster than this nobody reads.
const PAUSE: Duration = Duration::from_millis(100);

impl Meter {
    pub(crate) fn new(total: u64) -> Meter {
        let shown = if io::stderr().is_terminal() { Shown::NotYet } else { Shown::Never };
        Meter { total, done: 0, begun: Instant::now(), shown }
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        let now = self.begun.elapsed();
        let due = match self.shown {
            Shown::Never => false,
            Shown::NotYet => true,
            Shown::At(last) => now.saturating_sub(last) >= PAUSE,
        };
        if due {
            self.shown = Shown::At(now);
            write(&format!("\r{}\x1b[K", line(self.done, self.total, now)));
        }
    }

    /// Leaves the line as if it had never been.
    pub(crate) fn clear(&self) {
        if matches!(self.shown, Shown::At(_)) {
            write("\r\x1b[K");
        }
    }
}

fn line(done: u64, total: u64, after: Duration) -> String {
    let part = |of: u64| {
        (u128::from(done) * u128::from(of)).checked_div(u128::from(total)).unwrap_or(u128::from(of))
    };
    let bar: String = (0..WIDTH).map(|mark| if u128::from(mark) < part(WIDTH) { '#' } else { '.' }).collect();
    let mut text = format!("[{bar}] {:>3}%  {} of {}", part(100), size(done), size(total));
    // A rate over less than this is chance.
    if after >= Duration::from_millis(500) && done > 0 {
        let rate = u128::from(done) * 1000 / after.as_millis();
        let left = u128::from(total.saturating_sub(done)) / rate.max(1);
        text.push_str(&format!(
            ", {}/s, {}:{:02} left",
            size(u64::try_from(rate).unwrap_or(u64::MAX)),
            left / 60,
            left % 60
        ));
    }
    text
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{}.{} kB", bytes / 1_000, bytes / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}

/// A meter that cannot be shown stops nothing.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_bytes_rate_and_what_remains() {
        let seconds = Duration::from_secs;
        assert_eq!(
            line(25_000_000, 100_000_000, seconds(10)),
            "[#######.......................]  25%  25.0 MB of 100.0 MB, 2.5 MB/s, 0:30 left"
        );
        assert_eq!(
            line(999, 4_000_000_000_000, seconds(1)),
            "[..............................]   0%  999 B of 4000.0 GB, 999 B/s, 66733400:03 left"
        );
    }

    #[test]
    fn a_line_is_right_at_its_ends() {
        assert_eq!(line(0, 10, Duration::ZERO), "[..............................]   0%  0 B of 10 B");
        assert_eq!(line(0, 0, Duration::ZERO), "[##############################] 100%  0 B of 0 B");
        assert!(line(u64::MAX, u64::MAX, Duration::MAX).starts_with("[##############################] 100%"));
    }
}
