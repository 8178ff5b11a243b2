//! The cleaner of request heads: what real clients send becomes what the parser behind it takes, the rest is refused by name.
//!
//! A pure function from bytes to [`Head`]. What it lets through, hyper's parser takes and frames the same way, so that there is
//! one place that decides where a request ends. It
//!
//! * skips line ends before a request (a client sends one too many after its head),
//! * takes away `Transfer-Encoding` where its only value is `identity` (clients send it together with `Content-Length`), and
//!   `Upgrade`, which nothing here does, and an HTTP/1.0 client's wish to go on,
//! * reduces `http://host/path` to `/path`, and writes every byte of the target that has a meaning to a URI parser as `%XX`,
//!   so that names are data,
//! * refuses what could be framed in two ways: lengths that differ, a length beside chunks, folded lines, spaces before colons.

/// Bytes of a head at most, with its leading and closing line ends.
pub const LONGEST: usize = 16 * 1024;
/// Fields of a head at most.
pub const MOST_FIELDS: usize = 64;

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// Its empty line has not come yet.
    Incomplete,
    /// A request.
    Complete(Cleaned),
    /// Not a request that could be answered for what it asks.
    Refused(Problem),
}

/// Where a head is, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// Its first byte, after line ends that are skipped.
    pub from: usize,
    /// Where the body begins.
    pub to: usize,
    /// What to parse in place of `from..to`; `None` where it was clean.
    pub rewritten: Option<Vec<u8>>,
    /// How the body ends.
    pub body: Framing,
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes, 0 where there is none.
    Sized(u64),
    /// By its last chunk.
    Chunked,
}

/// Why a head is refused. The text is what the client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Longer than [`LONGEST`].
    #[error("Request head is longer than 16384 bytes")]
    TooLong,
    /// More fields than [`MOST_FIELDS`].
    #[error("Request head has more than 64 fields")]
    TooManyFields,
    /// Not `METHOD TARGET HTTP/1.x`.
    #[error("Request line has bad format")]
    RequestLine,
    /// Neither a path nor an `http://` address.
    #[error("Request target must be a path")]
    Target,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("Request must be HTTP/1.0 or HTTP/1.1")]
    Version,
    /// Nothing is tunnelled here.
    #[error("Method not supported for this endpoint")]
    Method,
    /// A field without colon, with a bad name, a control character, or folded.
    #[error("Request header field has bad format")]
    Field,
    /// Not one number, or beside chunks.
    #[error("Request has bad Content-Length")]
    Length,
    /// Neither `identity` nor `chunked`.
    #[error("Request has unsupported Transfer-Encoding")]
    Encoding,
    /// The client stopped sending in the middle of it.
    #[error("Request head ended too early")]
    EndedEarly,
    /// It did not come within its time.
    #[error("Request head took too long")]
    TooSlow,
    /// Not about the head: the socket has as many connections as it takes.
    #[error("Too many connections")]
    TooManyConnections,
}

/// Looks at the bytes of a connection from where a request is to begin.
pub fn clean_head(bytes: &[u8]) -> Head {
    let from = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let Some(length) = length_of(&bytes[from..]) else {
        return if bytes.len() >= LONGEST { Head::Refused(Problem::TooLong) } else { Head::Incomplete };
    };
    if from + length > LONGEST {
        return Head::Refused(Problem::TooLong);
    }
    match Parsed::new(&bytes[from..from + length]) {
        Ok(parsed) => Head::Complete(Cleaned {
            from,
            to: from + length,
            rewritten: parsed.rewrite(),
            body: parsed.body,
        }),
        Err(problem) => Head::Refused(problem),
    }
}

/// Up to and with the first empty line. Both kinds of line ends count, as in every server that shell clients talk to.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(end, _)| end + 1).find_map(|next| match bytes.get(next..) {
        Some([b'\n', ..]) => Some(next + 1),
        Some([b'\r', b'\n', ..]) => Some(next + 2),
        _ => None,
    })
}

/// A head taken apart.
struct Parsed<'a> {
    method: &'a [u8],
    path: &'a [u8],
    version: &'a [u8],
    protocol: Protocol,
    fields: &'a [u8],
    body: Framing,
    is_clean: bool,
}

