//! What each endpoint answers, byte for byte.

use std::sync::Arc;

use agent::digest;
use model::progress::{Progress, UpdateStatus};
use model::report::Phase;
use model::request::{AfterShutdown, Request, Signal};

use crate::device::{Device, LIFE, error, id, name, report};

const STATE: &str = r##"{"#spec": "pantavisor-service-system@1",  "README.md": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"##;

#[test]
fn containers_and_groups_have_the_fields_keys() {
    let device = Device::new();
    assert_eq!(
        device.says("GET", "/containers", ""),
        (
            200,
            concat!(
                r#"[{"name":"db","group":"app","status":"STARTED","status_goal":"READY","restart_policy":"system","roles":["nobody"]},"#,
                r#"{"name":"web","group":"app","status":"STARTED","status_goal":"READY","restart_policy":"container","roles":["mgmt"],"#,
                r#""auto_recovery":{"policy":"on-failure","max_retries":5,"current_retries":1,"stable_timeout":30,"is_stable":"false","backoff_policy":"90s"},"#,
                r#""user_stopped":"false"}]"#
            )
            .to_owned()
        )
    );
    assert_eq!(
        device.says("GET", "/groups", "").1,
        r#"[{"name":"app","status_goal":"STARTED","restart_policy":"container","status":"STARTED","auto_recovery":{"policy":"on-failure","max_retries":5,"stable_timeout":30,"backoff_policy":"90s"}}]"#
    );
}

