//! User and device metadata, row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::store::{MOST_BYTES, MOST_KEYS};
use model::goal::Status;
use serde_json::Value;

use crate::clients::curl;
use crate::device::{Device, error, report};

fn done() -> (u16, String) {
    (200, String::new())
}

#[test]
fn a_key_is_set_seen_changed_and_removed() {
    let device = Device::new();
    for kind in ["user-meta", "device-meta"] {
        let seen = |key: &str| {
            let values: BTreeMap<String, Value> =
                serde_json::from_str(&device.says("GET", &format!("/{kind}"), "").1).unwrap();
            values.get(key).cloned()
        };
        assert_eq!(seen("web.colour"), None);
        let key = format!("/{kind}/web.colour");
        assert_eq!(device.says("PUT", &key, "green"), done());
        assert_eq!(seen("web.colour"), Some(Value::from("green")));
        assert_eq!(device.says("PUT", &key, "blue\n"), done());
        assert_eq!(device.says("PUT", &key, "blue\n"), done(), "once more");
        assert_eq!(seen("web.colour"), Some(Value::from("blue\n")));
        assert_eq!(device.says("DELETE", &key, ""), done());
        assert_eq!(seen("web.colour"), None);
        let word = if kind == "user-meta" { "User" } else { "Device" };
        assert_eq!(device.says("DELETE", &key, ""), (404, error(&format!("{word} meta does not exist"))));
    }
}

