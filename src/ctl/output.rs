//! What is printed on standard output: text, columns, colour where a person reads it.

use std::io::{self, IsTerminal, Write};

use crate::cli::When;
use crate::failed::Failed;

/// Standard output, with colour or without.
#[derive(Debug)]
pub(crate) struct Output {
    colour: Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    On,
    Off,
}

/// What a piece of text means; colour follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Busy,
    Bad,
    Quiet,
    Strong,
}

impl Output {
    pub(crate) fn new(when: When) -> Output {
        let colour = match when {
            When::Always => Colour::On,
            When::Never => Colour::Off,
            When::Auto => {
                let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                if io::stdout().is_terminal() && !unwanted { Colour::On } else { Colour::Off }
            }
        };
        Output { colour }
    }

    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match (self.colour, tone) {
            (Colour::Off, _) | (_, Tone::Plain) => return text.to_owned(),
            (Colour::On, Tone::Good) => "32",
            (Colour::On, Tone::Busy) => "33",
            (Colour::On, Tone::Bad) => "31",
            (Colour::On, Tone::Quiet) => "2",
            (Colour::On, Tone::Strong) => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    pub(crate) fn line(&self, text: &str) -> Result<(), Failed> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// As they are, and out at once: a stream is read while it goes on.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failed> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|cause| {
            if cause.kind() == io::ErrorKind::BrokenPipe {
                Failed::ReaderGone
            } else {
                Failed::Output { cause }
            }
        })
    }

    /// Pretty on a terminal, the agent's own bytes otherwise.
    pub(crate) fn json(&self, bytes: &[u8]) -> Result<(), Failed> {
        let pretty = io::stdout().is_terminal().then(|| pretty(bytes)).flatten();
        let text = pretty.unwrap_or_else(|| String::from_utf8_lossy(bytes).trim_end().to_owned());
        self.line(&text)
    }

    /// A heading and rows, each column as wide as its widest cell.
    pub(crate) fn table(&self, heading: &[&str], rows: &[Vec<Cell>]) -> Result<(), Failed> {
        let widths: Vec<usize> = (0..heading.len())
            .map(|column| {
                let cells = rows.iter().filter_map(|row| row.get(column)).map(Cell::width);
                cells.chain([heading[column].len()]).max().unwrap_or(0)
            })
            .collect();
        let heading: Vec<Cell> = heading.iter().map(|text| Cell::new(Tone::Strong, *text)).collect();
        for row in std::iter::once(&heading).chain(rows) {
            self.line(&self.row(row, &widths))?;
        }
        Ok(())
    }

    fn row(&self, cells: &[Cell], widths: &[usize]) -> String {
        let mut text = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            text.push_str(&self.paint(cell.tone, &cell.text));
            if index + 1 < cells.len() {
                text.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
        }
        text.trim_end().to_owned()
    }
}

fn pretty(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

/// One field of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    tone: Tone,
    text: String,
}

impl Cell {
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Cell {
        Cell { tone, text: visible(&text.into()) }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Cell {
        Cell::new(Tone::Plain, text)
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Names and reasons come from revisions and containers: nothing in them may steer the terminal.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
