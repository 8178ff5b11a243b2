//! How much one caller can take.

use crate::device::{Device, error};

#[test]
fn the_65th_connection_of_a_container_is_told_so() {
    let device = Device::new();
    let mut open: Vec<_> = (0..64)
        .map(|_| {
            let mut client = device.connect("mgmt").send(b"GET /containers HTTP/1.1\r\n\r\n");
            assert_eq!(client.next_answer().code, 200);
            client
        })
        .collect();
    let refused = device.ask("mgmt", "GET", "/containers", "");
    assert_eq!((refused.code, refused.body), (503, error("Too many connections")));
    assert_eq!(refused.head.lines().filter(|line| line.starts_with("retry-after")).count(), 1);
    assert_eq!(device.says("GET", "/containers", "").0, 200, "the host's socket has its own limit");
    let left = open.pop().unwrap().half_close();
    assert_eq!(left.rest(), "");
    assert_eq!(device.ask("mgmt", "GET", "/containers", "").code, 200);
    assert!(
        open.into_iter().all(|client| client.send(b"GET /groups HTTP/1.1\r\n\r\n").next_answer().code == 200)
    );
}

#[test]
fn the_ninth_request_under_way_is_told_so() {
    let device = Device::new();
    device.hold.send_replace(true);
    let waiting: Vec<_> = (0..8)
        .map(|_| device.connect("mgmt").send(b"POST /storage/gc HTTP/1.1\r\nConnection: close\r\n\r\n"))
        .collect();
    while device.asked.lock().unwrap().len() < 8 {
        std::thread::yield_now();
    }
    let refused = device.ask("mgmt", "POST", "/storage/gc", "");
    assert_eq!((refused.code, refused.body), (503, error("Too many requests")));
    assert_eq!(
        device.ask("mgmt", "GET", "/containers", "").code,
        200,
        "what is in memory is always answered"
    );
    assert_eq!(device.says("GET", "/steps", "").0, 200, "the host's socket has its own limit");
    device.hold.send_replace(false);
    assert!(waiting.into_iter().all(|client| client.answer().code == 200));
    assert_eq!(device.ask("mgmt", "POST", "/storage/gc", "").code, 200);
}
