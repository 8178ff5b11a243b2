//! A container that `goalctl app add` has made, started by the real agent until it says that it is ready.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use tests::live::Programs;

use crate::device::Device;
use crate::revision::{Container, READY, Revision};

fn goalctl(folder: &Path, socket: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(Programs::find("debug").goalctl);
    command.current_dir(folder).env("GOALPOST_SOCKET", socket).args(arguments).output().unwrap()
}

fn good(output: &Output) -> String {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

/// Its program runs as its own user, in its folder, with its environment, and finds what it wrote before.
const SCRIPT: &str = "echo \"as $(id -u):$(id -g) in $(pwd) with $SAYS, counted $(cat /data/count)\"; \
    echo again >> /data/count; exec /pantavisor/bin/goalctl signal ready";

#[test]
fn a_container_made_by_goalctl_becomes_ready_and_one_that_never_says_so_is_rolled_back() {
    let device = Device::started(&Revision::new([Container::new("first", READY)]));
    let socket = device.socket();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for name in ["bin", "etc", "srv", "data", "proc", "sys", "dev", "tmp", "run", "pantavisor"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("Debian: busybox-static");
    for applet in ["sh", "id", "cat", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:1007:1008::/srv:/bin/sh\n").unwrap();
    fs::set_permissions(root.join("data"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let script = SCRIPT.replace("exec /pantavisor", "/pantavisor");
    let config = json!({
        "Entrypoint": ["/bin/sh", "-c"], "Cmd": [format!("{script}; exec /pantavisor/bin/goalctl demo-payload serve")],
        "Env": ["PATH=/bin", "SAYS=quoted 'words' stay"], "WorkingDir": "/srv",
    });
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let dev = folder.path().join("dev");
    good(&goalctl(folder.path(), &socket, &["clone", "device", "dev"]));
    let run = |arguments: &[&str]| goalctl(&dev, &socket, arguments);
    let add =
        ["app", "add", "web", "--from", "../root", "--config", "../config.json", "--status-goal", "READY"];
    let more = [
        "--group",
        "second",
        "--restart-policy",
        "container",
        "--volume",
        "/data:permanent",
        "--arg",
        "PV_ROLES=nobody",
    ];
    good(&run(&[&add[..], &more].concat()));
    good(&run(&["post", ".", "--name", "locals/authored", "--run", "--follow"]));
    assert_eq!(device.container("web")["status"], "READY");
    let output = device.output("locals/authored", "web");
    assert!(output.contains("as 0:0 in /srv with quoted 'words' stay, counted "), "{output}");

    // As the walkthrough has it: its goal is edited in src.json, and it never says that it is ready.
    let mut silent = config.clone();
    silent["Cmd"] = json!(["/pantavisor/bin/goalctl demo-payload serve"]);
    let mut src: serde_json::Value =
        serde_json::from_slice(&fs::read(dev.join("web/src.json")).unwrap()).unwrap();
    src["config"] = silent;
    fs::write(dev.join("web/src.json"), src.to_string()).unwrap();
    good(&run(&["app", "install", "web"]));
    let mut spec: serde_json::Value =
        serde_json::from_slice(&fs::read(dev.join("web/run.json")).unwrap()).unwrap();
    spec["goal_timeout"] = json!(1);
    fs::write(dev.join("web/run.json"), spec.to_string()).unwrap();
    let back = run(&["post", ".", "--name", "locals/silent", "--run", "--follow"]);
    assert_eq!(back.status.code(), Some(4), "{}", String::from_utf8_lossy(&back.stdout));

    src["args"]["PV_STATUS_GOAL"] = json!("STARTED");
    fs::write(dev.join("web/src.json"), src.to_string()).unwrap();
    good(&run(&["app", "install", "web"]));
    good(&run(&["post", ".", "--name", "locals/started", "--run", "--follow"]));
    assert_eq!(device.container("web")["status"], "STARTED");

    // As the user that the image's own /etc/passwd has; only the update can look there.
    src["config"]["User"] = json!("web");
    src["config"]["Cmd"] = config["Cmd"].clone();
    src["args"]["PV_STATUS_GOAL"] = json!("STARTED");
    fs::write(dev.join("web/src.json"), src.to_string()).unwrap();
    good(&run(&["app", "update", "web"]));
    let conf = fs::read_to_string(dev.join("web/lxc.container.conf")).unwrap();
    assert!(conf.contains("lxc.init.uid = 1007\nlxc.init.gid = 1008\n"), "{conf}");
    good(&run(&["post", ".", "--name", "locals/user", "--run", "--follow"]));
    let output = device.output("locals/user", "web");
    assert!(output.contains("as 1007:1008 in /srv"), "{output}");
}
