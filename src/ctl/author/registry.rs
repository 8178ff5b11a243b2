//! Fetches an image from a registry: manifests by tag or digest, layers by digest, every byte compared with its name.

use std::io::Write;

use hyper::body::Incoming;
use hyper::{Response, StatusCode, header};
use model::ids::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::author::images::{self, Descriptor, Document, LARGEST_DOCUMENT, MANIFEST_TYPES, MOST_LAYERS};
use crate::author::members::wrong;
use crate::author::reference::Reference;
use crate::author::source::{self, Image, Named, Remote, Wish, check_bytes};
use crate::author::spool::Spool;
use crate::author::store::digest;
use crate::author::tree::Section;
use crate::author::web::{self, Url, Wanted, Web, is_loopback};
use crate::bundle::{hash, unreadable};
use crate::cli::author::Access;
use crate::failed::Failed;
use crate::meter::Meter;

const MOST_REDIRECTIONS: usize = 5;
const LONGEST_TOKEN: u64 = 256 * 1024;
const LONGEST_ERROR: u64 = 64 * 1024;
/// All layers of an image, as they are packed.
const MOST_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// One that cuts more often is of no use.
const MOST_CUTS: usize = 100;

/// A blob on its way.
struct Taken<'a> {
    descriptor: &'a Descriptor,
    into: &'a mut dyn Write,
    sum: Sha256,
    count: u64,
}

impl Taken<'_> {
    fn take(&mut self, piece: &[u8]) -> Result<(), Failed> {
        let Descriptor { digest: name, size, .. } = self.descriptor;
        self.count += piece.len() as u64;
        if self.count > *size {
            return Err(wrong(name, &format!("longer than the {size} bytes that its manifest says")));
        }
        self.sum.update(piece);
        self.into.write_all(piece).map_err(|cause| wrong(name, &format!("cannot keep it: {cause}")))
    }
}

/// How a connection went.
enum Rest {
    Ended,
    Cut(Failed),
}

struct Registry<'a> {
    reference: &'a Reference,
    base: String,
    web: Web,
    login: Option<String>,
    /// What the registry has asked for, once it has.
    authorization: Option<String>,
}

/// The image; none if its manifest is the one whose digest is known.
pub(crate) async fn fetch(
    reference: &Reference,
    wish: &Wish,
    access: &Access,
    known: Option<&str>,
    spool: &mut Spool,
) -> Result<Option<Image>, Failed> {
    let mut registry = Registry::new(reference, access)?;
    let name = format!("docker://{reference}");
    let (mut at, mut bytes) = registry.manifest(&reference.version()).await?;
    if let Some(wanted) = &reference.digest {
        check_bytes(&name, &bytes, wanted)?;
    }
    if let Document::Index { manifests } = images::document(&name, &bytes)? {
        let chosen = images::choose(&name, &manifests, wish.platform.as_ref())?;
        let wanted = digest(&name, &chosen.digest)?;
        (at, bytes) = registry.manifest(&chosen.digest).await?;
        check_bytes(&chosen.digest, &bytes, &wanted)?;
    }
    if known == Some(at.as_str()) {
        return Ok(None);
    }
    let Document::Manifest { config, layers } = images::document(&name, &bytes)? else {
        return Err(wrong(&name, "an index of indexes"));
    };
    let total: u64 = layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size));
    if layers.len() > MOST_LAYERS || total > MOST_BYTES || config.size > LARGEST_DOCUMENT {
        return Err(wrong(&name, "more than 500 layers, 16 GiB of them, or 8 MiB of config"));
    }
    let mut meter = Meter::new(total.saturating_add(config.size));
    let fetched = registry.parts(&config, &layers, spool, &mut meter).await;
    meter.clear();
    let (config, layers) = fetched?;
    let named = Named {
        name: format!("{}/{}", reference.host, reference.name),
        tag: reference.tag.clone(),
        digest: at,
    };
    source::assemble(&name, named, Remote::Yes, &config, layers, spool, wish).map(Some)
}

