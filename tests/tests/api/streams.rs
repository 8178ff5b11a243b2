//! Answers that go on.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use engine::Time;
use model::report::Happening;

use crate::device::{Device, id, name};

fn note(device: &Device, text: &str) {
    device.history.record(Time::from_micros(5000), &[Happening::Note { text: Arc::from(text) }]);
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

#[test]
fn events_come_as_they_happen_and_nothing_is_missed_on_reconnect() {
    let device = Device::new();
    note(&device, "before");
    let mut follower = device.connect("host").send(&get("/events"));
    let head = follower.until("\r\n\r\n");
    assert!(
        head.contains("content-type: text/event-stream") && head.contains("transfer-encoding: chunked"),
        "{head}"
    );
    note(&device, "one");
    let one = follower.until("\n\n");
    let expected = "id: 1001\nevent: note\ndata: {\"boot_us\":5000,\"id\":1001,\"kind\":\"note\",\"reason\":\"one\",\"text\":\"one\"}\n\n";
    assert!(one.contains(expected), "{one}");
    drop(follower);
    note(&device, "two");
    let mut again = device.connect("host").send(&get("/events?since=1001"));
    let two = again.until("two");
    assert!(two.contains("id: 1002\n") && !two.contains("id: 1001"), "{two}");
    let by_field = b"GET /events HTTP/1.1\r\nLast-Event-ID: 1001\r\n\r\n";
    device.connect("host").send(by_field).until("id: 1002\n");
}

#[test]
fn all_that_is_kept_ends_where_following_is_not_asked() {
    let device = Device::new();
    (0..300).for_each(|number| note(&device, &format!("number {number} {}", "x".repeat(100))));
    let text = device.connect("host").send(b"GET /events?since=0&follow=0 HTTP/1.0\r\n\r\n").answer();
    assert_eq!(text.field("transfer-encoding"), None);
    assert_eq!(text.body.matches("event: note\n").count(), 300);
    let mut client = device.connect("host").send(&get("/events?since=1299&follow=0"));
    assert!(client.until("0\r\n\r\n").contains("transfer-encoding: chunked"));
    assert_eq!(client.send(&get("/containers")).next_answer().code, 200);
}

#[test]
fn a_follower_that_does_not_read_loses_its_oldest_and_is_told() {
    let device = Device::new();
    let mut slow = device.connect("host").send(&get("/events"));
    slow.until("\r\n\r\n");
    for number in 0..20_000 {
        note(&device, &format!("{number} {}", "x".repeat(200)));
        if number % 50 == 0 {
            assert_eq!(device.says("GET", "/containers", "").0, 200);
        }
    }
    let read = slow.until("\"19999 ");
    assert!(read.contains("event: gap\n") && read.contains("the history no longer has them"));
}

#[test]
fn followers_that_went_away_leave_their_places() {
    let device = Device::new();
    for _ in 0..3 {
        let followers: Vec<_> = (0..60)
            .map(|_| {
                let mut follower = device.connect("mgmt").send(&get("/events"));
                follower.until("\r\n\r\n");
                follower
            })
            .collect();
        drop(followers);
        // The server hears of it on its own; nothing happens that it would write.
        while device.ask("mgmt", "GET", "/containers", "").code == 503 {}
    }
}

#[test]
fn a_follower_that_closed_its_sending_side_still_follows() {
    let device = Device::new();
    let mut follower = device.connect("host").send(&get("/events")).half_close();
    follower.until("\r\n\r\n");
    note(&device, "later");
    follower.until("later");
}

#[test]
fn captured_output_is_read_and_followed() {
    let device = Device::new();
    assert_eq!(device.says("GET", "/logs/web", ""), (200, String::new()));
    let (reader, writer) = std::io::pipe().unwrap();
    let (logs, entered) = (device.logs.clone(), device.runtime.enter());
    logs.capture(&id("locals/one"), &name("web"), reader.into()).unwrap();
    drop(entered);
    let mut output = File::from(std::os::fd::OwnedFd::from(writer));
    output.write_all(b"one\ntwo\n").unwrap();
    let mut follower = device.connect("host").send(&get("/logs/web?follow=1"));
    follower.until("two\n");
    output.write_all(b"three\n").unwrap();
    follower.until("three\n");
    let last = device.connect("host").send(b"GET /logs/web?tail=1 HTTP/1.0\r\n\r\n").answer();
    assert!(last.body.ends_with("three\n") && !last.body.contains("two"), "{}", last.body);
    let since =
        device.connect("host").send(b"GET /logs/web?since=9999-01-01T00:00:00Z HTTP/1.0\r\n\r\n").answer();
    assert_eq!(since.body, "");
}
