//! `goalctl --host`: the same program against the device endpoint of the real server.

use std::path::Path;

use model::request::Request;

use crate::authoring::{CONF, IMAGE, digest, write_folder};
use crate::device::{Device, TOKEN, id};
use crate::goalctl::{Said, command, goalctl, said};

fn ask(device: &Device, endpoint: usize, arguments: &[&str]) -> Said {
    let host = format!("http://{}/cgi-bin/pvr", device.endpoints[endpoint]);
    said(command().args(["--host", &host]).args(arguments).output().unwrap())
}

#[test]
fn a_post_over_the_network_is_followed_to_its_end() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let path = folder.path().to_str().unwrap();
    let posted = ask(&device, 0, &["post", path, "--name", "locals/good", "-m", "better", "--follow"]);
    assert_eq!((posted.code, posted.err.as_str()), (0, ""), "{posted:?}");
    let sent = format!("objects: 2 sent ({} bytes), 0 were there\n", CONF.len() + IMAGE.len());
    assert!(
        posted.out.starts_with(&format!("{sent}locals/good is accepted, and going to be tried\n")),
        "{posted:?}"
    );
    assert!(posted.out.contains("DONE  Update finished, revision set as rollback point"), "{posted:?}");
    assert_eq!(device.store.commit_message(&id("locals/good")).unwrap(), "better");
    assert!(matches!(device.asked.lock().unwrap().last(), Some(Request::Run { force: false, .. })));

    let diff = goalctl(&["diff", path]);
    assert_eq!((diff.code, diff.out.as_str()), (0, ""), "a post is a commit: {diff:?}");
    let bad = ask(&device, 0, &["post", path, "--name", "locals/bad", "--follow"]);
    assert_eq!(bad.code, 4, "{bad:?}");
    assert!(bad.out.starts_with("objects: 0 sent (0 bytes), 2 were there\n"), "{bad:?}");
    let progress = ask(&device, 0, &["progress", "locals/good"]);
    assert!(progress.out.contains("NEW"), "{progress:?}");
    let own = ask(&device, 0, &["post", path]);
    assert!(own.out.contains("locals/") && own.code == 0, "{own:?}");
}

#[test]
fn over_the_network_too_only_the_rest_of_what_was_cut_off_is_sent() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let image = vec![7; 2 << 20];
    std::fs::write(folder.path().join("web/image"), &image).unwrap();
    let part = device.socket("objects").join(format!(".partial-{}", digest(&image)));
    std::fs::write(part, &image[7..]).unwrap();
    let posted = ask(&device, 0, &["post", folder.path().to_str().unwrap(), "--name", "locals/x"]);
    let rest = CONF.len() + IMAGE.len() + 7;
    assert!(posted.out.starts_with(&format!("objects: 3 sent ({rest} bytes), 0 were there\n")), "{posted:?}");
    assert!(device.store.has_object(&digest(&image).parse().unwrap()));
}

#[test]
fn what_the_device_runs_comes_back_as_a_folder() {
    let device = Device::new();
    let (folder, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_folder(folder.path());
    let post = ["post", folder.path().to_str().unwrap(), "--name", "locals/one"];
    assert_eq!(ask(&device, 0, &post).code, 0);
    let check = |copy: &Path| {
        for file in ["web/run.json", "web/lxc.container.conf", "web/root.squashfs"] {
            let [was, is] = [folder.path(), copy].map(|folder| std::fs::read(folder.join(file)).unwrap());
            assert_eq!(was, is, "{file}");
        }
        let state = device.store.state_bytes(&id("locals/one")).unwrap();
        assert_eq!(std::fs::read(copy.join(".pvr/json")).unwrap(), state);
    };
    let endpoint = format!("http://{}/cgi-bin/pvr", device.endpoints[0]);
    let cloned = new.path().join("cloned");
    let clone = said(command().args(["clone", &endpoint, cloned.to_str().unwrap()]).output().unwrap());
    assert_eq!((clone.code, clone.err.as_str()), (0, ""));
    assert_eq!(clone.out, format!("{}: 3 files, 2 of them objects\n", cloned.display()));
    check(&cloned);
    let copy = new.path().join("over-the-network");
    let got = ask(&device, 0, &["get", copy.to_str().unwrap()]);
    assert_eq!((got.code, got.err.as_str()), (0, ""));
    assert_eq!(got.out, format!("{}: 3 files, 2 of them objects\n", copy.display()));
    check(&copy);
    let again = ask(&device, 0, &["get", copy.to_str().unwrap()]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("it holds something already; name a new folder"), "{again:?}");
    let local = new.path().join("over-the-socket");
    let got =
        command().env("GOALPOST_SOCKET", device.socket("host")).arg("get").arg(&local).output().unwrap();
    assert_eq!(said(got).code, 0);
    check(&local);
}

#[test]
fn a_token_opens_the_guarded_endpoint() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    write_folder(&folder.path().join("rev"));
    let revision = folder.path().join("rev");
    let post = ["post", revision.to_str().unwrap(), "--name", "locals/good"];
    let refused = ask(&device, 1, &post);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("the agent answered 400: This device asks for a token"), "{refused:?}");
    assert!(refused.err.ends_with("with --token-file\n"), "{refused:?}");
    let with = [&["--token-file", token.to_str().unwrap()], &post[..], &["--follow"]].concat();
    let posted = ask(&device, 1, &with);
    assert_eq!((posted.code, posted.err.as_str()), (0, ""), "{posted:?}");
    // The one that this device says it runs.
    let with = ["--token-file", token.to_str().unwrap(), "post", post[1], "--name", "locals/one"];
    assert_eq!(ask(&device, 1, &with).code, 0);
    let copy = folder.path().join("copy");
    let clone = ["--token-file", token.to_str().unwrap(), "clone", "device", copy.to_str().unwrap()];
    let cloned = ask(&device, 1, &clone);
    assert_eq!((cloned.code, cloned.err.as_str()), (0, ""), "{cloned:?}");
    assert!(ask(&device, 1, &clone[2..4]).err.contains("asks for a token"));
}

#[test]
fn what_cannot_be_asked_over_a_network_is_said() {
    let device = Device::new();
    let ps = ask(&device, 0, &["ps"]);
    assert_eq!(ps.code, 2);
    assert_eq!(
        ps.err,
        "goalctl: --host goes with post, get, clone device, diff --device, progress and events; all else is asked at the agent's socket\n"
    );
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let force = ask(&device, 0, &["post", folder.path().to_str().unwrap(), "--force"]);
    assert_eq!(force.code, 2, "{force:?}");
    std::fs::remove_file(folder.path().join("web/root.squashfs")).unwrap();
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1","x/y":"{}"}}"##, digest(b"nowhere"));
    let file = folder.path().join("state.json");
    std::fs::write(&file, state).unwrap();
    let absent = ask(&device, 0, &["post", file.to_str().unwrap()]);
    assert!(absent.err.contains("neither came along nor is on the device"), "{absent:?}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let nobody = goalctl(&["--host", &closed, "events"]);
    assert_eq!(nobody.code, 3);
    assert_eq!(
        nobody.err,
        format!(
            "goalctl: cannot reach the agent at http://{closed}/cgi-bin/pvr: connection refused\n  \
             is the device on, and does its agent's configuration say device.listen?\n"
        )
    );
}
