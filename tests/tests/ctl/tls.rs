//! `goalctl --host https://…`: the device endpoint of the real server behind a terminator, certificates made by openssl.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::authoring::write_folder;
use crate::device::{Device, TOKEN, id};
use crate::goalctl::{Said, command, said};

const CURVE: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

#[derive(Clone, Copy)]
enum Good {
    Now,
    Before,
}

/// Certificates and keys, by their names.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Authority {
        let made = Authority { folder: tempfile::tempdir().unwrap() };
        let [key, pem] = [made.key("ca"), made.pem("ca")];
        let subject = format!("/CN={}", made.folder.path().file_name().unwrap().display());
        openssl(
            &[
                &["req", "-x509", "-days", "2", "-subj", &subject],
                &CURVE[..],
                &["-keyout", &key, "-out", &pem],
            ]
            .concat(),
        );
        made
    }

    /// Signs one for a name (`DNS:…`, `IP:…`), good for those days.
    fn sign(&self, name: &str, subject: &str, good: Good) {
        let [key, request] = [self.key(name), self.path(&format!("{name}.csr"))];
        let subject = format!("subjectAltName={subject}");
        let asked = ["req", "-subj", "/CN=device", "-addext", &subject, "-keyout", &key, "-out", &request];
        openssl(&[&asked[..], &CURVE[..]].concat());
        let config = self.path("ca.cnf");
        let text = format!(
            "[ca]\ndefault_ca=a\n[a]\ndatabase={0}/index\nnew_certs_dir={0}\nrand_serial=yes\nunique_subject=no\n\
             default_md=sha256\npolicy=p\ncopy_extensions=copy\n[p]\ncommonName=supplied\n",
            self.folder.path().display()
        );
        std::fs::write(&config, text).unwrap();
        let index = self.path("index");
        std::fs::OpenOptions::new().create(true).append(true).open(index).unwrap();
        let [ca, ca_key, pem] = [self.pem("ca"), self.key("ca"), self.pem(name)];
        let signed = [
            "ca", "-batch", "-notext", "-config", &config, "-cert", &ca, "-keyfile", &ca_key, "-in", &request,
        ];
        let (from, to) = match good {
            Good::Now => ("20200101000000Z", "20990101000000Z"),
            Good::Before => ("20200101000000Z", "20210101000000Z"),
        };
        openssl(&[&signed[..], &["-out", &pem, "-startdate", from, "-enddate", to]].concat());
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn key(&self, name: &str) -> String {
        self.path(&format!("{name}.key"))
    }

    fn pem(&self, name: &str) -> String {
        self.path(&format!("{name}.pem"))
    }

    /// The device's endpoint over TLS, as that name; with `clients`, for those whom this authority knows alone.
    fn guard(&self, device: &Device, endpoint: usize, name: &str, clients: Option<&Authority>) -> SocketAddr {
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(authority.pem("ca")).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_file(self.pem(name)).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.key(name)).unwrap();
        terminate(device, endpoint, config.with_single_cert(chain, key).unwrap())
    }
}

fn openssl(arguments: &[&str]) {
    let made = Command::new("openssl").args(arguments).output().expect("openssl is needed (Debian: openssl)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Lives as long as the device.
fn terminate(device: &Device, endpoint: usize, config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (to, acceptor) = (device.endpoints[endpoint], TlsAcceptor::from(Arc::new(config)));
    drop(device.runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(carry(acceptor.clone(), stream, to)));
        }
    }));
    address
}

