//! Where `pvr` and `goalctl --host` find this device, if the configuration says so.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::{self, Backend, DeviceEndpoint};
use crate::config::Config;
use crate::serving::Serving;

/// Fewer characters can be guessed.
const SHORTEST_TOKEN: usize = 16;
const LONGEST_TOKEN: usize = 1024;

/// Why the agent does not begin.
#[derive(Debug, thiserror::Error)]
#[error("{what} ({place})")]
pub struct EndpointError {
    what: Unsafe,
    /// The setting, and where it came from.
    place: String,
}

/// The endpoint would be open to anybody, or its token could not be known.
#[derive(Debug, thiserror::Error)]
enum Unsafe {
    /// Everybody who reaches the device could change it.
    #[error(
        "listen on {0} for pvr and goalctl: beyond loopback only with a token; set device.token_file, or listen on 127.0.0.1"
    )]
    Exposed(SocketAddr),
    /// The token's file cannot be read.
    #[error("read the token of the device endpoint from {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no token that protects anything.
    #[error("take the token of the device endpoint from {}: {why}", path.display())]
    BadToken {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
}

/// A listener for the endpoint, before anything can be answered.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
    endpoint: DeviceEndpoint,
}

/// Listens, if that is wanted. A network that is not there yet must not keep the device down: that is a note.
///
/// # Errors
/// The configuration would open the device to anybody, or names a token that is none.
pub(crate) fn open(config: &Config, notes: &mut Vec<Arc<str>>) -> Result<Option<Endpoint>, EndpointError> {
    let Some(address) = config.device_listen else { return Ok(None) };
    let refused = |name: &str, what| {
        let place = config.listed().into_iter().find(|setting| setting.name == name);
        let place = place.and_then(|setting| setting.place);
        EndpointError {
            what,
            place: place.map_or_else(|| name.to_owned(), |place| format!("{name}: {place}")),
        }
    };
    let token = config.device_token.as_deref().map(read_token).transpose();
    let token = token.map_err(|what| refused("device.token_file", what))?;
    if token.is_none() && !address.ip().is_loopback() {
        return Err(refused("device.listen", Unsafe::Exposed(address)));
    }
    match listen(address, token.as_deref()) {
        Ok(endpoint) => Ok(Some(endpoint)),
        Err(error) => {
            log::error!("op=listen-device address={address} error={error:?}");
            notes.push(Arc::from(format!(
                "device endpoint: not answered, failed to listen on {address}: {error}"
            )));
            Ok(None)
        }
    }
}

fn listen(address: SocketAddr, token: Option<&str>) -> io::Result<Endpoint> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    log::info!("op=listen-device address={address}");
    Ok(Endpoint { listener, endpoint: DeviceEndpoint::new(address, token)? })
}

impl Endpoint {
    /// Begins to answer.
    pub(crate) fn serve(self, backend: Arc<Backend>) -> io::Result<Serving> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok(Serving::begin(api::serve_device(listener, self.endpoint, backend)))
    }
}

fn read_token(path: &Path) -> Result<String, Unsafe> {
    let bad = |why| Unsafe::BadToken { path: path.to_owned(), why };
    let read = || {
        let mode = fs::metadata(path)?.mode();
        let mut text = Vec::new();
        File::open(path)?.take(LONGEST_TOKEN as u64 + 2).read_to_end(&mut text)?;
        Ok((mode, text))
    };
    let (mode, text) = read().map_err(|source| Unsafe::Unreadable { path: path.to_owned(), source })?;
    if mode & 0o007 != 0 {
        return Err(bad("every user of the device may read or write it; chmod 600"));
    }
    let token = String::from_utf8(text).unwrap_or_default().trim().to_owned();
    if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len())
        || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(bad("it must hold one word of 16 to 1024 printable ASCII characters"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn opened(address: &str, token: Option<(&str, u32)>) -> Result<Option<Endpoint>, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { device_listen: Some(address.parse().unwrap()), ..Config::default() };
        if let Some((text, mode)) = token {
            let path = folder.path().join("token");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            config.device_token = Some(path);
        }
        open(&config, &mut Vec::new())
            .map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
    }

    #[test]
    fn beyond_loopback_it_opens_only_with_a_token_that_protects() {
        let exposed = "listen on 0.0.0.0:0 for pvr and goalctl: beyond loopback only with a token; set device.token_file, \
                       or listen on 127.0.0.1 (device.listen)";
        assert_eq!(opened("0.0.0.0:0", None).unwrap_err(), exposed);
        assert!(opened("127.0.0.1:0", None).unwrap().is_some());
        assert!(opened("[::1]:0", None).is_ok());
        assert!(opened("0.0.0.0:0", Some(("0123456789abcdef\n", 0o600))).unwrap().is_some());
        let word = "take the token of the device endpoint from DIR/token: it must hold one word of 16 to 1024 printable \
                    ASCII characters (device.token_file)";
        for bad in ["", "short", "0123456789 abcdef", "é123456789abcdef"] {
            assert_eq!(opened("0.0.0.0:0", Some((bad, 0o600))).unwrap_err(), word, "{bad}");
        }
        let open = opened("127.0.0.1:0", Some(("0123456789abcdef", 0o644))).unwrap_err();
        assert!(open.ends_with("chmod 600 (device.token_file)"), "{open}");
    }

    #[test]
    fn an_address_that_is_not_there_is_a_note() {
        let config = Config { device_listen: Some("127.0.0.1:0".parse().unwrap()), ..Config::default() };
        let mut notes = Vec::new();
        let first = open(&config, &mut notes).unwrap().unwrap();
        let address = first.listener.local_addr().unwrap();
        let config = Config { device_listen: Some(address), ..Config::default() };
        assert!(open(&config, &mut notes).unwrap().is_none());
        let note = format!(
            "device endpoint: not answered, failed to listen on {address}: Address already in use (os error 98)"
        );
        assert_eq!(notes, [Arc::from(note)]);
    }
}
