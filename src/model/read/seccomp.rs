//! The reader of system call profiles: lines in, rules out.

use alloc::vec::Vec;

use crate::seccomp::{Answer, Call, Comparison, Machine, NotUnderstood, Profile, Relation, Rule};

const ANSWERS: &str = "allow, log, errno NUMBER (0 to 4095), trap or kill";
const COMPARISON: &str =
    "[INDEX,VALUE,COMPARISON] or [INDEX,VALUE,SCMP_CMP_MASKED_EQ,MASK] with an index from 0 to 5";
const CALL: &str = "the name of a system call";

pub(crate) fn profile(text: &str) -> Result<Profile, NotUnderstood> {
    let mut lines = text.lines().enumerate().filter_map(|(at, text)| {
        let text = text.split('#').next().unwrap_or_default().trim();
        (!text.is_empty()).then_some(Line { number: at + 1, text })
    });
    let end = Line { number: text.lines().count() + 1, text: "" };
    let version = lines.next().unwrap_or(end);
    let kind = lines.next().unwrap_or(end);
    let mut profile = match version.text {
        "1" => numbered(kind, lines)?,
        "2" => named(kind, lines)?,
        _ => return Err(version.expected("the version of the profile, 1 or 2")),
    };
    profile.rules = closest_first(profile.rules);
    Ok(profile)
}

/// Those with the most comparisons first, else as they were written. The sort that the library has is 5 KiB of a device's
/// program, for the few lengths that there are.
fn closest_first(mut rules: Vec<Rule>) -> Vec<Rule> {
    let mut sorted = Vec::with_capacity(rules.len());
    while let Some(most) = rules.iter().map(|rule| rule.comparisons.len()).max() {
        let (first, others): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|rule| rule.comparisons.len() == most);
        sorted.extend(first);
        rules = others;
    }
    sorted
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    fn expected(self, expected: &'static str) -> NotUnderstood {
        NotUnderstood { line: self.number, expected }
    }

    fn room_in(self, rules: &[Rule]) -> Result<(), NotUnderstood> {
        if rules.len() < Profile::MOST_RULES { Ok(()) } else { Err(self.expected("at most 1024 rules")) }
    }
}

fn numbered<'a>(kind: Line<'a>, lines: impl Iterator<Item = Line<'a>>) -> Result<Profile, NotUnderstood> {
    if !matches!(kind.text, "allowlist" | "whitelist") {
        return Err(kind.expected("allowlist, the only kind of version 1"));
    }
    let mut rules = Vec::new();
    for line in lines {
        line.room_in(&rules)?;
        let number = line.text.parse().map_err(|_| line.expected("the number of a system call"))?;
        rules.push(Rule {
            machine: Machine::All,
            call: Call::Numbered(number),
            answer: Answer::Allow,
            comparisons: Vec::new(),
        });
    }
    Ok(Profile { otherwise: Answer::Kill, rules })
}

fn named<'a>(kind: Line<'a>, lines: impl Iterator<Item = Line<'a>>) -> Result<Profile, NotUnderstood> {
    let (list, rest) = word(kind.text);
    let (usual, otherwise) = match list {
        "allowlist" | "whitelist" => (Answer::Allow, Answer::Kill),
        "denylist" | "blacklist" => (Answer::Kill, Answer::Allow),
        _ => return Err(kind.expected("allowlist or denylist")),
    };
    let otherwise = match answer(rest).ok_or_else(|| kind.expected(ANSWERS))? {
        (given, "") => given.unwrap_or(otherwise),
        _ => return Err(kind.expected(ANSWERS)),
    };
    let mut machine = Machine::All;
    let mut rules = Vec::new();
    for line in lines {
        line.room_in(&rules)?;
        if let Some(name) = line.text.strip_prefix('[') {
            let name = name
                .strip_suffix(']')
                .ok_or_else(|| line.expected("the name of an architecture in brackets"))?;
            machine = of_name(name);
        } else if line.text == "reject_force_umount" {
            rules.push(no_forced_unmount());
        } else {
            rules.push(rule(line, machine, usual)?);
        }
    }
    Ok(Profile { otherwise, rules })
}

fn rule(line: Line<'_>, machine: Machine, usual: Answer) -> Result<Rule, NotUnderstood> {
    let (call, rest) = word(line.text);
    if !call.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(line.expected(CALL));
    }
    let (given, rest) = answer(rest).ok_or_else(|| line.expected(ANSWERS))?;
    let comparisons = comparisons(rest).ok_or_else(|| line.expected(COMPARISON))?;
    Ok(Rule { machine, call: Call::Named(call.into()), answer: given.unwrap_or(usual), comparisons })
}

/// An answer, if one stands there, and what follows; nothing where something else stands there.
fn answer(text: &str) -> Option<(Option<Answer>, &str)> {
    let (name, rest) = word(text);
    let given = match name {
        "allow" => Answer::Allow,
        "log" => Answer::Log,
        "trap" => Answer::Trap,
        "kill" => Answer::Kill,
        "errno" => {
            let (number, rest) = word(rest);
            let number = number.parse().ok().filter(|number| *number < 4096)?;
            return Some((Some(Answer::Errno(number)), rest));
        }
        other if other.is_empty() || other.starts_with('[') => return Some((None, text)),
        _ => return None,
    };
    Some((Some(given), rest))
}

