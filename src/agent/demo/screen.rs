//! What the demo shows: one line per change, coloured on a terminal.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    colours: Colours,
    begun: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colours {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy)]
enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
}

impl Colour {
    fn code(self) -> &'static str {
        match self {
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Blue => "36",
        }
    }
}

impl Screen {
    pub(super) fn new() -> Screen {
        let plain = std::env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal();
        Screen { colours: if plain { Colours::No } else { Colours::Yes }, begun: None }
    }

    /// A headline.
    pub(super) fn chapter(&self, text: &str) {
        say(&format!("\n{}\n", self.paint(Colour::Bold, text)));
    }

    /// A remark.
    pub(super) fn remark(&self, text: &str) {
        say(&format!("{}\n", self.paint(Colour::Dim, text)));
    }

    /// An event of the agent's stream; those that only tools care for are left out.
    pub(super) fn event(&mut self, event: &Value) {
        if let Some(text) = self.describe(event) {
            let at = event["boot_us"].as_u64().unwrap_or(0);
            let begun = *self.begun.get_or_insert(at);
            let seconds = std::time::Duration::from_micros(at.saturating_sub(begun)).as_secs_f64();
            say(&format!("{} {text}\n", self.paint(Colour::Dim, &format!("{seconds:8.3}"))));
        }
    }

    fn describe(&self, event: &Value) -> Option<String> {
        let text = |key: &str| event[key].as_str().unwrap_or_default();
        match text("kind") {
            "status" => {
                let (from, to) = (text("from"), text("to"));
                let arrow =
                    format!("{:<10} {from:>10} -> {}", text("container"), self.paint(colour_of(to), to));
                Some(self.with_reason(arrow, text("reason")))
            }
            "signal" => {
                Some(self.with_reason(format!("{:<10} signals ready", text("container")), text("reason")))
            }
            "goal-missed" => {
                let missed = format!("{:<10} missed its goal {}", text("container"), text("goal"));
                Some(self.with_reason(self.paint(Colour::Red, &missed), text("reason")))
            }
            "update" => {
                let progress = &event["progress"];
                let status = progress["status"].as_str().unwrap_or_default();
                let message = progress["status-msg"].as_str().unwrap_or_default();
                let line =
                    format!("{} is {}: {message}", text("revision"), self.paint(colour_of(status), status));
                Some(with_details(line, progress["logs"].as_str().unwrap_or_default()))
            }
            "phase" => Some(self.with_reason(format!("device is {}", text("phase")), text("reason"))),
            _ => None,
        }
    }

    fn with_reason(&self, line: String, reason: &str) -> String {
        if reason.is_empty() { line } else { format!("{line}  {}", self.paint(Colour::Dim, reason)) }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        match self.colours {
            Colours::Yes => format!("\x1b[{}m{text}\x1b[0m", colour.code()),
            Colours::No => text.to_owned(),
        }
    }
}

fn with_details(line: String, logs: &str) -> String {
    logs.lines().fold(line, |text, detail| format!("{text}\n           {detail}"))
}

fn colour_of(word: &str) -> Colour {
    match word {
        "READY" | "STARTED" | "DONE" | "UPDATED" => Colour::Green,
        "RECOVERING" | "STOPPING" | "TESTING" | "INPROGRESS" => Colour::Yellow,
        "ERROR" | "WONTGO" => Colour::Red,
        _ => Colour::Blue,
    }
}

/// A reader that has gone away ends no device.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
