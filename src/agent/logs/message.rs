//! What a program says over a log socket, as one line: where it came from, how bad it is, who says it, what.
//!
//! ```text
//! <165>1 2026-11-25T08:00:00Z host app 12 - [x y="1"] up    local4.notice app[12]: [x y="1"] up     RFC 5424
//! <11>Nov 25 08:00:00 app[12]: up                           user.err app[12]: up                    RFC 3164
//! {"level":"WARN","src":"app","message":"up"}               log.warning app: up                     JSON
//! level=INFO src=app message="up"                           log.info app: up                        key=value
//! code 0, length, "1\0web\0app\0up"                         log.err app: up                         the field's own, binary
//! up                                                        log: up                                 anything else
//! ```
//!
//! Nothing of a message is believed: whose it is, the socket says; when it was said, the clock.

use std::borrow::Cow;

use serde_json::{Map, Value};

const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
/// What stands for a key among those that senders use.
const MESSAGE: [&str; 2] = ["message", "msg"];
const LEVEL: [&str; 3] = ["level", "severity", "lvl"];
const SOURCE: [&str; 3] = ["src", "source", "tag"];

/// The line that `message` becomes, with its end; nothing where nothing was said.
pub(super) fn line(message: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(message.len() + 32);
    let Some(said) = binary(message).or_else(|| read(without_ends(message))) else { return line };
    line.extend_from_slice(said.mark.as_bytes());
    if !said.tag.is_empty() {
        line.push(b' ');
        escape(&said.tag, &mut line);
    }
    line.extend_from_slice(b": ");
    escape(&said.text, &mut line);
    line.push(b'\n');
    line
}

/// What ends a message is not of it; blanks that it begins with are.
fn without_ends(message: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\0' | b'\n' | b'\r');
    let from = message.iter().take_while(|byte| is_end(byte)).count();
    let to = message.iter().rposition(|byte| !is_end(byte) && *byte != b' ').map_or(from, |at| at + 1);
    &message[from..to]
}

/// A message taken apart.
struct Said<'a> {
    mark: String,
    tag: Cow<'a, [u8]>,
    text: Cow<'a, [u8]>,
}

fn read(message: &[u8]) -> Option<Said<'_>> {
    let text = || Said { mark: "log".to_owned(), tag: Cow::Borrowed(b""), text: Cow::Borrowed(message) };
    let parsed = match message.trim_ascii_start().first()? {
        b'<' => syslog(message),
        b'{' => json(message),
        _ => pairs(message),
    };
    Some(parsed.unwrap_or_else(text))
}

fn syslog(message: &[u8]) -> Option<Said<'_>> {
    let end = message.iter().take(5).position(|byte| *byte == b'>')?;
    let digits = message.get(1..end)?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let priority = digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    let mark = format!("{}.{}", FACILITIES.get(priority / 8)?, SEVERITIES[priority % 8]);
    let rest = &message[end + 1..];
    let (tag, text) = rest.strip_prefix(b"1 ").and_then(structured).unwrap_or_else(|| classic(rest));
    Some(Said { mark, tag, text })
}

type Parts<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// RFC 5424 after its version: time and host are left out, structured data stays before the text.
fn structured(rest: &[u8]) -> Option<Parts<'_>> {
    let mut fields = rest.splitn(6, |byte| *byte == b' ');
    let (_time, _host) = (fields.next()?, fields.next()?);
    let (app, process, _id, rest) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let text = match rest.strip_prefix(b"-") {
        Some(text) if text.is_empty() || text.starts_with(b" ") => text.trim_ascii_start(),
        Some(_) => return None,
        None if rest.starts_with(b"[") => rest,
        None => return None,
    };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let tag = match (app, process) {
        (b"-", _) => Cow::Borrowed(&b""[..]),
        (app, b"-") => Cow::Borrowed(app),
        (app, process) => Cow::Owned([app, b"[", process, b"]"].concat()),
    };
    Some((tag, Cow::Borrowed(text)))
}

/// RFC 3164 after its priority: time and host are left out, a tag with a colon, text. Libraries send no host, forwarders one: it is
/// one only where a tag with a process number follows, because else it may be the first word of what is said.
fn classic(rest: &[u8]) -> Parts<'_> {
    let after = without_time(rest);
    let tagged = tagged(after).or_else(|| {
        let host = after.iter().position(|byte| *byte == b' ').filter(|_| after.len() < rest.len())?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
        let behind = tagged(&after[host + 1..]).filter(|(tag, _)| tag.ends_with(b"]"))?;
        after[..host].iter().all(is_name).then_some(behind)
    });
    tagged.unwrap_or((Cow::Borrowed(b""), Cow::Borrowed(after)))
}

