//! What containers say over their log sockets: real senders, raw sockets, floods, garbage.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails right there")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent::logs::{Listening, LogLimits, LogReader, LogSockets, Logs, Reading, What};
use agent::store::Store;
use model::ids::{ContainerName, RevisionId};

struct Device {
    root: tempfile::TempDir,
    logs: Arc<Logs>,
}

/// One life of a container, with its sockets.
struct Life {
    stream: PathBuf,
    datagrams: PathBuf,
    name: ContainerName,
    listening: Listening,
}

const PLENTY: LogLimits = LogLimits { file_bytes: 1 << 20, files: 2, rate: 1 << 20 };

fn device(limits: LogLimits) -> Device {
    let root = tempfile::tempdir().unwrap();
    let logs = Logs::new(Arc::new(Store::open(root.path()).unwrap()), limits).unwrap();
    Device { root, logs }
}

fn revision() -> RevisionId {
    "locals/x".parse().unwrap()
}

impl Device {
    fn life(&self, name: &str) -> Life {
        let at = |kind: &str| self.root.path().join(format!("{name}-{kind}"));
        let (stream, datagrams) = (at("stream"), at("datagrams"));
        let (listener, letters) =
            (UnixListener::bind(&stream).unwrap(), UnixDatagram::bind(&datagrams).unwrap());
        listener.set_nonblocking(true).unwrap();
        letters.set_nonblocking(true).unwrap();
        let name: ContainerName = name.parse().unwrap();
        let sockets = LogSockets { stream: listener.into(), datagrams: letters.into() };
        let listening = self.logs.listen(&revision(), &name, sockets).unwrap();
        Life { stream, datagrams, name, listening }
    }

    async fn follow(&self, life: &Life) -> LogReader {
        self.logs.read(&revision(), &life.name, Reading::Follow).await.unwrap()
    }

    async fn stored(&self, name: &ContainerName) -> String {
        self.logs.flush().await;
        let reader = self.logs.read(&revision(), name, Reading::Stored).await.unwrap();
        let mut reader = reader.only(What::default()).await.unwrap();
        let mut text = Vec::new();
        while let Some(bytes) = reader.next().await {
            text.extend(bytes.unwrap());
        }
        String::from_utf8(text).unwrap()
    }
}

/// What was said, without stamps.
fn said(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.split_once("] ").map_or(line, |(_, said)| said)).collect()
}

async fn until(reader: &mut LogReader, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let bytes = tokio::time::timeout(Duration::from_secs(20), reader.next()).await;
        let bytes = bytes.unwrap_or_else(|_| panic!("no {end:?} in {text}"));
        text.push_str(&String::from_utf8_lossy(&bytes.unwrap().unwrap()));
    }
    text
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

async fn logger(arguments: Vec<String>) {
    let status = blocking(move || Command::new("logger").args(&arguments).status());
    let status = status.await.expect("logger, which this test needs: apt-get install bsdutils");
    assert!(status.success());
}

#[tokio::test]
async fn logger_is_heard_on_both_sockets_in_every_format_that_it_has() {
    let device = device(PLENTY);
    let life = device.life("app");
    let mut follower = device.follow(&life).await;
    let mut all = String::new();
    for (socket, options, expected) in [
        (&life.datagrams, &["-p", "daemon.err", "-t", "web", "up"][..], "daemon.err web: up\n"),
        (&life.datagrams, &["--id=7", "-t", "web", "--", "a b"], "user.notice web[7]: a b\n"),
        (
            &life.datagrams,
            &["--rfc5424=notime,nohost", "-p", "local3.debug", "-t", "web", "x"],
            "local3.debug web: ",
        ),
        (&life.stream, &["-p", "cron.info", "-t", "web", "as a stream"], "cron.info web: as a stream\n"),
        (&life.stream, &["--octet-count", "--rfc5424", "-t", "web", "two\nlines"], "two\\nlines\n"),
        (&life.stream, &["--rfc3164", "-t", "web", "with a host"], "web: with a host\n"),
    ] {
        let socket =
            vec!["--socket-errors=on".to_owned(), "-u".to_owned(), socket.to_str().unwrap().to_owned()];
        logger(socket.into_iter().chain(options.iter().map(|option| (*option).to_owned())).collect()).await;
        all.push_str(&until(&mut follower, expected).await);
    }
    let first = all.lines().next().unwrap();
    assert_eq!((&first[10..11], &first[23..26]), ("T", "Z ["), "{first}");
}

#[tokio::test]
async fn a_connection_says_many_things_in_pieces_and_in_every_form() {
    let device = device(PLENTY);
    let life = device.life("app");
    let mut follower = device.follow(&life).await;
    let mut stream = UnixStream::connect(&life.stream).unwrap();
    let frame = [&0u32.to_ne_bytes()[..], &16u32.to_ne_bytes(), b"1\0other\0old\0gone"].concat();
    let text = [
        b"<11>Nov 25 08:00:00 a[1]: one\n<12>a: two\0".as_slice(),
        b"{\"version\":\"0\",\"level\":\"INFO\",\"src\":\"b\",\"message\":\"three\"}{\"message\":\n\"four\"}",
        b"level=WARN src=c message=\"five 5\"\n",
        &frame,
        b"plain six\n",
    ]
    .concat();
    let sent = blocking(move || {
        for piece in text.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        stream.write_all(b"no end").unwrap();
        stream
    })
    .await;
    let heard = until(&mut follower, "no end\n").await;
    let expected = [
        "user.err a[1]: one",
        "user.warning a: two",
        "log.info b: three",
        "log.notice: four",
        "log.warning c: five 5",
        "log.err old: gone",
        "log: plain six",
        "log: no end",
    ];
    assert_eq!(said(&heard), expected, "what is not ended counts as said after a while");
    drop(sent);
}

