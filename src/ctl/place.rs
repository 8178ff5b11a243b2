//! Where an agent is: at its socket on this device, at an address of a network.

use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

#[cfg(feature = "author")]
use crate::author::tls::{Identity, Tls};
use crate::cli::Network;
use crate::failed::Failed;
use crate::resolve;

/// The port of the field's device endpoints, and where its paths begin.
const PORT: u16 = 12368;
const BASE: &str = "/cgi-bin/pvr";
const LONGEST_TOKEN: u64 = 4096;
/// For all of a device's addresses, and its part of TLS.
const PATIENCE: Duration = Duration::from_secs(60);

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
    name: String,
    port: u16,
    base: String,
    token: Option<String>,
    #[cfg(feature = "author")]
    tls: Option<Tls>,
}

/// Bytes to and from the agent.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Place {
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Place::Socket(path) => Box::new(UnixStream::connect(path).await?),
            Place::Host(host) => tokio::time::timeout(PATIENCE, host.connect()).await??,
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
            Place::Host(host) => write!(f, "{}://{}{}", host.scheme(), host.authority, host.base),
        }
    }
}

impl Host {
    /// Of `http://HOST:PORT/cgi-bin/pvr`, `https://` the same, or as little of it as `HOST`.
    pub(crate) fn parse(text: &str, network: &Network) -> Result<Host, Failed> {
        let bad = |why: &str| Failed::Usage { text: format!("--host {text}: {why}") };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        #[cfg(feature = "author")]
        let tls = match scheme {
            "http" if network.is_for_tls() => return Err(bad("certificates go with https://")),
            "http" => None,
            "https" => Some(match (network.client_cert(), network.client_key()) {
                (None, None) => Tls::new(network.ca().as_deref(), None)?,
                (Some(certificate), Some(key)) => {
                    let identity = Identity { certificate: &certificate, key: &key };
                    Tls::new(network.ca().as_deref(), Some(identity))?
                }
                (Some(_), None) | (None, Some(_)) => {
                    return Err(bad(
                        "a certificate of ours and its key go together: --client-cert and --client-key",
                    ));
                }
            }),
            _ => return Err(bad("only http:// and https:// are spoken to a device")),
        };
        #[cfg(not(feature = "author"))]
        match scheme {
            "http" => {}
            "https" => return Err(bad("TLS is left out of this goalctl, a device's; the full one has it")),
            _ => return Err(bad("only http:// is spoken to a device")),
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let base = path.trim_end_matches('/');
        if !base.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte)) {
            return Err(bad("its path must be of plain names"));
        }
        let (name, port) = split(authority)
            .ok_or_else(|| bad("must be a name or an address, such as 192.168.1.5 or device.lan:12368"))?;
        Ok(Host {
            authority: format!("{name}:{port}"),
            name,
            port,
            base: if base.is_empty() { BASE.to_owned() } else { base.to_owned() },
            token: network.token_file().as_deref().map(read_token).transpose()?,
            #[cfg(feature = "author")]
            tls,
        })
    }

    /// The path of an address that the device gave out, which must be its own. What stands between may speak TLS in its
    /// place: whatever the address begins with, it is asked as we were told to.
    pub(crate) fn path_of<'a>(&self, address: &'a str) -> Result<&'a str, Failed> {
        let rest = address.strip_prefix("http://").or_else(|| address.strip_prefix("https://"));
        let own = rest.and_then(|rest| rest.strip_prefix(&self.authority));
        own.filter(|path| path.starts_with('/')).ok_or_else(|| Failed::BadAnswer {
            what: "where things are on the device".to_owned(),
            cause: format!("{address:?} is not an address of {}", self.authority),
        })
    }

    fn scheme(&self) -> &'static str {
        #[cfg(feature = "author")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in resolve::addresses(&self.name).await? {
            match TcpStream::connect((address, self.port)).await {
                Ok(stream) => {
                    ask_whether_it_is_there(&stream)?;
                    return self.secure(stream).await;
                }
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    async fn secure(&self, stream: TcpStream) -> io::Result<Box<dyn Connection>> {
        #[cfg(feature = "author")]
        if let Some(tls) = &self.tls {
            return Ok(Box::new(tls.secure(&self.name, stream).await?));
        }
        Ok(Box::new(stream))
    }
}