impl<'a> Registry<'a> {
    fn new(reference: &'a Reference, access: &Access) -> Result<Registry<'a>, Failed> {
        let address = reference.address();
        let host =
            address.rsplit_once(':').filter(|(host, _)| !host.ends_with(':')).map_or(address, |one| one.0);
        // A registry on this machine has a certificate only if we are told which.
        let scheme = if is_loopback(host) && access.ca.is_none() { "http" } else { "https" };
        let login = match &access.login {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|cause| unreadable(path, &cause))?;
                Some(format!("Basic {}", data_encoding::BASE64.encode(text.trim_end().as_bytes())))
            }
            None => None,
        };
        let base = format!("{scheme}://{address}/v2/{}", reference.name);
        Ok(Registry { reference, base, web: Web::new(access.ca.as_deref()), login, authorization: None })
    }

    /// A manifest or an index, with the digest of its bytes.
    async fn manifest(&mut self, version: &str) -> Result<(String, Vec<u8>), Failed> {
        let url = Url::parse(&format!("{}/manifests/{version}", self.base))?;
        let response = self.get(&url, Wanted::whole(MANIFEST_TYPES)).await?;
        let bytes = web::whole(&url, response.into_body(), LARGEST_DOCUMENT).await?;
        let (digest, _) = hash(&mut bytes.as_slice()).map_err(|cause| wrong(version, &cause.to_string()))?;
        Ok((format!("sha256:{digest}"), bytes))
    }

    async fn parts(
        &mut self,
        config: &Descriptor,
        layers: &[Descriptor],
        spool: &Spool,
        meter: &mut Meter,
    ) -> Result<(Vec<u8>, Vec<(String, Section)>), Failed> {
        let mut bytes = Vec::new();
        self.blob(config, &mut bytes, meter).await?;
        let mut fetched = Vec::new();
        for layer in layers {
            let mut file = spool.file()?;
            self.blob(layer, &mut file, meter).await?;
            let section = Section::whole(file).map_err(|cause| wrong(&layer.digest, &cause.to_string()))?;
            fetched.push((layer.digest.clone(), section));
        }
        Ok((bytes, fetched))
    }

    /// Exactly as many bytes as were announced, and exactly those. A connection that is cut off is followed by another, for
    /// the rest, as long as each of them brings something.
    async fn blob(
        &mut self,
        descriptor: &Descriptor,
        into: &mut dyn Write,
        meter: &mut Meter,
    ) -> Result<(), Failed> {
        let name = &descriptor.digest;
        let wanted = digest(name, name)?;
        let mut taken = Taken { descriptor, into, sum: Sha256::new(), count: 0 };
        let mut cuts = 0;
        loop {
            let before = taken.count;
            match self.rest(&wanted, &mut taken, meter).await? {
                Rest::Ended => break,
                Rest::Cut(cause) if taken.count == before => return Err(cause),
                Rest::Cut(cause) if cuts == MOST_CUTS => {
                    let count = taken.count;
                    let why = format!("{count} bytes came before it was cut off for the 101st time: {cause}");
                    return Err(wrong(name, &why));
                }
                Rest::Cut(_) => cuts += 1,
            }
        }
        let found = Digest::from_bytes(taken.sum.finalize().into());
        if taken.count < descriptor.size || found != wanted {
            let why = format!("{} of {} bytes came, with the sha256 {found}", taken.count, descriptor.size);
            return Err(wrong(name, &why));
        }
        Ok(())
    }

    /// What one connection brings of it.
    async fn rest(
        &mut self,
        wanted: &Digest,
        taken: &mut Taken<'_>,
        meter: &mut Meter,
    ) -> Result<Rest, Failed> {
        let url = Url::parse(&format!("{}/blobs/sha256:{wanted}", self.base))?;
        let response = self.get(&url, Wanted { accept: "*/*", from: taken.count }).await?;
        // Who does not know of ranges sends all of it again.
        let mut again = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { taken.count };
        let mut body = response.into_body();
        loop {
            let piece = match web::piece(&url, &mut body).await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(Rest::Ended),
                Err(cause) => return Ok(Rest::Cut(cause)),
            };
            let known = usize::try_from(again).unwrap_or(usize::MAX).min(piece.len());
            again -= known as u64;
            taken.take(&piece[known..])?;
            meter.advance((piece.len() - known) as u64);
        }
    }

    /// GET that must succeed, with the token that the registry asks for, through redirections.
    async fn get(&mut self, url: &Url, wanted: Wanted<'_>) -> Result<Response<Incoming>, Failed> {
        let mut response = self.follow(url, wanted).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.authorization = self.authorize(&response).await?;
            if self.authorization.is_some() {
                response = self.follow(url, wanted).await?;
            }
        }
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(url, response).await)
    }

    async fn follow(&mut self, url: &Url, wanted: Wanted<'_>) -> Result<Response<Incoming>, Failed> {
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTIONS {
            // What a redirection leads to is another's, and has no use for our token.
            let secret = self.authorization.as_deref().filter(|_| at.is_same_peer(url));
            let response = self.web.get(&at, wanted, secret).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| wrong(&at.to_string(), "a redirection to nowhere"))?;
            at = at.join(location)?;
        }
        Err(wrong(&url.to_string(), "more than 5 redirections"))
    }

    /// What to say with the next request; none if nothing would help.
    async fn authorize(&mut self, response: &Response<Incoming>) -> Result<Option<String>, Failed> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(alias = "access_token")]
            token: String,
        }
        let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges: Vec<&str> = challenges.iter().filter_map(|value| value.to_str().ok()).collect();
        let bearer = challenges.iter().find_map(|text| parameters(text, "bearer"));
        let Some(bearer) = bearer else {
            let basic = challenges.iter().any(|text| parameters(text, "basic").is_some());
            return Ok(self.login.clone().filter(|_| basic));
        };
        let parameter = |name: &str| bearer.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let Some(realm) = parameter("realm") else { return Ok(None) };
        let scope = format!("repository:{}:pull", self.reference.name);
        let mut address = format!("{realm}{}", if realm.contains('?') { '&' } else { '?' });
        if let Some(service) = parameter("service") {
            address.push_str(&format!("service={}&", crate::address::escape(service)));
        }
        address.push_str(&format!("scope={}", crate::address::escape(parameter("scope").unwrap_or(&scope))));
        let url = Url::parse(&address)?;
        let answer = self.web.get(&url, Wanted::whole("application/json"), self.login.as_deref()).await?;
        if !answer.status().is_success() {
            return Err(self.refused(&url, answer).await);
        }
        let bytes = web::whole(&url, answer.into_body(), LONGEST_TOKEN).await?;
        let token: Token = images::parse(&format!("the token of {url}"), &bytes)?;
        Ok(Some(format!("Bearer {}", token.token)))
    }

    async fn refused(&self, url: &Url, response: Response<Incoming>) -> Failed {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            code: String,
            #[serde(default)]
            message: String,
        }
        let status = response.status();
        let body = web::whole(url, response.into_body(), LONGEST_ERROR).await.unwrap_or_default();
        let said = serde_json::from_slice::<Errors>(&body).ok().and_then(|all| all.errors.into_iter().next());
        let mut cause = format!("the registry answered {}", status.as_u16());
        if let Some(One { code, message }) = said {
            cause.push_str(&crate::output::visible(&format!(" ({code}: {message})")));
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && self.login.is_none() {
            cause.push_str("; if it needs a user, --login FILE names one");
        }
        wrong(&url.to_string(), &cause)
    }
}

/// The parameters of a challenge of that scheme: `Bearer realm="…",service="…"`.
fn parameters(challenge: &str, scheme: &str) -> Option<Vec<(String, String)>> {
    let (found, mut rest) = challenge.trim().split_once(' ').unwrap_or((challenge.trim(), ""));
    if !found.eq_ignore_ascii_case(scheme) {
        return None;
    }
    let mut all = Vec::new();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        all.push((name.trim_matches([' ', ',']).to_ascii_lowercase(), value.to_owned()));
        rest = after;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_commas_inside_its_quotes() {
        let text = r#"Bearer realm="https://a.example/token",service=reg, scope="repository:a:pull,push""#;
        let pairs = parameters(text, "bearer").unwrap();
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [("realm", "https://a.example/token"), ("service", "reg"), ("scope", "repository:a:pull,push")]
        );
        assert_eq!(parameters("Basic realm=x", "bearer"), None);
        assert_eq!(parameters("Bearer realm=\"open", "bearer"), None);
    }
}
