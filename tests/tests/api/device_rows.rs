//! What the device is configured to, which drivers, daemons and services it has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clients::curl;
use crate::device::{Device, error};

fn done() -> (u16, String) {
    (200, String::new())
}

#[test]
fn the_configuration_has_the_fields_shape_and_tells_where_it_came_from() {
    let device = Device::new();
    let list: Vec<BTreeMap<String, Value>> =
        serde_json::from_str(&device.says("GET", "/config2", "").1).unwrap();
    let file = device.socket("goalpost.toml").display().to_string();
    let setting = |key: &str| {
        let found = list.iter().find(|setting| setting["key"] == key).unwrap();
        ["value", "modified", "from", "default"].map(|member| found[member].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("root"), ["/var/lib/goalpost", "default", "default", "/var/lib/goalpost"]);
    assert_eq!(setting("logs.rate"), ["64K", "file", &format!("{file} line 3"), "256K"]);
    assert_eq!(setting("power"), ["own", "environment", "environment variable GOALPOST_POWER", "restart"]);
    assert_eq!(setting("commit_delay"), ["2s", "command line", "command line", "25s"]);
    assert_eq!(setting("socket.group"), ["", "default", "default", ""]);
    let flat: BTreeMap<String, String> = serde_json::from_str(&device.says("GET", "/config", "").1).unwrap();
    let same = list.iter().map(|one| (one["key"].as_str().unwrap(), one["value"].as_str().unwrap()));
    assert_eq!(
        flat.iter().map(|(key, value)| (&**key, &**value)).collect::<BTreeMap<_, _>>(),
        same.collect()
    );
    assert!(curl(&device, &["http://localhost/config"]).ends_with("} 200"));
}

#[test]
fn a_device_without_drivers_daemons_and_links_says_so() {
    let device = Device::new();
    for path in ["/drivers", "/daemons", "/xconnect-graph"] {
        assert_eq!(device.says("GET", path, ""), (200, "[]".to_owned()), "{path}");
        assert_eq!(curl(&device, &[&format!("http://localhost{path}")]), "[] 200");
    }
    for path in ["/drivers/load", "/drivers/unload"] {
        assert_eq!(device.says("PUT", path, ""), done(), "{path}: there is nothing to do");
    }
    assert_eq!(device.says("PUT", "/drivers/wifi/load", ""), (400, error("Error loading driver")));
    assert_eq!(device.says("PUT", "/drivers/..%2f/unload", ""), (400, error("Error unloading driver")));
    for body in [r#"{"action":"start"}"#, r#"{"action":"stop"}"#, "", "{"] {
        assert_eq!(device.says("PUT", "/daemons/sshd", body), (404, error("Daemon not found")), "{body}");
    }
}

#[test]
fn what_is_asked_wrongly_of_them_is_refused() {
    let device = Device::new();
    let wrong = error("Method not supported for this endpoint");
    for (method, path) in [
        ("PUT", "/config"),
        ("DELETE", "/config2"),
        ("POST", "/buildinfo"),
        ("PUT", "/drivers"),
        ("GET", "/drivers/load"),
        ("GET", "/drivers/wifi/load"),
        ("POST", "/drivers/wifi/unload"),
        ("PUT", "/daemons"),
        ("GET", "/daemons/sshd"),
        ("PUT", "/xconnect-graph"),
    ] {
        assert_eq!(device.says(method, path, ""), (400, wrong.clone()), "{method} {path}");
    }
    for path in ["/drivers/wifi", "/drivers/wifi/start", "/drivers/a/b/load", "/daemons/a/b", "/config/root"]
    {
        assert_eq!(device.says("GET", path, ""), (400, error(&format!("unknown endpoint: {path}"))));
    }
    for (method, path) in [
        ("GET", "/config"),
        ("GET", "/config2"),
        ("GET", "/buildinfo"),
        ("GET", "/drivers"),
        ("PUT", "/drivers/load"),
        ("PUT", "/drivers/wifi/unload"),
        ("GET", "/daemons"),
        ("PUT", "/daemons/sshd"),
        ("GET", "/xconnect-graph"),
    ] {
        let answer = device.ask("nobody", method, path, "");
        let refused = error("Request not sent from a mgmt platform");
        assert_eq!((answer.code, answer.body), (403, refused), "{method} {path}");
        assert_ne!(device.ask("mgmt", method, path, "").code, 403, "{method} {path}");
    }
}

/// The socket `mgmt` is that of the container web.
#[test]
fn a_container_has_the_drivers_of_its_own_run_json() {
    let device = Device::new();
    let state = json!({
        "#spec": "pantavisor-service-system@1",
        "bsp/drivers.json": {"#spec": "driver-aliases@1", "all": {"wifi": ["no_such_module_of_any_kernel x=1"]}},
        "web/run.json": {"#spec": "service-manifest-run@1", "name": "web", "group": "app",
            "drivers": {"required": [], "optional": [], "manual": ["wifi", "lora"]}},
    });
    assert_eq!(device.says("PUT", "/steps/locals/one", &state.to_string()), done());
    let listed = device.ask("mgmt", "GET", "/drivers", "");
    assert_eq!(
        (listed.code, listed.body.as_str()),
        (
            200,
            r#"[{"name":"wifi","type":"MANUAL","status":"UNLOADED"},{"name":"lora","type":"MANUAL","status":"UNKNOWN"}]"#
        )
    );
    assert_eq!(device.says("GET", "/drivers", ""), (200, "[]".to_owned()), "an operator has none");
    let cannot = |done: &str| {
        error(&format!("Drivers cannot be {done} on this device: this agent loads no kernel modules"))
    };
    for (path, code, text) in [
        ("/drivers/load", 409, cannot("loaded")),
        ("/drivers/wifi/load", 409, cannot("loaded")),
        ("/drivers/unload", 409, cannot("unloaded")),
        ("/drivers/lora/unload", 409, cannot("unloaded")),
        ("/drivers/other/load", 400, error("Error loading driver")),
    ] {
        let answer = device.ask("mgmt", "PUT", path, "");
        assert_eq!((answer.code, answer.body), (code, text), "{path}");
    }
}
