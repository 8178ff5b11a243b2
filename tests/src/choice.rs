//! One thing that may happen next, with its line in a journal.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use model::ids::{ContainerName, RevisionId};
use model::report::{Exit, FailureKind};
use model::request::{AfterShutdown, Control};

use crate::disk::Loss;
use crate::effect::EffectName;

/// What happens, and how the save goes if the engine asks for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Choice {
    pub what: What,
    pub save: Save,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum What {
    /// An agent's life begins, on a device that may have to be switched on first.
    Boot,
    /// Nothing until the engine's wake-up.
    Wait,
    /// Time passes, and nobody is woken.
    Pass(Duration),
    /// An effect ends well.
    Done(EffectName),
    /// An effect reports a failure, although it may have happened.
    Fail(EffectName, FailureKind, Landing),
    /// A container says that it is ready.
    Ready(LifeName),
    /// Something in a container's former life says that it is ready.
    StaleReady(ContainerName),
    /// A container's life ends, asked or not.
    End(LifeName, Exit),
    /// A stop could not be carried out.
    StopFails(LifeName),
    Ask(Ask),
    /// The agent is killed; these effects had happened by then.
    Kill(Vec<EffectName>),
    /// The power goes; what it makes of un-synced writes, and the effects that had happened by then.
    Cut(Vec<Loss>, Vec<EffectName>),
}

/// Whether a failed effect happened all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Landing {
    Nothing,
    Landed,
}

/// How a save goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Save {
    Works,
    /// Nothing was written.
    Fails,
    /// It was written, the sync failed: a power cut decides.
    FailsInDoubt,
    /// The power goes, and leaves half of it.
    CutBefore,
    /// The power goes when it is on disk, and nothing was acted on.
    CutAfter,
}

impl Save {
    pub const FAULTS: [Save; 4] = [Save::Fails, Save::FailsInDoubt, Save::CutBefore, Save::CutAfter];
}

/// What outsiders ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    Run(RevisionId),
    RunForced(RevisionId),
    Post(RevisionId),
    Control(ContainerName, Control),
    Collect,
    ShutDown(AfterShutdown),
    TryOnce(RevisionId),
    /// What runs, where nothing is named.
    MakeFactory(Option<RevisionId>),
}

/// A container's newest life, or one so many lives before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LifeName {
    pub container: ContainerName,
    pub back: usize,
}

const KINDS: [(&str, FailureKind); 7] = [
    ("transient", FailureKind::Transient),
    ("permanent", FailureKind::Permanent),
    ("no-space", FailureKind::NoSpace),
    ("denied", FailureKind::Denied),
    ("missing", FailureKind::Missing),
    ("corrupt", FailureKind::Corrupt),
    ("unsupported", FailureKind::Unsupported),
];
const LOSSES: [(&str, Loss); 3] = [("kept", Loss::Kept), ("lost", Loss::Lost), ("torn", Loss::Torn)];
const CONTROLS: [(&str, Control); 3] =
    [("start", Control::Start), ("stop", Control::Stop), ("restart", Control::Restart)];
const AFTER: [(&str, AfterShutdown); 4] = [
    ("end", AfterShutdown::End),
    ("restart", AfterShutdown::Restart),
    ("power-off", AfterShutdown::PowerOff),
    ("reboot", AfterShutdown::Reboot),
];
const SAVES: [(&str, Save); 5] = [
    ("works", Save::Works),
    ("fails", Save::Fails),
    ("fails in doubt", Save::FailsInDoubt),
    ("cut before", Save::CutBefore),
    ("cut after", Save::CutAfter),
];

fn word<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    table.iter().find(|(_, known)| known == value).map_or("?", |(word, _)| word)
}

pub(crate) fn meaning<T: Clone>(table: &[(&'static str, T)], word: &str) -> Result<T, String> {
    let known = table.iter().find(|(known, _)| *known == word);
    known.map(|(_, value)| value.clone()).ok_or_else(|| format!("not a word here: {word:?}"))
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if self.save == Save::Works { Ok(()) } else { write!(f, " / save {}", word(&SAVES, &self.save)) }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Boot => write!(f, "boot"),
            What::Wait => write!(f, "wait"),
            What::Pass(length) => write!(f, "pass {}", length.as_micros()),
            What::Done(effect) => write!(f, "done {effect}"),
            What::Fail(effect, kind, landing) => {
                write!(f, "fail {} {effect}{}", word(&KINDS, kind), landed(*landing))
            }
            What::Ready(life) => write!(f, "ready {life}"),
            What::StaleReady(container) => write!(f, "stale-ready {container}"),
            What::End(life, Exit::Code(code)) => write!(f, "end {life} code {code}"),
            What::End(life, Exit::Signal(signal)) => write!(f, "end {life} signal {signal}"),
            What::End(life, Exit::Unknown) => write!(f, "end {life} unknown"),
            What::StopFails(life) => write!(f, "stop-fails {life}"),
            What::Ask(ask) => write!(f, "ask {ask}"),
            What::Kill(landed) => {
                write!(f, "kill")?;
                landed.iter().try_for_each(|effect| write!(f, "; landed {effect}"))
            }
            What::Cut(losses, landed) => {
                write!(f, "cut")?;
                losses.iter().try_for_each(|loss| write!(f, "; {}", word(&LOSSES, loss)))?;
                landed.iter().try_for_each(|effect| write!(f, "; landed {effect}"))
            }
        }
    }
}

