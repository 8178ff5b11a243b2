//! `docker://`: a real registry filled by skopeo, over plain HTTP and over TLS; tokens, redirections, lies.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::authoring::digest;
use crate::goalctl::without;
use crate::images::{Author, Image, Packing, Tar, finish_layout};

fn image(text: &str) -> Image {
    let layers = vec![
        Tar::new().file("a", b"below").file("gone", b"x").bytes(),
        Tar::new().file("a", text.as_bytes()).file(".wh.gone", b"").bytes(),
    ];
    Image::new(layers, json!({"Cmd": ["/a"], "Env": ["A=1"]}))
}

/// Debian's docker-registry on a port of the kernel's choice, ended with its test.
struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    /// With a certificate and its key it speaks TLS.
    fn start(folder: &Path, tls: Option<(&Path, &Path)>) -> Registry {
        // The port is free again when the registry binds it; nobody else is given it in between but by bad luck.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let store = folder.join("registry");
        let tls = tls.map_or(String::new(), |(certificate, key)| {
            format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display())
        });
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n{tls}",
            store.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker-registry is needed (Debian: docker-registry)");
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "docker-registry ended before it listened");
        }
        // What it says later must find a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Registry { process, port }
    }

    /// Brings a layout there, as skopeo does it.
    fn fill(&self, layout: &Path, name: &str) {
        let copied = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"])
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://127.0.0.1:{}/{name}", self.port))
            .output()
            .expect("skopeo is needed (Debian: skopeo)");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn an_image_comes_from_a_real_registry_and_is_updated_when_it_changes() {
    let author = Author::new();
    let registry = Registry::start(&author.path(""), None);
    let layout = author.path("layout");
    image("one").layout(&layout, Packing::Gzip);
    registry.fill(&layout, "test/web:1");
    let source = format!("docker://127.0.0.1:{}/test/web:1", registry.port);
    author.add(&source, &[]);
    let over_the_wire = author.image();
    let src = author.json("web/src.json");
    assert_eq!(src["docker_name"], format!("127.0.0.1:{}/test/web", registry.port));
    assert_eq!((&src["docker_tag"], &src["docker_source"]), (&json!("1"), &json!("remote")));
    assert_eq!(src["docker_config"]["Cmd"], json!(["/a"]));
    assert_eq!(src["docker_digest"], author.read("web/root.squashfs.docker-digest"));
    let local = Author::new();
    local.add(layout.to_str().unwrap(), &[]);
    assert!(local.image() == over_the_wire, "other bytes than from the layout itself");

    let same = author.run(&["app", "update", "web"]);
    assert_eq!((same.code, same.out), (0, format!("web: {source} is as it was\n")));
    let layout = author.path("newer");
    image("two").layout(&layout, Packing::Gzip);
    registry.fill(&layout, "test/web:1");
    let updated = author.run(&["app", "update", "web"]);
    assert!(updated.code == 0 && author.image() != over_the_wire, "{updated:?}");
    // By digest, what it was.
    let before = format!("{source}@{}", src["docker_digest"].as_str().unwrap());
    let back = author.run(&["app", "update", "web", "--from", &before]);
    assert!(back.code == 0 && author.image() == over_the_wire, "{back:?}");
    let refused = author.run(&["app", "add", "other", "--from", &source.replace("web:1", "web:2")]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("the registry answered 404 (MANIFEST_UNKNOWN"), "{refused:?}");
}

#[test]
fn a_platform_is_chosen_from_an_index_in_a_registry() {
    let author = Author::new();
    let registry = Registry::start(&author.path(""), None);
    let layout = author.path("layout");
    let blobs =
        |architecture, text: &str| Image { architecture, ..image(text) }.blobs(&layout, Packing::Gzip);
    let manifests = [blobs("arm64", "for arm64"), blobs("amd64", "for amd64")];
    let inner = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
    let index =
        crate::images::blob(&layout, "application/vnd.oci.image.index.v1+json", inner.to_string().as_bytes());
    finish_layout(&layout, &[index]);
    registry.fill(&layout, "multi:1");
    let source = format!("docker://127.0.0.1:{}/multi:1", registry.port);
    author.add(&source, &["--platform", "linux/arm64"]);
    let src = author.json("web/src.json");
    assert_eq!(
        (&src["docker_platform"], &src["docker_digest"]),
        (&json!("linux/arm64"), &manifests[0]["digest"])
    );
    let same = author.run(&["app", "update", "web"]);
    assert_eq!((same.code, same.out), (0, format!("web: {source} is as it was\n")));
}

#[test]
fn a_registry_with_tls_is_believed_only_with_its_certificate() {
    let author = Author::new();
    let (key, certificate) = (author.path("key.pem"), author.path("ca.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is needed (Debian: openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let registry = Registry::start(&author.path(""), Some((&certificate, &key)));
    let layout = author.path("layout");
    image("one").layout(&layout, Packing::Gzip);
    registry.fill(&layout, "web:1");
    let source = format!("docker://localhost:{}/web:1", registry.port);
    author.add(&source, &["--ca", certificate.to_str().unwrap()]);
    assert_eq!(author.json("web/run.json")["name"], "web");
    let other = Author::new();
    let stranger = "/etc/ssl/certs/ca-certificates.crt";
    assert!(Path::new(stranger).is_file(), "Debian: ca-certificates");
    let refused = other.refusal(&source, &["--ca", stranger]);
    assert!(refused.contains("certificate"), "{refused}");
    let nothing = other.write("nothing.pem", b"no certificate");
    let refused = other.refusal(&source, &["--ca", &nothing]);
    assert!(refused.contains("no certificate (PEM) in it"), "{refused}");
    let plain = other.refusal("docker://registry.invalid/web:1", &["--ca", &nothing]);
    assert!(plain.contains("find the address of registry.invalid"), "{plain}");
}

/// Stands before the registry, and cuts each connection after so many bytes of its answer.
struct Cutter {
    port: u16,
    /// Where each request of a part began.
    ranges: Arc<Mutex<Vec<u64>>>,
}

impl Cutter {
    fn before(registry: &Registry, after: u64) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, ranges) = (registry.port, Arc::new(Mutex::new(Vec::new())));
        let log = ranges.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (client, log) = (stream.unwrap(), log.clone());
                std::thread::spawn(move || {
                    cut(client, TcpStream::connect(("127.0.0.1", to)).unwrap(), after, &log)
                });
            }
        });
        Cutter { port, ranges }
    }
}

