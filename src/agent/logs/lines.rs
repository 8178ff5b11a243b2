//! Output cut into stamped lines, as many as its rate allows.

use std::time::Duration;

/// The longest line, in bytes; what is longer goes on in a line of its own.
const LONGEST: usize = 8 * 1024;
/// How many seconds of its rate a container may say at once.
const BURST: u64 = 4;

/// Where in a line the last chunk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    /// After this many bytes.
    Within(usize),
    /// In a line whose beginning was dropped, so its rest is too.
    Dropped,
}

/// A container's output while it is cut. Holds no text.
#[derive(Debug)]
pub(super) struct Lines {
    place: Place,
    /// In bytes per second.
    rate: u64,
    /// Bytes that may be said now.
    budget: u64,
    /// When the budget was last topped up.
    topped_up: Duration,
    dropped: u64,
}

impl Lines {
    pub(super) fn new(rate: u64) -> Lines {
        let budget = rate.saturating_mul(BURST);
        Lines { place: Place::Start, rate, budget, topped_up: Duration::ZERO, dropped: 0 }
    }

    /// Bytes that were dropped and not yet told.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes of `chunk` never reached a file, for a reason other than the rate.
    pub(super) fn count_dropped(&mut self, bytes: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Cuts `chunk`, read at `now` (any clock that only goes on), into `out`; `stamp` goes before each line.
    pub(super) fn cut(&mut self, chunk: &[u8], now: Duration, stamp: &str, out: &mut Vec<u8>) {
        self.top_up(now);
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.piece(line, stamp, out);
        }
    }

    /// Says what was dropped, if anything was and the budget has recovered.
    pub(super) fn tell_dropped(&mut self, now: Duration, stamp: &str, out: &mut Vec<u8>) {
        self.top_up(now);
        if self.dropped > 0 && self.place != Place::Dropped && self.has_recovered() {
            self.note(stamp, out);
        }
    }

    /// Nothing more comes: ends the last line, and says what was dropped.
    pub(super) fn end(&mut self, stamp: &str, out: &mut Vec<u8>) {
        if let Place::Within(_) = self.place {
            out.push(b'\n');
        }
        self.place = Place::Start;
        if self.dropped > 0 {
            self.note(stamp, out);
        }
    }

    fn top_up(&mut self, now: Duration) {
        let elapsed = u64::try_from(now.saturating_sub(self.topped_up).as_micros()).unwrap_or(u64::MAX);
        self.topped_up = now;
        let more = elapsed.saturating_mul(self.rate) / 1_000_000;
        self.budget = self.budget.saturating_add(more).min(self.rate.saturating_mul(BURST));
    }

    /// After a flood a container may speak again when a second's worth is there, not for every other line.
    fn has_recovered(&self) -> bool {
        self.dropped == 0 || self.budget >= self.rate
    }

    fn piece(&mut self, mut line: &[u8], stamp: &str, out: &mut Vec<u8>) {
        let ended = line.ends_with(b"\n");
        line = line.strip_suffix(b"\n").unwrap_or(line);
        if ended {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        let cost = u64::try_from(line.len() + stamp.len() + 1).unwrap_or(u64::MAX);
        if self.place == Place::Dropped || cost > self.budget || !self.has_recovered() {
            self.drop_piece(line, ended, out);
            return;
        }
        self.budget -= cost;
        if self.dropped > 0 {
            if let Place::Within(_) = self.place {
                out.push(b'\n');
                self.place = Place::Start;
            }
            self.note(stamp, out);
        }
        self.say(line, ended, stamp, out);
    }

    fn say(&mut self, mut line: &[u8], ended: bool, stamp: &str, out: &mut Vec<u8>) {
        loop {
            let before = match self.place {
                Place::Within(bytes) => bytes,
                Place::Start | Place::Dropped => {
                    out.extend_from_slice(stamp.as_bytes());
                    0
                }
            };
            let (now, rest) = line.split_at(line.len().min(LONGEST - before));
            out.extend_from_slice(now);
            self.place = Place::Within(before + now.len());
            if rest.is_empty() {
                break;
            }
            out.push(b'\n');
            self.place = Place::Start;
            line = rest;
        }
        if ended || self.place == Place::Within(LONGEST) {
            out.push(b'\n');
            self.place = Place::Start;
        }
    }

    fn drop_piece(&mut self, line: &[u8], ended: bool, out: &mut Vec<u8>) {
        self.count_dropped(line.len() + usize::from(ended));
        if let Place::Within(_) = self.place {
            out.push(b'\n');
        }
        self.place = if ended { Place::Start } else { Place::Dropped };
    }

    fn note(&mut self, stamp: &str, out: &mut Vec<u8>) {
        let note = format!("{stamp}goalpost: {} bytes of output dropped here\n", self.dropped);
        out.extend_from_slice(note.as_bytes());
        self.dropped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &[u8]) -> &str {
        std::str::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_stamped_where_they_begin() {
        let mut lines = Lines::new(1000);
        let mut out = Vec::new();
        for chunk in ["one\ntw", "o\r\n", "\nprompt> "] {
            lines.cut(chunk.as_bytes(), Duration::ZERO, "T ", &mut out);
        }
        lines.end("T ", &mut out);
        assert_eq!(text(&out), "T one\nT two\nT \nT prompt> \n");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = Lines::new(1 << 20);
        let mut out = Vec::new();
        lines.cut(&[b'x'; 20_000], Duration::ZERO, "T ", &mut out);
        lines.cut(b"y\n", Duration::ZERO, "T ", &mut out);
        let lengths: Vec<_> = text(&out).lines().map(str::len).collect();
        assert_eq!(lengths, [LONGEST + 2, LONGEST + 2, 20_000 - 2 * LONGEST + 3]);
    }

    #[test]
    fn a_flood_is_dropped_and_told_once_it_ebbs() {
        let mut lines = Lines::new(100);
        let mut out = Vec::new();
        let flood = "0123456\n".repeat(1000);
        lines.cut(flood.as_bytes(), Duration::ZERO, "T ", &mut out);
        assert_eq!(out.len(), 400);
        assert_eq!(lines.dropped(), 8000 - 40 * 8);
        lines.cut(b"too early\n", Duration::from_millis(500), "T ", &mut out);
        assert_eq!(out.len(), 400);
        lines.cut(b"again\n", Duration::from_millis(1100), "T ", &mut out);
        assert_eq!(text(&out[400..]), "T goalpost: 7690 bytes of output dropped here\nT again\n");
    }
}
