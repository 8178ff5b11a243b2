//! Fetches over HTTPS, over plain HTTP from this machine alone.

use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::author::tls::Tls;
use crate::failed::Failed;
use crate::place::Connection;
use crate::resolve;

/// For a connection, and for each piece of an answer: a peer that says nothing for longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An address on the web. Made only by `parse`: plain HTTP leads to this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Url, Failed> {
        let wrong = |why: &str| Failed::Checked { text: format!("{text}: {why}") };
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(_) | None => return Err(wrong("an address must begin with https://")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let slash = if path.starts_with('/') { "" } else { "/" };
        let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match port_at {
            Some(at) => (&authority[..at], authority[at + 1..].parse().map_err(|_| wrong("a bad port"))?),
            None => (authority, if scheme == Scheme::Https { 443 } else { 80 }),
        };
        if host.is_empty() || host.contains('@') {
            return Err(wrong("an address must have a host, and no user"));
        }
        if scheme == Scheme::Http && !is_loopback(host) {
            return Err(wrong("plain HTTP is for this machine alone; use https"));
        }
        Ok(Url { scheme, host: host.to_owned(), port, path: format!("{slash}{path}") })
    }

    /// Where a redirection leads.
    pub(crate) fn join(&self, location: &str) -> Result<Url, Failed> {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        if location.starts_with('/') {
            return Ok(Url { path: location.to_owned(), ..self.clone() });
        }
        let next = Url::parse(location)?;
        if self.scheme == Scheme::Https && next.scheme == Scheme::Http {
            return Err(Failed::Checked { text: format!("{self} leads to {location}, which is not https") });
        }
        Ok(next)
    }

    /// Whether what is secret to one may be told to the other.
    pub(crate) fn is_same_peer(&self, other: &Url) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    fn authority(&self) -> String {
        let usual = if self.scheme == Scheme::Https { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        // Signed addresses carry secrets after the question mark.
        let path = self.path.split('?').next().unwrap_or_default();
        write!(formatter, "{scheme}://{}{path}", self.authority())
    }
}

/// Whether a host, as it stands in an address, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = resolve::bare(host);
    resolve::is_local(bare) || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is to come of an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The types of it.
    pub(crate) accept: &'a str,
    /// Its first byte: what came before is had already.
    pub(crate) from: u64,
}

impl<'a> Wanted<'a> {
    pub(crate) fn whole(accept: &'a str) -> Wanted<'a> {
        Wanted { accept, from: 0 }
    }
}

/// A client without memory: one connection for each request.
pub(crate) struct Web {
    ca: Option<PathBuf>,
    tls: Option<Tls>,
}

impl Web {
    pub(crate) fn new(ca: Option<&Path>) -> Web {
        Web { ca: ca.map(Path::to_owned), tls: None }
    }

    /// GET, with an `Authorization` where one is given. What the status means is the caller's.
    pub(crate) async fn get(
        &mut self,
        url: &Url,
        wanted: Wanted<'_>,
        authorization: Option<&str>,
    ) -> Result<Response<Incoming>, Failed> {
        let io = TokioIo::new(self.connect(url).await?);
        let (mut sender, connection) =
            in_time(url, http1::handshake(io)).await?.map_err(|cause| broken(url, &cause))?;
        // Ends with the exchange; its error is the exchange's error.
        drop(tokio::spawn(connection));
        let mut request = Request::builder()
            .uri(&url.path)
            .header(header::HOST, url.authority())
            .header(header::USER_AGENT, concat!("goalctl/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, wanted.accept);
        if wanted.from > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", wanted.from));
        }
        if let Some(secret) = authorization {
            request = request.header(header::AUTHORIZATION, secret);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|cause| broken(url, &cause))?;
        in_time(url, sender.send_request(request)).await?.map_err(|cause| broken(url, &cause))
    }

    async fn connect(&mut self, url: &Url) -> Result<Box<dyn Connection>, Failed> {
        let found = resolve::addresses(&url.host).await.map_err(|cause| Failed::Source {
            what: format!("find the address of {}", url.host),
            cause: cause.to_string(),
        })?;
        let mut last = Failed::Source { what: format!("reach {url}"), cause: "it has no address".to_owned() };
        for address in found {
            match in_time(url, TcpStream::connect((address, url.port))).await {
                Ok(Ok(stream)) => return self.secure(url, stream).await,
                Ok(Err(cause)) => {
                    last = Failed::Source { what: format!("reach {url}"), cause: cause.to_string() };
                }
                Err(late) => last = late,
            }
        }
        Err(last)
    }

    async fn secure(&mut self, url: &Url, stream: TcpStream) -> Result<Box<dyn Connection>, Failed> {
        if url.scheme == Scheme::Http {
            return Ok(Box::new(stream));
        }
        let tls = self.tls()?.clone();
        let stream = in_time(url, tls.secure(&url.host, stream)).await?;
        Ok(Box::new(stream.map_err(|cause| broken(url, &cause))?))
    }

    fn tls(&mut self) -> Result<&Tls, Failed> {
        match self.tls {
            Some(ref tls) => Ok(tls),
            None => Ok(self.tls.insert(Tls::new(self.ca.as_deref(), None)?)),
        }
    }
}

async fn in_time<T>(url: &Url, what: impl Future<Output = T>) -> Result<T, Failed> {
    tokio::time::timeout(PATIENCE, what).await.map_err(|_| Failed::Source {
        what: format!("read {url}"),
        cause: format!("nothing came for {} seconds", PATIENCE.as_secs()),
    })
}

fn broken(url: &Url, cause: &dyn std::error::Error) -> Failed {
    let mut text = cause.to_string();
    let mut source = cause.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    Failed::Source { what: format!("read {url}"), cause: text }
}

/// The next piece of an answer; none at its end.
pub(crate) async fn piece(url: &Url, body: &mut Incoming) -> Result<Option<Bytes>, Failed> {
    loop {
        let Some(frame) = in_time(url, body.frame()).await? else { return Ok(None) };
        let frame = frame.map_err(|cause| broken(url, &cause))?;
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}

/// A whole answer, if it is no longer than that.
pub(crate) async fn whole(url: &Url, mut body: Incoming, longest: u64) -> Result<Vec<u8>, Failed> {
    let mut bytes = Vec::new();
    while let Some(piece) = piece(url, &mut body).await? {
        if (bytes.len() + piece.len()) as u64 > longest {
            let cause = format!("longer than {longest} bytes");
            return Err(Failed::Source { what: format!("read {url}"), cause });
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_alone() {
        for text in ["http://127.0.0.1:5000/v2/", "http://localhost/", "http://[::1]:80/x?y"] {
            assert!(Url::parse(text).is_ok(), "{text}");
        }
        for text in [
            "http://registry.example/v2/",
            "http://127.0.0.1.example/",
            "ftp://x/",
            "https://a@b/",
            "https://",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redirection_never_gives_up_https() {
        let from = Url::parse("https://r.example:444/v2/a?token=1").unwrap();
        assert_eq!(from.join("/b").unwrap().to_string(), "https://r.example:444/b");
        assert_eq!(from.join("//cdn.example/c?sig=1").unwrap().to_string(), "https://cdn.example/c");
        assert!(from.join("http://127.0.0.1/c").is_err());
        assert!(!from.is_same_peer(&from.join("https://r.example/d").unwrap()));
    }
}
