//! Events, actions, happenings as named fields, for the log line, the journal, whoever else tells what was done.

use std::fmt::{self, Display};

use engine::{Action, Event, Report, StopHow};
use model::report::{Exit, Failure, Happening};
use model::request::{AfterShutdown, Control, Refusal, Reply, Request, Signal};
use serde_json::{Value, json};

/// What came in.
pub fn event(event: &Event) -> Value {
    match event {
        Event::Booted => json!({"kind": "booted"}),
        Event::Report(report) => self::report(report),
        Event::Exited { container, generation, exit } => {
            json!({"kind": "exited", "container": container, "generation": generation, "exit": Ended(*exit).to_string()})
        }
        Event::Asked { request, what } => {
            let mut fields = self::request(what);
            fields["request"] = json!(request);
            fields
        }
        Event::Woke => json!({"kind": "woke"}),
        Event::SaveFailed { event } => json!({"kind": "save-failed", "event": self::event(event)}),
    }
}

fn report(report: &Report) -> Value {
    match report {
        Report::Mounted { container, generation, outcome } => {
            json!({"kind": "mounted", "container": container, "generation": generation, "outcome": went(outcome)})
        }
        Report::Unmounted { container, generation, outcome } => {
            json!({"kind": "unmounted", "container": container, "generation": generation, "outcome": went(outcome)})
        }
        Report::Started { container, generation, outcome: Ok(pid) } => {
            json!({"kind": "started", "container": container, "generation": generation, "outcome": "ok", "pid": pid})
        }
        Report::Started { container, generation, outcome: Err(failure) } => {
            json!({"kind": "started", "container": container, "generation": generation, "outcome": failed(failure)})
        }
        Report::StopFailed { container, generation, failure } => {
            json!({"kind": "stop-failed", "container": container, "generation": generation, "outcome": failed(failure)})
        }
        Report::Verified { revision, outcome } => {
            json!({"kind": "verified", "revision": revision, "outcome": went(outcome)})
        }
        Report::Installed { revision, outcome } => {
            json!({"kind": "installed", "revision": revision, "outcome": went(outcome)})
        }
        Report::BootSet { asked, outcome } => {
            json!({"kind": "boot-set", "asked": asked.as_micros(), "outcome": went(outcome)})
        }
        Report::ProgressWritten { revision, asked, outcome } => {
            json!({"kind": "progress-written", "revision": revision, "asked": asked.as_micros(), "outcome": went(outcome)})
        }
        Report::Collected { outcome: Ok(bytes) } => {
            json!({"kind": "collected", "outcome": "ok", "bytes": bytes})
        }
        Report::Collected { outcome: Err(failure) } => {
            json!({"kind": "collected", "outcome": failed(failure)})
        }
        Report::FactoryMade { outcome } => json!({"kind": "factory-made", "outcome": went(outcome)}),
        Report::LeaveFailed { failure } => json!({"kind": "leave-failed", "outcome": failed(failure)}),
    }
}

fn request(request: &Request) -> Value {
    match request {
        Request::Post { revision } => json!({"kind": "post", "revision": revision}),
        Request::Run { revision, force } => json!({"kind": "run", "revision": revision, "force": force}),
        Request::TryOnce { revision, force } => {
            json!({"kind": "try-once", "revision": revision, "force": force})
        }
        Request::MakeFactory { revision } => json!({"kind": "ask-make-factory", "revision": revision}),
        Request::Control { container, control } => {
            let kind = match control {
                Control::Start => "ask-start",
                Control::Stop => "ask-stop",
                Control::Restart => "ask-restart",
            };
            json!({"kind": kind, "container": container})
        }
        Request::Signal { container, generation, signal } => {
            let kind = match signal {
                Signal::Ready => "signal-ready",
                Signal::Alive => "signal-alive",
            };
            json!({"kind": kind, "container": container, "generation": generation})
        }
        Request::Collect => json!({"kind": "ask-collect"}),
        Request::ShutDown { then } => json!({"kind": "ask-shut-down", "then": following(*then)}),
    }
}

