//! The device endpoint, asked by curl as `pvr` asks it, step by step.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use agent::digest;
use model::report::Phase;
use model::request::Request;
use serde_json::{Value, json};

use crate::device::{Answer, Device, TOKEN, error, id};

/// curl's answer: code, then body.
fn curl(arguments: &[&str], body: &[u8]) -> (u16, String) {
    let mut curl = Command::new("curl")
        .args(["-sS", "--max-time", "60", "-w", "\n%{http_code}", "-H", "Accept-Encoding: gzip"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl, which this test needs: apt-get install curl");
    curl.stdin.take().unwrap().write_all(body).unwrap();
    let output = curl.wait_with_output().unwrap();
    assert!(output.status.success(), "curl {arguments:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}

fn get(address: &str) -> (u16, String) {
    curl(&[address], b"")
}

fn post(address: &str, body: &[u8]) -> (u16, String) {
    curl(&["-X", "POST", "-H", "Content-Type: text/plain", "--data-binary", "@-", address], body)
}

fn put(address: &str, body: &[u8]) -> (u16, String) {
    curl(&["-X", "PUT", "--data-binary", "@-", address], body)
}

fn json_of((code, body): (u16, String)) -> Value {
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn remote(device: &Device) -> Value {
    json_of(get(&format!("http://{}/cgi-bin/pvr/.pvrremote", device.endpoints[0])))
}

/// As `pvr` describes an object that it wants to bring.
fn description(bytes: &[u8]) -> Vec<u8> {
    let sha = digest::of(bytes).to_string();
    let object = json!({
        "id": "", "storage-id": "", "owner": "", "objectname": "app/root.squashfs", "sha256sum": sha,
        "size": bytes.len().to_string(), "mime-type": "application/octet-stream",
        "signed-puturl": "", "signed-geturl": "", "now": "", "expire-time": "",
    });
    object.to_string().into_bytes()
}

#[test]
fn a_post_goes_as_pvr_does_it_step_by_step() {
    let device = Device::new();
    device.store.install(&id("locals/one"), br##"{"#spec":"pantavisor-service-system@1"}"##).unwrap();
    let remote = remote(&device);
    assert_eq!(
        remote,
        json!({
            "pvr-spec": "pvr-pantahub-1",
            "json-get-url": format!("http://{}/cgi-bin/pvr/json", device.endpoints[0]),
            "json-key": "state",
            "objects-endpoint": format!("http://{}/cgi-bin/pvr/objects", device.endpoints[0]),
            "post-url": format!("http://{}/cgi-bin/pvr/steps", device.endpoints[0]),
            "post-fields": ["commit-msg"],
            "post-fields-opt": ["rev"],
        })
    );
    let state = get(text(&remote, "json-get-url"));
    assert_eq!(state, (200, r##"{"#spec":"pantavisor-service-system@1"}"##.to_owned()));

    let objects: Vec<Vec<u8>> = (1..=5).map(|number: u8| vec![number; 200_000]).collect();
    let endpoint = format!("{}/", text(&remote, "objects-endpoint"));
    let announced: Vec<Value> =
        objects.iter().map(|bytes| json_of(post(&endpoint, &description(bytes)))).collect();
    for (object, bytes) in announced.iter().zip(&objects) {
        assert_eq!(text(object, "objectname"), "app/root.squashfs");
        assert_eq!(text(object, "sha256sum"), digest::of(bytes).to_string());
        assert!(text(object, "now") < text(object, "expire-time"));
    }
    std::thread::scope(|scope| {
        for (object, bytes) in announced.iter().zip(&objects) {
            scope.spawn(|| assert_eq!(put(text(object, "signed-puturl"), bytes), (200, String::new())));
        }
    });
    let (code, again) = post(&endpoint, &description(&objects[0]));
    assert_eq!(code, 409);
    assert_eq!(text(&serde_json::from_str(&again).unwrap(), "signed-puturl"), "");

    let keys: Vec<String> = objects
        .iter()
        .enumerate()
        .map(|(number, bytes)| format!("\"app/file{number}\":\"{}\"", digest::of(bytes)))
        .collect();
    let state = format!(r##"{{ "#spec":"pantavisor-service-system@1", {} }}"##, keys.join(", "));
    let posted = format!(r#"{{"commit-msg":"five files","rev":"locals/five","state":{state}}}"#);
    let answer = json_of(post(text(&remote, "post-url"), posted.as_bytes()));
    assert_eq!(
        answer,
        json!({"state-sha": digest::of(state.as_bytes()).to_string(), "rev": -1, "revlocal": "locals/five", "trail-id": "device"})
    );
    assert_eq!(device.store.state_bytes(&id("locals/five")).unwrap(), state.as_bytes());
    assert_eq!(device.store.commit_message(&id("locals/five")).unwrap(), "five files");
    let asked = device.asked.lock().unwrap().clone();
    let base = format!("http://{}/cgi-bin/pvr", device.endpoints[0]);
    assert_eq!(text(&json_of(get(&format!("{base}/steps/locals/five/progress"))), "status"), "NEW");
    let revision = id("locals/five");
    assert_eq!(
        asked,
        [Request::Post { revision: revision.clone() }, Request::Run { revision, force: false }]
    );
}

#[test]
fn a_clone_finds_each_object_by_its_description() {
    let device = Device::new();
    let bytes = "not compressed ".repeat(100_000);
    let sha = digest::of(bytes.as_bytes()).to_string();
    assert_eq!(device.says("PUT", &format!("/objects/{sha}"), &bytes).0, 200);
    let endpoint = text(&remote(&device), "objects-endpoint").to_owned();
    let object = json_of(get(&format!("{endpoint}/{sha}")));
    assert_eq!((text(&object, "sha256sum"), text(&object, "size")), (&*sha, &*bytes.len().to_string()));
    assert_eq!(get(text(&object, "signed-geturl")), (200, bytes));
    let none = "0".repeat(64);
    assert_eq!(get(&format!("{endpoint}/{none}")), (404, error("Resource does not exist")));
    assert_eq!(get(&format!("{endpoint}/..%2f..")), (400, error("Request has bad object name")));
}

#[test]
fn an_address_is_for_one_object_and_its_bytes_are_looked_at() {
    let device = Device::new();
    let endpoint = format!("{}/", text(&remote(&device), "objects-endpoint"));
    let (good, other) = (b"good".to_vec(), b"also".to_vec());
    let object = json_of(post(&endpoint, &description(&good)));
    let address = text(&object, "signed-puturl");
    let refused = (400, error("Address was not given out by this device, or its time is over"));
    let (sha, other_sha) = (digest::of(&good).to_string(), digest::of(&other).to_string());
    assert_eq!(put(&address.replace(&sha, &other_sha), &other), refused);
    assert_eq!(put(&address.replace("size=4", "size=5"), &good), refused);
    assert_eq!(put(&address.replace("until=", "until=9"), &good), refused);
    assert_eq!(put(address.split('?').next().unwrap(), &good), refused);
    assert_eq!(get(address), refused, "a put address gives nothing out");
    assert_eq!(put(address, b"evil"), (422, error("Object has bad checksum")));
    assert_eq!(put(address, b"longer"), (400, error("Object has another size than was announced")));
    assert_eq!(put(address, &good), (200, String::new()));
    assert_eq!(device.store.objects().unwrap().len(), 1);
    for bad in ["", "[]", "{}", r#"{"sha256sum":"x","size":"1"}"#, r#"{"sha256sum":7,"size":-1}"#] {
        assert_eq!(post(&endpoint, bad.as_bytes()), (400, error("Object has bad format")), "{bad}");
    }
}

#[test]
fn a_number_is_a_hubs_so_the_state_names_what_is_posted_with_one() {
    let device = Device::new();
    let address = text(&remote(&device), "post-url").to_owned();
    let state = r##"{"#spec":"pantavisor-service-system@1"}"##;
    let own = format!("locals/{}", &digest::of(state.as_bytes()).to_string()[..12]);
    for rev in ["", r#""rev":7,"#, r#""rev":-1,"#, r#""rev":"7","#, r#""rev":null,"#, r#""rev":"","#] {
        let answer = json_of(post(&address, format!(r#"{{{rev}"state":{state}}}"#).as_bytes()));
        assert_eq!((text(&answer, "revlocal"), &answer["rev"]), (&*own, &json!(-1)), "{rev}");
    }
    let bad_rev = (400, error("Post has bad rev: a number, or locals/NAME"));
    for rev in [r#""locals/..""#, "[]", r#""locals/a/b""#, r#""x""#, "true"] {
        assert_eq!(
            post(&address, format!(r#"{{"rev":{rev},"state":{state}}}"#).as_bytes()),
            bad_rev,
            "{rev}"
        );
    }
    for bad in ["", "null", "{}", r#"{"state":"#, r#"{"state":{},"commit-msg":7}"#] {
        assert_eq!(post(&address, bad.as_bytes()), (400, error("Post has bad format")), "{bad}");
    }
    let long = format!(r#"{{"commit-msg":"{}","state":{state}}}"#, "x".repeat(257));
    assert_eq!(post(&address, long.as_bytes()), (400, error("Post has a commit-msg of more than 256 bytes")));
    let (code, body) = post(&address, br#"{"rev":"locals/x","state":{"a/run.json":7}}"#);
    assert_eq!((code, body), (422, error("Parser: State JSON has bad format")));
    assert!(device.store.step(&id("locals/x")).is_none(), "what is refused leaves nothing");
    let too_long = format!(r#"{{"state":{{"a.json":"{}"}}}}"#, "x".repeat(5 << 20));
    assert_eq!(post(&address, too_long.as_bytes()).0, 507);
}

#[test]
fn what_runs_is_not_posted_again_and_an_update_is_waited_for() {
    let device = Device::new();
    let state = r##"{"#spec":"pantavisor-service-system@1"}"##;
    device.store.install(&id("locals/one"), state.as_bytes()).unwrap();
    let address = text(&remote(&device), "post-url").to_owned();
    let again = format!(r#"{{"rev":"locals/one","state":{state}}}"#);
    assert_eq!(text(&json_of(post(&address, again.as_bytes())), "revlocal"), "locals/one");
    assert_eq!(device.asked.lock().unwrap().as_slice(), [], "it runs already");
    device.report.send_modify(|report| Arc::make_mut(report).phase = Phase::Testing);
    let other = format!(r#"{{"rev":"locals/two","state":{state}}}"#);
    let answer = post(&address, other.as_bytes());
    assert_eq!(answer, (503, error("Cannot do this operation while update is ongoing")));
    let raw = ask(&device, 0, &request("POST", "/cgi-bin/pvr/steps", "", &other));
    assert_eq!(raw.field("retry-after"), Some("1"));
    assert!(device.store.step(&id("locals/two")).is_none());
}

#[test]
fn before_the_boot_is_decided_it_is_not_now_for_everything() {
    let device = Device::new();
    device.report.send_modify(|report| Arc::make_mut(report).phase = Phase::Booting);
    for path in ["/cgi-bin/pvr/.pvrremote", "/cgi-bin/pvr/json", "/cgi-bin/pvr/steps/locals/x/progress"] {
        let answer = ask(&device, 0, &request("GET", path, "", ""));
        assert_eq!((answer.code, answer.body.as_str()), (503, &*error("State not loaded yet")), "{path}");
        assert_eq!(answer.field("retry-after"), Some("1"), "{path}");
    }
}

#[test]
fn who_was_tried_in_vain_is_told_why() {
    let device = Device::new();
    let address = text(&remote(&device), "post-url").to_owned();
    let (code, body) =
        post(&address, br##"{"rev":"locals/failed","state":{"#spec":"pantavisor-service-system@1"}}"##);
    let why = "revision locals/failed failed before: web: Status goal not reached";
    assert_eq!((code, body), (409, error(why)));
}

#[test]
fn what_happens_is_heard() {
    let device = Device::new();
    let post = |name: &str| {
        format!(r##"{{"rev":"locals/{name}","state":{{"#spec":"pantavisor-service-system@1"}}}}"##)
    };
    let mut stream = TcpStream::connect(device.endpoints[0]).unwrap();
    stream.write_all(b"GET /cgi-bin/pvr/events HTTP/1.1\r\n\r\n").unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(ask(&device, 0, &request("POST", "/cgi-bin/pvr/steps", "", &post("good"))).code, 200);
    let mut heard = String::new();
    while !heard.contains("Update finished, revision set as rollback point") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{heard}");
        heard.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ask(device: &Device, endpoint: usize, request: &str) -> Answer {
    let mut stream = TcpStream::connect(device.endpoints[endpoint]).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::new(&text)
}

#[test]
fn a_token_is_asked_for_but_never_with_a_code_that_starts_a_login() {
    let device = Device::new();
    let asked = |fields: &str| {
        let answer = ask(&device, 1, &request("GET", "/cgi-bin/pvr/.pvrremote", fields, ""));
        (answer.code, answer.body)
    };
    let refused = (400, error("This device asks for a token: Authorization: Bearer TOKEN"));
    assert_eq!(asked(""), refused);
    assert_eq!(asked("Authorization: Bearer wrong\r\n"), refused);
    assert_eq!(asked("Authorization: Basic eDp5\r\n"), refused);
    assert_eq!(asked(&format!("Authorization: Bearer {TOKEN}x\r\n")), refused);
    assert_eq!(asked(&format!("authorization: bearer {TOKEN}\r\n")).0, 200);
    let fields = format!("Authorization: Bearer {TOKEN}\r\n");
    let body = String::from_utf8(description(b"sealed")).unwrap();
    let announced = request("POST", "/cgi-bin/pvr/objects/", &fields, &body);
    let object: Value = serde_json::from_str(&ask(&device, 1, &announced).body).unwrap();
    assert_eq!(
        put(text(&object, "signed-puturl"), b"sealed").0,
        200,
        "the address is all that an upload needs"
    );
}

#[test]
fn it_answers_nothing_else_and_no_web_page() {
    let device = Device::new();
    for path in [
        "/",
        "/containers",
        "/cgi-bin/pvr",
        "/cgi-bin/pvr/",
        "/cgi-bin/pvrx/json",
        "/cgi-bin/pvr/../containers",
    ] {
        let answer = ask(&device, 0, &request("GET", path, "", ""));
        assert_eq!((answer.code, answer.body), (400, error(&format!("unknown endpoint: {path}"))), "{path}");
    }
    let wrong = ask(&device, 0, &request("DELETE", "/cgi-bin/pvr/json", "", ""));
    assert_eq!((wrong.code, wrong.body), (400, error("Method not supported for this endpoint")));
    let page =
        ask(&device, 0, &request("POST", "/cgi-bin/pvr/steps", "Origin: http://evil.example\r\n", "{}"));
    assert_eq!((page.code, page.body), (400, error("Requests of web pages are not answered here")));
    let behind = ask(&device, 0, &request("GET", "/cgi-bin/pvr/.pvrremote", "Host: device.lan:8080\r\n", ""));
    assert!(behind.body.contains("\"http://device.lan:8080/cgi-bin/pvr/json\""), "{}", behind.body);
    let odd = ask(&device, 0, &request("GET", "/cgi-bin/pvr/.pvrremote", "Host: a/../\"b\r\n", ""));
    assert!(
        odd.body.contains(&format!("\"http://{}/cgi-bin/pvr/json\"", device.endpoints[0])),
        "{}",
        odd.body
    );
}

#[test]
fn the_65th_connection_is_told_so_and_the_sockets_of_the_device_go_on() {
    let device = Device::new();
    let open: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(device.endpoints[0]).unwrap();
            stream.write_all(b"GET /cgi-bin/pvr/.pvrremote HTTP/1.1\r\n\r\n").unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream
        })
        .collect();
    let refused = ask(&device, 0, &request("GET", "/cgi-bin/pvr/.pvrremote", "", ""));
    assert_eq!((refused.code, refused.body), (503, error("Too many connections")));
    assert_eq!(device.says("GET", "/containers", "").0, 200);
    drop(open);
}

#[test]
fn two_thousand_broken_requests_leave_it_answering() {
    let device = Device::new();
    let object = String::from_utf8(description(b"bytes")).unwrap();
    let seeds = [
        request("GET", "/cgi-bin/pvr/.pvrremote", "Host: a.b:1\r\nAuthorization: Bearer x\r\n", ""),
        request("POST", "/cgi-bin/pvr/objects/", "", &object),
        request(
            "PUT",
            &format!("/cgi-bin/pvr/objects/{}/bytes?size=5&until=9&seal=0", digest::of(b"bytes")),
            "",
            "bytes",
        ),
        request(
            "POST",
            "/cgi-bin/pvr/steps",
            "",
            r#"{"rev":"locals/x","commit-msg":"m","state":{"a.json":1}}"#,
        ),
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % limit as u64).unwrap()
    };
    for count in 0..2000 {
        let mut bytes = seeds[count % seeds.len()].clone().into_bytes();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] ^= 1 << below(8),
                1 => bytes.insert(at, u8::try_from(below(256)).unwrap()),
                2 => drop(bytes.remove(at)),
                _ => {
                    let piece = bytes[at..].iter().take(below(9)).copied().collect::<Vec<_>>();
                    bytes.splice(at..at, piece.iter().copied().cycle().take(piece.len() * below(300)));
                }
            }
        }
        let mut stream = TcpStream::connect(device.endpoints[count % 2]).unwrap();
        // A server that has answered and closed may be gone before all was sent.
        let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let shown = || format!("request {count}: {:?}", String::from_utf8_lossy(&bytes));
        assert!(read.is_ok(), "{} {read:?}", shown());
        assert!(answer.starts_with(b"HTTP/1."), "{}: {:?}", shown(), String::from_utf8_lossy(&answer));
    }
    assert_eq!(get(&format!("http://{}/cgi-bin/pvr/.pvrremote", device.endpoints[0])).0, 200);
}
