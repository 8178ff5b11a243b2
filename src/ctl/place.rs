//! Where an agent is: at its socket on this device, at an address of a network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::failed::Failed;

/// The port of the field's device endpoints, and where its paths begin.
const PORT: u16 = 12368;
const BASE: &str = "/cgi-bin/pvr";
const LONGEST_TOKEN: u64 = 4096;

/// Whom a client speaks to.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Socket(PathBuf),
    Host(Host),
}

/// A device endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// As it was named, with its port: what stands in requests, and before the device's own addresses.
    authority: String,
    address: SocketAddr,
    base: String,
    token: Option<String>,
}

/// Bytes to and from the agent.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Place {
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Place::Socket(path) => Box::new(UnixStream::connect(path).await?),
            Place::Host(host) => Box::new(TcpStream::connect(host.address).await?),
        })
    }

    /// What a request calls the other side.
    pub(crate) fn authority(&self) -> &str {
        match self {
            Place::Socket(_) => "localhost",
            Place::Host(host) => &host.authority,
        }
    }

    /// What proves that we may ask.
    pub(crate) fn authorization(&self) -> Option<String> {
        match self {
            Place::Socket(_) => None,
            Place::Host(host) => host.token.as_ref().map(|token| format!("Bearer {token}")),
        }
    }

    /// A path of the API, as this place has it.
    pub(crate) fn path(&self, path: &str) -> String {
        match self {
            Place::Host(host) if !path.starts_with(&host.base) => format!("{}{path}", host.base),
            Place::Socket(_) | Place::Host(_) => path.to_owned(),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Host(host) => write!(f, "http://{}{}", host.authority, host.base),
        }
    }
}

impl Host {
    /// Of `http://HOST:PORT/cgi-bin/pvr`, or as little of it as `HOST`.
    pub(crate) fn parse(text: &str, token: Option<&Path>) -> Result<Host, Failed> {
        let bad = |why: &str| Failed::Usage { text: format!("--host {text}: {why}") };
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(bad("only http:// is spoken to a device")),
            None => text,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let base = path.trim_end_matches('/');
        if !base.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte)) {
            return Err(bad("its path must be of plain names"));
        }
        let address = resolve(authority).ok_or_else(|| {
            bad("must be an address such as 192.168.1.5 or 192.168.1.5:12368, or a name of /etc/hosts")
        })?;
        let port = if authority.ends_with(&format!(":{}", address.port())) {
            String::new()
        } else {
            format!(":{}", address.port())
        };
        Ok(Host {
            authority: format!("{authority}{port}"),
            address,
            base: if base.is_empty() { BASE.to_owned() } else { base.to_owned() },
            token: token.map(read_token).transpose()?,
        })
    }

    /// The path of an address that the device gave out, which must be its own.
    pub(crate) fn path_of<'a>(&self, address: &'a str) -> Result<&'a str, Failed> {
        let own = address.strip_prefix("http://").and_then(|rest| rest.strip_prefix(&self.authority));
        own.filter(|path| path.starts_with('/')).ok_or_else(|| Failed::BadAnswer {
            what: "where things are on the device".to_owned(),
            cause: format!("{address:?} is not an address of {}", self.authority),
        })
    }
}

/// A static program has no resolver: numbers, and what this machine's own table names.
fn resolve(authority: &str) -> Option<SocketAddr> {
    if let Ok(address) = authority.parse() {
        return Some(address);
    }
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, PORT));
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (authority, PORT),
    };
    let table = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let ip = table.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
    });
    let own = name.eq_ignore_ascii_case("localhost").then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    own.or(ip).map(|ip| SocketAddr::new(ip, port))
}

fn read_token(path: &Path) -> Result<String, Failed> {
    let failed = |cause: &str| Failed::Source {
        what: format!("read the token from {}", path.display()),
        cause: cause.to_owned(),
    };
    let found = std::fs::metadata(path).map_err(|cause| failed(&cause.to_string()))?;
    if found.len() > LONGEST_TOKEN {
        return Err(failed("it is longer than any token"));
    }
    let text = std::fs::read_to_string(path).map_err(|cause| failed(&cause.to_string()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed("it must hold one word of printable ASCII characters"));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let host = Host::parse(text, None).map_err(|failed| failed.to_string());
        host.map_or_else(|why| why, |host| format!("{} {}{}", host.address, host.authority, host.base))
    }

    #[test]
    fn a_host_may_be_named_in_short() {
        let whole = "192.168.1.5:12368 192.168.1.5:12368/cgi-bin/pvr";
        for text in [
            "192.168.1.5",
            "192.168.1.5:12368",
            "http://192.168.1.5/",
            "http://192.168.1.5:12368/cgi-bin/pvr",
        ] {
            assert_eq!(shown(text), whole, "{text}");
        }
        assert_eq!(shown("localhost:80/pvr"), "127.0.0.1:80 localhost:80/pvr");
        assert_eq!(shown("[fe80::1]"), "[fe80::1]:12368 [fe80::1]:12368/cgi-bin/pvr");
        assert_eq!(shown("[::1]:8080"), "[::1]:8080 [::1]:8080/cgi-bin/pvr");
        assert_eq!(shown("https://a"), "--host https://a: only http:// is spoken to a device");
        assert!(shown("no.such.name.example").contains("or a name of /etc/hosts"));
        assert!(shown("127.0.0.1/a b").contains("plain names"));
    }

    #[test]
    fn only_its_own_addresses_are_followed() {
        let host = Host::parse("127.0.0.1:80", None).unwrap();
        assert_eq!(host.path_of("http://127.0.0.1:80/a?b").unwrap(), "/a?b");
        for other in ["http://127.0.0.1:8080/a", "http://evil/a", "/a", "http://127.0.0.1:80"] {
            assert!(host.path_of(other).is_err(), "{other}");
        }
    }
}
