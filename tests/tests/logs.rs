//! Captured output: pipes in, files out, followers between.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests say what went wrong by panicking")]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use agent::logs::{LogLimits, LogReader, Logs, Reading, What};
use agent::store::Store;
use model::ids::{ContainerName, RevisionId};

struct Device {
    root: tempfile::TempDir,
    logs: Arc<Logs>,
    revision: RevisionId,
    container: ContainerName,
}

fn device(limits: LogLimits) -> Device {
    let root = tempfile::tempdir().unwrap();
    device_in(root, limits)
}

fn device_in(root: tempfile::TempDir, limits: LogLimits) -> Device {
    let store = Arc::new(Store::open(root.path()).unwrap());
    let logs = Logs::new(store, limits).unwrap();
    Device { root, logs, revision: "locals/x".parse().unwrap(), container: "app".parse().unwrap() }
}

const PLENTY: LogLimits = LogLimits { file_bytes: 1 << 20, files: 2, rate: 1 << 20 };

impl Device {
    /// A life of the container: what is written to the pipe is its output.
    fn life(&self) -> (std::io::PipeWriter, tokio::task::JoinHandle<()>) {
        let (output, input) = std::io::pipe().unwrap();
        (input, self.logs.capture(&self.revision, &self.container, output.into()).unwrap())
    }

    async fn say(&self, text: &str) {
        let (mut input, captured) = self.life();
        let text = text.to_owned();
        tokio::task::spawn_blocking(move || input.write_all(text.as_bytes()).unwrap()).await.unwrap();
        captured.await.unwrap();
        self.logs.flush().await;
    }

    async fn read(&self, reading: Reading, what: What) -> LogReader {
        let reader = self.logs.read(&self.revision, &self.container, reading).await.unwrap();
        reader.only(what).await.unwrap()
    }