fn landed(landing: Landing) -> &'static str {
    match landing {
        Landing::Nothing => "",
        Landing::Landed => " landed",
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Run(revision) => write!(f, "run {revision}"),
            Ask::RunForced(revision) => write!(f, "run-forced {revision}"),
            Ask::Post(revision) => write!(f, "post {revision}"),
            Ask::Control(container, control) => write!(f, "{} {container}", word(&CONTROLS, control)),
            Ask::Collect => write!(f, "collect"),
            Ask::ShutDown(then) => write!(f, "shut-down {}", word(&AFTER, then)),
            Ask::TryOnce(revision) => write!(f, "try-once {revision}"),
            Ask::MakeFactory(None) => write!(f, "make-factory"),
            Ask::MakeFactory(Some(revision)) => write!(f, "make-factory {revision}"),
        }
    }
}

impl fmt::Display for LifeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.container)?;
        if self.back == 0 { Ok(()) } else { write!(f, "~{}", self.back) }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(line: &str) -> Result<Choice, String> {
        let (what, save) = line.split_once(" / save ").unwrap_or((line, "works"));
        Ok(Choice { what: what.parse()?, save: meaning(&SAVES, save)? })
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<What, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "boot" => Ok(What::Boot),
            "wait" => Ok(What::Wait),
            "pass" => rest.parse().map(Duration::from_micros).map(What::Pass).map_err(|_| bad(text)),
            "done" => rest.parse().map(What::Done),
            "fail" => parse_fail(rest),
            "ready" => rest.parse().map(What::Ready),
            "stale-ready" => rest.parse().map(What::StaleReady).map_err(|_| bad(text)),
            "end" => parse_end(rest),
            "stop-fails" => rest.parse().map(What::StopFails),
            "ask" => rest.parse().map(What::Ask),
            _ => parse_violence(text),
        }
    }
}

fn parse_fail(text: &str) -> Result<What, String> {
    let (kind, effect) = text.split_once(' ').ok_or_else(|| bad(text))?;
    let (effect, landing) = match effect.strip_suffix(" landed") {
        Some(effect) => (effect, Landing::Landed),
        None => (effect, Landing::Nothing),
    };
    Ok(What::Fail(effect.parse()?, meaning(&KINDS, kind)?, landing))
}

fn parse_end(text: &str) -> Result<What, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let (life, exit) = match words[..] {
        [life, "code", code] => (life, Exit::Code(code.parse().map_err(|_| bad(text))?)),
        [life, "signal", signal] => (life, Exit::Signal(signal.parse().map_err(|_| bad(text))?)),
        [life, "unknown"] => (life, Exit::Unknown),
        _ => return Err(bad(text)),
    };
    Ok(What::End(life.parse()?, exit))
}

fn parse_violence(text: &str) -> Result<What, String> {
    let mut parts = text.split("; ");
    let verb = parts.next().unwrap_or_default();
    let (mut losses, mut effects) = (Vec::new(), Vec::new());
    for part in parts {
        match part.strip_prefix("landed ") {
            Some(effect) => effects.push(effect.parse()?),
            None => losses.push(meaning(&LOSSES, part)?),
        }
    }
    match verb {
        "kill" => Ok(What::Kill(effects)),
        "cut" => Ok(What::Cut(losses, effects)),
        _ => Err(bad(text)),
    }
}

impl FromStr for Ask {
    type Err = String;

    fn from_str(text: &str) -> Result<Ask, String> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let revision = || rest.parse::<RevisionId>().map_err(|error| error.to_string());
        match verb {
            "run" => revision().map(Ask::Run),
            "run-forced" => revision().map(Ask::RunForced),
            "post" => revision().map(Ask::Post),
            "collect" => Ok(Ask::Collect),
            "shut-down" => meaning(&AFTER, rest).map(Ask::ShutDown),
            "try-once" => revision().map(Ask::TryOnce),
            "make-factory" if rest.is_empty() => Ok(Ask::MakeFactory(None)),
            "make-factory" => revision().map(Some).map(Ask::MakeFactory),
            _ => Ok(Ask::Control(rest.parse().map_err(|_| bad(text))?, meaning(&CONTROLS, verb)?)),
        }
    }
}

impl FromStr for LifeName {
    type Err = String;

    fn from_str(text: &str) -> Result<LifeName, String> {
        let (container, back) = text.split_once('~').unwrap_or((text, "0"));
        let container = container.parse().map_err(|_| bad(text))?;
        Ok(LifeName { container, back: back.parse().map_err(|_| bad(text))? })
    }
}

fn bad(text: &str) -> String {
    format!("not a choice: {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_reads_as_it_is_written() {
        let lines = [
            "boot",
            "boot / save fails in doubt",
            "wait / save cut after",
            "pass 1500000",
            "done mount b",
            "done set-boot",
            "fail permanent start b~1",
            "fail denied set-boot landed",
            "ready a",
            "stale-ready a",
            "end a~2 code 7",
            "end a signal 9",
            "end a unknown",
            "stop-fails b",
            "ask run locals/x",
            "ask run-forced 3",
            "ask post locals/x",
            "ask restart b",
            "ask collect",
            "ask shut-down power-off",
            "ask shut-down reboot",
            "ask try-once locals/x",
            "ask make-factory",
            "ask make-factory locals/x",
            "done make-factory",
            "kill",
            "kill; landed progress locals/x",
            "cut; kept; torn; landed set-boot; landed progress 0",
        ];
        for line in lines {
            assert_eq!(line.parse::<Choice>().unwrap().to_string(), line);
        }
    }

    #[test]
    fn what_is_no_choice_is_refused() {
        for line in
            ["", "dance", "end a", "pass x", "done fly b", "boot / save perhaps", "ask", "ask run ../x"]
        {
            assert!(line.parse::<Choice>().is_err(), "{line}");
        }
    }
}
