//! The agent as seen through its control socket, or its device endpoint: one HTTP exchange per call, or a stream of bytes.

use std::io::Read;

use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;

use crate::failed::Failed;
use crate::place::Place;

/// What an answer may hold that is read whole: a state, a list. Streams are not bounded by it.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
const PIECE: usize = 256 * 1024;

type Body = Either<Full<Bytes>, Channel<Bytes, std::io::Error>>;

/// What a request brings: what there is of something from byte `from` on, to its end.
struct Sent {
    from: u64,
    length: u64,
    body: Body,
}

impl Sent {
    fn whole(bytes: Vec<u8>) -> Sent {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Sent { from: 0, length, body: Either::Left(Full::new(Bytes::from(bytes))) }
    }

    fn range(&self) -> Option<String> {
        let size = self.from.saturating_add(self.length);
        (self.from > 0).then(|| format!("bytes {}-{}/{size}", self.from, size.saturating_sub(1)))
    }
}

/// Where the agent listens.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    place: Place,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    /// The agent's own, fuller text where the field's fixed one says little.
    reason: Option<String>,
}

impl Client {
    pub(crate) fn new(place: Place) -> Client {
        Client { place }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// GET that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, Failed> {
        self.call(Method::GET, path, Vec::new()).await?.expect_success(&format!("read {path}"))
    }

    /// GET of JSON that must succeed.
    pub(crate) async fn get_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body)
            .map_err(|cause| Failed::BadAnswer { what: format!("GET {path}"), cause: cause.to_string() })
    }

    /// Any exchange with a body that fits in memory; what its status means is the caller's.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, Failed> {
        let response = self.exchange(&method, path, Sent::whole(body)).await?;
        read_whole(response, &format!("{method} {path}")).await
    }

    /// PUT of what `source` has from byte `from` to its end at `size`; it is read in pieces, and `sent` hears the size of each.
    pub(crate) async fn put_from(
        &self,
        path: &str,
        from: u64,
        size: u64,
        source: &mut dyn Read,
        mut sent: impl FnMut(u64),
    ) -> Result<Answer, Failed> {
        let unread = |cause: std::io::Error| Failed::Source {
            what: format!("read what goes to {path}"),
            cause: cause.to_string(),
        };
        let skipped = std::io::copy(&mut source.take(from), &mut std::io::sink()).map_err(unread)?;
        let length = size.saturating_sub(skipped);
        let (mut sender, channel) = Channel::<Bytes, std::io::Error>::new(2);
        let feed = async move {
            let mut left = length;
            while left > 0 {
                let mut piece = vec![0; usize::try_from(left.min(PIECE as u64)).unwrap_or(PIECE)];
                if let Err(cause) = source.read_exact(&mut piece) {
                    sender.abort(std::io::Error::other("the source ended early"));
                    return Err(cause);
                }
                left -= piece.len() as u64;
                sent(piece.len() as u64);
                if sender.send_data(Bytes::from(piece)).await.is_err() {
                    return Ok(()); // The agent has answered already.
                }
            }
            Ok(())
        };
        let answer = async {
            let body = Sent { from, length, body: Either::Right(channel) };
            let response = self.exchange(&Method::PUT, path, body).await?;
            read_whole(response, &format!("PUT {path}")).await
        };
        let (fed, answer) = tokio::join!(feed, answer);
        fed.map_err(unread)?;
        answer
    }

    /// GET whose answer goes on until the agent or the reader ends it.
    pub(crate) async fn stream(&self, path: &str) -> Result<Stream, Failed> {
        let response = self.exchange(&Method::GET, path, Sent::whole(Vec::new())).await?;
        if response.status().is_success() {
            return Ok(Stream { body: response.into_body() });
        }
        let what = format!("read {path}");
        match read_whole(response, &what).await?.expect_success(&what) {
            Err(refused) => Err(refused),
            Ok(_) => Err(Failed::BadAnswer { what, cause: "neither a success nor an error".to_owned() }),
        }
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        sent: Sent,
    ) -> Result<hyper::Response<Incoming>, Failed> {
        let what = || format!("{method} {path}");
        let connected = self.place.connect().await;
        let stream = connected.map_err(|cause| Failed::connect(self.place.clone(), cause))?;
        let broken = |cause: hyper::Error| Failed::Broken { what: what(), cause: told(&cause) };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the exchange; its error is the exchange's error, told below or by the body's reader.
        drop(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(self.place.path(path))
            .header(header::HOST, self.place.authority());
        if let Some(authorization) = self.place.authorization() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if *method != Method::GET {
            request = request.header(header::CONTENT_LENGTH, sent.length);
        }
        if let Some(range) = sent.range() {
            request = request.header(header::CONTENT_RANGE, range);
        }
        let request = request.body(sent.body).map_err(|_| Failed::Usage {
            text: format!("{path:?} cannot stand in a request: use plain names"),
        })?;
        sender.send_request(request).await.map_err(broken)
    }
}

async fn read_whole(response: hyper::Response<Incoming>, what: &str) -> Result<Answer, Failed> {
    let status = response.status();
    let reason = response.headers().get("goalpost-reason").map(|value| unescape(value.as_bytes()));
    let mut incoming = response.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|cause| Failed::Broken { what: what.to_owned(), cause: told(&cause) })?;
        if let Some(piece) = frame.data_ref() {
            if body.len() + piece.len() > LARGEST_ANSWER {
                return Err(Failed::BadAnswer {
                    what: what.to_owned(),
                    cause: "longer than 64 MiB".to_owned(),
                });
            }
            body.extend_from_slice(piece);
        }
    }
    Ok(Answer { status, body, reason })
}

/// `%XX` as the byte it stands for.
fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// hyper keeps the cause out of its own text.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Answer {
    /// The body, or the refusal that the agent gave to `what`.
    pub(crate) fn expect_success(self, what: &str) -> Result<Vec<u8>, Failed> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Failed::Refused { what: what.to_owned(), status: self.status, text: self.error_text() })
    }

    fn error_text(&self) -> String {
        let text = self.fixed_text();
        match &self.reason {
            Some(reason) => format!("{text} ({reason})"),
            None => text,
        }
    }

    fn fixed_text(&self) -> String {
        #[derive(serde::Deserialize)]
        struct ErrorBody {
            #[serde(rename = "Error")]
            error: String,
        }
        match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(body) => body.error,
            Err(_) => String::from_utf8_lossy(&self.body).chars().take(400).collect(),
        }
    }
}

/// The body of an answer that goes on.
#[derive(Debug)]
pub(crate) struct Stream {
    body: Incoming,
}

impl Stream {
    /// The next piece; none once the agent has ended the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|cause| Failed::Broken {
                what: "read the stream".to_owned(),
                cause: told(&cause),
            })?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
    }
}