fn tagged(rest: &[u8]) -> Option<Parts<'_>> {
    let end = rest.iter().position(|byte| matches!(byte, b':' | b' '))?;
    if end == 0 || rest[end] != b':' {
        return None;
    }
    Some((Cow::Borrowed(&rest[..end]), Cow::Borrowed(rest[end + 1..].trim_ascii_start())))
}

/// `Nov  5 08:00:00 ` is 16 bytes.
fn without_time(rest: &[u8]) -> &[u8] {
    let Some((time, after)) = rest.split_at_checked(16) else { return rest };
    let is_time = time[..3].iter().all(u8::is_ascii_alphabetic)
        && [3, 6, 15].iter().all(|at| time[*at] == b' ')
        && [9, 12].iter().all(|at| time[*at] == b':')
        && [5, 7, 8, 10, 11, 13, 14].iter().all(|at| time[*at].is_ascii_digit());
    if is_time { after } else { rest }
}

fn json(message: &[u8]) -> Option<Said<'_>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(message).ok()?;
    let said = take(&MESSAGE, &mut |key| match fields.get(key) {
        Some(Value::String(_)) => fields.remove(key),
        Some(_) | None => None,
    })?;
    let level = match take(&LEVEL, &mut |key| fields.remove(key)) {
        Some(Value::String(name)) => severity(&name)?,
        Some(number) => SEVERITIES.get(usize::try_from(number.as_u64()?).ok()?)?,
        None => "notice",
    };
    let tag = match take(&SOURCE, &mut |key| fields.remove(key)) {
        Some(Value::String(tag)) => tag,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    fields.remove("version");
    let mut text = said.as_str()?.to_owned();
    if !fields.is_empty() {
        text = format!("{text} {}", Value::Object(fields));
    }
    Some(Said { mark: format!("log.{level}"), tag: tag.into_bytes().into(), text: text.into_bytes().into() })
}

fn take(keys: &[&str], remove: &mut dyn FnMut(&str) -> Option<Value>) -> Option<Value> {
    keys.iter().find_map(|key| remove(key))
}

/// As the field names them, and as syslog does.
fn severity(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        "fatal" => "alert",
        "critical" => "crit",
        "error" => "err",
        "warn" => "warning",
        "wall" => "notice",
        "trace" => "debug",
        "panic" | "emergency" => "emerg",
        known => return SEVERITIES.iter().find(|severity| **severity == known).copied(),
    })
}

/// Only `key=value` from the first byte to the last, a message among them.
fn pairs(message: &[u8]) -> Option<Said<'_>> {
    let mut rest = std::str::from_utf8(message).ok()?.trim_start();
    let (mut said, mut level, mut tag, mut others) = (None, "notice", String::new(), String::new());
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if key.is_empty() || !key.bytes().all(is_key) {
            return None;
        }
        let value;
        (value, rest) = value_of(after)?;
        match key {
            key if MESSAGE.contains(&key) && said.is_none() => said = Some(value),
            key if LEVEL.contains(&key) => level = severity(&value)?,
            key if SOURCE.contains(&key) => tag = value,
            key => others.push_str(&format!(" {key}={value:?}")),
        }
    }
    let text = said? + &others;
    Some(Said { mark: format!("log.{level}"), tag: tag.into_bytes().into(), text: text.into_bytes().into() })
}

/// A value, quoted or not, with what follows the blanks after it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
        return Some((value.to_owned(), rest.trim_start()));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    loop {
        match letters.next()? {
            (at, '"') => {
                let rest = &quoted[at + 1..];
                let is_over = rest.is_empty() || rest.starts_with(char::is_whitespace);
                return is_over.then(|| (value, rest.trim_start()));
            }
            (_, '\\') => value.push(letters.next()?.1),
            (_, letter) => value.push(letter),
        }
    }
}

/// The field's binary form: two numbers of the machine's order, then level, container, source and text between zeros. The
/// container that it names is not asked for.
fn binary(message: &[u8]) -> Option<Said<'_>> {
    let body = message.strip_prefix(&[0; 4])?.get(4..)?;
    let mut parts = body.splitn(4, |byte| *byte == 0);
    let (level, _container, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Its numbers have moved by one between releases; each is read as the graver of its two meanings.
    let level = match level {
        b"0" => "alert",
        b"1" => "err",
        b"2" => "warning",
        b"3" | b"4" => "info",
        b"5" | b"6" => "debug",
        _ => return None,
    };
    Some(Said {
        mark: format!("log.{level}"),
        tag: Cow::Borrowed(tag),
        text: Cow::Borrowed(without_ends(text)),
    })
}

