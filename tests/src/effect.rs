//! Effects under way: actions that were begun and have not reported yet.

use std::fmt;
use std::str::FromStr;

use engine::{Action, Time};
use model::ids::{ContainerName, Generation};

use crate::choice::meaning;
use crate::shell::Shell;

/// An action between its beginning and its report.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Effect {
    pub action: Action,
    pub began: Time,
    pub honesty: Honesty,
    pub answer: Answer,
}

/// Whether its good report is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Honesty {
    Does,
    /// It reports success and does nothing: what a broken shell has forgotten to redo.
    OnlySays,
}

/// Whether the engine still waits for it. Where a report names its subject only, one that comes late is taken for the answer
/// to what was asked of the same subject since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Awaited,
    TakenFromAnother,
}

/// What an effect does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Mount,
    Unmount,
    Start,
    Verify,
    Install,
    SetBoot,
    WriteProgress,
    Collect,
    MakeFactory,
    Leave,
}

/// Names one of them in a journal: what is done to whom, the newest such or one so many before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectName {
    pub verb: Verb,
    /// Empty where there is only one subject.
    pub subject: String,
    pub back: usize,
}

impl Verb {
    /// Whether what it does is still there when the power comes back.
    pub fn lasts(self) -> bool {
        match self {
            Verb::Install | Verb::SetBoot | Verb::WriteProgress | Verb::Collect | Verb::MakeFactory => true,
            Verb::Mount | Verb::Unmount | Verb::Start | Verb::Verify | Verb::Leave => false,
        }
    }
}

/// What of an action makes an effect; a stop and a ready are remembered by the life they concern, a reply is
/// nothing to wait for.
pub fn effect_of(action: &Action) -> Option<(Verb, String, Generation)> {
    let none = Generation(0);
    Some(match action {
        Action::Mount { container, generation, .. } => (Verb::Mount, container.to_string(), *generation),
        Action::Unmount { container, generation } => (Verb::Unmount, container.to_string(), *generation),
        Action::Start { container, generation, .. } => (Verb::Start, container.to_string(), *generation),
        Action::Verify { revision } => (Verb::Verify, revision.to_string(), none),
        Action::Install { revision, .. } => (Verb::Install, revision.to_string(), none),
        Action::SetBoot { .. } => (Verb::SetBoot, String::new(), none),
        Action::WriteProgress { revision, .. } => (Verb::WriteProgress, revision.to_string(), none),
        Action::Collect { .. } => (Verb::Collect, String::new(), none),
        Action::MakeFactory { .. } => (Verb::MakeFactory, String::new(), none),
        Action::Leave(_) => (Verb::Leave, String::new(), none),
        Action::Stop { .. } | Action::NoteReady { .. } | Action::Reply { .. } => return None,
    })
}

impl Effect {
    pub fn verb(&self) -> Option<Verb> {
        effect_of(&self.action).map(|(verb, ..)| verb)
    }

    /// Whose mounts it changes, and after what.
    fn place(&self) -> Option<(&ContainerName, (Generation, Verb))> {
        match &self.action {
            Action::Mount { container, generation, .. } => Some((container, (*generation, Verb::Mount))),
            Action::Unmount { container, generation } => Some((container, (*generation, Verb::Unmount))),
            Action::Start { .. }
            | Action::Stop { .. }
            | Action::NoteReady { .. }
            | Action::Verify { .. }
            | Action::Install { .. }
            | Action::SetBoot { .. }
            | Action::WriteProgress { .. }
            | Action::Collect { .. }
            | Action::MakeFactory { .. }
            | Action::Reply { .. }
            | Action::Leave(_) => None,
        }
    }

    /// Orders effects, so that the order in which they were begun makes no difference between two states: they run beside
    /// each other and report in any order. Those of one subject stay in the order in which they were begun.
    pub fn order(&self) -> Option<(Verb, String)> {
        effect_of(&self.action).map(|(verb, subject, _)| (verb, subject))
    }
}

/// Whether an effect may end: what is done to one container's mounts is done in the order in which it was asked.
pub fn has_its_turn(shell: Shell, effects: &[Effect], effect: &Effect) -> bool {
    let Some((container, place)) = effect.place() else { return true };
    let mut others = effects.iter().filter_map(Effect::place);
    shell == Shell::UnmountsBesideMounts || !others.any(|(other, its)| other == container && its < place)
}

impl EffectName {
    /// The name of the effect at `index`.
    pub fn of(effects: &[Effect], index: usize) -> Option<EffectName> {
        let (verb, subject) = effects.get(index)?.order()?;
        let back =
            effects[index + 1..].iter().filter(|later| later.order() == effects[index].order()).count();
        Some(EffectName { verb, subject, back })
    }

    /// Which effect it names.
    pub fn find(&self, effects: &[Effect]) -> Option<usize> {
        (0..effects.len()).find(|index| EffectName::of(effects, *index).as_ref() == Some(self))
    }
}

const VERBS: [(&str, Verb); 10] = [
    ("mount", Verb::Mount),
    ("unmount", Verb::Unmount),
    ("start", Verb::Start),
    ("verify", Verb::Verify),
    ("install", Verb::Install),
    ("set-boot", Verb::SetBoot),
    ("progress", Verb::WriteProgress),
    ("collect", Verb::Collect),
    ("make-factory", Verb::MakeFactory),
    ("leave", Verb::Leave),
];

impl fmt::Display for EffectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = VERBS.iter().find(|(_, verb)| *verb == self.verb).map_or("?", |(word, _)| word);
        f.write_str(word)?;
        if !self.subject.is_empty() {
            write!(f, " {}", self.subject)?;
        }
        if self.back == 0 { Ok(()) } else { write!(f, "~{}", self.back) }
    }
}

impl FromStr for EffectName {
    type Err = String;

    fn from_str(text: &str) -> Result<EffectName, String> {
        let (text, back) = text.split_once('~').unwrap_or((text, "0"));
        let back = back.parse().map_err(|_| format!("not an effect: {text:?}"))?;
        let (verb, subject) = text.split_once(' ').unwrap_or((text, ""));
        Ok(EffectName { verb: meaning(&VERBS, verb)?, subject: subject.to_owned(), back })
    }
}
