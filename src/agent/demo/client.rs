//! The demo as an operator: what it asks, it asks over the host socket like anyone else.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Where the agent listens.
#[derive(Debug, Clone)]
pub(super) struct Client {
    socket: PathBuf,
}

/// The event stream, an event at a time.
#[derive(Debug)]
pub(super) struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

/// Why the agent did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("connect to {}", .0.display())]
    Connect(PathBuf, #[source] io::Error),
    #[error("{0} {1}")]
    Exchange(Method, String, #[source] hyper::Error),
    #[error("{method} {path}: {status} {body}")]
    Refused { method: Method, path: String, status: StatusCode, body: String },
    #[error("the event stream ended")]
    Ended,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned() }
    }

    /// One exchange that must succeed.
    pub(super) async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        let response = self.exchange(&method, path, body).await?;
        let status = response.status();
        let failed = |source| ClientError::Exchange(method.clone(), path.to_owned(), source);
        let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Err(ClientError::Refused { method, path: path.to_owned(), status, body })
    }

    /// Everything that happens from the agent's start on.
    pub(super) async fn events(&self) -> Result<Events, ClientError> {
        let response = self.exchange(&Method::GET, "/events?since=0", Vec::new()).await?;
        Ok(Events { body: response.into_body(), rest: Vec::new() })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, ClientError> {
        let failed = |source| ClientError::Exchange(method.clone(), path.to_owned(), source);
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect(self.socket.clone(), source))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(connection);
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method.clone();
        *request.uri_mut() = hyper::Uri::try_from(path).unwrap_or_default();
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        sender.send_request(request).await.map_err(failed)
    }
}

impl Events {
    /// The next event.
    pub(super) async fn next(&mut self) -> Result<Value, ClientError> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let value = line.strip_prefix(b"data:").and_then(|json| serde_json::from_slice(json).ok());
                if let Some(value) = value {
                    return Ok(value);
                }
            }
            let Some(Ok(frame)) = self.body.frame().await else { return Err(ClientError::Ended) };
            self.rest.extend_from_slice(frame.data_ref().map_or(&[], |bytes| &bytes[..]));
        }
    }
}
