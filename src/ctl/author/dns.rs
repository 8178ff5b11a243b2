//! Asks name servers for a host's addresses: the C library's way needs files that a static program does not carry.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::resolve::read;

const PORT: u16 = 53;
const PATIENCE: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;
const MOST_SERVERS: usize = 3;
const MOST_SUFFIXES: usize = 6;
const LARGEST_ANSWER: usize = 4096;

/// What is asked for, by its number in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    V4 = 1,
    V6 = 28,
}

/// The machine's own settings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Settings {
    servers: Vec<IpAddr>,
    suffixes: Vec<String>,
}

/// All addresses of a host that is no number and not in this machine's own table.
pub(crate) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let settings = Settings::parse(&read("/etc/resolv.conf")?);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no name server knows it");
    for name in settings.candidates(host) {
        for server in &settings.servers {
            match ask(SocketAddr::new(*server, PORT), &name).await {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => break, // It has spoken: the next name.
                Err(cause) => failure = cause,
            }
        }
    }
    Err(failure)
}

impl Settings {
    fn parse(text: &str) -> Settings {
        let mut settings = Settings::default();
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) if settings.servers.len() < MOST_SERVERS => {
                    // A zone (fe80::1%eth0) is not understood, and such a server left out.
                    settings.servers.extend(address.parse::<IpAddr>());
                }
                (Some("search" | "domain"), Some(first)) => {
                    let suffixes = std::iter::once(first).chain(words);
                    settings.suffixes = suffixes.take(MOST_SUFFIXES).map(str::to_owned).collect();
                }
                (_, _) => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        settings
    }

    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(whole) = host.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let mut names = vec![host.to_owned()];
        names.extend(self.suffixes.iter().map(|suffix| format!("{host}.{}", suffix.trim_matches('.'))));
        if !host.contains('.') {
            names.rotate_left(1);
        }
        names
    }
}

/// Both sorts of address, from one server.
async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for record in [Record::V4, Record::V6] {
        found.extend(ask_for(server, name, record).await?);
    }
    Ok(found)
}

async fn ask_for(server: SocketAddr, name: &str, record: Record) -> io::Result<Vec<IpAddr>> {
    let unspecified: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    for _ in 0..ATTEMPTS {
        // A port of the kernel's choice with a number of ours: an answer is hard to forge.
        let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).await?;
        socket.connect(server).await?;
        let question = question(name, record, chance())?;
        socket.send(&question).await?;
        match tokio::time::timeout(PATIENCE, answer(&socket, &question, record)).await {
            Ok(found) => return found,
            Err(_) => continue,
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("the name server {} does not answer", server.ip())))
}

fn chance() -> u16 {
    let [first, second, ..] = RandomState::new().hash_one(0_u8).to_le_bytes();
    u16::from_le_bytes([first, second])
}

async fn answer(socket: &UdpSocket, question: &[u8], record: Record) -> io::Result<Vec<IpAddr>> {
    let mut bytes = vec![0; LARGEST_ANSWER];
    loop {
        let count = socket.recv(&mut bytes).await?;
        // What answers another question is somebody else's.
        if let Some(found) = addresses_in(&bytes[..count], question, record) {
            return found;
        }
    }
}

fn question(name: &str, record: Record, number: u16) -> io::Result<Vec<u8>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no host's name"));
    let mut bytes = number.to_be_bytes().to_vec();
    // Recursion is desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length =
            u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length)).ok_or_else(bad)?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    if name.len() > 253 {
        return Err(bad());
    }
    bytes.push(0);
    bytes.extend((record as u16).to_be_bytes());
    bytes.extend([0, 1]);
    Ok(bytes)
}

/// The addresses of an answer to that question; none if it is the answer to another one.
fn addresses_in(answer: &[u8], question: &[u8], record: Record) -> Option<io::Result<Vec<IpAddr>>> {
    let head = answer.get(..12)?;
    let asked = answer.get(12..question.len())?;
    if head[..2] != question[..2] || head[2] & 0x80 == 0 || !asked.eq_ignore_ascii_case(&question[12..]) {
        return None;
    }
    const NO_SUCH_NAME: u8 = 3;
    match head[3] & 0x0f {
        0 => {}
        NO_SUCH_NAME => return Some(Ok(Vec::new())),
        code => return Some(Err(io::Error::other(format!("the name server answered with error {code}")))),
    }
    let count = u16::from_be_bytes([head[6], head[7]]);
    let mut found = Vec::new();
    let mut rest = answer.get(question.len()..)?;
    for _ in 0..count {
        let Some((kind, value, after)) = one_record(rest) else { break };
        rest = after;
        if kind != record as u16 {
            continue; // Another name on the way to the address.
        }
        if let Ok(bytes) = <[u8; 4]>::try_from(value) {
            found.push(Ipv4Addr::from(bytes).into());
        } else if let Ok(bytes) = <[u8; 16]>::try_from(value) {
            found.push(Ipv6Addr::from(bytes).into());
        }
    }
    Some(Ok(found))
}

/// Kind, value, what follows.
fn one_record(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let mut rest = bytes;
    loop {
        let (&length, after) = rest.split_first()?;
        rest = match length {
            0 => {
                rest = after;
                break;
            }
            // A pointer to an earlier name ends this one.
            192.. => {
                rest = after.get(1..)?;
                break;
            }
            length => after.get(usize::from(length)..)?,
        };
    }
    let kind = u16::from_be_bytes([*rest.first()?, *rest.get(1)?]);
    let length = usize::from(u16::from_be_bytes([*rest.get(8)?, *rest.get(9)?]));
    Some((kind, rest.get(10..10 + length)?, rest.get(10 + length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_name_on_the_way_is_read() {
        let question = question("a.example", Record::V4, 7).unwrap();
        let mut bytes = question.clone();
        bytes[2] |= 0x80;
        bytes[7] = 2;
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'b', 0xc0, 14]);
        bytes.extend([0xc0, 27, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        let found = addresses_in(&bytes, &question, Record::V4).unwrap().unwrap();
        assert_eq!(found, [IpAddr::from([192, 0, 2, 1])]);
        let other = super::question("b.example", Record::V4, 7).unwrap();
        assert!(addresses_in(&bytes, &other, Record::V4).is_none());
        for end in 0..bytes.len() {
            // Cut anywhere it is at most incomplete.
            drop(addresses_in(&bytes[..end], &question, Record::V4));
        }
    }

    #[test]
    fn settings_are_read_as_they_are_written() {
        let settings =
            Settings::parse("# x\nsearch lan corp\nnameserver 192.0.2.1 # ours\nnameserver fe80::1%eth0\n");
        assert_eq!(settings.servers, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(settings.candidates("box"), ["box.lan", "box.corp", "box"]);
        assert_eq!(settings.candidates("a.b"), ["a.b", "a.b.lan", "a.b.corp"]);
    }

    #[test]
    fn a_server_is_asked_over_the_wire() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            let serve = async {
                for value in [vec![0, 4, 192, 0, 2, 9], vec![0, 0]] {
                    let mut bytes = vec![0; 512];
                    let (count, from) = server.recv_from(&mut bytes).await.unwrap();
                    bytes.truncate(count);
                    bytes[2] |= 0x80;
                    bytes[7] = u8::from(value.len() > 2);
                    if value.len() > 2 {
                        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9]);
                        bytes.extend(value);
                    }
                    server.send_to(&bytes, from).await.unwrap();
                }
            };
            let (found, ()) = tokio::join!(ask(address, "host.example"), serve);
            assert_eq!(found.unwrap(), [IpAddr::from([192, 0, 2, 9])]);
        });
    }
}
