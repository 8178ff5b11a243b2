//! The clients of the field: curl and OpenBSD's netcat.

use std::io::Write;
use std::process::{Command, Stdio};

use agent::digest;

use crate::device::{Answer, Device, error};

pub(crate) fn curl(device: &Device, arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "60", "-w", " %{http_code}", "--unix-socket"])
        .arg(device.socket("host"))
        .args(arguments)
        .output()
        .expect("curl, which this test needs: apt-get install curl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn netcat(device: &Device, socket: &str, options: &[&str], text: &[u8]) -> String {
    let mut netcat = Command::new("nc.openbsd")
        .args(options)
        .arg("-U")
        .arg(device.socket(socket))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("nc.openbsd, which this test needs: apt-get install netcat-openbsd");
    netcat.stdin.take().unwrap().write_all(text).unwrap();
    String::from_utf8(netcat.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn curl_uploads_with_and_without_asking_first() {
    let device = Device::new();
    let big = vec![b'x'; 3 << 20];
    let file = device.socket("big");
    std::fs::write(&file, &big).unwrap();
    let upload = format!("@{}", file.display());
    let address = format!("http://localhost/objects/{}", digest::of(&big));
    let put = ["-X", "PUT", "--data-binary", &upload, &address];
    assert_eq!(curl(&device, &put), " 200");
    assert_eq!(curl(&device, &put), " 200", "already there");
    let asked = [&put[..], &["-H", "Expect: 100-continue"]].concat();
    assert_eq!(curl(&device, &asked), " 200");
    let as_pvr = [&put[..], &["-H", "Transfer-Encoding: identity"]].concat();
    assert_eq!(curl(&device, &as_pvr), " 200");
    let chunked = ["-T", "-", "-H", "Transfer-Encoding: chunked", &address];
    assert_eq!(curl(&device, &chunked), " 200");
    let old = [&put[..], &["--http1.0"]].concat();
    assert_eq!(curl(&device, &old), " 200");
    let back = device.socket("back");
    assert_eq!(curl(&device, &["-o", back.to_str().unwrap(), &address]), " 200");
    assert_eq!(std::fs::read(back).unwrap(), big);
}

#[test]
fn curl_reads_errors_while_it_uploads() {
    let device = Device::new();
    let file = device.socket("big");
    std::fs::write(&file, vec![b'x'; 30 << 20]).unwrap();
    let upload = format!("@{}", file.display());
    let refused = format!("{} 400", error("Request has bad object name"));
    for expect in ["Expect:", "Expect: 100-continue"] {
        let put = ["-X", "PUT", "-H", expect, "--data-binary", &upload, "http://localhost/objects/abc"];
        assert_eq!(curl(&device, &put), refused, "{expect}");
    }
    let too_long = format!("{} 507", error("Not enough disk space available"));
    let put = ["-X", "PUT", "--data-binary", &upload, "http://localhost/steps/locals/x"];
    assert_eq!(curl(&device, &put), too_long);
}

#[test]
fn curl_signals_as_the_manual_says() {
    let device = Device::new();
    let output = Command::new("curl")
        .args(["-sS", "-w", "%{http_code}", "--unix-socket"])
        .arg(device.socket("nobody"))
        .args(["-X", "POST", "-d", r#"{"type":"ready","payload":""}"#, "http://localhost/signal"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "200");
}

#[test]
fn netcat_half_closes_and_still_gets_its_answer() {
    let device = Device::new();
    let signal = r#"{"type":"ready","payload":""}"#;
    for version in ["1.0", "1.1"] {
        let text = format!("POST /signal HTTP/{version}\r\nContent-Length: {}\r\n\r\n{signal}", signal.len());
        let answer = Answer::new(&netcat(&device, "nobody", &["-N"], text.as_bytes()));
        assert_eq!((answer.code, answer.field("content-length")), (200, Some("0")));
    }
    let lines = netcat(&device, "host", &["-N"], b"GET /containers HTTP/1.0\n\n");
    assert!(lines.starts_with("HTTP/1.0 200 OK\r\n"), "{lines}");
}

#[test]
fn netcat_that_does_not_half_close_waits_for_the_end() {
    let device = Device::new();
    let answer = Answer::new(&netcat(&device, "host", &[], b"GET /groups HTTP/1.0\r\n\r\n"));
    assert_eq!(answer.code, 200);
}

#[test]
fn netcat_reads_an_error_while_it_sends() {
    let device = Device::new();
    let mut text = b"PUT /objects/abc HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n".to_vec();
    text.resize(text.len() + 8_000_000, b'x');
    let answer = Answer::new(&netcat(&device, "host", &["-N"], &text));
    assert_eq!(answer.body, error("Request has bad object name"));
}
