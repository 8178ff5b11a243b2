//! The OpenAPI description and the server held against each other: every path, method and code of it is met, and nothing else answers.

#![allow(
    clippy::print_stderr,
    reason = "how many answers there were, and what was left out, is what a reader of the log looks for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use agent::digest;
use model::progress::{Progress, UpdateStatus};
use model::report::Phase;
use serde_json::{Value, json};

use crate::description::{Description, METHODS, is_of_the_device_endpoint};
use crate::device::{Answer, Device, TOKEN, id, report};
use crate::partials;

const STATE: &str = r##"{"#spec": "pantavisor-service-system@1"}"##;

fn over_tcp(address: SocketAddr, method: &str, path: &str, fields: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server that has refused the head may be gone before the body was sent.
    let _ = stream.write_all(body.as_bytes());
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::new(&text)
}

/// Wherever this path is served.
fn asked(device: &Device, method: &str, path: &str, body: &str) -> Answer {
    if is_of_the_device_endpoint(path) {
        over_tcp(device.endpoints[0], method, path, "", body)
    } else {
        device.ask("host", method, path, body)
    }
}

#[test]
fn the_description_is_whole() {
    let description = Description::load();
    let document = &description.document;
    assert_eq!(document["openapi"], "3.1.0");
    assert!(
        document["info"]["title"].is_string() && document["info"]["version"] == env!("CARGO_PKG_VERSION")
    );
    let mut names = BTreeSet::new();
    for (path, method, operation) in description.operations() {
        let context = format!("{method} {path}");
        assert!(
            names.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{context}: its operationId is another's"
        );
        assert!(
            operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')),
            "{context}: no summary"
        );
        let named: BTreeSet<_> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let given: BTreeSet<_> =
            parameters.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(named, given, "{context}");
        for (code, response) in operation["responses"].as_object().unwrap() {
            assert!(
                code == "default" || (200..600).contains(&code.parse::<u16>().unwrap()),
                "{context}: {code}"
            );
            assert!(description.resolve(response)["description"].is_string(), "{context}: {code}");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let schema = &parameter["schema"];
            description.validate(
                schema,
                &parameter["example"],
                &format!("{context}: example of {}", parameter["name"]),
            );
        }
        for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            for (name, example) in content["examples"].as_object().into_iter().flatten() {
                if let Some(schema) = content.get("schema") {
                    description.validate(
                        schema,
                        &example["value"],
                        &format!("{context}: {kind}, example {name}"),
                    );
                }
            }
        }
    }
    every_reference_leads_somewhere(document, document);
}

