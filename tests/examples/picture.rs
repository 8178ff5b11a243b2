//! Draws a device's journal: a lane for the device, one for each container, a bar for each status.
//!
//! `cargo run -p tests --example picture < DEVICE/root/journal/current.jsonl > board/walk.svg`, after `goalpost demo --keep`.
//! Time runs to the right, but not evenly: a long wait is drawn hardly longer than a short one, so that both can be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, Write as _};

use serde_json::Value;

const LANE: f64 = 34.0;
const LEFT: f64 = 96.0;
const TOP: f64 = 34.0;

/// A stretch of one lane in one status.
struct Bar {
    lane: String,
    status: String,
    from: usize,
}

/// Everything that happened: the moments at which something did, with the bars between them.
#[derive(Default)]
struct Life {
    moments: Vec<u64>,
    bars: Vec<Bar>,
    marks: Vec<(usize, String)>,
}

fn main() -> io::Result<()> {
    let mut life = Life::default();
    for line in io::stdin().lock().lines() {
        let step: Value = serde_json::from_str(&line?)?;
        let time = step["t"].as_u64().unwrap_or_default();
        for happening in step["happenings"].as_array().into_iter().flatten() {
            life.take(time, happening);
        }
    }
    io::stdout().write_all(life.draw().as_bytes())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Life {
    fn take(&mut self, time: u64, happening: &Value) {
        let now = match self.moments.last() {
            Some(last) if *last == time => self.moments.len() - 1,
            Some(_) | None => {
                self.moments.push(time);
                self.moments.len() - 1
            }
        };
        match happening["kind"].as_str() {
            Some("status") => self.bar(now, text(&happening["container"]), text(&happening["to"])),
            Some("phase") => self.bar(now, "device".to_owned(), text(&happening["phase"])),
            Some("goal-missed") => {
                self.marks.push((now, format!("{} misses its goal", text(&happening["container"]))))
            }
            Some("signal") => self.marks.push((now, format!("{}: ready", text(&happening["container"])))),
            Some("update") => {
                let status = text(&happening["progress"]["status"]);
                if ["DONE", "ERROR", "TESTING"].contains(&status.as_str()) {
                    self.marks.push((now, format!("{} {status}", text(&happening["revision"]))));
                }
            }
            Some(_) | None => {}
        }
    }

    fn bar(&mut self, from: usize, lane: String, status: String) {
        self.bars.push(Bar { lane, status, from });
    }

    /// Where each moment is drawn: at least so far from the one before that a bar can be seen, more after a longer wait.
    fn places(&self) -> Vec<f64> {
        let mut place = LEFT;
        let mut places = Vec::with_capacity(self.moments.len());
        for (index, moment) in self.moments.iter().enumerate() {
            if index > 0 {
                place += 5.0 + 4.5 * (milliseconds(moment - self.moments[index - 1]) + 1.0).ln();
            }
            places.push(place);
        }
        places
    }

    fn draw(&self) -> String {
        let places = self.places();
        let end = places.last().copied().unwrap_or(LEFT) + 60.0;
        let mut lanes: Vec<&str> = vec!["device"];
        for bar in &self.bars {
            if !lanes.contains(&bar.lane.as_str()) {
                lanes.push(&bar.lane);
            }
        }
        let bottom = TOP + LANE * count(lanes.len());
        let height = bottom + 16.0 + 13.0 * count(self.marks.len().min(12)) + 30.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {end:.0} {height:.0}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"8\" y=\"18\" font-size=\"13\" fill=\"#222\">One device's life, from its journal (time is compressed \
             where nothing happens)</text>\n"
        );
        for (index, lane) in lanes.iter().enumerate() {
            self.draw_lane(&mut svg, lane, TOP + LANE * count(index), &places, end);
        }
        self.draw_marks(&mut svg, &places, bottom);
        self.draw_legend(&mut svg, height - 26.0, end);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_lane(&self, svg: &mut String, lane: &str, y: f64, places: &[f64], end: f64) {
        let middle = y + 19.0;
        writeln!(svg, "<text x=\"8\" y=\"{middle:.0}\" fill=\"#222\">{lane}</text>")
            .expect("a string takes anything");
        let bars: Vec<&Bar> = self.bars.iter().filter(|bar| bar.lane == lane).collect();
        for (index, bar) in bars.iter().enumerate() {
            let from = places[bar.from];
            let to = bars.get(index + 1).map_or(end - 8.0, |next| places[next.from]);
            if to <= from {
                continue;
            }
            let (width, fill) = (to - from, colour(&bar.status));
            writeln!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"24\" fill=\"{fill}\" stroke=\"#fff\" \
                 stroke-width=\"0.5\"><title>{} at {:.3} s</title></rect>",
                y + 3.0,
                bar.status,
                milliseconds(self.moments[bar.from]) / 1000.0
            )
            .expect("a string takes anything");
            if width > 6.6 * count(bar.status.len()) {
                writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{middle:.0}\" fill=\"#fff\">{}</text>",
                    from + 3.0,
                    bar.status
                )
                .expect("a string takes anything");
            }
        }
    }

    fn draw_marks(&self, svg: &mut String, places: &[f64], bottom: f64) {
        let begun = self.moments.first().copied().unwrap_or_default();
        for (row, (moment, what)) in self.marks.iter().take(12).enumerate() {
            let (x, y) = (places[*moment], bottom + 14.0 + 13.0 * count(row));
            let anchor = if x > 420.0 { "end" } else { "start" };
            let shift = if x > 420.0 { -4.0 } else { 4.0 };
            let after = milliseconds(self.moments[*moment] - begun);
            writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP:.0}\" y2=\"{y:.0}\" stroke=\"#222\" stroke-dasharray=\"2 2\" \
                 stroke-width=\"0.7\"/><text x=\"{:.1}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" fill=\"#222\">{what} \
                 ({after:.0} ms)</text>",
                x + shift
            )
            .expect("a string takes anything");
        }
    }

    fn draw_legend(&self, svg: &mut String, mut y: f64, end: f64) {
        let seen: BTreeMap<_, _> =
            self.bars.iter().map(|bar| (bar.status.clone(), colour(&bar.status))).collect();
        let mut x = 8.0;
        for (status, fill) in seen {
            let width = 6.2 * count(status.len()) + 8.0;
            if x + width > end {
                (x, y) = (8.0, y + 14.0);
            }
            writeln!(
                svg,
                "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"10\" height=\"10\" fill=\"{fill}\"/><text x=\"{:.0}\" y=\"{y:.0}\" \
                 fill=\"#222\" font-size=\"9\">{status}</text>",
                y - 9.0,
                x + 13.0
            )
            .expect("a string takes anything");
            x += width + 12.0;
        }
    }
}

fn colour(status: &str) -> &'static str {
    match status {
        "INSTALLED" => "#b8b8c8",
        "MOUNTED" => "#8fa3bf",
        "BLOCKED" => "#c9a24b",
        "STARTING" => "#6f9fd8",
        "STARTED" => "#3d7cc9",
        "READY" | "running" => "#2e8b57",
        "RECOVERING" | "rolling-back" => "#c8553d",
        "STOPPING" => "#a06a8c",
        "STOPPED" => "#6b6b6b",
        "trying" => "#3d7cc9",
        "testing" => "#5a9e8f",
        "verifying" => "#8fa3bf",
        _ => "#9a9a9a",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture has few lanes and characters")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a picture needs no more than milliseconds")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
