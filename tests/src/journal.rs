//! A recorded life: where it starts, and one line for each choice. Replayed for ever.
//!
//! ```text
//! # why it was kept
//! scenario NAME           the head: Scenario::to_text
//! …
//! life
//! boot                    one choice per line: Choice
//! done mount a
//! cut; kept
//! ```
//!
//! An engine that decides otherwise than the one that was recorded may make a choice impossible. It is then left out, and
//! the rest is still a life in which every law must hold; at the end the device is left in peace, and must settle.

use std::str::FromStr;

use crate::choice::{Choice, What};
use crate::device::{Device, Stop};
use crate::explore::{Found, friendly_run, settled};
use crate::scenario::Scenario;
use crate::shell::Shell;
use crate::witness::{Law, Violation};

#[derive(Debug, Clone)]
pub struct Journal {
    /// Why it was kept.
    pub why: String,
    pub scenario: Scenario,
    pub choices: Vec<Choice>,
}

/// How a replay went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    pub taken: usize,
    /// Choices that are not possible any more.
    pub left_out: usize,
}

impl Journal {
    /// Lives it again.
    ///
    /// # Errors
    /// A law is broken.
    pub fn replay(&self) -> Result<Replayed, Box<Found>> {
        let (device, taken) = run(&self.scenario, Shell::Honest, &self.choices)?;
        let (rest, way) = friendly_run(&self.scenario, device, None)?;
        if !settled(&rest) {
            let violation = Violation::new(Law::Liveness, "left in peace, it does not settle");
            return Err(Box::new(Found { violation, way }));
        }
        Ok(Replayed { taken: taken.len(), left_out: self.choices.len() - taken.len() })
    }

    pub fn to_text(&self) -> String {
        let why: String = self.why.lines().map(|line| format!("# {line}\n")).collect();
        let choices: String = self.choices.iter().map(|choice| format!("{choice}\n")).collect();
        format!("{why}{}life\n{choices}", self.scenario.to_text())
    }
}

impl FromStr for Journal {
    type Err = String;

    fn from_str(text: &str) -> Result<Journal, String> {
        let (head, life) = text.split_once("\nlife\n").ok_or("no line that says life")?;
        let (why, head): (Vec<&str>, Vec<&str>) = head.lines().partition(|line| line.starts_with('#'));
        let why: Vec<&str> = why.iter().map(|line| line.trim_start_matches(['#', ' '])).collect();
        let choices = life.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Journal {
            why: why.join("\n"),
            scenario: head.join("\n").parse()?,
            choices: choices.map(str::parse).collect::<Result<_, _>>()?,
        })
    }
}

/// The device after all of `choices` that are possible, with those.
fn run(scenario: &Scenario, shell: Shell, choices: &[Choice]) -> Result<(Device, Vec<Choice>), Box<Found>> {
    let mut device = Device::new(scenario, shell);
    let mut way = Vec::new();
    for choice in choices {
        match device.after(scenario, choice) {
            Ok(next) => device = next.device,
            Err(Stop::Impossible(_)) => continue,
            Err(Stop::Broken(violation)) => {
                way.push(choice.clone());
                return Err(Box::new(Found { violation, way }));
            }
        }
        way.push(choice.clone());
    }
    Ok((device, way))
}

/// A shorter life that breaks the same law: leaves out ever smaller pieces as long as one can be spared.
pub fn shrink(scenario: &Scenario, shell: Shell, found: Box<Found>) -> Box<Found> {
    let law = found.violation.law;
    let breaks = |choices: &[Choice]| -> Option<Box<Found>> {
        let (device, way) = match run(scenario, shell, choices) {
            Ok(ran) => ran,
            Err(found) => return Some(found).filter(|found| found.violation.law == law),
        };
        if law != Law::Liveness {
            return None;
        }
        let stuck = |how: &str| Violation::new(law, how);
        match friendly_run(scenario, device, None) {
            Ok((rest, _)) if settled(&rest) => None,
            Ok(_) => Some(Box::new(Found { violation: stuck("left in peace, it does not settle"), way })),
            Err(end) => {
                Some(Box::new(Found { violation: end.violation, way })).filter(|it| it.violation.law == law)
            }
        }
    };
    let Some(mut best) = breaks(&found.way) else { return found };
    let mut piece = best.way.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < best.way.len() {
            let end = (at + piece).min(best.way.len());
            let without = [&best.way[..at], &best.way[end..]].concat();
            match breaks(&without) {
                Some(shorter) if shorter.way.len() < best.way.len() => best = shorter,
                Some(_) | None => at = end,
            }
        }
        piece /= 2;
    }
    best
}

/// What a test says of a law that was broken: the law, the life, and where to put it.
pub fn tell(scenario: &Scenario, shell: Shell, found: Box<Found>) -> String {
    let found = shrink(scenario, shell, found);
    let waits = found.way.iter().filter(|choice| choice.what == What::Wait).count();
    let why = format!("{} ({} choices, {waits} waits)", found.violation, found.way.len());
    let journal = Journal { why, scenario: scenario.clone(), choices: found.way.clone() };
    format!(
        "{}\nThe shortest life that shows it, to be kept in tests/journals/ once it is understood:\n\n{}",
        found.violation,
        journal.to_text()
    )
}