#[tokio::test]
async fn the_last_words_of_a_container_are_kept_and_whose_they_are_the_socket_says() {
    let device = device(PLENTY);
    let (life, other) = (device.life("app"), device.life("other"));
    let letters = UnixDatagram::unbound().unwrap();
    letters.connect(&life.datagrams).unwrap();
    for number in 1..=5 {
        letters.send(format!("<13>other: {number}").as_bytes()).unwrap();
    }
    let mut waiting = UnixStream::connect(&life.stream).unwrap();
    waiting.write_all(b"<13>app: six\n<13>app: and no end").unwrap();
    waiting.shutdown(std::net::Shutdown::Write).unwrap();
    let Life { name, listening, .. } = life;
    drop(listening);
    // The connection that was still waiting is closed when all of it was read.
    let mut end = Vec::new();
    blocking(move || waiting.read_to_end(&mut end)).await.unwrap();
    let text = device.stored(&name).await;
    let expected = ["1", "2", "3", "4", "5"].map(|number| format!("user.notice other: {number}"));
    let lines = said(&text);
    assert_eq!(lines.iter().filter(|line| expected.contains(&(**line).to_owned())).count(), 5, "{text}");
    assert!(
        lines.contains(&"user.notice app: six") && lines.contains(&"user.notice app: and no end"),
        "{text}"
    );
    assert!(device.logs.read(&revision(), &other.name, Reading::Stored).await.is_err());
}

#[tokio::test]
async fn lines_of_sockets_stand_by_themselves_beside_output() {
    let device = device(PLENTY);
    let life = device.life("app");
    let mut follower = device.follow(&life).await;
    let (output, mut input) = std::io::pipe().unwrap();
    device.logs.capture(&revision(), &life.name, output.into()).unwrap();
    input.write_all(b"prompt> ").unwrap();
    until(&mut follower, "prompt> ").await;
    UnixDatagram::unbound().unwrap().send_to(b"<13>app: x", &life.datagrams).unwrap();
    assert_eq!(said(&until(&mut follower, "app: x\n").await), ["", "user.notice app: x"]);
}

#[tokio::test]
async fn a_flood_and_a_crowd_that_says_half_cost_nobody_else_anything() {
    let device = device(LogLimits { file_bytes: 100_000, files: 1, rate: 20_000 });
    let (flooder, quiet) = (device.life("flooder"), device.life("quiet"));
    let (letters, stream) = (flooder.datagrams.clone(), flooder.stream.clone());
    let flooding = std::thread::spawn(move || {
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(letters).unwrap();
        for _ in 0..20_000 {
            socket.send(b"<13>flood: y").unwrap();
        }
    });
    let crowding = std::thread::spawn(move || {
        let mut crowd: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&stream).unwrap()).collect();
        for _ in 0..200 {
            // Those beyond the limit find their connection closed.
            crowd.iter_mut().for_each(|one| drop(one.write_all(b"{")));
        }
        crowd
    });
    let mut follower = device.follow(&quiet).await;
    for number in 0..50 {
        let (socket, began) = (quiet.datagrams.clone(), std::time::Instant::now());
        blocking(move || {
            UnixDatagram::unbound().unwrap().send_to(format!("<13>q: {number}").as_bytes(), socket)
        })
        .await
        .unwrap();
        until(&mut follower, &format!("q: {number}\n")).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let crowd = blocking(move || {
        flooding.join().unwrap();
        crowding.join().unwrap()
    })
    .await;
    drop(crowd);
    let Life { name, listening, .. } = flooder;
    drop(listening);
    let mut follower = device.logs.read(&revision(), &name, Reading::Follow).await.unwrap();
    let text = until(&mut follower, "bytes of output dropped here").await;
    assert!(text.len() < 250_000, "{}", text.len());
}

#[tokio::test]
async fn garbage_is_kept_as_text_and_what_comes_after_it_is_heard() {
    let device = device(PLENTY);
    let life = device.life("app");
    let mut follower = device.follow(&life).await;
    let (letters, stream) = (life.datagrams.clone(), life.stream.clone());
    blocking(move || {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(letters).unwrap();
        for _ in 0..500 {
            let length = usize::try_from(next() % 60).unwrap();
            let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(next() % 256).unwrap()).collect();
            socket.send(&bytes).unwrap();
            let mut connection = UnixStream::connect(&stream).unwrap();
            let _ = connection.write_all(&bytes);
        }
        socket.send(&vec![b'z'; 40_000]).unwrap();
        socket.send(b"").unwrap();
    })
    .await;
    // The writer may have fallen behind, and then leaves lines out: the end is said until it is heard.
    let heard = async {
        let mut text = String::new();
        while !text.contains("app: done\n") {
            UnixStream::connect(&life.stream).unwrap().write_all(b"<13>app: done\n").unwrap();
            while let Ok(bytes) = tokio::time::timeout(Duration::from_millis(100), follower.next()).await {
                text.push_str(&String::from_utf8_lossy(&bytes.unwrap().unwrap()));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
    let all = std::fs::read(device.root.path().join("logs/locals/x/app/console.log")).unwrap();
    assert!(all.split(|byte| *byte == b'\n').all(|line| line.len() < 9000 && !line.contains(&0)));
    let cut = b"(23616 bytes cut)";
    assert!(all.windows(cut.len()).any(|window| window == cut), "40000 bytes are more than one read takes");
}