fn comparisons(text: &str) -> Option<Vec<Comparison>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([',', ' ', '\t']);
    while !rest.is_empty() {
        let (one, after) = rest.strip_prefix('[')?.split_once(']')?;
        // More of them than a call has arguments say nothing new.
        if found.len() == 12 {
            return None;
        }
        found.push(comparison(one)?);
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    Some(found)
}

fn comparison(text: &str) -> Option<Comparison> {
    let mut parts = text.split(',').map(str::trim);
    let argument = number(parts.next()?)?.try_into().ok().filter(|argument| *argument < 6)?;
    let value = number(parts.next()?)?;
    let name = parts.next()?;
    let mask = parts.next().map(number);
    if parts.next().is_some() || mask == Some(None) {
        return None;
    }
    let relation = match name {
        "SCMP_CMP_EQ" | "==" => Relation::Equal,
        "SCMP_CMP_NE" | "!=" => Relation::NotEqual,
        "SCMP_CMP_LT" | "<" => Relation::Less,
        "SCMP_CMP_LE" | "<=" => Relation::LessOrEqual,
        "SCMP_CMP_GT" | ">" => Relation::Greater,
        "SCMP_CMP_GE" | ">=" => Relation::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" | "&=" => Relation::Masked(mask??),
        _ => return None,
    };
    Some(Comparison { argument, relation, value })
}

/// Decimal, hexadecimal with `0x`, or negative, which stands for its two's complement.
fn number(text: &str) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok();
    }
    text.parse().ok().or_else(|| text.parse().ok().map(i64::cast_unsigned))
}

/// MNT_FORCE is 1, EACCES 13.
fn no_forced_unmount() -> Rule {
    Rule {
        machine: Machine::All,
        call: Call::Named("umount2".into()),
        answer: Answer::Errno(13),
        comparisons: Vec::from([Comparison { argument: 1, relation: Relation::Masked(1), value: 1 }]),
    }
}

fn of_name(name: &str) -> Machine {
    match name {
        "all" => Machine::All,
        "x86" | "X86" => Machine::X86,
        "x86_64" | "X86_64" => Machine::X86_64,
        "arm" => Machine::Arm,
        "arm64" => Machine::Arm64,
        _ => Machine::Foreign,
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_rule(machine: Machine, call: &str, answer: Answer) -> Rule {
        Rule { machine, call: Call::Named(call.into()), answer, comparisons: Vec::new() }
    }

    #[test]
    fn both_versions_are_read() {
        let denied = "2\ndenylist\nreject_force_umount # why\n[all]\nkexec_load errno 1\n\n[arm64]\nbpf\n[s390x]\nbpf log\n";
        assert_eq!(
            profile(denied),
            Ok(Profile {
                otherwise: Answer::Allow,
                rules: Vec::from([
                    no_forced_unmount(),
                    named_rule(Machine::All, "kexec_load", Answer::Errno(1)),
                    named_rule(Machine::Arm64, "bpf", Answer::Kill),
                    named_rule(Machine::Foreign, "bpf", Answer::Log),
                ]),
            })
        );
        let allowed =
            profile("2\nallowlist errno 38\nread\nioctl allow [1,0x5401,SCMP_CMP_EQ],[2,-1,&=,0xff]")
                .unwrap();
        assert_eq!(allowed.otherwise, Answer::Errno(38));
        assert_eq!(
            allowed.rules[0].comparisons,
            [
                Comparison { argument: 1, relation: Relation::Equal, value: 0x5401 },
                Comparison { argument: 2, relation: Relation::Masked(0xff), value: u64::MAX },
            ]
        );
        assert_eq!(allowed.rules[1], named_rule(Machine::All, "read", Answer::Allow));
        let numbers = profile("1\nwhitelist\n0\n60\n").unwrap();
        assert_eq!((numbers.otherwise, numbers.rules.len()), (Answer::Kill, 2));
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_line() {
        let line = |text: &str| profile(text).map(drop).map_err(|error| (error.line, error.expected));
        for (text, at, expected) in [
            ("", 1, "the version of the profile, 1 or 2"),
            ("3\n", 1, "the version of the profile, 1 or 2"),
            ("2\n", 2, "allowlist or denylist"),
            ("1\ndenylist\n", 2, "allowlist, the only kind of version 1"),
            ("1\nallowlist\nread\n", 3, "the number of a system call"),
            ("2\ndenylist errno\n", 2, ANSWERS),
            ("2\ndenylist errno 1 2\n", 2, ANSWERS),
            ("2\ndenylist\n\nread notify\n", 4, ANSWERS),
            ("2\ndenylist\nread errno 4096\n", 3, ANSWERS),
            ("2\ndenylist\nre-ad\n", 3, CALL),
            ("2\ndenylist\n[all\n", 3, "the name of an architecture in brackets"),
            ("2\ndenylist\nread [6,1,==]\n", 3, COMPARISON),
            ("2\ndenylist\nread [0,1,&=]\n", 3, COMPARISON),
            ("2\ndenylist\nread [0,1,~]\n", 3, COMPARISON),
            ("2\ndenylist\nread [0,1,==\n", 3, COMPARISON),
        ] {
            assert_eq!(line(text), Err((at, expected)), "{text:?}");
        }
    }
}
