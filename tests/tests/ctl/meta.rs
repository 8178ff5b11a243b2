//! `goalctl meta`, against the real server.

use std::io::Write;
use std::process::Stdio;

use crate::device::Device;
use crate::goalctl::{Said, command, said};

fn ask(device: &Device, arguments: &[&str]) -> Said {
    said(command().env("GOALPOST_SOCKET", device.socket("host")).args(arguments).output().unwrap())
}

#[test]
fn keys_are_set_shown_and_removed() {
    let device = Device::new();
    for arguments in [
        &["meta", "user", "set", "web.colour", "light green"][..],
        &["meta", "user", "set", "odd key/?", "x"],
        &["meta", "user", "set", "json", r#"{"a":[1]}"#],
    ] {
        let said = ask(&device, arguments);
        assert_eq!(
            (said.code, said.out.as_str()),
            (if arguments[3] == "odd key/?" { 1 } else { 0 }, ""),
            "{}",
            said.err
        );
    }
    insta::assert_snapshot!(ask(&device, &["meta", "user"]).out, @r#"
    KEY         VALUE
    json        {"a":[1]}
    web.colour  light green
    "#);
    assert_eq!(ask(&device, &["meta", "user", "get", "web.colour"]).out, "light green\n");
    assert_eq!(ask(&device, &["meta", "user", "get", "web.colour", "--json"]).out, "\"light green\"\n");
    let all = "{\"json\":{\"a\":[1]},\"web.colour\":\"light green\"}\n";
    assert_eq!(ask(&device, &["meta", "user", "ls", "--json"]).out, all);
    assert_eq!(ask(&device, &["meta", "user", "--json"]).out, all);
    assert_eq!(ask(&device, &["meta", "user", "rm", "json"]).code, 0);
    let gone = ask(&device, &["meta", "user", "rm", "json"]);
    insta::assert_snapshot!(gone.err, @r#"goalctl: failed to remove json: the agent answered 404: User meta does not exist (find user meta "json")"#);
    assert_eq!(gone.code, 1);
    let none = ask(&device, &["meta", "user", "get", "json"]);
    insta::assert_snapshot!(none.err, @r#"goalctl: failed to read /user-meta: there is no key "json""#);
}

#[test]
fn a_value_comes_from_standard_input() {
    let device = Device::new();
    let set = |value: &[u8]| {
        let mut run = command()
            .env("GOALPOST_SOCKET", device.socket("host"))
            .args(["meta", "device", "set", "key", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        run.stdin.take().unwrap().write_all(value).unwrap();
        said(run.wait_with_output().unwrap())
    };
    assert_eq!(set(b"two\nlines\n").code, 0);
    assert_eq!(ask(&device, &["meta", "device", "get", "key"]).out, "two\nlines\n\n");
    let long = set(&[b'x'; 4097]);
    assert_eq!(long.code, 1);
    assert!(long.err.contains("the agent answered 507: Not enough disk space available"), "{}", long.err);
}

#[test]
fn what_the_agent_provides_is_shown_and_not_set() {
    let device = Device::new();
    assert_eq!(ask(&device, &["meta", "device", "get", "pantavisor.status"]).out, "STARTED\n");
    let refused = ask(&device, &["meta", "device", "set", "time", "now"]);
    insta::assert_snapshot!(refused.err, @r#"goalctl: failed to set time: the agent answered 400: Cannot add or update device meta (change device meta "time": the agent itself provides it)"#);
}
