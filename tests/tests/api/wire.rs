//! What arrives as no well-behaved client would send it.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use agent::digest;

use crate::device::{Answer, Device, error, request};

const SIGNAL: &str = r#"{"type":"ready","payload":""}"#;

#[test]
fn identity_beside_a_length_is_served() {
    let device = Device::new();
    let head = format!(
        "POST /signal HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{SIGNAL}",
        SIGNAL.len()
    );
    assert_eq!(device.connect("mgmt").send(head.as_bytes()).answer().code, 200);
}

#[test]
fn an_old_client_gets_a_length_and_an_end() {
    let device = Device::new();
    for fields in ["", "Connection: keep-alive\r\n"] {
        let head = format!("GET /containers HTTP/1.0\r\n{fields}\r\n");
        let answer = device.connect("host").send(head.as_bytes()).answer();
        assert_eq!(answer.code, 200);
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(answer.field("content-length").is_some() && answer.field("transfer-encoding").is_none());
    }
}

#[test]
fn every_answer_has_a_length_and_comes_in_one_piece() {
    let device = Device::new();
    for (method, path, body) in
        [("GET", "/containers", ""), ("GET", "/nope", ""), ("POST", "/signal", SIGNAL), ("GET", "/steps", "")]
    {
        let mut client = device.connect("mgmt").send(&request(method, path, body));
        let mut bytes = [0; 8191];
        let count = client.stream.read(&mut bytes).unwrap();
        let answer = Answer::new(std::str::from_utf8(&bytes[..count]).unwrap());
        assert_eq!(
            answer.field("content-length").unwrap().parse::<usize>().unwrap(),
            answer.body.len(),
            "{path}"
        );
        assert_eq!(client.stream.read(&mut bytes).unwrap(), 0);
    }
}

#[test]
fn stray_line_ends_between_requests_are_no_request() {
    let device = Device::new();
    let mut client = device.connect("host").send(b"\r\nGET /containers HTTP/1.1\r\n\r\n\r\n");
    assert_eq!(client.next_answer().code, 200);
    let mut client = client.send(b"GET /groups HTTP/1.1\r\n\r\n\r\n");
    assert_eq!(client.next_answer().code, 200);
    assert_eq!(client.half_close().rest(), "");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let device = Device::new();
    let three = b"GET /containers HTTP/1.1\r\n\r\nPOST /signal HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET /nope HTTP/1.1\r\n\r\n";
    let mut client = device.connect("mgmt").send(three);
    let codes = [(); 3].map(|()| client.next_answer()).map(|answer| (answer.code, answer.body));
    assert_eq!(codes[0].0, 200);
    assert_eq!(codes[1], (400, error("Signal has bad format")));
    assert_eq!(codes[2], (400, error("unknown endpoint: /nope")));
}

