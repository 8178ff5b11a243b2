//! Where one message of a stream ends: at a line's end or a zero, after so many bytes, with a JSON value.

use std::ops::Range;

use serde::de::IgnoredAny;

/// The longest message, in bytes; what is longer goes on in a message of its own.
pub(super) const LONGEST: usize = 8 * 1024;

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    ToCome,
    /// What is there is all there is.
    Nothing,
}

/// A message, where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its bytes; empty where there were only ends.
    pub(super) message: Range<usize>,
    /// Where the next one begins.
    pub(super) next: usize,
}

/// The first message of `bytes`, if all of it is there.
pub(super) fn first(bytes: &[u8], rest: Rest) -> Option<Frame> {
    let part = |from: usize, to: usize| Some(Frame { message: from..to, next: to });
    match binary(bytes) {
        Whole::Of(length) => return part(0, length),
        Whole::NotYet if rest == Rest::ToCome => return None,
        Whole::NotYet | Whole::Other | Whole::After { .. } => {}
    }
    let from = bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | b'\0')).count();
    let said = &bytes[from..];
    if said.is_empty() {
        return (from > 0).then_some(Frame { message: from..from, next: from });
    }
    let whole = match said[0] {
        b'{' => json(said),
        b'1'..=b'9' => counted(said),
        _ => Whole::Other,
    };
    match whole {
        Whole::Of(length) => return part(from, from + length),
        Whole::After { prefix, length } => return part(from + prefix, from + prefix + length),
        Whole::NotYet if rest == Rest::ToCome && said.len() < LONGEST => return None,
        Whole::NotYet | Whole::Other => {}
    }
    match said.iter().take(LONGEST).position(|byte| matches!(byte, b'\n' | b'\0')) {
        Some(end) => Some(Frame { message: from..from + end, next: from + end + 1 }),
        None if said.len() >= LONGEST => part(from, from + LONGEST),
        None if rest == Rest::Nothing => part(from, bytes.len()),
        None => None,
    }
}

/// How long a message is that says so itself.
enum Whole {
    Of(usize),
    /// The length stands before it.
    After {
        prefix: usize,
        length: usize,
    },
    NotYet,
    /// It is not of this kind.
    Other,
}

/// Two numbers of the machine's order, the second of which is the length of what follows.
fn binary(bytes: &[u8]) -> Whole {
    if !bytes.iter().take(4).all(|byte| *byte == 0) || bytes.is_empty() {
        return Whole::Other;
    }
    let Some(length) = bytes.get(4..8).and_then(|length| <[u8; 4]>::try_from(length).ok()) else {
        return Whole::NotYet;
    };
    match usize::try_from(u32::from_ne_bytes(length)) {
        Ok(length @ 1..LONGEST) if bytes.len() >= 8 + length => Whole::Of(8 + length),
        Ok(1..LONGEST) => Whole::NotYet,
        Ok(_) | Err(_) => Whole::Other,
    }
}

/// RFC 6587: `LENGTH <PRI>…`.
fn counted(said: &[u8]) -> Whole {
    let digits = said.iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
    if said.get(digits..digits + 2) != Some(b" <") {
        return Whole::Other;
    }
    let length = said[..digits].iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
    match length {
        1..LONGEST if said.len() > digits + length => Whole::After { prefix: digits + 1, length },
        1..LONGEST => Whole::NotYet,
        _ => Whole::Other,
    }
}

fn json(said: &[u8]) -> Whole {
    let said = &said[..said.len().min(LONGEST)];
    let mut values = serde_json::Deserializer::from_slice(said).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => Whole::Of(values.byte_offset()),
        Some(Err(error)) if error.is_eof() => Whole::NotYet,
        Some(Err(_)) | None => Whole::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of a stream that comes in one piece, then ends.
    fn all(mut bytes: &[u8]) -> Vec<String> {
        let mut messages = Vec::new();
        while let Some(frame) = first(bytes, Rest::ToCome).or_else(|| first(bytes, Rest::Nothing)) {
            assert!(frame.next > 0 && frame.message.end <= frame.next, "{frame:?}");
            let message = String::from_utf8_lossy(&bytes[frame.message]).into_owned();
            messages.extend(Some(message).filter(|message| !message.is_empty()));
            bytes = &bytes[frame.next..];
        }
        assert_eq!(bytes, b"");
        messages
    }

    #[test]
    fn messages_end_in_every_way_that_senders_know() {
        assert_eq!(all(b"<13>a: b\n<13>c\0\0<13>d\r\n\ne"), ["<13>a: b", "<13>c", "<13>d\r", "e"]);
        assert_eq!(
            all(b"{\"a\":\n\"}\"}{\"b\":1} {\"c\":2}\nx"),
            ["{\"a\":\n\"}\"}", "{\"b\":1}", " {\"c\":2}", "x"]
        );
        assert_eq!(all(b"7 <13>a\nb12 <13>cdefghij\n"), ["<13>a\nb", "<13>cdefghij"]);
        assert_eq!(all(b"7 apples\n{broken\n"), ["7 apples", "{broken"]);
        let binary = [&[0, 0, 0, 0][..], &7u32.to_ne_bytes(), b"1\0a\0b\0c", b"<13>z"].concat();
        assert_eq!(all(&binary).len(), 2);
        assert_eq!(
            all(&[b'x'; 20_000]).iter().map(String::len).collect::<Vec<_>>(),
            [LONGEST, LONGEST, 20_000 - 2 * LONGEST]
        );
        assert_eq!(all(&[b'{'; 20_000]).len(), 3);
        assert_eq!(all(b"\0\0\0\0\0\0"), Vec::<String>::new());
    }

    #[test]
    fn what_may_go_on_is_waited_for() {
        for open in ["<13>a", "{\"a\":", "9 <13>a", "\0\0", "\0\0\0\0\x05\0\0\0a", ""] {
            assert_eq!(first(open.as_bytes(), Rest::ToCome), None, "{open:?}");
        }
    }

    #[test]
    fn garbage_is_cut_without_end_and_without_loss() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let seeds: [&[u8]; 5] = [
            b"<13>Nov 25 08:00:00 app[1]: up\n",
            b"12 <165>1 - - a - - -",
            b"{\"message\":\"x\"}",
            b"\0\0\0\0\x07\0\0\x001\0a\0b\0c",
            b"level=INFO message=\"x y\"\n",
        ];
        let mut below = |limit: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % limit as u64).unwrap()
        };
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..=below(4) {
                bytes.extend_from_slice(seeds[below(seeds.len())]);
            }
            for _ in 0..below(6) {
                let at = below(bytes.len());
                match below(3) {
                    0 => bytes[at] ^= 1 << below(8),
                    1 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            for message in all(&bytes) {
                let line = super::super::message::line(message.as_bytes());
                let ends = line.iter().filter(|byte| **byte == b'\n').count();
                assert!(ends == usize::from(!line.is_empty()) && !line.contains(&0), "{message:?}: {line:?}");
            }
        }
    }
}