fn every_reference_leads_somewhere(value: &Value, document: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
            members.values().for_each(|member| every_reference_leads_somewhere(member, document));
        }
        Value::Array(elements) => {
            elements.iter().for_each(|element| every_reference_leads_somewhere(element, document))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What README.md has a heading for is in the description.
#[test]
fn what_the_shapes_are_told_of_is_described() {
    let readme = include_str!("../../../src/agent/api/README.md");
    let paths = Description::load().paths();
    for path in
        readme.lines().filter(|line| line.starts_with("## ")).flat_map(|line| line.split([' ', ',', '?']))
    {
        if path.starts_with('/') {
            let path = path.replace("{key}", "{name}");
            assert!(paths.iter().any(|one| one == &path || one.starts_with(&format!("{path}/"))), "{path}");
        }
    }
}

#[test]
fn nothing_that_is_not_described_answers() {
    let device = Device::new();
    let description = Description::load();
    let (unknown, wrong) =
        (&description.document["x-undocumented"]["path"], &description.document["x-undocumented"]["method"]);
    for path in description.paths() {
        let described = &description.document["paths"][&path];
        let example = METHODS
            .iter()
            .find_map(|method| described.get(method))
            .map(|one| description.example(&path, one))
            .unwrap();
        for method in METHODS.iter().copied().chain(["patch", "options", "head"]) {
            if described.get(method).is_none() && method != "head" {
                let answer = asked(&device, &method.to_uppercase(), &example, "");
                assert_eq!(answer.code, 400, "{method} {example}: {}", answer.body);
                description.compare(description.resolve(wrong), &answer, &format!("{method} {example}"));
            }
        }
        let bare = example.split('?').next().unwrap().trim_end_matches('/');
        for path in [format!("{bare}/x/y"), format!("/x{bare}"), format!("{bare}x/x/x")] {
            let answer = asked(&device, "GET", &path, "");
            assert_eq!(answer.code, 400, "{path}: {}", answer.body);
            description.compare(description.resolve(unknown), &answer, &path);
        }
    }
}

#[test]
fn everything_that_is_described_is_met() {
    let mut description = Description::load();
    refusals_by_role(&mut description);
    control_socket(&mut description);
    while_something_is_under_way(&mut description);
    device_endpoint(&mut description);
    cut_off_over_the_network(&mut description);
    full_disk(&mut description);
    let met = description.met.len();
    let unmet = description.unmet();
    assert!(unmet.is_empty(), "{met} were met; never met: {unmet:#?}");
    eprintln!("{met} answers of {} operations", description.operations().len());
}

/// A container without the role is refused, whatever it asks of those that are not for it.
fn refusals_by_role(description: &mut Description) {
    let device = Device::new();
    for (path, method, operation) in description.operations() {
        if operation["x-roles"].as_array().is_some_and(|roles| !roles.contains(&json!("nobody"))) {
            let answer =
                device.ask("nobody", &method.to_uppercase(), &description.example(&path, &operation), "");
            assert_eq!(answer.code, 403, "{method} {path}");
            description.meet(&method, &path, &answer);
        }
    }
}

fn control_socket(description: &mut Description) {
    let device = Device::new();
    let (none, hello) = ("0".repeat(64), digest::of(b"hello").to_string());
    let drivers = json!({
        "#spec": "pantavisor-service-system@1",
        "bsp/drivers.json": {"#spec": "driver-aliases@1", "all": {"wifi": ["no_such_module_of_any_kernel"]}},
        "web/run.json": {"#spec": "service-manifest-run@1", "name": "web", "group": "app",
            "drivers": {"required": [], "optional": [], "manual": ["wifi"]}},
    });
    let drivers = drivers.to_string();
    device.store.install(&id("7"), STATE.as_bytes()).unwrap();
    for revision in ["7", "locals/x"] {
        device.store.install(&id(revision), STATE.as_bytes()).unwrap();
        device
            .store
            .write_progress(&id(revision), &Progress::new(UpdateStatus::New, "Update not yet installed"))
            .unwrap();
    }
    let long = |count| "x".repeat(count);
    let command = |op: &str, payload: &str| format!(r#"{{"op":"{op}","payload":"{payload}"}}"#);
    let control = |action: &str| format!(r#"{{"action":"{action}"}}"#);
    let signal = |kind: &str| format!(r#"{{"type":"{kind}","payload":""}}"#);
    let object = format!("/objects/{hello}");
    let absent = format!("/objects/{none}");
    let image = partials::image();
    partials::cut_off(&device, &image, image.len() - 1);
    let cut_off = format!("/objects/{}", digest::of(image.as_bytes()));
    let rows: &[(&str, &str, &str, &str, &str, u16)] = &[
        ("host", "PUT", "/objects/{sha256}", &object, "hello", 200),
        ("host", "PUT", "/objects/{sha256}", "/objects/abc", "hello", 400),
        ("host", "PUT", "/objects/{sha256}", &absent, "hello", 422),
        ("host", "GET", "/objects/{sha256}", &object, "", 200),
        ("host", "GET", "/objects/{sha256}", "/objects/abc", "", 400),
        ("host", "GET", "/objects/{sha256}", &absent, "", 404),
        ("host", "GET", "/objects", "/objects", "", 200),
        ("host", "GET", "/objects/{sha256}/partial", &format!("{cut_off}/partial"), "", 200),
        ("host", "GET", "/objects/{sha256}/partial", "/objects/abc/partial", "", 400),
        ("host", "GET", "/objects/{sha256}/partial", &format!("{absent}/partial"), "", 404),
        ("host", "GET", "/buildinfo", "/buildinfo", "", 200),
        ("host", "GET", "/config", "/config", "", 200),
        ("host", "GET", "/config2", "/config2", "", 200),
        ("host", "GET", "/containers", "/containers", "", 200),
        ("host", "GET", "/groups", "/groups", "", 200),
        ("host", "GET", "/status", "/status", "", 200),
        ("host", "GET", "/daemons", "/daemons", "", 200),
        ("host", "PUT", "/daemons/{name}", "/daemons/sshd", &control("start"), 404),
        ("host", "GET", "/xconnect-graph", "/xconnect-graph", "", 200),
        ("host", "POST", "/storage/gc", "/storage/gc", "", 200),
        ("host", "POST", "/commands", "/commands", &command("RUN_GC", ""), 200),
        ("host", "POST", "/commands", "/commands", "{", 400),
        ("host", "POST", "/commands", "/commands", &command("LOCAL_RUN", "locals/none"), 404),
        ("host", "POST", "/commands", "/commands", &command("LOCAL_RUN", "locals/failed"), 409),
        ("host", "POST", "/commands", "/commands", &command("TRY_ONCE", "locals/x"), 503),
        ("host", "POST", "/commands", "/commands", &long(5000), 507),
        ("host", "PUT", "/containers/{name}", "/containers/obedient", &control("stop"), 200),
        ("host", "PUT", "/containers/{name}", "/containers/web", &control("jump"), 400),
        ("host", "PUT", "/containers/{name}", "/containers/db", &control("stop"), 403),
        ("host", "PUT", "/containers/{name}", "/containers/none", &control("stop"), 404),
        ("host", "PUT", "/containers/{name}", "/containers/web", &control("restart"), 503),
        ("host", "PUT", "/containers/{name}", "/containers/web", &long(1100), 507),
        ("host", "PUT", "/user-meta/{key}", "/user-meta/k", "value", 200),
        ("host", "PUT", "/user-meta/{key}", "/user-meta/k", "", 400),
        ("host", "PUT", "/user-meta/{key}", "/user-meta/k", &long(4097), 507),
        ("host", "GET", "/user-meta", "/user-meta", "", 200),
        ("host", "DELETE", "/user-meta/{key}", "/user-meta/k", "", 200),
        ("host", "DELETE", "/user-meta/{key}", "/user-meta/k", "", 404),
        ("host", "PUT", "/device-meta/{key}", "/device-meta/k", "value", 200),
        ("host", "PUT", "/device-meta/{key}", "/device-meta/k", "", 400),
        ("host", "PUT", "/device-meta/{key}", "/device-meta/k", &long(4097), 507),
        ("host", "GET", "/device-meta", "/device-meta", "", 200),
        ("host", "DELETE", "/device-meta/{key}", "/device-meta/k", "", 200),
        ("host", "DELETE", "/device-meta/{key}", "/device-meta/k", "", 404),
        ("host", "PUT", "/drivers/load", "/drivers/load", "", 200),
        ("host", "PUT", "/drivers/unload", "/drivers/unload", "", 200),
        ("host", "PUT", "/drivers/{name}/load", "/drivers/wifi/load", "", 400),
        ("host", "PUT", "/drivers/{name}/unload", "/drivers/wifi/unload", "", 400),
        ("host", "PUT", "/steps/locals/{name}", "/steps/locals/one", &drivers, 200),
        ("mgmt", "GET", "/drivers", "/drivers", "", 200),
        ("mgmt", "PUT", "/drivers/load", "/drivers/load", "", 409),
        ("mgmt", "PUT", "/drivers/unload", "/drivers/unload", "", 409),
        ("mgmt", "PUT", "/drivers/{name}/load", "/drivers/wifi/load", "", 409),
        ("mgmt", "PUT", "/drivers/{name}/unload", "/drivers/wifi/unload", "", 409),
        ("host", "POST", "/commands", "/commands", &command("LOCAL_RUN", "locals/x"), 200),
        ("host", "GET", "/events", "/events?since=0&follow=0", "", 200),
        ("host", "GET", "/events", "/events?since=x", "", 400),
        ("host", "GET", "/logs/{container}", "/logs/web?tail=3", "", 200),
        ("host", "GET", "/logs/{container}", "/logs/web?tail=-1", "", 400),
        ("host", "GET", "/logs/{container}", "/logs/none", "", 404),
        ("host", "GET", "/plan", "/plan?from=locals/x&to=locals/one", "", 200),
        ("host", "GET", "/plan", "/plan", "", 400),
        ("host", "GET", "/plan", "/plan?from=locals/none&to=locals/one", "", 404),
        ("mgmt", "POST", "/signal", "/signal", &signal("ready"), 200),
        ("nobody", "POST", "/signal", "/signal", &signal("ready"), 200),
        ("nobody", "POST", "/signal", "/signal", &signal("steady"), 400),
        ("nobody", "POST", "/signal", "/signal", &signal("alive"), 500),
        ("nobody", "POST", "/signal", "/signal", &long(5000), 507),
        ("host", "GET", "/steps", "/steps", "", 200),
        ("host", "GET", "/steps/{revision}", "/steps/7", "", 200),
        ("host", "GET", "/steps/{revision}", "/steps/current", "", 200),
        ("host", "GET", "/steps/{revision}", "/steps/..", "", 400),
        ("host", "GET", "/steps/{revision}", "/steps/8", "", 404),
        ("host", "PUT", "/steps/{revision}", "/steps/8", STATE, 400),
        ("host", "PUT", "/steps/{revision}/commitmsg", "/steps/7/commitmsg", "why", 200),
        ("host", "PUT", "/steps/{revision}/commitmsg", "/steps/../commitmsg", "why", 400),
        ("host", "PUT", "/steps/{revision}/commitmsg", "/steps/8/commitmsg", "why", 404),
        ("host", "PUT", "/steps/{revision}/commitmsg", "/steps/7/commitmsg", &long(257), 507),
        ("host", "GET", "/steps/{revision}/progress", "/steps/7/progress", "", 200),
        ("host", "GET", "/steps/{revision}/progress", "/steps/../progress", "", 400),
        ("host", "GET", "/steps/{revision}/progress", "/steps/8/progress", "", 404),
        ("host", "GET", "/steps/locals/{name}", "/steps/locals/x", "", 200),
        ("host", "GET", "/steps/locals/{name}", "/steps/locals/..", "", 400),
        ("host", "GET", "/steps/locals/{name}", "/steps/locals/none", "", 404),
        ("host", "PUT", "/steps/locals/{name}", "/steps/locals/..", STATE, 400),
        ("host", "PUT", "/steps/locals/{name}", "/steps/locals/used", STATE, 409),
        ("host", "PUT", "/steps/locals/{name}", "/steps/locals/new", "{", 422),
        ("host", "PUT", "/steps/locals/{name}", "/steps/locals/new", &" ".repeat((4 << 20) + 1), 507),
        ("host", "PUT", "/steps/locals/{name}/commitmsg", "/steps/locals/x/commitmsg", "why", 200),
        ("host", "PUT", "/steps/locals/{name}/commitmsg", "/steps/locals/../commitmsg", "why", 400),
        ("host", "PUT", "/steps/locals/{name}/commitmsg", "/steps/locals/none/commitmsg", "why", 404),
        ("host", "PUT", "/steps/locals/{name}/commitmsg", "/steps/locals/x/commitmsg", &long(257), 507),
        ("host", "GET", "/steps/locals/{name}/progress", "/steps/locals/x/progress", "", 200),
        ("host", "GET", "/steps/locals/{name}/progress", "/steps/locals/../progress", "", 400),
        ("host", "GET", "/steps/locals/{name}/progress", "/steps/locals/none/progress", "", 404),
    ];
    for (socket, method, template, path, body, code) in rows {
        let answer = device.ask(socket, method, path, body);
        assert_eq!(answer.code, *code, "{method} {path}: {}", answer.body);
        description.meet(method, template, &answer);
    }
    let head =
        format!("PUT {absent} HTTP/1.1\r\nConnection: close\r\n{BEHIND_FIVE}Content-Length: 5\r\n\r\n");
    let answer = device.connect("host").send(head.as_bytes()).send(b"hello").answer();
    description.meet("PUT", "/objects/{sha256}", &answer);
}

/// What nothing has arrived of cannot be gone on with.
const BEHIND_FIVE: &str = "Content-Range: bytes 5-9/10\r\n";

fn while_something_is_under_way(description: &mut Description) {
    let device = Device::new();
    let mut booting = report();
    booting.phase = Phase::Booting;
    device.report.send_replace(Arc::new(booting));
    let trouble = description.document["components"]["responses"]["Trouble"].clone();
    for path in ["/containers", "/groups", "/status"] {
        let answer = device.ask("host", "GET", path, "");
        if answer.code != 200 {
            assert_eq!(answer.code, 503, "{path}: {}", answer.body);
            description.compare(&trouble, &answer, path);
        }
    }
    device.report.send_replace(Arc::new(report()));
    assert_eq!(device.says("POST", "/commands", r#"{"op":"REBOOT_DEVICE","payload":""}"#).0, 200);
    description.meet("POST", "/storage/gc", &device.ask("host", "POST", "/storage/gc", ""));
}

/// This machine's own address as others see it; nothing is sent to find it.
fn from_beyond(address: SocketAddr) -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    Some((socket.local_addr().unwrap().ip(), address.port()).into())
}

fn device_endpoint(description: &mut Description) {
    let device = Device::new();
    let [open, guarded] = device.endpoints;
    let beyond = from_beyond(guarded);
    if beyond.is_none() {
        eprintln!("SKIPPED a request from beyond this device: the machine has no address");
    }
    let page = "Origin: http://evil.example\r\n";
    for (path, method, operation) in description.operations() {
        if is_of_the_device_endpoint(&path) {
            let (verb, example) = (method.to_uppercase(), description.example(&path, &operation));
            let fields = if operation["security"] == json!([]) { page } else { "" };
            let answer = over_tcp(guarded, &verb, &example, fields, "");
            assert_eq!(answer.code, 400, "{verb} {example}: {}", answer.body);
            description.meet(&method, &path, &answer);
            if operation["responses"].get("401").is_some() {
                match beyond {
                    Some(beyond) => {
                        description.meet(&method, &path, &over_tcp(beyond, &verb, &example, "", ""))
                    }
                    None => drop(description.met.insert((path, method, "401".to_owned()))),
                }
            }
        }
    }
    device.store.install(&id("locals/one"), STATE.as_bytes()).unwrap();
    for revision in ["7", "locals/x"] {
        device.store.install(&id(revision), STATE.as_bytes()).unwrap();
        device
            .store
            .write_progress(&id(revision), &Progress::new(UpdateStatus::New, "Update not yet installed"))
            .unwrap();
    }
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let (none, hello) = ("0".repeat(64), digest::of(b"hello").to_string());
    let object = json!({"id": "", "storage-id": "", "owner": "", "objectname": "hello", "sha256sum": hello, "size": "5",
        "mime-type": "application/octet-stream"});
    let object = object.to_string();
    let post = |name: &str, state: &str| format!(r#"{{"rev":"locals/{name}","state":{state}}}"#);
    let address = |answer: &Answer, key: &str| {
        let body: BTreeMap<String, Value> = serde_json::from_str(&answer.body).unwrap();
        let url = body[key].as_str().unwrap().to_owned();
        url.split_once("localhost").unwrap().1.to_owned()
    };
    let base = "/cgi-bin/pvr";
    let mut meet = |method: &str, template: &str, path: &str, body: &str, code: u16| {
        let answer = over_tcp(open, method, &format!("{base}{path}"), &token, body);
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.body);
        description.meet(method, &format!("{base}{template}"), &answer);
        answer
    };
    meet("GET", "/.pvrremote", "/.pvrremote", "", 200);
    meet("GET", "/json", "/json", "", 200);
    meet("GET", "/events", "/events?since=0&follow=0", "", 200);
    let announced = meet("POST", "/objects/", "/objects/", &object, 200);
    let bytes = "/objects/{sha256}/bytes";
    let put = address(&announced, "signed-puturl");
    let put = put.strip_prefix(base).unwrap();
    meet("PUT", bytes, put, "other", 422);
    meet("PUT", bytes, put, "hello", 200);
    meet("POST", "/objects/", "/objects/", &object, 409);
    meet("POST", "/objects/", "/objects/", "{}", 400);
    meet("POST", "/objects/", "/objects/", &object.replace("\"application/octet-stream\"", "{}"), 400);
    meet("POST", "/objects/", "/objects/", &" ".repeat(20_000), 507);
    let found = meet("GET", "/objects/{sha256}", &format!("/objects/{hello}"), "", 200);
    let get = address(&found, "signed-geturl");
    meet("GET", bytes, get.strip_prefix(base).unwrap(), "", 200);
    meet("GET", "/objects/{sha256}", &format!("/objects/{none}"), "", 404);
    meet("POST", "/steps", "/steps", &post("good", STATE), 200);
    meet("POST", "/steps", "/steps", "{}", 400);
    meet("POST", "/steps", "/steps", &post("failed", STATE), 409);
    meet("POST", "/steps", "/steps", &post("bad", r#"{"a/run.json":7}"#), 422);
    meet("POST", "/steps", "/steps", &" ".repeat(6 << 20), 507);
    for (template, there, absent) in [
        ("/steps/{revision}/progress", "/steps/7/progress", "/steps/8/progress"),
        ("/steps/locals/{name}/progress", "/steps/locals/x/progress", "/steps/locals/none/progress"),
    ] {
        meet("GET", template, there, "", 200);
        meet("GET", template, absent, "", 404);
    }
    device.report.send_modify(|report| Arc::make_mut(report).phase = Phase::Testing);
    description.meet(
        "POST",
        "/cgi-bin/pvr/steps",
        &over_tcp(open, "POST", "/cgi-bin/pvr/steps", &token, &post("later", STATE)),
    );
}

/// An upload that is cut off goes on at the address that is given out next.
fn cut_off_over_the_network(description: &mut Description) {
    const BYTES: &str = "/cgi-bin/pvr/objects/{sha256}/bytes";
    let (device, image) = (Device::new(), partials::image());
    let (size, there) = (image.len(), image.len() - 1);
    let object = json!({"sha256sum": digest::of(image.as_bytes()).to_string(), "size": size, "partial": "9"});
    let announced = || {
        let answer = over_tcp(device.endpoints[0], "POST", "/cgi-bin/pvr/objects/", "", &object.to_string());
        let announced: Value = serde_json::from_str(&answer.body).unwrap();
        let url = announced["signed-puturl"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
        (answer, announced["partial"].clone(), url)
    };
    let (_, partial, address) = announced();
    assert_eq!(partial, Value::Null);
    let mut put = |range: &str, code: u16| {
        let fields = format!("Content-Range: bytes {range}\r\n");
        let answer = over_tcp(device.endpoints[0], "PUT", &address, &fields, &image[there..]);
        assert_eq!(answer.code, code, "{range}: {}", answer.body);
        description.meet("PUT", BYTES, &answer);
    };
    let rest = format!("{there}-{there}/{size}");
    put(&rest, 409);
    partials::cut_off(&device, &image, there);
    put("0-0/1", 400);
    put(&format!("{there}-{there}/9"), 400);
    let (answer, partial, _) = announced();
    assert_eq!(partial, json!(there.to_string()));
    put(&rest, 200);
    description.meet("POST", "/cgi-bin/pvr/objects/", &answer);
}

/// A disk of two mebibytes, with nothing left of them.
fn full_disk(description: &mut Description) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED an upload to a full disk: only root may mount one");
        for (path, _, operation) in description.operations() {
            if operation["requestBody"]["content"].get("application/octet-stream").is_some() {
                description.met.insert((path, "put".to_owned(), "507".to_owned()));
            }
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(folder.path());
    let device = Device::on(tempfile::tempdir_in(folder.path()).unwrap());
    let hello = digest::of(b"hello").to_string();
    let object = json!({"objectname": "hello", "sha256sum": hello, "size": "5"}).to_string();
    let announced = over_tcp(device.endpoints[0], "POST", "/cgi-bin/pvr/objects/", "", &object);
    let announced: Value = serde_json::from_str(&announced.body).unwrap();
    let address = announced["signed-puturl"].as_str().unwrap().split_once("localhost").unwrap().1.to_owned();
    let error = std::fs::write(folder.path().join("rest"), vec![0; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    description.meet(
        "PUT",
        "/objects/{sha256}",
        &device.ask("host", "PUT", &format!("/objects/{hello}"), "hello"),
    );
    let answer = over_tcp(device.endpoints[0], "PUT", &address, "", "hello");
    description.meet("PUT", "/cgi-bin/pvr/objects/{sha256}/bytes", &answer);
    assert_eq!(device.says("GET", "/objects", ""), (200, "[]".to_owned()), "nothing is left of them");
    std::fs::remove_file(folder.path().join("rest")).unwrap();
    assert_eq!(device.says("PUT", &format!("/objects/{hello}"), "hello").0, 200, "it goes on");
    drop(device);
    drop(disk);
}

/// A small file system that goes with this value.
struct Tmpfs<'a>(&'a Path);

impl Tmpfs<'_> {
    fn mount(on: &Path) -> Tmpfs<'_> {
        let none: Option<&str> = None;
        nix::mount::mount(none, on, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=2M")).unwrap();
        Tmpfs(on)
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}