impl<'a> Parsed<'a> {
    fn new(head: &'a [u8]) -> Result<Parsed<'a>, Problem> {
        let (line, fields) = next_line(head);
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Problem::RequestLine);
        };
        if method.is_empty() || method.len() > 32 || !method.iter().all(is_token) || target.is_empty() {
            return Err(Problem::RequestLine);
        }
        if !version.starts_with(b"HTTP/1.") {
            return Err(Problem::Version);
        }
        if method == b"CONNECT" {
            return Err(Problem::Method);
        }
        let path = path_of(target)?;
        let protocol = match version {
            b"HTTP/1.1" => Protocol::Current,
            b"HTTP/1.0" => Protocol::Old,
            _ => return Err(Problem::Version),
        };
        let read = read_fields(fields, protocol)?;
        let body = match (read.length, read.encoding) {
            (Some(_), Encoding::Chunked) => return Err(Problem::Length),
            (None, Encoding::Chunked) if protocol == Protocol::Old => return Err(Problem::Encoding),
            (None, Encoding::Chunked) => Framing::Chunked,
            (length, Encoding::Identity) => Framing::Sized(length.unwrap_or(0)),
        };
        let is_clean = read.left_out == 0 && path.len() == target.len() && path.iter().all(is_plain);
        Ok(Parsed { method, path, version, protocol, fields, body, is_clean })
    }

    fn rewrite(&self) -> Option<Vec<u8>> {
        if self.is_clean {
            return None;
        }
        let mut head = Vec::with_capacity(self.path.len() + self.fields.len() + 64);
        head.extend_from_slice(self.method);
        head.push(b' ');
        for byte in self.path {
            if is_plain(byte) {
                head.push(*byte);
            } else {
                head.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
        head.push(b' ');
        head.extend_from_slice(self.version);
        head.extend_from_slice(b"\r\n");
        for line in lines(self.fields).filter(|line| !is_left_out(line, self.protocol)) {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Some(head)
    }
}

/// Which HTTP the client speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// 1.0: its connections end with the answer, whatever it asks for.
    Old,
    /// 1.1.
    Current,
}

enum Encoding {
    Identity,
    Chunked,
}

struct Fields {
    length: Option<u64>,
    encoding: Encoding,
    left_out: usize,
}

fn read_fields(fields: &[u8], protocol: Protocol) -> Result<Fields, Problem> {
    let mut read = Fields { length: None, encoding: Encoding::Identity, left_out: 0 };
    for (count, line) in lines(fields).enumerate() {
        if count == MOST_FIELDS {
            return Err(Problem::TooManyFields);
        }
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value)?;
            if read.length.is_some_and(|earlier| earlier != length) {
                return Err(Problem::Length);
            }
            read.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") && !is_identity(value) {
            let Encoding::Identity = read.encoding else { return Err(Problem::Encoding) };
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Problem::Encoding);
            }
            read.encoding = Encoding::Chunked;
        } else if is_left_out(line, protocol) {
            read.left_out += 1;
        }
    }
    Ok(read)
}

/// The lines before the empty one, without their ends.
fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let line;
        (line, rest) = next_line(rest);
        (!line.is_empty()).then_some(line)
    })
}

fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let line = &bytes[..end];
    (line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..).unwrap_or(&[]))
}

/// A name of token characters right before the colon, and a value without control characters.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Problem> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Problem::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_printable = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if name.is_empty() || !name.iter().all(is_token) || !value.iter().all(is_printable) {
        return Err(Problem::Field);
    }
    Ok((name, value.trim_ascii()))
}

fn is_left_out(line: &[u8], protocol: Protocol) -> bool {
    field(line).is_ok_and(|(name, value)| {
        name.eq_ignore_ascii_case(b"upgrade")
            || (name.eq_ignore_ascii_case(b"transfer-encoding") && is_identity(value))
            || (name.eq_ignore_ascii_case(b"connection") && protocol == Protocol::Old)
    })
}

fn is_identity(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"identity")
}

