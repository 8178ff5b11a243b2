//! A hello-world HTTP server of hyper on a Unix socket, answering any request with the bytes of a file: on one thread with
//! a current-thread runtime, as the agent has.
#![allow(clippy::print_stdout, reason = "it says that it listens")]

use std::convert::Infallible;
use std::os::unix::net;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::task::{LocalSet, spawn_local};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(socket), Some(body)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: hyper-hello SOCKET FILE"));
    };
    let body = Bytes::from(std::fs::read(body)?);
    let listener = net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(serve(listener, body)))
}

async fn serve(listener: net::UnixListener, body: Bytes) -> std::io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept().await?;
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
        spawn_local(
            http1::Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service),
        );
    }
}
