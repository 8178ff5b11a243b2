//! How far an upload is: one line on a terminal, rewritten in place.

use std::io::{self, IsTerminal, Write};

/// Counts bytes, and shows a percentage each time it changes.
#[derive(Debug)]
pub(crate) struct Meter {
    total: u64,
    sent: u64,
    shown: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Nobody watches.
    Never,
    NotYet,
    Percent(u64),
}

const WIDTH: u64 = 40;

impl Meter {
    pub(crate) fn new(total: u64) -> Meter {
        let shown = if io::stderr().is_terminal() { Shown::NotYet } else { Shown::Never };
        Meter { total, sent: 0, shown }
    }

    pub(crate) fn advance(&mut self, bytes: u64) {
        self.sent += bytes;
        let percent = (self.sent * 100).checked_div(self.total).unwrap_or(100).min(100);
        if self.shown == Shown::Never || self.shown == Shown::Percent(percent) {
            return;
        }
        self.shown = Shown::Percent(percent);
        let bar: String =
            (0..WIDTH).map(|mark| if mark * 100 < percent * WIDTH { '#' } else { '.' }).collect();
        write(&format!(
            "\r[{bar}] {percent:>3}% of {}.{} MB",
            self.total / 1_000_000,
            self.total / 100_000 % 10
        ));
    }

    /// Leaves the line as if it had never been.
    pub(crate) fn clear(&self) {
        if matches!(self.shown, Shown::Percent(_)) {
            write("\r\x1b[K");
        }
    }
}

/// A meter that cannot be shown stops no upload.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
