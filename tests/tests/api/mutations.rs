//! Requests of every endpoint, broken at random: each is answered or its connection ended, the server goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

use crate::description;
use crate::device::Device;

/// What clients do beyond what the description has an example of.
const ODD: [&str; 13] = [
    "GET /containers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "POST /signal HTTP/1.1\r\nContent-Length: 29\r\n\r\n{\"type\":\"ready\",\"payload\":\"\"}",
    "PUT /steps/locals/x HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "PUT /objects/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "PUT /objects/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 HTTP/1.1\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nllo",
    "GET /logs/web?tail=3&follow=0 HTTP/1.0\r\n\r\n",
    "PUT /containers/web HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 18\r\n\r\n{\"action\":\"start\"}",
    "PUT /user-meta/web.key%20x HTTP/1.1\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
    "DELETE /device-meta/web.key HTTP/1.1\r\n\r\nGET /user-meta HTTP/1.1\r\n\r\nGET /device-meta HTTP/1.1\r\n\r\n",
    "PUT /drivers/wifi/load HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /config2 HTTP/1.1\r\n\r\n",
    "PUT /daemons/sshd HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"action\":\"start\"}",
    "GET /events?since=0&follow=0 HTTP/1.1\r\nLast-Event-ID: 7\r\n\r\n",
    "GET /plan?from=0&to=locals/%7B%7D HTTP/1.1\r\n\r\nGET /steps HTTP/1.1\r\n\r\n",
];

/// xorshift: the same requests in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn mutated(seed: &str, seeds: &[String], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1));
        match random.below(7) {
            0 => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            3 => bytes.truncate(at),
            4 => {
                let other = seeds[random.below(seeds.len())].as_bytes();
                bytes.splice(at..at, other[random.below(other.len())..].iter().copied());
            }
            5 => {
                let piece = [
                    "\r\n",
                    "\n",
                    "\0",
                    "%",
                    "%2f",
                    "..",
                    "Content-Length: 9\r\n",
                    "Transfer-Encoding: chunked\r\n",
                    "é",
                ];
                bytes.splice(at..at, piece[random.below(piece.len())].bytes());
            }
            _ => {
                let run = bytes[at.min(bytes.len().saturating_sub(1))..]
                    .iter()
                    .take(8)
                    .copied()
                    .collect::<Vec<_>>();
                bytes.splice(at..at, run.iter().copied().cycle().take(run.len() * random.below(3000)));
            }
        }
    }
    bytes
}

trait Stream: Read + Write {
    fn end(&self) -> std::io::Result<()>;
}

impl Stream for UnixStream {
    fn end(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for TcpStream {
    fn end(&self) -> std::io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Up to the server's end; a stream (whose head has no length) only to its beginning.
fn read_answers(stream: &mut dyn Stream, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(answer);
        let is_stream = text.rsplit("HTTP/1.").next().is_some_and(|last| {
            last.contains("\r\n\r\n") && last.contains(" 200 OK") && !last.contains("content-length")
        });
        if count == 0 || is_stream {
            return Ok(());
        }
    }
}

#[test]
fn twelve_thousand_broken_requests_leave_the_server_answering() {
    let device = Device::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let seeds: Vec<String> = ODD.iter().map(|&odd| odd.to_owned()).chain(description::requests()).collect();
    for count in 0..12_000 {
        let seed = &seeds[count % seeds.len()];
        let request = mutated(seed, &seeds, &mut random);
        let mut stream: Box<dyn Stream> = if description::is_of_the_device_endpoint(seed) {
            Box::new(TcpStream::connect(device.endpoints[0]).unwrap())
        } else {
            Box::new(device.connect(["host", "mgmt", "nobody"][random.below(3)]).stream)
        };
        // A server that has answered and closed may be gone before all was sent.
        let sent = stream.write_all(&request).and_then(|()| stream.end());
        let mut answer = Vec::new();
        let read = read_answers(&mut *stream, &mut answer);
        let shown = || format!("request {count}: {:?}", String::from_utf8_lossy(&request));
        assert!(sent.is_ok() && read.is_ok(), "{} {sent:?} {read:?}", shown());
        let is_asked = request.iter().any(|byte| !matches!(byte, b'\r' | b'\n'));
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(answer.starts_with(b"HTTP/1."), is_asked, "{}: {text:?}", shown());
        if count % 100 == 0 {
            assert_eq!(device.says("GET", "/containers", "").0, 200, "{}", shown());
        }
    }
    assert_eq!(device.says("GET", "/containers", "").0, 200);
}
