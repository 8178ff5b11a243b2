//! TLS towards a registry or a device: whom we believe, whom we say that we are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::bundle::{bad, unreadable};
use crate::failed::Failed;
use crate::resolve;

/// Where systems keep the certificates that they trust, in one file.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Files (PEM) that say who we are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub(crate) certificate: &'a Path,
    pub(crate) key: &'a Path,
}

/// What was decided once, for every connection.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Believes the certificates of `ca`, or this system's.
    pub(crate) fn new(ca: Option<&Path>, identity: Option<Identity<'_>>) -> Result<Tls, Failed> {
        let failed = |cause: String| Failed::Source { what: "set up TLS".to_owned(), cause };
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| failed(cause.to_string()))?
            .with_root_certificates(roots(ca)?);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = (chain(identity.certificate)?, key(identity.key)?);
                config.with_client_auth_cert(chain, key).map_err(|cause| {
                    bad(
                        identity.key,
                        &format!("it does not go with {}: {cause}", identity.certificate.display()),
                    )
                })?
            }
        };
        Ok(Tls { config: Arc::new(config) })
    }

    /// A connection to whoever proves to be `host`, as it stands in an address.
    pub(crate) async fn secure(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(resolve::bare(host).to_owned())
            .map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
        TlsConnector::from(self.config.clone()).connect(name, stream).await
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Failed> {
    let system = || BUNDLES.iter().map(Path::new).find(|path| path.is_file());
    let Some(path) = ca.or_else(system) else {
        let cause = "this system has no bundle of certificates (Debian: ca-certificates); use --ca FILE";
        return Err(Failed::Source { what: "set up TLS".to_owned(), cause: cause.to_owned() });
    };
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        // A bundle may have some that nobody can read; the others count.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(bad(path, NO_CERTIFICATE));
    }
    Ok(roots)
}

const NO_CERTIFICATE: &str = "no certificate (PEM) in it";

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let bytes = std::fs::read(path).map_err(|cause| unreadable(path, &cause))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).flatten().collect();
    if found.is_empty() { Err(bad(path, NO_CERTIFICATE)) } else { Ok(found) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, Failed> {
    let bytes = std::fs::read(path).map_err(|cause| unreadable(path, &cause))?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        bad(path, "no private key (PEM) in it, or one with a passphrase, which nobody here could type")
    })
}