fn cut(mut client: TcpStream, mut registry: TcpStream, after: u64, ranges: &Mutex<Vec<u64>>) {
    let mut lines = BufReader::new(client.try_clone().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap_or(0) > 2 {
        let range = line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned);
        if let Some(from) = range {
            ranges.lock().unwrap().push(from.trim().trim_end_matches('-').parse().unwrap());
        }
        registry.write_all(line.as_bytes()).unwrap();
        line.clear();
    }
    registry.write_all(b"\r\n").unwrap();
    // The client goes when it has all of it.
    let _ = std::io::copy(&mut registry.take(after), &mut client);
}

#[test]
fn a_download_that_is_cut_goes_on_where_it_was() {
    const PIECE: u64 = 1 << 20;
    let author = Author::new();
    let registry = Registry::start(&author.path(""), None);
    let layout = author.path("layout");
    let mut noise = vec![0; 3 << 20];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    let layers = vec![Tar::new().file("noise", &noise).bytes()];
    Image::new(layers, json!({"Cmd": ["/a"]})).layout(&layout, Packing::Gzip);
    registry.fill(&layout, "web:1");
    let cutter = Cutter::before(&registry, PIECE);
    author.add(&format!("docker://127.0.0.1:{}/web:1", cutter.port), &[]);
    let whole = Author::new();
    whole.add(&format!("docker://127.0.0.1:{}/web:1", registry.port), &[]);
    assert!(author.image() == whole.image(), "another image than in one piece");
    let ranges = cutter.ranges.lock().unwrap().clone();
    // Each connection brings a head and the next MiB, less the head.
    assert!(ranges.len() == 3 && ranges.is_sorted(), "{ranges:?}");
    assert!(
        ranges.iter().zip(1..).all(|(from, count)| (count * PIECE - 8192..=count * PIECE).contains(from)),
        "{ranges:?}"
    );

    // One that cuts again and again is given up, and leaves nothing.
    let worse = Cutter::before(&registry, 1000);
    let refused = Author::new().refusal(&format!("docker://127.0.0.1:{}/web:1", worse.port), &[]);
    assert!(refused.contains(" bytes came before it was cut off for the 101st time: "), "{refused}");
    assert_eq!(worse.ranges.lock().unwrap().len(), 100);
}

/// What a small server of ours answers to a path, and to the token that came with it.
type Answers = dyn Fn(&str, Option<&str>) -> String + Send + Sync;

/// A server that answers each connection once; it ends when its test does not come any more.
fn serve(
    answers: impl Fn(&str, Option<&str>) -> String + Send + Sync + 'static,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, answers): (_, Arc<Answers>) = (seen.clone(), Arc::new(answers));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &*answers, &log);
        }
    });
    (port, seen)
}