/// One line stays one line.
fn escape(text: &[u8], line: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\t' | b' '..=b'~' | 0x80.. => line.push(*byte),
            _ => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &[u8]) -> String {
        String::from_utf8(line(message)).unwrap()
    }

    #[test]
    fn what_libraries_send_is_read() {
        for (message, line) in [
            ("<11>Nov 25 08:00:00 app[12]: up", "user.err app[12]: up"),
            ("<30>Nov  5 08:00:00 app: a: b", "daemon.info app: a: b"),
            ("<13>app: up\n\0", "user.notice app: up\n"),
            ("<13>Nov 25 08:00:00 my host app: up", "user.notice: my host app: up"),
            ("<13>no tag here", "user.notice: no tag here"),
            ("<13>", "user.notice: "),
            ("<191>x:", "local7.debug x: "),
            ("<13>Oct 11 22:14:15 my-host.lan app[12]: up", "user.notice app[12]: up"),
            ("<13>Oct 11 22:14:15 disk warning: full", "user.notice: disk warning: full"),
            ("<13>my-host app: up", "user.notice: my-host app: up"),
            ("<192>x: y", "log: <192>x: y"),
            ("<9999>x: y", "log: <9999>x: y"),
            ("<>x", "log: <>x"),
            ("<-1>x", "log: <-1>x"),
            ("<13", "log: <13"),
            ("<165>1 2026-11-25T08:00:00.1Z host app 12 ID -", "local4.notice app[12]: "),
            ("<165>1 - - - - - - \u{feff}up", "local4.notice: up"),
            ("<165>1 - h app - - [a b=\"c]\"] up", "local4.notice app: [a b=\"c]\"] up"),
            ("<165>1 broken", "local4.notice: 1 broken"),
            ("two\nlines\x1b[31m", "log: two\\nlines\\x1b[31m"),
        ] {
            assert_eq!(
                said(message.as_bytes()).trim_end_matches('\n'),
                line.trim_end_matches('\n'),
                "{message}"
            );
        }
        assert_eq!(line(b"caf\xe9"), b"log: caf\xe9\n", "other bytes stay as they are");
        assert_eq!(said(b"    at line 7\n"), "log:     at line 7\n");
        for nothing in ["", "\n", " \0\n", "\0\0\0\0"] {
            assert_eq!(said(nothing.as_bytes()), "", "{nothing:?}");
        }
    }

    #[test]
    fn json_and_pairs_lose_nothing() {
        for (message, line) in [
            (r#"{"version":"0","level":"WARN","src":"app","message":"up"}"#, "log.warning app: up"),
            (r#"{"msg":"a\nb","severity":3,"id":7}"#, r#"log.err: a\nb {"id":7}"#),
            (r#"{"message":"up"}"#, "log.notice: up"),
            (r#"{"level":"LOUD","message":"up"}"#, r#"log: {"level":"LOUD","message":"up"}"#),
            (r#"{"level":9,"message":"up"}"#, r#"log: {"level":9,"message":"up"}"#),
            (r#"{"message":7}"#, r#"log: {"message":7}"#),
            ("{", "log: {"),
            (r#"level=INFO src=app message="a \"b\" c""#, r#"log.info app: a "b" c"#),
            ("message=up  level=fatal", "log.alert: up"),
            (r#"msg=up user="a b" n=1"#, r#"log.notice: up user="a b" n="1""#),
            ("level=INFO", "log: level=INFO"),
            ("x = y message=z", "log: x = y message=z"),
            (r#"message="open"#, r#"log: message="open"#),
            (r#"message="a"b"#, r#"log: message="a"b"#),
        ] {
            assert_eq!(said(message.as_bytes()), format!("{line}\n"), "{message}");
        }
    }

    #[test]
    fn the_fields_binary_form_is_read_without_the_container_that_it_names() {
        let frame = |body: &[u8]| {
            [&0u32.to_ne_bytes()[..], &u32::try_from(body.len()).unwrap().to_ne_bytes(), body].concat()
        };
        assert_eq!(said(&frame(b"1\0other\0app\0up\n\0")), "log.err app: up\n");
        assert_eq!(
            said(&frame(b"9\0other\0app\0up")),
            "log: \\x0e\\x00\\x00\\x009\\x00other\\x00app\\x00up\n",
            "an unknown level is no reason to lose it"
        );
    }
}