/// Up to 18 digits, which no 64-bit number overflows.
fn number(value: &[u8]) -> Result<u64, Problem> {
    if !(1..=18).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(Problem::Length);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The path with its query, without scheme and host.
fn path_of(target: &[u8]) -> Result<&[u8], Problem> {
    if target.iter().any(u8::is_ascii_control) {
        return Err(Problem::Target);
    }
    if target.starts_with(b"/") {
        return Ok(target);
    }
    let scheme = target.get(..7).ok_or(Problem::Target)?;
    if !scheme.eq_ignore_ascii_case(b"http://") {
        return Err(Problem::Target);
    }
    let host = &target[7..];
    let path = host.iter().position(|byte| *byte == b'/').ok_or(Problem::Target)?;
    Ok(&host[path..])
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Taken literally by every URI parser, or (`%`, `?`, `&`, `=`) meant as what it means there.
fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~%?&=:@+,;!$*".contains(byte)
}

fn hex(digit: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(digit & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(head: &str) -> String {
        match clean_head(head.as_bytes()) {
            Head::Complete(cleaned) => String::from_utf8(cleaned.rewritten.unwrap()).unwrap(),
            other @ (Head::Incomplete | Head::Refused(_)) => panic!("{other:?}"),
        }
    }

    fn problem(head: &str) -> Problem {
        match clean_head(head.as_bytes()) {
            Head::Refused(problem) => problem,
            other @ (Head::Incomplete | Head::Complete(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clean_head_is_left_as_it_is() {
        let head = b"PUT /steps/locals/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\nbody";
        let expected = Cleaned { from: 0, to: head.len() - 4, rewritten: None, body: Framing::Sized(12) };
        assert_eq!(clean_head(head), Head::Complete(expected));
    }

    #[test]
    fn every_beginning_of_a_head_is_incomplete() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(clean_head(&head[..end]), Head::Incomplete, "{end}");
        }
        assert!(matches!(clean_head(head), Head::Complete(Cleaned { from: 2, .. })));
    }

    #[test]
    fn identity_is_taken_away_and_the_length_stays() {
        let head =
            "PUT /o HTTP/1.1\r\nTransfer-Encoding:  Identity \r\nContent-Length: 3\r\nupgrade: h2c\r\n\r\n";
        assert_eq!(rewritten(head), "PUT /o HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
    }

    #[test]
    fn bare_line_feeds_end_lines_too() {
        let head = b"GET / HTTP/1.0\nHost: a\n\n";
        assert!(matches!(clean_head(head), Head::Complete(Cleaned { to: 24, rewritten: None, .. })));
    }

    #[test]
    fn names_are_data() {
        assert_eq!(
            rewritten("GET /{}#\"<\u{e9}> HTTP/1.1\r\n\r\n"),
            "GET /%7B%7D%23%22%3C%C3%A9%3E HTTP/1.1\r\n\r\n"
        );
        assert_eq!(rewritten("GET http://localhost/a?b=c HTTP/1.1\r\n\r\n"), "GET /a?b=c HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn whatever_could_be_framed_in_two_ways_is_refused() {
        let post = |fields: &str| problem(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert_eq!(post("Content-Length: 1\r\nContent-Length: 2"), Problem::Length);
        assert_eq!(post("Content-Length: +1"), Problem::Length);
        assert_eq!(post("Content-Length: 1, 1"), Problem::Length);
        assert_eq!(post("Content-Length:"), Problem::Length);
        assert_eq!(post("Content-Length: 99999999999999999999"), Problem::Length);
        assert_eq!(post("Content-Length: 1\r\nTransfer-Encoding: chunked"), Problem::Length);
        assert_eq!(post("Transfer-Encoding: gzip, chunked"), Problem::Encoding);
        assert_eq!(post("Transfer-Encoding: identity, chunked"), Problem::Encoding);
        assert_eq!(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Problem::Encoding);
        assert_eq!(post("Content-Length : 1"), Problem::Field);
        assert_eq!(post("A: b\r\n folded"), Problem::Field);
        assert_eq!(post("A: b\0"), Problem::Field);
        assert_eq!(problem("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Problem::Encoding);
    }

    #[test]
    fn what_is_no_request_is_refused_by_name() {
        assert_eq!(problem("GET /\r\n\r\n"), Problem::RequestLine);
        assert_eq!(problem("GET  / HTTP/1.1\r\n\r\n"), Problem::RequestLine);
        assert_eq!(problem("PRI * HTTP/2.0\r\n\r\n"), Problem::Version);
        assert_eq!(problem("OPTIONS * HTTP/1.1\r\n\r\n"), Problem::Target);
        assert_eq!(problem("CONNECT a:1 HTTP/1.1\r\n\r\n"), Problem::Method);
        assert_eq!(problem("GET http://localhost HTTP/1.1\r\n\r\n"), Problem::Target);
        assert_eq!(problem(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LONGEST))), Problem::TooLong);
        assert_eq!(problem(&"\r\n".repeat(LONGEST)), Problem::TooLong);
        assert_eq!(
            problem(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65))),
            Problem::TooManyFields
        );
    }
}