async fn carry(acceptor: TlsAcceptor, stream: TcpStream, to: SocketAddr) {
    match acceptor.accept(stream).into_fallible().await {
        Ok(mut stream) => {
            let mut behind = TcpStream::connect(to).await.unwrap();
            // Either side may go when it has enough.
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
        }
        Err((_, mut stream)) => {
            // What the client has sent already is read: it must hear why, and not that the connection was reset.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
    }
}

/// Everything beside the host, in the order in which it is typed.
fn ask(host: &str, arguments: &[&str]) -> Said {
    said(command().args(["--host", host]).args(arguments).output().unwrap())
}

fn folder(at: &Path) -> String {
    write_folder(at);
    at.to_str().unwrap().to_owned()
}

#[test]
fn a_device_behind_tls_is_posted_to_followed_and_cloned() {
    let (device, authority) = (Device::new(), Authority::new());
    authority.sign("device", "IP:127.0.0.1,DNS:localhost", Good::Now);
    let address = authority.guard(&device, 1, "device", None);
    let work = tempfile::tempdir().unwrap();
    let path = folder(&work.path().join("rev"));
    let token = authority.path("token");
    std::fs::write(&token, TOKEN).unwrap();
    let ca = authority.pem("ca");
    let known = ["--ca", &ca, "--token-file", &token];
    let posted = ask(
        &format!("https://{address}"),
        &[&known[..], &["post", &path, "--name", "locals/good", "--follow"]].concat(),
    );
    assert_eq!((posted.code, posted.err.as_str()), (0, ""), "{posted:?}");
    assert!(posted.out.contains("DONE  Update finished"), "{posted:?}");
    assert!(device.store.state_bytes(&id("locals/good")).is_ok());
    // The device says that it runs this one. By a name, and by what the environment says.
    let host = format!("https://localhost:{}/cgi-bin/pvr", address.port());
    let by_variables = |arguments: &[&str]| {
        let variables = [("GOALCTL_CA", &ca), ("GOALCTL_TOKEN_FILE", &token)];
        said(command().envs(variables).args(arguments).output().unwrap())
    };
    let one = by_variables(&["--host", &host, "post", &path, "--name", "locals/one"]);
    assert_eq!((one.code, one.err.as_str()), (0, ""), "{one:?}");
    let [cloned, got] = ["cloned", "got"].map(|name| work.path().join(name).to_str().unwrap().to_owned());
    for (arguments, made) in [
        (["clone", host.as_str(), cloned.as_str()].to_vec(), &cloned),
        (vec!["--host", &host, "get", &got], &got),
    ] {
        let said = by_variables(&arguments);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        let made = std::fs::read(PathBuf::from(made).join("web/root.squashfs")).unwrap();
        assert_eq!(made, std::fs::read(Path::new(&path).join("web/root.squashfs")).unwrap());
    }
    let diff = by_variables(&["--host", &host, "diff", "--device", &cloned]);
    assert_eq!((diff.code, diff.out.as_str(), diff.err.as_str()), (0, "", ""));
}

#[test]
fn who_cannot_prove_what_it_is_hears_nothing_of_us() {
    let (device, authority, stranger) = (Device::new(), Authority::new(), Authority::new());
    authority.sign("device", "IP:127.0.0.1", Good::Now);
    authority.sign("other", "DNS:other.example", Good::Now);
    authority.sign("expired", "IP:127.0.0.1", Good::Before);
    let ca = authority.pem("ca");
    let mut all = String::new();
    let mut refused = |name: &str, ca: &str| {
        let address = authority.guard(&device, 0, name, None);
        let said = ask(&format!("https://{address}"), &["--ca", ca, "events"]);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
        all.push_str(&said.err.replace(&address.port().to_string(), "[port]"));
        said.err
    };
    refused("device", &stranger.pem("ca"));
    refused("other", &ca);
    let expired = refused("expired", &ca);
    assert!(expired.contains("certificate expired") && expired.contains("date and time right"), "{expired}");
    let at = all.find("invalid peer certificate: certificate expired").unwrap();
    all.truncate(at);
    let plain = ask(&format!("https://{}", device.endpoints[0]), &["--ca", &ca, "events"]);
    assert_eq!(plain.code, 1, "{plain:?}");
    assert!(plain.err.ends_with("does it speak TLS at that port? http:// is plain\n"), "{plain:?}");
    insta::assert_snapshot!(all, @r#"
    goalctl: no TLS with https://127.0.0.1:[port]/cgi-bin/pvr: invalid peer certificate: UnknownIssuer
      name the authority that its certificate comes from with --ca FILE
    goalctl: no TLS with https://127.0.0.1:[port]/cgi-bin/pvr: invalid peer certificate: certificate not valid for name "127.0.0.1"; certificate is only valid for DnsName("other.example")
      name the device in --host as its certificate does
    goalctl: no TLS with https://127.0.0.1:[port]/cgi-bin/pvr:
    "#);
}

#[test]
fn a_device_that_asks_for_a_certificate_is_shown_ours() {
    let (device, authority, stranger) = (Device::new(), Authority::new(), Authority::new());
    authority.sign("device", "IP:127.0.0.1", Good::Now);
    authority.sign("laptop", "DNS:laptop", Good::Now);
    stranger.sign("laptop", "DNS:laptop", Good::Now);
    let host = format!("https://{}", authority.guard(&device, 0, "device", Some(&authority)));
    let ca = authority.pem("ca");
    let shown = |certificate: &str, key: &str| {
        ["--ca", &ca, "--client-cert", certificate, "--client-key", key, "events"].map(str::to_owned)
    };
    let said = |arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        ask(&host, &arguments)
    };
    let ours = shown(&authority.pem("laptop"), &authority.key("laptop"));
    let heard = said(&ours);
    assert_eq!((heard.code, heard.err.as_str()), (0, ""), "{heard:?}");
    let none = ask(&host, &["--ca", &ca, "events"]);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(
        none.err.contains("CertificateRequired")
            && none.err.ends_with("--client-cert FILE --client-key FILE\n"),
        "{none:?}"
    );
    let other = said(&shown(&stranger.pem("laptop"), &stranger.key("laptop")));
    assert_eq!(other.code, 1, "{other:?}");
    assert!(
        other.err.contains("fatal alert") && other.err.ends_with("--client-cert FILE --client-key FILE\n"),
        "{other:?}"
    );
    let mixed = said(&shown(&authority.pem("laptop"), &stranger.key("laptop")));
    assert!(mixed.code == 1 && mixed.err.contains("it does not go with"), "{mixed:?}");
    let swapped = said(&shown(&authority.key("laptop"), &authority.pem("laptop")));
    assert!(swapped.code == 1 && swapped.err.contains("no certificate (PEM) in it"), "{swapped:?}");
}

#[test]
fn what_is_said_for_nothing_is_an_error() {
    let authority = Authority::new();
    let ca = authority.pem("ca");
    for (arguments, why) in [
        (&["--host", "http://127.0.0.1", "--ca", &ca, "events"][..], "certificates go with https://"),
        (&["--host", "https://127.0.0.1", "--client-cert", &ca, "events"], "--client-cert and --client-key"),
        (&["--client-key", &ca, "events"], "--client-key goes with --host"),
        (&["--token-file", &ca, "ps"], "--token-file goes with --host"),
        (&["--host", "ftp://127.0.0.1", "events"], "only http:// and https://"),
    ] {
        let said = said(command().args(arguments).output().unwrap());
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
}
