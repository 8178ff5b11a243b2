//! Uploads that are cut off, and those that go on behind what had arrived.

use std::fs::FileTimes;
use std::time::{Duration, SystemTime};

use agent::digest;
use agent::store::LEAST_PARTIAL;
use serde_json::{Value, json};

use crate::device::{Answer, Device, error};

const NO_PARTIAL: u16 = 404;

/// Half again as long as what is kept at least, no two pieces of it alike.
pub(crate) fn image() -> String {
    let bytes = usize::try_from(LEAST_PARTIAL * 3 / 2).unwrap();
    (0..bytes / 8).map(|number| format!("{number:07} ")).collect()
}

/// PUT of `bytes` from `from` on, of which only those before `until` come.
fn put(device: &Device, bytes: &str, from: usize, until: usize) -> Answer {
    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
    put_with(device, bytes, &range, &bytes[from..], until - from)
}

fn put_with(device: &Device, bytes: &str, fields: &str, body: &str, sent: usize) -> Answer {
    let (digest, length) = (digest::of(bytes.as_bytes()), body.len());
    let head = format!(
        "PUT /objects/{digest} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    device.connect("host").send(head.as_bytes()).send(&body.as_bytes()[..sent]).half_close().answer()
}

/// Brings half of it, as far as it takes to be kept.
pub(crate) fn cut_off(device: &Device, bytes: &str, until: usize) {
    let answer = put_with(device, bytes, "", bytes, until);
    assert_eq!((answer.code, answer.body), (400, error("Request body ended too early")));
}

fn there(device: &Device, bytes: &str) -> (u16, Value) {
    let (code, body) = device.says("GET", &format!("/objects/{}/partial", digest::of(bytes.as_bytes())), "");
    (code, serde_json::from_str(&body).unwrap())
}

fn so_many(bytes: &str, size: usize) -> (u16, Value) {
    (200, json!({"sha256": digest::of(bytes.as_bytes()).to_string(), "size": size.to_string()}))
}

#[test]
fn an_upload_goes_on_as_often_as_it_is_cut_off() {
    let (device, image) = (Device::new(), image());
    let (least, all) = (usize::try_from(LEAST_PARTIAL).unwrap(), image.len());
    assert_eq!(there(&device, &image).0, NO_PARTIAL);
    cut_off(&device, &image, least - 1);
    assert_eq!(there(&device, &image).0, NO_PARTIAL, "it is not worth it");
    cut_off(&device, &image, least);
    assert_eq!(there(&device, &image), so_many(&image, least));
    cut_off(&device, &image, least + 5);
    assert_eq!(there(&device, &image), so_many(&image, least + 5), "the longer one is kept");
    cut_off(&device, &image, least);
    assert_eq!(there(&device, &image), so_many(&image, least + 5));
    assert_eq!(device.says("GET", "/objects", ""), (200, "[]".to_owned()), "a part is no object");

    let ended = (400, error("Request body ended too early"));
    let answer = put(&device, &image, least + 5, least + 70_000);
    assert_eq!((answer.code, answer.body), ended);
    assert_eq!(there(&device, &image), so_many(&image, least + 70_000));
    // Who knows of fewer goes on behind those.
    let answer = put(&device, &image, least + 1, all - 9);
    assert_eq!((answer.code, answer.body), ended);
    assert_eq!(there(&device, &image), so_many(&image, all - 9));
    let answer = put(&device, &image, all - 8, all);
    assert_eq!((answer.code, answer.body), (409, error("Object has fewer bytes here")));
    assert_eq!(there(&device, &image), so_many(&image, all - 9));
    let answer = put(&device, &image, all - 9, all);
    assert_eq!((answer.code, answer.body), (200, String::new()));
    let object = format!("/objects/{}", digest::of(image.as_bytes()));
    assert_eq!(device.says("GET", &object, ""), (200, image.clone()));
    assert_eq!(there(&device, &image).0, NO_PARTIAL);
    assert_eq!(std::fs::read_dir(device.socket("objects")).unwrap().count(), 1);
    let answer = put(&device, &image, 7, all);
    assert_eq!((answer.code, answer.body), (200, String::new()), "it is there already");
}

#[test]
fn a_part_is_believed_no_more_than_any_other_bytes() {
    let (device, image) = (Device::new(), image());
    let digest = digest::of(image.as_bytes());
    let part = device.socket("objects").join(format!(".partial-{digest}"));
    cut_off(&device, &image, image.len() - 1);
    let mut damaged = std::fs::read(&part).unwrap();
    damaged[1000] ^= 1;
    std::fs::write(&part, damaged).unwrap();
    let answer = put(&device, &image, image.len() - 1, image.len());
    assert_eq!((answer.code, answer.body), (422, error("Object has bad checksum")));
    assert_eq!(there(&device, &image).0, NO_PARTIAL);
    assert_eq!(put(&device, &image, 0, image.len()).code, 200);
}

#[test]
fn a_range_that_does_not_go_to_the_end_is_refused() {
    let device = Device::new();
    let hello = digest::of(b"hello");
    let bad = [
        "bytes 0-3/5",
        "bytes 0-4/*",
        "bytes */5",
        "bytes 1-4/5",
        "bytes 4-3/4",
        "bytes 0-5/6",
        "bytes +0-4/5",
        "bytes 0-18446744073709551615/18446744073709551616",
        "items 0-4/5",
        "0-4/5",
        "bytes",
        "",
        "bytes 0-4/5\r\nContent-Range: bytes 0-4/5",
    ];
    for range in bad {
        let answer = put_with(&device, "hello", &format!("Content-Range: {range}\r\n"), "hello", 5);
        assert_eq!((answer.code, answer.body), (400, error("Request has bad range")), "{range}");
    }
    let answer = put_with(&device, "hello", "content-range: Bytes 0-4/5\r\n", "hello", 5);
    assert_eq!((answer.code, answer.body), (200, String::new()));
    assert_eq!(device.says("GET", &format!("/objects/{hello}"), ""), (200, "hello".to_owned()));
}

/// Killed, or without power, in the middle of an upload.
#[test]
fn what_an_agent_was_taking_in_when_it_ended_is_gone_on_with() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let (digest, least) = (digest::of(image.as_bytes()), usize::try_from(LEAST_PARTIAL).unwrap());
    let objects = folder.path().join("objects");
    std::fs::create_dir(&objects).unwrap();
    let other = digest::of(b"other");
    for (name, bytes) in [
        (format!(".new-7-{digest}"), &image[..least]),
        (format!(".new-8-{other}"), "oth"),
        (".new-9".to_owned(), &image[..least]),
        (format!(".partial-{other}"), "oth"),
    ] {
        std::fs::write(objects.join(name), bytes).unwrap();
    }
    let device = Device::on(folder);
    let left: Vec<_> = std::fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [format!(".partial-{digest}").as_str()]);
    assert_eq!(there(&device, &image), so_many(&image, least));
    assert_eq!(put(&device, &image, least, image.len()).code, 200);
}

#[test]
fn a_part_goes_with_the_collection_that_finds_it_old() {
    use agent::store::Keep;
    let (device, image) = (Device::new(), image());
    cut_off(&device, &image, image.len() - 1);
    let keep = Keep::new(std::collections::BTreeSet::default());
    device.store.collect(&keep).unwrap();
    assert_eq!(there(&device, &image).0, 200);
    let part = device.socket("objects").join(format!(".partial-{}", digest::of(image.as_bytes())));
    let old = SystemTime::now() - keep.fresh - Duration::from_secs(1);
    let file = std::fs::File::options().write(true).open(part).unwrap();
    file.set_times(FileTimes::new().set_modified(old)).unwrap();
    assert!(device.store.collect(&keep).unwrap() >= LEAST_PARTIAL);
    assert_eq!(there(&device, &image).0, NO_PARTIAL);
}