#[test]
fn a_new_report_is_seen_at_once() {
    let device = Device::new();
    device.says("GET", "/containers", "");
    let mut next = report();
    next.containers[1].status = model::goal::Status::Ready;
    device.report.send_replace(Arc::new(next));
    assert!(
        device.says("GET", "/containers", "").1.contains(r#""name":"web","group":"app","status":"READY""#)
    );
}

#[test]
fn status_tells_the_whole_report() {
    let device = Device::new();
    assert_eq!(
        device.says("GET", "/status", "").1,
        concat!(
            r#"{"event":999,"revision":"locals/one","fallback":"0","fallback_proven":true,"phase":"running","status":"STARTED","update":null,"#,
            r#""notes":["signatures: not verified"],"groups":[{"name":"app","status_goal":"STARTED","restart_policy":"container","status":"STARTED","#,
            r#""auto_recovery":{"policy":"on-failure","max_retries":5,"stable_timeout":30,"backoff_policy":"90s"}}],"#,
            r#""containers":[{"name":"db","group":"app","status":"STARTED","status_goal":"READY","goal":"pending","restart_policy":"system","role":"nobody","#,
            r#""retries":1,"stable":false,"user_stopped":false,"generation":7,"pid":4711,"reason":"exec succeeded"},"#,
            r#"{"name":"web","group":"app","status":"STARTED","status_goal":"READY","goal":"pending","restart_policy":"container","role":"mgmt","#,
            r#""retries":1,"stable":false,"user_stopped":false,"generation":7,"pid":4711,"reason":"exec succeeded"}]}"#
        )
    );
}

#[test]
fn an_agent_that_has_not_booted_says_so() {
    let device = Device::new();
    let mut booting = report();
    booting.phase = Phase::Booting;
    device.report.send_replace(Arc::new(booting));
    let answer = device.ask("host", "GET", "/containers", "");
    assert_eq!((answer.code, answer.field("retry-after")), (503, Some("1")));
    assert_eq!(answer.body, error("State not loaded yet"));
}

#[test]
fn every_refusal_is_the_fields() {
    let device = Device::new();
    let sha = "0".repeat(64);
    for (method, path, body, code, text) in [
        ("GET", "/", "", 400, "unknown endpoint: /"),
        ("GET", "/x/y?z=1", "", 400, "unknown endpoint: /x/y"),
        ("GET", "/{}/{0}", "", 400, "unknown endpoint: /{}/{0}"),
        ("GET", "/%7b%7D", "", 400, "unknown endpoint: /{}"),
        ("POST", "/containers", "", 400, "Method not supported for this endpoint"),
        ("DELETE", "/steps/0", "", 400, "Method not supported for this endpoint"),
        ("PUT", "/containers/web", "{", 400, "Invalid JSON"),
        ("PUT", "/containers/web", "{}", 400, "Missing 'action' field"),
        (
            "PUT",
            "/containers/web",
            r#"{"action":"jump"}"#,
            400,
            "Invalid action. Use 'start', 'stop', or 'restart'",
        ),
        (
            "PUT",
            "/containers/web",
            r#"{"action":"start"}"#,
            400,
            "Container must be in STOPPED, STOPPING, or RECOVERING state to start",
        ),
        ("PUT", "/containers/web", r#"{"action":"stop"}"#, 400, "Container state does not allow restart"),
        (
            "PUT",
            "/containers/web",
            r#"{"action":"restart"}"#,
            503,
            "Cannot do this operation while update is ongoing",
        ),
        (
            "PUT",
            "/containers/db",
            r#"{"action":"stop"}"#,
            403,
            "Container has restart_policy 'system' and cannot be controlled via API",
        ),
        ("PUT", "/containers/nope", r#"{"action":"stop"}"#, 404, "Container not found"),
        ("PUT", "/containers/..%2f", r#"{"action":"stop"}"#, 404, "Container not found"),
        ("POST", "/commands", "", 400, "Command has bad format"),
        ("POST", "/commands", r#"{"op":"LOCAL_RUN"}"#, 400, "Command has bad format"),
        ("POST", "/commands", r#"{"op":"local_run","payload":"locals/x"}"#, 400, "Command has bad format"),
        ("POST", "/commands", r#"{"op":"LOCAL_RUN","payload":"locals/../x"}"#, 400, "Command has bad format"),
        (
            "POST",
            "/commands",
            r#"{"op":"LOCAL_RUN","op":"RUN_GC","payload":""}"#,
            400,
            "Command has bad format",
        ),
        ("POST", "/commands", r#"{"op":"LOCAL_RUN","payload":"locals/x"}"#, 404, "Resource does not exist"),
        (
            "POST",
            "/commands",
            r#"{"op":"LOCAL_RUN","payload":"locals/failed"}"#,
            409,
            "revision locals/failed failed before: web: Status goal not reached",
        ),
        (
            "POST",
            "/commands",
            r#"{"op":"ENABLE_SSH","payload":""}"#,
            409,
            "ENABLE_SSH is not possible on this device: this agent has no SSH server",
        ),
        (
            "POST",
            "/signal",
            r#"{"type":"ready","payload":""}"#,
            500,
            "Signal not expected from this platform",
        ),
        ("PUT", "/objects/abc", "x", 400, "Request has bad object name"),
        ("PUT", "/objects/..%2f..%2fetc", "x", 400, "Request has bad object name"),
        ("PUT", &format!("/objects/{sha}"), "x", 422, "Object has bad checksum"),
        ("PUT", &format!("/objects/{sha}"), "", 422, "Object has bad checksum"),
        ("GET", &format!("/objects/{sha}"), "", 404, "Resource does not exist"),
        ("GET", "/steps/locals/x", "", 404, "Resource does not exist"),
        ("GET", "/steps/locals/x/progress", "", 404, "Resource does not exist"),
        ("PUT", "/steps/locals/x/commitmsg", "hello", 404, "Resource does not exist"),
        ("PUT", "/steps/0", STATE, 400, "Request has bad step name"),
        ("PUT", "/steps/current", STATE, 400, "Request has bad step name"),
        ("PUT", "/steps/locals/a%2Fb", STATE, 400, "Request has bad step name"),
        ("PUT", "/steps/locals/..", STATE, 400, "Request has bad step name"),
        ("PUT", &format!("/steps/locals/{}", "x".repeat(300)), STATE, 400, "Request has bad step name"),
        ("PUT", "/steps/locals/x", "{", 422, "Parser: State JSON has bad format"),
        ("PUT", "/steps/locals/x", "", 422, "Parser: State JSON has bad format"),
        ("PUT", "/steps/locals/x", "{}", 422, "Parser: State JSON has bad format"),
        ("PUT", "/steps/locals/x", &"[".repeat(100_000), 422, "Parser: State JSON has bad format"),
        ("GET", "/logs/nope", "", 404, "Container not found"),
        ("GET", "/logs/web?tail=-1", "", 400, "Request has bad tail"),
        ("GET", "/events?since=x", "", 400, "Request has bad since"),
        ("GET", "/plan", "", 400, "Request must name two steps: ?from=REV&to=REV"),
    ] {
        assert_eq!(device.says(method, path, body), (code, error(text)), "{method} {path}");
    }
    assert!(device.store.step(&id("locals/x")).is_none(), "a refused step left something");
}

#[test]
fn a_refused_state_says_why_beside_the_fields_text() {
    let device = Device::new();
    let state = r##"{"#spec": "pantavisor-service-system@1", "web/run.json": {"#spec": "service-manifest-run@1", "name": "bew"}}"##;
    let answer = device.ask("host", "PUT", "/steps/locals/x", state);
    assert_eq!(
        (answer.code, answer.body.as_str()),
        (422, error("Parser: State JSON has bad format").as_str())
    );
    let reason = answer.field("goalpost-reason").unwrap();
    assert!(reason.contains("bew"), "{reason}");
}

#[test]
fn too_much_is_refused_as_no_space() {
    let device = Device::new();
    let long = |count| format!(r#"{{"type":"ready","payload":"{}"}}"#, "x".repeat(count));
    for (method, path, body) in [
        ("POST", "/signal", long(5000)),
        ("POST", "/commands", long(5000)),
        ("PUT", "/containers/web", long(1100)),
        ("PUT", "/steps/locals/x", " ".repeat((4 << 20) + 1)),
    ] {
        assert_eq!(
            device.says(method, path, &body),
            (507, error("Not enough disk space available")),
            "{path}"
        );
    }
}

#[test]
fn commands_reach_the_engine() {
    let device = Device::new();
    for (body, request) in [
        (
            r#"{"op":"LOCAL_RUN","payload":"locals/failed","force":true}"#,
            Request::Run { revision: id("locals/failed"), force: true },
        ),
        (r#"{"op":"RUN_GC","payload":""}"#, Request::Collect),
        (
            r#"{"op":"LOCAL_RUN_COMMIT","payload":"locals/failed","force":true}"#,
            Request::Run { revision: id("locals/failed"), force: true },
        ),
        (r#"{"op":"MAKE_FACTORY","payload":""}"#, Request::MakeFactory { revision: None }),
        (r#"{"op":"REBOOT_DEVICE","payload":""}"#, Request::ShutDown { then: AfterShutdown::Reboot }),
        (r#"{"op":"POWEROFF_DEVICE","payload":""}"#, Request::ShutDown { then: AfterShutdown::PowerOff }),
    ] {
        assert_eq!(device.says("POST", "/commands", body), (200, String::new()));
        assert_eq!(device.asked.lock().unwrap().pop(), Some(request));
    }
    assert_eq!(device.says("POST", "/storage/gc", ""), (200, r#"{"reclaimed":42}"#.to_owned()));
    let once = device.ask("host", "POST", "/commands", r#"{"op":"TRY_ONCE","payload":"locals/x"}"#);
    assert_eq!(
        (once.code, once.body.as_str(), once.field("retry-after")),
        (503, error("A command is already in progress. Try again").as_str(), Some("1"))
    );
    let asked = Request::TryOnce { revision: id("locals/x"), force: false };
    assert_eq!(device.asked.lock().unwrap().pop(), Some(asked));
}

/// Nothing is accepted and then ignored: what is not done is refused with the reason.
#[test]
fn what_this_device_cannot_do_is_refused_with_the_reason() {
    let device = Device::new();
    for (op, payload, why) in [
        ("MAKE_FACTORY", "locals/x", "it has not proved itself"),
        ("LOCAL_APPLY", "locals/x", "LOCAL_RUN applies without a reboot whatever can be"),
        ("DEFER_REBOOT", "", "no reboot of this agent can be deferred"),
        ("ENABLE_SSH", "", "this agent has no SSH server"),
        ("DISABLE_SSH", "", "this agent has no SSH server"),
        ("GO_REMOTE", "", "this agent has no hub"),
        ("UNCLAIM", "", "this agent has no hub"),
        ("UPDATE_METADATA", "{}", "PUT /device-meta/KEY sets one, and is done when it is answered"),
        ("XCONNECT_GRAPH", "", "this agent links no services yet"),
    ] {
        let (code, text) =
            device.says("POST", "/commands", &format!(r#"{{"op":"{op}","payload":"{payload}"}}"#));
        assert_eq!(code, 409, "{op}");
        let sentence = format!("{op} is not possible on this device: {why}");
        assert!([error(why), error(&sentence)].contains(&text), "{op}: {text}");
    }
    for op in ["local_run", "LOCAL_RUN ", "RUN", "REBOOT", "", "RUN_GC\\u0000"] {
        let body = format!(r#"{{"op":"{op}","payload":""}}"#);
        assert_eq!(device.says("POST", "/commands", &body), (400, error("Command has bad format")), "{op}");
    }
}

#[test]
fn while_an_update_is_tried_its_rivals_wait() {
    let device = Device::new();
    let mut testing = report();
    testing.phase = Phase::Testing;
    device.report.send_replace(Arc::new(testing));
    for op in ["LOCAL_RUN", "LOCAL_RUN_COMMIT", "REBOOT_DEVICE", "POWEROFF_DEVICE", "MAKE_FACTORY", "UNCLAIM"]
    {
        let answer = device.ask("host", "POST", "/commands", &format!(r#"{{"op":"{op}","payload":""}}"#));
        assert_eq!(answer.body, error("Cannot do this operation while update is ongoing"));
        assert_eq!((answer.code, answer.field("retry-after")), (503, Some("1")));
    }
}

#[test]
fn a_container_signals_as_itself_only() {
    let device = Device::new();
    for (socket, container) in [("mgmt", "web"), ("nobody", "db")] {
        let answer = device.ask(socket, "POST", "/signal", r#"{"type":"ready","payload":""}"#);
        assert_eq!((answer.code, answer.body.as_str()), (200, ""));
        let expected =
            Request::Signal { container: name(container), generation: LIFE, signal: Signal::Ready };
        assert_eq!(device.asked.lock().unwrap().pop(), Some(expected));
    }
    let alive = device.ask("nobody", "POST", "/signal", r#"{"type":"alive","payload":""}"#);
    assert_eq!((alive.code, alive.body), (500, error("Signal not expected from this platform")));
    for bad in ["", "{", "[]", "{}", r#"{"type":"steady","payload":""}"#, r#"{"type":1}"#] {
        let answer = device.ask("nobody", "POST", "/signal", bad);
        assert_eq!((answer.code, answer.body), (400, error("Signal has bad format")), "{bad}");
    }
}

#[test]
fn nobody_may_only_signal() {
    let device = Device::new();
    for (method, path) in
        [("GET", "/containers"), ("GET", "/signal"), ("PUT", "/objects/x"), ("GET", "/x"), ("GET", "/events")]
    {
        let answer = device.ask("nobody", method, path, if method == "PUT" { "body" } else { "" });
        assert_eq!(
            (answer.code, answer.body),
            (403, error("Request not sent from a mgmt platform")),
            "{path}"
        );
    }
    assert_eq!(device.ask("mgmt", "GET", "/containers", "").code, 200);
}

#[test]
fn objects_come_and_go_out_as_they_are() {
    let device = Device::new();
    let (empty, hello) = (digest::of(b""), digest::of(b"hello"));
    for _ in 0..2 {
        assert_eq!(device.says("PUT", &format!("/objects/{hello}"), "hello"), (200, String::new()));
        assert_eq!(device.says("PUT", &format!("/objects/{empty}"), ""), (200, String::new()));
    }
    assert_eq!(device.says("GET", &format!("/objects/{hello}"), ""), (200, "hello".to_owned()));
    assert_eq!(device.says("GET", &format!("/objects/{empty}"), ""), (200, String::new()));
    let listed = device.says("GET", "/objects", "").1;
    assert_eq!(listed, format!(r#"[{{"sha256":"{hello}","size":"5"}},{{"sha256":"{empty}","size":"0"}}]"#));
}

#[test]
fn a_listing_that_was_asked_for_before_shows_what_has_changed_since() {
    let device = Device::new();
    let listed = |path: &str| device.says("GET", path, "").1;
    let step = "/steps/locals/new";
    let (objects, steps) = (listed("/objects"), listed("/steps"));
    assert_eq!(device.says("GET", step, "").0, 404);
    // Twice: the second answer is the one that was kept.
    assert_eq!((listed("/objects"), listed("/steps")), (objects.clone(), steps.clone()));

    let sha = digest::of(b"hello").to_string();
    assert_eq!(device.says("PUT", &format!("/objects/{sha}"), "hello").0, 200);
    assert!(!objects.contains(&sha) && listed("/objects").contains(&sha));

    // No report follows any of these here: it is the disk that has changed.
    device.store.install(&id("locals/new"), br##"{"#spec": "pantavisor-service-system@1"}"##).unwrap();
    assert!(!steps.contains("locals/new") && listed("/steps").contains("locals/new"));
    assert_eq!(device.says("GET", step, "").0, 200);
    assert_eq!(device.says("PUT", &format!("{step}/commitmsg"), "why").0, 200);
    assert!(listed("/steps").contains("why"));
    let before = listed(&format!("{step}/progress"));
    device.store.write_progress(&id("locals/new"), &Progress::new(UpdateStatus::Done, "over")).unwrap();
    assert_ne!(listed(&format!("{step}/progress")), before);
}

#[test]
fn a_small_object_that_is_cut_off_leaves_nothing() {
    let device = Device::new();
    let hello = digest::of(b"hello");
    let head = format!("PUT /objects/{hello} HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel");
    let answer = device.connect("host").send(head.as_bytes()).half_close().answer();
    assert_eq!((answer.code, answer.body), (400, error("Request body ended too early")));
    assert_eq!(device.says("GET", "/objects", ""), (200, "[]".to_owned()));
    assert_eq!(std::fs::read_dir(device.socket("objects")).unwrap().count(), 0);
}

#[test]
fn a_step_comes_back_byte_for_byte() {
    let device = Device::new();
    assert_eq!(device.says("PUT", "/steps/locals/x", STATE), (200, String::new()));
    assert_eq!(device.says("GET", "/steps/locals/x", ""), (200, STATE.to_owned()));
    let progress = Progress::new(UpdateStatus::New, "Update not yet installed");
    device.store.write_progress(&id("locals/x"), &progress).unwrap();
    assert_eq!(device.says("PUT", "/steps/locals/x/commitmsg", "first\n"), (200, String::new()));
    assert_eq!(
        device.says("PUT", "/steps/locals/x/commitmsg", &"x".repeat(257)),
        (507, error("Not enough disk space available"))
    );
    let document = r#"{"status":"NEW","status-msg":"Update not yet installed","progress":0,"retries":0}"#;
    assert_eq!(device.says("GET", "/steps/locals/x/progress", ""), (200, document.to_owned()));
    let listed = device.says("GET", "/steps", "").1;
    assert!(listed.starts_with(r#"[{"name":"locals/x","date":"2"#), "{listed}");
    assert!(listed.ends_with(&format!(r#"Z","commitmsg":"first\n","progress":{document}}}]"#)), "{listed}");
}

#[test]
fn the_current_step_is_what_runs() {
    let device = Device::new();
    assert_eq!(device.says("GET", "/steps/current", "").0, 404);
    assert_eq!(device.says("PUT", "/steps/locals/one", STATE).0, 200);
    assert_eq!(device.says("GET", "/steps/current", ""), (200, STATE.to_owned()));
}

#[test]
fn a_plan_says_what_would_happen() {
    let device = Device::new();
    let hello = digest::of(b"hello");
    let data = format!(
        r##"{{"#spec": "pantavisor-service-system@1", "data/run.json": {{"#spec": "service-manifest-run@1", "name": "data", "root-volume": "root.squashfs", "group": "app"}}, "data/root.squashfs": "{hello}"}}"##
    );
    assert_eq!(device.says("PUT", "/steps/locals/one", STATE).0, 200);
    assert_eq!(device.says("PUT", "/steps/locals/two", &data), (200, String::new()));
    let (code, plan) = device.says("GET", "/plan?to=locals/two", "");
    assert_eq!(code, 200, "{plan}");
    assert!(plan.starts_with(r#"{"from":"locals/one","to":"locals/two","#), "{plan}");
    assert!(plan.contains(r#""start":["data"]"#), "{plan}");
    assert!(plan.contains(&format!(r#""fetch":["{hello}"]"#)), "{plan}");
    assert_eq!(device.says("GET", "/plan?from=locals/nope&to=locals/two", "").0, 404);
}

#[test]
fn build_info_is_text() {
    let device = Device::new();
    let answer = device.ask("host", "GET", "/buildinfo", "");
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    assert!(answer.body.starts_with("goalpost "), "{}", answer.body);
}

#[test]
fn a_progress_document_is_told_from_when_it_was_decided() {
    let device = Device::new();
    device.store.install(&id("locals/one"), STATE.as_bytes()).unwrap();
    let decided = Progress::new(UpdateStatus::Error, "Status goal not reached");
    let document = (id("locals/one"), decided.clone());
    device.report.send_modify(|report| Arc::make_mut(report).documents.push(document));
    assert_eq!(device.says("GET", "/steps/locals/one/progress", ""), (200, decided.to_json()));
    let (_, steps) = device.says("GET", "/steps", "");
    assert!(steps.contains(&decided.to_json()), "{steps}");
}

#[test]
fn a_device_that_runs_nothing_has_no_container_with_logs() {
    let device = Device::new();
    for (phase, answer) in [
        (Phase::Booting, (503, error("State not loaded yet"))),
        (Phase::OnlyAnswering, (404, error("Container not found"))),
    ] {
        device.report.send_modify(|report| {
            let report = Arc::make_mut(report);
            (report.revision, report.phase, report.containers) = (None, phase, Vec::new());
        });
        assert_eq!(device.says("GET", "/logs/web", ""), answer);
    }
}