#[test]
fn a_value_that_is_json_is_given_as_json() {
    let device = Device::new();
    for (key, value) in
        [("a", r#"{"x":[1, 2.50]}"#), ("b", "17"), ("c", "{broken"), ("d", "null"), ("é", "plain \"text\"")]
    {
        let key = key.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        assert_eq!(device.says("PUT", &format!("/user-meta/{key}"), value), done());
    }
    let all = r#"{"a":{"x":[1, 2.50]},"b":17,"c":"{broken","d":null,"é":"plain \"text\""}"#;
    assert_eq!(device.says("GET", "/user-meta", ""), (200, all.to_owned()));
    assert_eq!(device.ask("host", "GET", "/user-meta", "").field("content-type"), Some("application/json"));
}

#[test]
fn what_cannot_be_kept_is_refused_in_the_fields_words() {
    let device = Device::new();
    let long = "x".repeat(4097);
    for (kind, word, name) in [("user-meta", "user", "User"), ("device-meta", "device", "Device")] {
        let cannot = error(&format!("Cannot add or update {word} meta"));
        let missing = error(&format!("{name} meta does not exist"));
        for (method, key, value, code, text) in [
            ("PUT", "/k", "", 400, cannot.as_str()),
            ("PUT", "/k", &long, 507, &error("Not enough disk space available")),
            ("PUT", "/", "x", 400, &cannot),
            ("PUT", "/..", "x", 400, &cannot),
            ("PUT", "/a%2Fb", "x", 400, &cannot),
            ("PUT", "/a%0Ab", "x", 400, &cannot),
            ("PUT", &format!("/{}", "k".repeat(256)), "x", 400, &cannot),
            ("DELETE", "/k", "", 404, &missing),
            ("DELETE", "/..", "", 404, &missing),
            ("DELETE", &format!("/{}", "k".repeat(256)), "", 404, &missing),
            ("GET", "/k", "", 400, &error("Method not supported for this endpoint")),
            ("POST", "/k", "x", 400, &error("Method not supported for this endpoint")),
            ("PUT", "", "x", 400, &error("Method not supported for this endpoint")),
            ("DELETE", "", "", 400, &error("Method not supported for this endpoint")),
            ("PUT", "/a/b", "x", 400, &error(&format!("unknown endpoint: /{kind}/a/b"))),
        ] {
            let path = format!("/{kind}{key}");
            assert_eq!(device.says(method, &path, value), (code, text.to_owned()), "{method} {path}");
        }
        let binary = format!("PUT /{kind}/k HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n");
        let answer = device.connect("host").send(&[binary.as_bytes(), &[0xff]].concat()).answer();
        assert_eq!((answer.code, &answer.body), (400, &cannot));
        assert_eq!(answer.field("goalpost-reason"), Some("the value is not UTF-8"));
        assert_eq!(device.says("PUT", &format!("/{kind}/k"), &"x".repeat(4096)), done(), "the longest");
        assert_eq!(device.says("PUT", &format!("/{kind}/{}", "k".repeat(255)), "x"), done(), "the longest");
        for method in ["GET", "PUT", "DELETE"] {
            let answer = device.ask("nobody", method, &format!("/{kind}/k"), "");
            assert_eq!(
                (answer.code, answer.body),
                (403, error("Request not sent from a mgmt platform")),
                "{method}"
            );
        }
        assert_eq!(device.ask("mgmt", "PUT", &format!("/{kind}/k"), "x").code, 200);
    }
}

#[test]
fn there_is_an_end_to_keys_and_to_bytes_and_it_is_told() {
    let device = Device::new();
    for index in 0..MOST_KEYS {
        assert_eq!(device.says("PUT", &format!("/user-meta/k{index}"), "x"), done());
    }
    let full = device.ask("host", "PUT", "/user-meta/more", "x");
    assert_eq!((full.code, &full.body), (507, &error("Not enough disk space available")));
    let why = full.field("goalpost-reason").unwrap();
    assert!(why.contains(&format!("there are {MOST_KEYS} keys")), "{why}");
    assert_eq!(device.says("PUT", "/user-meta/k7", "another value"), done(), "no key more");
    assert_eq!(device.says("DELETE", "/user-meta/k7", ""), done());
    assert_eq!(device.says("PUT", "/user-meta/more", "x"), done());

    let value = "x".repeat(4096 - 3);
    for index in 0..MOST_BYTES / 4096 {
        assert_eq!(device.says("PUT", &format!("/device-meta/{index:03}"), &value), done());
    }
    let full = device.ask("host", "PUT", "/device-meta/y", "x");
    assert_eq!((full.code, &full.body), (507, &error("Not enough disk space available")));
    let why = full.field("goalpost-reason").unwrap();
    assert!(why.contains(&format!("{MOST_BYTES} bytes")), "{why}");
}

#[test]
fn the_agent_says_of_the_device_what_only_it_can_say() {
    let device = Device::new();
    let all: Value = serde_json::from_str(&device.says("GET", "/device-meta", "").1).unwrap();
    assert_eq!(all["pantavisor.revision"], "locals/one");
    assert_eq!(all["pantavisor.status"], "STARTED");
    assert_eq!(all["pantavisor.mode"], "local");
    let arch = all["pantavisor.arch"].as_str().unwrap();
    assert!(arch.starts_with(std::env::consts::ARCH) && arch.ends_with("EL"), "{arch}");
    assert!(all["pantavisor.version"].as_str().unwrap().starts_with("goalpost "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(all["pantavisor.uname"]["kernel.release"], kernel.trim());
    assert_eq!(all["interfaces"]["lo.ipv4"][0], "127.0.0.1");
    assert!(all["pantavisor.cpumodel"].is_string() && all["pantavisor.dtmodel"].is_string());
    assert!(all["storage"]["total"].as_u64().unwrap() > all["storage"]["real_free"].as_u64().unwrap());
    assert!(all["sysinfo"]["totalram"].as_u64().unwrap() > 0);
    assert!(all["time"]["timeval"]["tv_sec"].as_u64().unwrap() > 1_700_000_000);
    let mut next = report();
    next.status = Some(Status::Ready);
    device.report.send_replace(Arc::new(next));
    let all: Value = serde_json::from_str(&device.says("GET", "/device-meta", "").1).unwrap();
    assert_eq!(all["pantavisor.status"], "READY", "at once");
    for (key, value) in all.as_object().unwrap() {
        let shown = std::fs::read_to_string(device.socket("meta/device-meta").join(key)).unwrap();
        let shown = serde_json::from_str(&shown).unwrap_or(Value::String(shown));
        assert_eq!(&shown, value, "the file {key}");
        let path = format!("/device-meta/{key}");
        assert_eq!(device.says("PUT", &path, "x"), (400, error("Cannot add or update device meta")), "{key}");
        assert_eq!(device.says("DELETE", &path, ""), (404, error("Device meta does not exist")), "{key}");
        assert_eq!(device.says("PUT", &format!("/user-meta/{key}"), "x"), done(), "{key}");
    }
}

#[test]
fn curl_sets_and_removes_as_a_shell_script_does() {
    let device = Device::new();
    let address = "http://localhost/user-meta/pvr-auto-follow.url";
    assert_eq!(curl(&device, &["-X", "PUT", "--data", "https://example.org/x", address]), " 200");
    let all = r#"{"pvr-auto-follow.url":"https://example.org/x"} 200"#;
    assert_eq!(curl(&device, &["http://localhost/user-meta"]), all);
    assert_eq!(curl(&device, &["-X", "DELETE", address]), " 200");
    assert_eq!(curl(&device, &["http://localhost/user-meta"]), "{} 200");
}

#[test]
fn only_a_change_writes_to_the_disk() {
    use std::os::unix::fs::MetadataExt;
    let device = Device::new();
    let file = |kind: &str| {
        let metadata = std::fs::metadata(device.socket(kind).join("k")).unwrap();
        (metadata.ino(), metadata.mode() & 0o777)
    };
    assert_eq!(device.says("PUT", "/user-meta/k", "x"), done());
    let (kept, shown) = (file("cache/usrmeta"), file("meta/user-meta"));
    assert_eq!((kept.1, shown.1), (0o600, 0o644));
    assert_eq!(device.says("PUT", "/user-meta/k", "x"), done());
    assert_eq!((file("cache/usrmeta"), file("meta/user-meta")), (kept, shown));
    device.says("GET", "/device-meta", "");
    let left = std::fs::read_dir(device.socket("cache/devmeta")).unwrap().count();
    assert_eq!(left, 0, "what the agent provides is not written to the disk");
}