fn answer(mut stream: TcpStream, answers: &Answers, log: &Mutex<Vec<String>>) {
    let mut head = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut token, mut line) = (String::new(), None, String::new());
    head.read_line(&mut first).unwrap();
    while head.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            token = Some(value.trim().to_owned());
        }
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    log.lock().unwrap().push(format!("{path} {}", token.as_deref().unwrap_or("-")));
    // A client that has enough of it goes away.
    let _ = stream.write_all(answers(path, token.as_deref()).as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read(&mut [0; 1]);
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn status(line: &str, header: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n{header}\r\n\r\n")
}

/// The documents of an image whose only layer is a tar of text, so that all of it fits in texts.
struct Small {
    manifest: String,
    config: String,
    layer: String,
}

fn small() -> Small {
    let layer = Tar::new().file("a", b"text").bytes();
    let image = Image::new(vec![layer.clone()], json!({}));
    let (config, layer) = (String::from_utf8(image.document()).unwrap(), String::from_utf8(layer).unwrap());
    let descriptor =
        |text: &str| json!({"digest": format!("sha256:{}", digest(text.as_bytes())), "size": text.len()});
    let manifest = json!({"schemaVersion": 2, "config": descriptor(&config), "layers": [descriptor(&layer)]});
    Small { manifest: manifest.to_string(), config, layer }
}

#[test]
fn a_token_is_fetched_where_the_registry_says_and_never_follows_a_redirection() {
    let Small { manifest, config, layer } = small();
    let blobs = layer.clone();
    let (elsewhere, stored) = serve(move |_, _| ok(&blobs));
    let (tokens, asked) = serve(|_, _| ok(r#"{"access_token":"secret"}"#));
    let config_path = format!("/v2/web/blobs/sha256:{}", digest(config.as_bytes()));
    let (port, seen) = serve(move |path, token| match (path, token) {
        (_, None | Some("Bearer stale")) => status(
            "401 Unauthorized",
            &format!(
                "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{tokens}/token\",service=\"our registry\",scope=\"repository:web:pull\""
            ),
        ),
        ("/v2/web/manifests/latest", _) => ok(&manifest),
        (path, _) if path == config_path => ok(&config),
        (path, _) => {
            status("307 Temporary Redirect", &format!("Location: http://127.0.0.1:{elsewhere}{path}?signed"))
        }
    });
    let author = Author::new();
    let login = author.write("login", b"me:pass\n");
    author.add(&format!("docker://127.0.0.1:{port}/web"), &["--login", &login]);
    assert!(author.listing().contains("squashfs-root/a"));
    assert_eq!(
        *asked.lock().unwrap(),
        ["/token?service=our%20registry&scope=repository%3Aweb%3Apull Basic bWU6cGFzcw=="]
    );
    let seen = seen.lock().unwrap();
    assert!(
        seen[0].ends_with("latest -") && seen[1..].iter().all(|line| line.ends_with(" Bearer secret")),
        "{seen:?}"
    );
    let stored = stored.lock().unwrap();
    assert!(stored.len() == 1 && stored[0].ends_with("?signed -"), "{stored:?}");
}

#[test]
fn a_registry_that_lies_is_refused_and_leaves_nothing() {
    let author = Author::new();
    let mut said = String::new();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest: Value = serde_json::from_str(&small().manifest).unwrap();
        change(&mut manifest);
        manifest.to_string()
    };
    let other = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let cases: Vec<(String, String)> = vec![
        // Its layer is another, longer, shorter; its digests are none.
        (small().manifest, "x".repeat(small().layer.len())),
        (small().manifest, format!("{}x", small().layer)),
        (small().manifest, small().layer[..100].to_owned()),
        (changed(&|manifest| manifest["layers"][0]["digest"] = json!("sha256:../../etc")), small().layer),
        (changed(&|manifest| manifest["layers"][0]["digest"] = json!("md5:1234")), small().layer),
        (changed(&|manifest| manifest["layers"][0]["digest"] = json!(other)), small().layer),
        (changed(&|manifest| manifest["layers"][0]["size"] = json!(1_u64 << 60)), small().layer),
        (changed(&|manifest| manifest["config"]["size"] = json!(1_u64 << 30)), small().layer),
        (changed(&|manifest| manifest["layers"] = json!([])), small().layer),
        ("{\"schemaVersion\":1}".to_owned(), small().layer),
        ("no JSON".to_owned(), small().layer),
    ];
    for (manifest, layer) in cases {
        let config = small().config;
        let config_path = format!("/v2/web/blobs/sha256:{}", digest(config.as_bytes()));
        let (port, _) = serve(move |path, _| match path {
            "/v2/web/manifests/latest" => ok(&manifest),
            path if path == config_path => ok(&config),
            _ => ok(&layer),
        });
        let refused = author.refusal(&format!("docker://127.0.0.1:{port}/web"), &[]);
        said.push_str(&refused.replace(&port.to_string(), "[port]"));
    }
    for answer in [
        status("302 Found", "Location: http://registry.example/v2/"),
        status("302 Found", "Location: /v2/web/manifests/latest"),
        status("302 Found", "X: none"),
        status("401 Unauthorized", "WWW-Authenticate: Bearer realm=\"http://tokens.example/\""),
        status("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\""),
        status("500 Internal Server Error", "X: none"),
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut".to_owned(),
        "not HTTP at all\r\n\r\n".to_owned(),
    ] {
        let (port, _) = serve(move |_, _| answer.clone());
        let refused = author.refusal(&format!("docker://127.0.0.1:{port}/web"), &[]);
        said.push_str(&refused.replace(&port.to_string(), "[port]"));
    }
    insta::assert_snapshot!("registry_that_lies", without(&said, &author.path("")));
}