/// What must go out.
pub fn action(action: &Action) -> Value {
    match action {
        Action::Mount { container, revision, generation } => {
            json!({"kind": "mount", "container": container, "revision": revision, "generation": generation})
        }
        Action::Unmount { container, generation } => {
            json!({"kind": "unmount", "container": container, "generation": generation})
        }
        Action::Start { container, revision, generation } => {
            json!({"kind": "start", "container": container, "revision": revision, "generation": generation})
        }
        Action::Stop { container, generation, how } => {
            let kind = match how {
                StopHow::Ask => "stop",
                StopHow::Force => "kill",
            };
            json!({"kind": kind, "container": container, "generation": generation})
        }
        Action::NoteReady { container, generation } => {
            json!({"kind": "note-ready", "container": container, "generation": generation})
        }
        Action::Verify { revision } => json!({"kind": "verify", "revision": revision}),
        Action::Install { revision, request } => {
            json!({"kind": "install", "revision": revision, "request": request})
        }
        Action::SetBoot { vars, asked } => {
            json!({"kind": "set-boot", "committed": vars.committed, "candidate": vars.candidate, "asked": asked.as_micros()})
        }
        Action::WriteProgress { revision, progress, asked } => {
            json!({"kind": "write-progress", "revision": revision, "status": progress.status, "asked": asked.as_micros()})
        }
        Action::MakeFactory { from } => json!({"kind": "make-factory", "from": from}),
        Action::Collect { keep } => json!({"kind": "collect", "keep": keep}),
        Action::Reply { request, reply } => {
            json!({"kind": "reply", "request": request, "reply": answer(reply)})
        }
        Action::Leave(then) => json!({"kind": "leave", "then": following(*then)}),
    }
}

/// What happened.
pub fn happening(happening: &Happening) -> Value {
    match happening {
        Happening::Status { container, generation, from, to, reason } => json!({
            "kind": "status", "container": container, "generation": generation, "from": from, "to": to, "reason": &**reason
        }),
        Happening::Signal { container, generation, outcome } => {
            json!({"kind": "signal", "container": container, "generation": generation, "outcome": &**outcome})
        }
        Happening::GoalMet { container, goal, after } => {
            json!({"kind": "goal-met", "container": container, "goal": goal, "after_ms": milliseconds(*after)})
        }
        Happening::GoalMissed { container, goal, deadline } => {
            json!({"kind": "goal-missed", "container": container, "goal": goal, "deadline_ms": milliseconds(*deadline)})
        }
        Happening::Update { revision, progress } => {
            json!({"kind": "update", "revision": revision, "progress": progress})
        }
        Happening::Phase { phase, reason } => json!({"kind": "phase", "phase": phase, "reason": &**reason}),
        Happening::Note { text } => json!({"kind": "note", "text": &**text}),
    }
}

/// Fields as a log line has them: the kind, then `key=value`, quoted where a value has blanks.
#[derive(Debug)]
pub struct Line<'a>(pub &'a Value);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value::Object(fields) = self.0 else { return write!(f, "{}", self.0) };
        f.write_str(fields.get("kind").and_then(Value::as_str).unwrap_or_default())?;
        fields.iter().filter(|(key, _)| *key != "kind").try_for_each(|(key, value)| match value {
            Value::Null => Ok(()),
            Value::String(text) if is_bare(text) => write!(f, " {key}={text}"),
            Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                write!(f, " {key}={value}")
            }
        })
    }
}

fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.contains(|character: char| character.is_whitespace() || character == '"')
}

/// An exit as people read it.
#[derive(Debug)]
pub struct Ended(pub Exit);

impl Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Code(code) => write!(f, "code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
            Exit::Unknown => f.write_str("unknown"),
        }
    }
}

fn went<T>(outcome: &Result<T, Failure>) -> Value {
    match outcome {
        Ok(_) => json!("ok"),
        Err(failure) => failed(failure),
    }
}

fn failed(failure: &Failure) -> Value {
    json!({"failed": &*failure.detail, "kind": format!("{:?}", failure.kind)})
}

fn following(then: AfterShutdown) -> &'static str {
    match then {
        AfterShutdown::End => "end",
        AfterShutdown::Restart => "restart",
        AfterShutdown::PowerOff => "power-off",
        AfterShutdown::Reboot => "reboot",
    }
}

fn answer(reply: &Reply) -> Value {
    match reply {
        Reply::Done => json!("done"),
        Reply::Collected { reclaimed } => json!({"reclaimed": reclaimed}),
        Reply::Refused(refusal) => refused(refusal),
    }
}

fn refused(refusal: &Refusal) -> Value {
    json!({"refused": refusal.to_string()})
}

fn milliseconds(length: std::time::Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use model::ids::Generation;
    use model::report::FailureKind;

    use super::*;

    #[test]
    fn a_line_is_fields_and_leaves_out_what_is_absent() {
        let exited = Event::Exited {
            container: "web".parse().unwrap(),
            generation: Generation(3),
            exit: Exit::Code(1),
        };
        assert_eq!(Line(&event(&exited)).to_string(), r#"exited container=web exit="code 1" generation=3"#);
        let failed = Report::Mounted {
            container: "web".parse().unwrap(),
            generation: Generation(3),
            outcome: Err(Failure::new(FailureKind::Permanent, "mount /x: EINVAL")),
        };
        assert_eq!(
            Line(&event(&Event::Report(failed))).to_string(),
            r#"mounted container=web generation=3 outcome={"failed":"mount /x: EINVAL","kind":"Permanent"}"#
        );
    }
}
