//! What happened, as GET /events tells it: read one by one, shown a line each.

use std::collections::VecDeque;

use serde_json::Value;

use crate::cli::Format;
use crate::client::{Client, Stream};
use crate::failed::Failed;
use crate::output::{Output, Tone, visible};
use crate::show;
use crate::sse::{Frame, Frames};

/// What the agent is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Everything it still remembers.
    Oldest,
    /// What came after this one.
    After(u64),
}

/// Whether the stream goes on after what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Remembered,
    Forever,
}

/// The event stream.
#[derive(Debug)]
pub(crate) struct Events {
    stream: Stream,
    frames: Frames,
    waiting: VecDeque<Frame>,
}

impl Events {
    pub(crate) async fn open(client: &Client, from: Option<From>, until: Until) -> Result<Events, Failed> {
        let mut query = Vec::new();
        match from {
            Some(From::After(id)) => query.push(format!("since={id}")),
            Some(From::Oldest) => query.push("since=0".to_owned()),
            None => {}
        }
        if until == Until::Remembered {
            query.push("follow=0".to_owned());
        }
        let question = if query.is_empty() { "" } else { "?" };
        let stream = client.stream(&format!("/events{question}{}", query.join("&"))).await?;
        Ok(Events { stream, frames: Frames::default(), waiting: VecDeque::new() })
    }

    /// The next one; none once the agent has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failed> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(Some(Event::read(frame)));
            }
            let Some(piece) = self.stream.next().await? else { return Ok(None) };
            self.waiting.extend(self.frames.take(&piece));
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) kind: String,
    json: String,
    data: Value,
}

impl Event {
    fn read(frame: Frame) -> Event {
        let data = serde_json::from_str(&frame.data).unwrap_or(Value::Null);
        Event { id: frame.id, kind: frame.kind, json: frame.data, data }
    }

    /// A field as text; empty where there is none.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.data.get(field).and_then(Value::as_str).unwrap_or("")
    }

    /// For programs: the agent's own document on one line.
    pub(crate) fn json(&self) -> String {
        self.json.replace('\n', " ")
    }

    /// For people.
    pub(crate) fn line(&self, output: &Output) -> String {
        let time = match self.data.get("boot_us").and_then(Value::as_u64) {
            Some(micros) if micros > 0 => format!("{:>6}.{:03}", micros / 1_000_000, micros / 1000 % 1000),
            _ => " ".repeat(10),
        };
        format!("{}  {}", output.paint(Tone::Quiet, &time), self.sentence(output))
    }

    fn sentence(&self, output: &Output) -> String {
        let container = output.paint(Tone::Strong, &format!("{:<12}", visible(self.text("container"))));
        let reason = visible(self.text("reason"));
        let why = if reason.is_empty() {
            String::new()
        } else {
            output.paint(Tone::Quiet, &format!("  ({reason})"))
        };
        match self.kind.as_str() {
            "status" => {
                let to = visible(self.text("to"));
                format!(
                    "{container}  {} -> {}{why}",
                    visible(self.text("from")),
                    output.paint(show::tone(&to, ""), &to)
                )
            }
            "signal" => format!("{container}  signalled{why}"),
            "goal-met" => {
                let met = output.paint(Tone::Good, "met its goal");
                format!("{container}  {met} {} after {}", self.text("goal"), self.seconds("after_ms"))
            }
            "goal-missed" => {
                let missed = output.paint(Tone::Bad, "missed its goal");
                format!("{container}  {missed} {} in {}", self.text("goal"), self.seconds("deadline_ms"))
            }
            "update" => self.update_sentence(output),
            "phase" => {
                format!("{:<12}  {}{why}", "device", output.paint(Tone::Strong, &visible(self.text("phase"))))
            }
            "gap" => match self.data.get("lost").and_then(Value::as_u64) {
                // Whose events they would have been is not known.
                None | Some(0) => format!("events may be missing here: {reason}"),
                Some(lost) => format!("{lost} events are missing here: {reason}"),
            },
            "note" => reason,
            _ => visible(&self.json()),
        }
    }

    fn update_sentence(&self, output: &Output) -> String {
        let progress = self.progress();
        let status = output.paint(show::update_tone(&progress.status), &progress.status);
        let why: String =
            progress.reasons().iter().map(|line| format!("\n{:>26}{}", "", visible(line))).collect();
        format!("{:<12}  {status}  {}{why}", visible(self.text("revision")), visible(&progress.message))
    }

    fn seconds(&self, field: &str) -> String {
        let millis = self.data.get(field).and_then(Value::as_u64).unwrap_or(0);
        format!("{}.{:03} s", millis / 1000, millis % 1000)
    }

    /// The progress document of an update event.
    pub(crate) fn progress(&self) -> show::Progress {
        let document = self.data.get("progress").cloned().unwrap_or(Value::Null);
        serde_json::from_value(document).unwrap_or_default()
    }
}

pub(crate) async fn print(
    client: &Client,
    output: &Output,
    since: Option<u64>,
    until: Until,
    format: Format,
) -> Result<(), Failed> {
    let from = since.map_or(From::Oldest, From::After);
    let mut events = Events::open(client, Some(from), until).await?;
    while let Some(event) = events.next().await? {
        let line = if format.json { event.json() } else { event.line(output) };
        output.line(&line)?;
    }
    Ok(())
}