/// Those of memory pass hyper by, but never an answer that is still with it.
#[test]
fn answers_from_memory_keep_the_order() {
    let device = Device::new();
    let paths =
        ["/containers", "/steps", "/containers", "/groups", "/status", "/nope", "/groups", "/containers"];
    let requests: String =
        paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    let mut alone: Vec<String> = Vec::new();
    for path in paths {
        let mut client = device.connect("host").send(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        alone.push(client.next_answer().body);
    }
    let mut client = device.connect("host").send(requests.as_bytes());
    for (path, alone) in paths.iter().zip(&alone) {
        assert_eq!(&client.next_answer().body, alone, "{path}");
    }
    assert_eq!(client.half_close().rest(), "");
}

/// Every listing that may be in memory.
const LISTINGS: [&str; 16] = [
    "/containers",
    "/groups",
    "/status",
    "/steps",
    "/steps/locals/x",
    "/steps/locals/x/progress",
    "/objects",
    "/user-meta",
    "/device-meta",
    "/config",
    "/config2",
    "/buildinfo",
    "/daemons",
    "/drivers",
    "/plan?from=locals/x&to=locals/x",
    "/xconnect-graph",
];

fn with_a_step() -> Device {
    let device = Device::new();
    assert_eq!(device.says("PUT", "/steps/locals/x", r##"{"#spec":"pantavisor-service-system@1"}"##).0, 200);
    device
}

/// Which way an answer goes is not to be seen: the first may be read from the disk, the second is from memory, and the third is
/// for an old client, whom hyper answers.
#[test]
fn answers_from_memory_are_those_that_hyper_gives() {
    let device = with_a_step();
    for path in LISTINGS {
        let shown = |answer: Answer| {
            let kind = answer.field("content-type").map(str::to_owned);
            // What is free on the device changes while it is asked.
            (answer.code, kind, if path == "/device-meta" { String::new() } else { answer.body })
        };
        let kept = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n");
        let mut client = device.connect("host").send([kept.as_str(), &kept].concat().as_bytes());
        let first = shown(client.next_answer());
        assert_eq!(first.0, 200, "{path}");
        assert_eq!(shown(client.next_answer()), first, "{path}");
        let old = format!("GET {path} HTTP/1.0\r\n\r\n");
        assert_eq!(shown(device.connect("host").send(old.as_bytes()).answer()), first, "{path}");
    }
}

/// A line that ends without a carriage return hides nothing of the next one.
#[test]
fn an_old_client_is_not_taken_for_another_by_its_line_ends() {
    let device = Device::new();
    for head in
        ["GET /containers HTTP/1.0\nX: HTTP/1.1\r\n\r\n", "GET /containers?a HTTP/1.0\nX: HTTP/1.1\r\n\r\n"]
    {
        let answer = device.connect("host").send(head.as_bytes()).next_answer();
        assert_eq!((answer.code, answer.field("connection")), (200, Some("close")), "{head}");
    }
}

/// What a container may not see it does not get from memory either.
#[test]
fn answers_from_memory_are_for_those_who_may_ask() {
    let device = with_a_step();
    for path in LISTINGS {
        let asked = format!("GET {path} HTTP/1.1\r\n\r\n");
        assert_eq!(device.connect("host").send(asked.as_bytes()).next_answer().code, 200, "{path}");
        assert_eq!(device.connect("nobody").send(asked.as_bytes()).next_answer().code, 403, "{path}");
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let device = Device::new();
    let mut client = device.connect("mgmt");
    for byte in request("POST", "/signal", SIGNAL) {
        client.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(client.answer().code, 200);
}

#[test]
fn half_a_request_is_refused_and_nothing_is_no_request() {
    let device = Device::new();
    for half in ["G", "GET /containers", "GET /containers HTTP/1.1\r\nHost: x\r\n"] {
        let answer = device.connect("host").send(half.as_bytes()).half_close().answer();
        assert_eq!((answer.code, answer.body), (400, error("Request head ended too early")));
    }
    assert_eq!(device.connect("host").half_close().rest(), "");
    assert_eq!(device.connect("host").send(b"\r\n").half_close().rest(), "");
    drop(device.connect("host").send(b"GET /cont"));
    assert_eq!(device.says("GET", "/containers", "").0, 200);
}

#[test]
fn a_body_shorter_than_announced_is_refused() {
    let device = Device::new();
    let head = format!("POST /signal HTTP/1.1\r\nContent-Length: {}\r\n\r\n{SIGNAL}", SIGNAL.len() + 1);
    let answer = device.connect("mgmt").send(head.as_bytes()).half_close().answer();
    assert_eq!((answer.code, answer.body), (400, error("Request body ended too early")));
    assert!(device.asked.lock().unwrap().is_empty());
}

#[test]
fn what_follows_a_body_is_another_request() {
    let device = Device::new();
    let head = format!("POST /signal HTTP/1.1\r\nContent-Length: {}\r\n\r\n{SIGNAL}surplus", SIGNAL.len());
    let mut client = device.connect("mgmt").send(head.as_bytes()).half_close();
    assert_eq!(client.next_answer().code, 200);
    assert_eq!(client.answer().body, error("Request head ended too early"));
    let head = head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_eq!(device.connect("mgmt").send(head.as_bytes()).answer().code, 200);
}

#[test]
fn chunks_are_read() {
    let device = Device::new();
    let hello = digest::of(b"hello");
    let put = format!(
        "PUT /objects/{hello} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"
    );
    let mut client = device.connect("host").send(put.as_bytes());
    assert_eq!(client.next_answer().code, 200);
    assert!(device.store.has_object(&hello));
    let bad = put.replace("3;x=y", "zz");
    let other = bad.replace(&hello.to_string(), &digest::of(b"other").to_string());
    assert_eq!(device.connect("host").send(other.as_bytes()).half_close().answer().code, 400);
}

#[test]
fn a_head_of_ten_megabytes_is_refused_and_the_answer_arrives() {
    let device = Device::new();
    for head in [
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(10 << 20)),
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(10 << 20)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(2 << 20)),
        "\n".repeat(10 << 20),
        "\0".repeat(10 << 20),
    ] {
        let answer = device.connect("host").send(head.as_bytes()).half_close().answer();
        assert_eq!((answer.code, answer.body), (400, error("Request head is longer than 16384 bytes")));
    }
}

#[test]
fn a_long_path_is_refused_in_an_answer_that_fits_old_clients() {
    let device = Device::new();
    let (code, body) = device.says("GET", &format!("/{}", "é".repeat(3000)), "");
    assert_eq!(code, 400);
    assert!(body.len() < 2000);
}

#[test]
fn an_error_arrives_while_the_body_still_does() {
    let device = Device::new();
    let body = vec![b'x'; 20 << 20];
    for path in ["/objects/abc", "/signal", "/nope", "/containers"] {
        let head = format!("PUT {path} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        let client = device.connect("mgmt").send(head.as_bytes()).send(&body);
        let answer = client.half_close().answer();
        assert_eq!(answer.code, 400, "{path}");
        assert_eq!(answer.field("connection"), Some("close"));
    }
}

#[test]
fn an_error_keeps_a_connection_whose_body_was_little() {
    let device = Device::new();
    let mut client = device.connect("host");
    for _ in 0..3 {
        client = client.send(b"PUT /nope HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.next_answer().body, error("unknown endpoint: /nope"));
    }
}

#[test]
fn what_could_be_framed_in_two_ways_is_refused() {
    let device = Device::new();
    for fields in [
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding : identity",
        "Content-Length: -1",
        "A: b\r\n c",
        "no colon",
    ] {
        let head = format!("POST /signal HTTP/1.1\r\n{fields}\r\n\r\nx");
        let answer = device.connect("mgmt").send(head.as_bytes()).half_close().answer();
        assert_eq!(answer.code, 400, "{fields}");
        assert!(answer.body.starts_with("{\"Error\":\"Request "), "{fields}: {}", answer.body);
    }
}

#[test]
fn other_protocols_get_an_answer() {
    let device = Device::new();
    for text in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "hello\n\n",
        "\u{16}\u{3}\u{1}\n\n",
    ] {
        assert_eq!(device.connect("host").send(text.as_bytes()).half_close().answer().code, 400, "{text:?}");
    }
    let upgrade = "GET /buildinfo HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n";
    assert_eq!(device.connect("host").send(upgrade.as_bytes()).answer().code, 200);
    assert_eq!(
        device.connect("host").send(b"GET http://localhost/buildinfo HTTP/1.0\n\n").answer().code,
        200
    );
}

#[test]
fn whoever_keeps_us_waiting_for_a_head_is_let_go() {
    let device = Device::new();
    let begun = Instant::now();
    let (silent, slow) = (device.connect("nobody"), device.connect("nobody").send(b"POST /sig"));
    let answer = slow.answer();
    assert_eq!((answer.code, answer.body), (408, error("Request head took too long")));
    assert_eq!(silent.rest(), "");
    let waited = begun.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&waited), "{waited:?}");
}
