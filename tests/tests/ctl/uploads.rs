//! Uploads that are cut off, and go on where they were.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::ids::Digest;

use crate::authoring::{digest, write_folder};
use crate::device::Device;
use crate::goalctl::{Said, command, program, said};

const SIZE: usize = 1 << 20;

/// Stands between goalctl and the agent, lets so many bytes through to it, and then cuts every connection.
struct Wire {
    socket: PathBuf,
    passed: Arc<AtomicU64>,
}

impl Wire {
    fn before(agent: &Path, socket: PathBuf, most: u64) -> Wire {
        let listener = UnixListener::bind(&socket).unwrap();
        let passed = Arc::new(AtomicU64::new(0));
        let (agent, counted) = (agent.to_owned(), passed.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, agent, counted) =
                    (client.unwrap(), UnixStream::connect(&agent).unwrap(), counted.clone());
                std::thread::spawn(move || pass(client, agent, &counted, most));
            }
        });
        Wire { socket, passed }
    }

    fn post(&self, folder: &Path) -> Said {
        let arguments = ["post", folder.to_str().unwrap(), "--name", "locals/x"];
        said(command().env("GOALPOST_SOCKET", &self.socket).args(arguments).output().unwrap())
    }
}

fn pass(mut client: UnixStream, mut agent: UnixStream, counted: &AtomicU64, most: u64) {
    let (mut answers, mut back) = (agent.try_clone().unwrap(), client.try_clone().unwrap());
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = is_cut.clone();
    let answering = std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = answers.read(&mut bytes) {
            // The agent is heard to its end, which comes when it has kept what arrived.
            if !cut.load(Ordering::SeqCst) && back.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let before = counted.fetch_add(count as u64, Ordering::SeqCst);
        if before + count as u64 > most {
            is_cut.store(true, Ordering::SeqCst);
            break;
        }
        if agent.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = agent.shutdown(Shutdown::Write);
    answering.join().unwrap();
}

#[test]
fn what_arrived_whole_before_the_cut_is_not_sent_again() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let rev = folder.path().join("rev");
    write_folder(&rev);
    for number in 0..4u8 {
        std::fs::write(rev.join(format!("web/file{number}")), vec![number; SIZE]).unwrap();
    }
    let cut = Wire::before(&device.socket("host"), folder.path().join("cut"), 5 * SIZE as u64 / 2);
    let first = cut.post(&rev);
    assert_eq!((first.code, first.out.as_str()), (1, ""), "{first:?}");
    assert!(first.err.contains("the agent ended the exchange (send object "), "{first:?}");
    assert!(first.err.ends_with("what arrived is kept: the same command again sends only the rest\n"));
    let there = device.store.objects().unwrap();
    let large = there.iter().filter(|object| object.size == SIZE as u64).count();
    assert!((1..=2).contains(&large), "{there:?}");

    let wire = Wire::before(&device.socket("host"), folder.path().join("wire"), u64::MAX);
    let second = wire.post(&rev);
    assert_eq!((second.code, second.err.as_str()), (0, ""), "{second:?}");
    assert!(second.out.contains(&format!(", {} were there\n", there.len())), "{second:?}");
    let passed = wire.passed.load(Ordering::SeqCst);
    let rest = (4 - large) as u64 * SIZE as u64;
    assert!((rest..rest + SIZE as u64 / 2).contains(&passed), "{passed} bytes were sent for {rest}");
    for number in 0..4u8 {
        assert!(device.store.has_object(&digest(&vec![number; SIZE]).parse().unwrap()));
    }
}

#[test]
fn an_object_that_is_cut_goes_on_where_it_was() {
    const LARGE: usize = 8 << 20;
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let rev = folder.path().join("rev");
    write_folder(&rev);
    let image: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    std::fs::write(rev.join("web/image"), &image).unwrap();
    let image: Digest = digest(&image).parse().unwrap();
    let mut there = 0;
    for (cut, more) in ["cut", "cut again"].into_iter().zip([5 << 20, 2 << 20]) {
        let wire = Wire::before(&device.socket("host"), folder.path().join(cut), more);
        let said = wire.post(&rev);
        assert!(said.code == 1 && said.err.contains("what arrived is kept"), "{said:?}");
        let now = device.store.partial_size(&image).unwrap();
        assert!(
            (there + (more - 65_536)..=there + more).contains(&now),
            "{now} bytes are there, {there} were"
        );
        there = now;
    }
    // A package is read once, from its beginning.
    let package = folder.path().join("rev.tar");
    let export = ["export", rev.to_str().unwrap(), package.to_str().unwrap()];
    assert_eq!(said(command().args(export).output().unwrap()).code, 0);
    let wire = Wire::before(&device.socket("host"), folder.path().join("wire"), u64::MAX);
    let last = wire.post(&package);
    assert_eq!((last.code, last.err.as_str()), (0, ""), "{last:?}");
    let rest = LARGE as u64 - there;
    let passed = wire.passed.load(Ordering::SeqCst);
    assert!((rest..rest + 65_536).contains(&passed), "{passed} bytes were sent for {rest}");
    assert!(device.store.has_object(&image) && device.store.partial_size(&image).is_none());
}

#[test]
fn what_is_damaged_on_the_device_is_sent_anew() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let rev = folder.path().join("rev");
    write_folder(&rev);
    let image = vec![7; 2 * SIZE];
    std::fs::write(rev.join("web/image"), &image).unwrap();
    let image = digest(&image);
    std::fs::write(device.socket("objects").join(format!(".partial-{image}")), vec![8; SIZE]).unwrap();
    let wire = Wire::before(&device.socket("host"), folder.path().join("wire"), u64::MAX);
    let said = wire.post(&rev);
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.err.replace(&image, "IMAGE"));
    let again = wire.post(&rev);
    assert!(again.code == 0 && again.out.contains(&format!("({} bytes)", 2 * SIZE)), "{again:?}");
}

#[test]
fn how_far_an_upload_is_shows_on_a_terminal_alone() {
    let device = Device::new();
    let folder = tempfile::tempdir().unwrap();
    let rev = folder.path().join("rev");
    write_folder(&rev);
    std::fs::write(rev.join("web/file"), vec![7; SIZE]).unwrap();
    // Of bsdutils, which every Debian has: it runs a command on a terminal of its own.
    let mut script = std::process::Command::new("script");
    let line = format!("{} post {} --name locals/x", program().display(), rev.display());
    let ran =
        script.args(["-qec", &line, "/dev/null"]).env("GOALPOST_SOCKET", device.socket("host")).output();
    let shown = String::from_utf8(ran.expect("script is there").stdout).unwrap();
    assert!(shown.contains("\r[") && shown.contains(" of 1.0 MB") && shown.contains("\r\x1b[K"), "{shown:?}");
    assert!(shown.contains("locals/x is on the device"), "{shown:?}");
}
