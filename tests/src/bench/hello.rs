//! Servers that answer every request with the same bytes: the ceiling that the agent's own answers are held against.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::peers;

/// hyper, on a thread with its own current-thread runtime, as the agent has.
#[derive(Debug)]
pub struct Hello {
    pub socket: PathBuf,
}

impl Hello {
    pub fn start(folder: &Path, body: &[u8]) -> Hello {
        let socket = folder.join("hello");
        let _ = std::fs::remove_file(&socket);
        let listener =
            std::os::unix::net::UnixListener::bind(&socket).expect("a temporary folder can hold a socket");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let body = Bytes::copy_from_slice(body);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(tokio::task::LocalSet::new().run_until(serve(listener, body)));
        });
        Hello { socket }
    }
}

async fn serve(listener: std::os::unix::net::UnixListener, body: Bytes) {
    let listener = tokio::net::UnixListener::from_std(listener).expect("it is non-blocking");
    while let Ok((stream, _)) = listener.accept().await {
        let body = body.clone();
        let service = service_fn(move |_| {
            let body = body.clone();
            async move {
                let answer = hyper::Response::builder()
                    .header("content-type", "application/json")
                    .body(Full::new(body));
                Ok::<_, Infallible>(answer.expect("constant headers are valid"))
            }
        });
        tokio::task::spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// libevent's HTTP server, where its headers are installed.
#[derive(Debug)]
pub struct Libevent {
    pub socket: PathBuf,
    process: Child,
}

impl Libevent {
    pub fn start(folder: &Path, body: &[u8]) -> Option<Libevent> {
        let Some(program) = peers::compile(folder, "libevent_hello.c", &["-levent"]) else {
            println!("libevent's headers are not installed: no ratio to it (Debian: libevent-dev)");
            return None;
        };
        let (socket, file) = (folder.join("libevent"), folder.join("body"));
        let _ = std::fs::remove_file(&socket);
        std::fs::write(&file, body).expect("a temporary folder can be written");
        let mut process = Command::new(program)
            .args([&socket, &file])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was just compiled");
        let output = process.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut String::new()).expect("it says that it listens");
        Some(Libevent { socket, process })
    }
}

impl Drop for Libevent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