    async fn stored(&self, what: What) -> String {
        let mut reader = self.read(Reading::Stored, what).await;
        let mut text = Vec::new();
        while let Some(bytes) = reader.next().await {
            text.extend(bytes.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    fn folder(&self) -> std::path::PathBuf {
        self.root.path().join("logs/locals/x/app")
    }
}

/// What was said, without stamps.
fn said(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split_once("] ").map_or(line, |(_, said)| said)).collect()
}

async fn read_until(reader: &mut LogReader, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let bytes = tokio::time::timeout(Duration::from_secs(10), reader.next()).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes.unwrap().unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn what_a_container_says_is_stamped_and_kept() {
    let device = device(PLENTY);
    device.say("one\ntwo\nno end").await;
    device.say("second life\n").await;
    let text = device.stored(What::default()).await;
    assert_eq!(said(&text), ["one", "two", "no end", "second life"]);
    let first = text.lines().next().unwrap();
    assert_eq!((first.len(), &first[10..11], &first[23..26]), (first.len(), "T", "Z ["), "{first}");
    assert_eq!(said(&device.stored(What { tail: Some(2), since: None }).await), ["no end", "second life"]);
    assert_eq!(device.stored(What { tail: Some(0), since: None }).await, "");
    let future = std::time::SystemTime::now() + Duration::from_secs(3600);
    assert_eq!(device.stored(What { tail: None, since: Some(future) }).await, "");
    let past = Some(std::time::SystemTime::now() - Duration::from_secs(3600));
    assert_eq!(said(&device.stored(What { tail: Some(9), since: past }).await).len(), 4);
}

#[tokio::test]
async fn nothing_was_said_is_an_answer() {
    let device = device(PLENTY);
    let failure = device.logs.read(&device.revision, &device.container, Reading::Stored).await.unwrap_err();
    assert_eq!(failure.kind, model::report::FailureKind::Missing);
}

#[tokio::test]
async fn a_follower_hears_at_once_over_lives_revisions_and_restarts_of_the_agent() {
    let mut device = device(PLENTY);
    let mut early = device.read(Reading::Follow, What::default()).await;
    let (mut input, captured) = device.life();
    input.write_all(b"one\n").unwrap();
    assert_eq!(said(&read_until(&mut early, "\n").await), ["one"]);
    input.write_all(b"prompt> ").unwrap();
    assert_eq!(said(&read_until(&mut early, "> ").await), ["prompt> "]);
    drop(input);
    captured.await.unwrap();
    read_until(&mut early, "\n").await;
    device.revision = "7".parse().unwrap();
    device.say("of revision 7\n").await;
    assert_eq!(said(&read_until(&mut early, "7\n").await), ["of revision 7"]);
    let Device { root, logs, .. } = device;
    drop((early, logs));

    let mut store = Store::open(root.path());
    while store.is_err() {
        // The writer's thread ends by itself.
        std::thread::yield_now();
        store = Store::open(root.path());
    }
    drop(store);
    let mut device = device_in(root, PLENTY);
    device.revision = "7".parse().unwrap();
    let mut reader = device.read(Reading::Follow, What::default()).await;
    assert_eq!(said(&read_until(&mut reader, "\n").await), ["of revision 7"]);
    device.say("after the restart\n").await;
    assert_eq!(said(&read_until(&mut reader, "\n").await), ["after the restart"]);
}

#[tokio::test]
async fn files_are_rotated_and_a_follower_misses_no_line() {
    let device = device(LogLimits { file_bytes: 4000, files: 3, rate: 1 << 20 });
    let mut follower = device.read(Reading::Follow, What::default()).await;
    let mut heard = String::new();
    for round in 0..20 {
        device
            .say(&(0..10).map(|line| format!("{round}.{line} {}\n", "x".repeat(40))).collect::<String>())
            .await;
        heard.push_str(&read_until(&mut follower, &format!("{round}.9 {}\n", "x".repeat(40))).await);
    }
    assert_eq!(heard.lines().count(), 200);
    let mut sizes = Vec::new();
    for entry in device.folder().read_dir().unwrap() {
        sizes.push(entry.unwrap().metadata().unwrap().len());
    }
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|size| *size <= 4000), "{sizes:?}");
    let stored = device.stored(What::default()).await;
    assert!(heard.ends_with(&stored));
    let tail = device.stored(What { tail: Some(60), since: None }).await;
    assert_eq!(tail.lines().count(), 60);
    assert!(stored.ends_with(&tail));
}

#[tokio::test]
async fn a_flood_is_dropped_counted_and_others_are_heard() {
    let device = device(LogLimits { file_bytes: 100_000, files: 1, rate: 20_000 });
    let (mut flood, captured) = device.life();
    let flooding = std::thread::spawn(move || {
        let text = "y\n".repeat(4096);
        (0..100).for_each(|_| flood.write_all(text.as_bytes()).unwrap());
    });
    let other: ContainerName = "other".parse().unwrap();
    let (output, mut input) = std::io::pipe().unwrap();
    device.logs.capture(&device.revision, &other, output.into()).unwrap();
    let mut follower = device.logs.read(&device.revision, &other, Reading::Follow).await.unwrap();
    input.write_all(b"quiet\n").unwrap();
    assert_eq!(said(&read_until(&mut follower, "\n").await), ["quiet"]);
    captured.await.unwrap();
    flooding.join().unwrap();
    device.logs.flush().await;
    let text = device.stored(What::default()).await;
    assert!(text.len() < 200_000);
    let dropped = text.lines().filter_map(|line| {
        line.split_once("goalpost: ")?.1.strip_suffix(" bytes of output dropped here")?.parse::<usize>().ok()
    });
    let kept = said(&text).iter().filter(|said| **said == "y").count();
    // More only where the writer fell behind too: then stamps are counted.
    assert!(dropped.sum::<usize>() + 2 * kept >= 100 * 8192);
}

#[tokio::test]
async fn a_full_disk_costs_output_and_nothing_else() {
    if !rustix_is_root() {
        eprintln!("skipped: mounting a small tmpfs needs root");
        return;
    }
    let small = Tmpfs::mount("size=64k");
    let store = Arc::new(Store::open(small.path()).unwrap());
    let logs = Logs::new(store, PLENTY).unwrap();
    let device = Device {
        root: tempfile::tempdir().unwrap(),
        logs,
        revision: "1".parse().unwrap(),
        container: "app".parse().unwrap(),
    };
    device.say(&format!("{}\n", "z".repeat(1000)).repeat(200)).await;
    let filler = small.path().join("filler");
    let _ = std::fs::write(&filler, vec![0; 64 * 1024]);
    device.say(&format!("{}\n", "lost".repeat(2000)).repeat(10)).await;
    std::fs::remove_file(filler).unwrap();
    std::fs::remove_dir_all(small.path().join("logs/1/app")).unwrap();
    device.say("there is room again\n").await;
    let text = device.stored(What::default()).await;
    let lines = said(&text);
    assert_eq!(lines.last(), Some(&"there is room again"), "{text}");
    assert!(lines.iter().any(|line| line.contains("bytes of output lost here")), "{text}");
}

fn rustix_is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A small disk, gone with the value.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Tmpfs {
        let folder = tempfile::tempdir().unwrap();
        let none: Option<&str> = None;
        nix::mount::mount(none, folder.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), Some(options))
            .unwrap();
        Tmpfs(folder)
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}