/// A device whose plug was pulled says nothing more, and a stream of what happens is quiet for hours: the kernel asks after it, and
/// the stream ends within half a minute.
fn ask_whether_it_is_there(stream: &TcpStream) -> io::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &15)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &5)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    Ok(())
}

/// A host, as it stands in an address, with its port.
fn split(authority: &str) -> Option<(String, u16)> {
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Some((format!("[{authority}]"), PORT));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        Some(_) | None => (authority, PORT),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_host = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_plain),
    };
    is_host.then(|| (name.to_owned(), port))
}

impl Network {
    fn token_file(&self) -> Option<PathBuf> {
        or_variable(self.token_file.as_ref(), "GOALCTL_TOKEN_FILE")
    }

    /// What was said for nothing if no device is spoken to.
    pub(crate) fn credential(&self) -> Option<&'static str> {
        let given = [
            ("--token-file", self.token_file.is_some()),
            #[cfg(feature = "author")]
            ("--client-cert", self.client_cert.is_some()),
            #[cfg(feature = "author")]
            ("--client-key", self.client_key.is_some()),
        ];
        given.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }
}

#[cfg(feature = "author")]
impl Network {
    fn ca(&self) -> Option<PathBuf> {
        or_variable(self.ca.as_ref(), "GOALCTL_CA")
    }

    fn client_cert(&self) -> Option<PathBuf> {
        or_variable(self.client_cert.as_ref(), "GOALCTL_CLIENT_CERT")
    }

    fn client_key(&self) -> Option<PathBuf> {
        or_variable(self.client_key.as_ref(), "GOALCTL_CLIENT_KEY")
    }

    /// Said on the command line, it must be of use.
    fn is_for_tls(&self) -> bool {
        self.ca.is_some() || self.client_cert.is_some() || self.client_key.is_some()
    }
}

/// What the command line says, else the environment.
fn or_variable(given: Option<&PathBuf>, variable: &str) -> Option<PathBuf> {
    let set = || std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    given.cloned().or_else(set)
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

    fn parse(text: &str) -> Result<Host, Failed> {
        Host::parse(text, &Network::default())
    }

    fn shown(text: &str) -> String {
        parse(text)
            .map_or_else(|why| why.to_string(), |host| format!("{} {}", host.name.clone(), Place::Host(host)))
    }

    #[test]
    fn a_host_may_be_named_in_short() {
        let whole = "192.168.1.5 http://192.168.1.5:12368/cgi-bin/pvr";
        for text in [
            "192.168.1.5",
            "192.168.1.5:12368",
            "http://192.168.1.5/",
            "http://192.168.1.5:12368/cgi-bin/pvr",
        ] {
            assert_eq!(shown(text), whole, "{text}");
        }
        assert_eq!(shown("localhost:80/pvr"), "localhost http://localhost:80/pvr");
        for text in ["fe80::1", "[fe80::1]"] {
            assert_eq!(shown(text), "[fe80::1] http://[fe80::1]:12368/cgi-bin/pvr");
        }
        assert_eq!(shown("[::1]:8080"), "[::1] http://[::1]:8080/cgi-bin/pvr");
        assert!(shown("ftp://a").starts_with("--host ftp://a: only http://"), "{}", shown("ftp://a"));
        for text in ["", "http://", "a b", "a@b", "a:b", "[a]", "[::1", "::1]", "a:", ":80", "a:70000"] {
            assert!(shown(text).contains("must be a name or an address"), "{text}: {}", shown(text));
        }
        assert!(shown("127.0.0.1/a b").contains("plain names"));
    }

    #[test]
    fn only_its_own_addresses_are_followed() {
        let host = parse("127.0.0.1:80").unwrap();
        for own in ["http://127.0.0.1:80/a?b", "https://127.0.0.1:80/a?b"] {
            assert_eq!(host.path_of(own).unwrap(), "/a?b");
        }
        for other in ["http://127.0.0.1:8080/a", "http://evil/a", "/a", "http://127.0.0.1:80"] {
            assert!(host.path_of(other).is_err(), "{other}");
        }
    }
}
