//! The device endpoint: what `pvr clone`, `pvr post` and `goalctl --host` speak, over TCP.
//!
//! ```text
//! GET  .pvrremote             where everything else is                 token, where one is configured
//! GET  json                   the state of what runs                   token
//! POST objects/               409: it is there; 200: where to put it   token
//! PUT  objects/<sha>/bytes    its bytes                                sealed address (seal.rs)
//! POST steps                  a revision: stored, then run             token
//! GET  steps/<rev>/progress, events, as on the socket (ours)         token
//! GET  objects/<sha>          where to get it                          token
//! GET  objects/<sha>/bytes    its bytes                                sealed address
//! ```

mod seal;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{StatusCode, http::request::Parts};
use model::ids::{Digest, RevisionId};
use model::json::Limits;
use model::report::Phase;
use model::request::{Reply, Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use self::seal::{LIFETIME, Seal, Use};
use super::answer::{self, Answer};
use super::caller::unread;
use super::render;
use super::route::{self, DevicePath, Segment, Verb};
use super::stream::Origin;
use super::{Backend, body, objects, steps, streams};
use crate::logs::stamp;

/// Of the description of an object.
const LONGEST_OBJECT: usize = 16 * 1024;
/// Of what stands around a state that is posted.
const LONGEST_ENVELOPE: usize = 64 * 1024;
/// As everywhere in the API.
const LONGEST_MESSAGE: usize = 256;
/// A host's name with its port.
const LONGEST_HOST: usize = 300;

/// Bytes that are here of an object whose upload was cut off (ours).
const PARTIAL: &str = "partial";

const BAD_OBJECT: &str = "Object has bad format";
const BAD_POST: &str = "Post has bad format";

/// What the endpoint knows beside the backend.
#[derive(Debug)]
pub struct DeviceEndpoint {
    address: SocketAddr,
    seal: Seal,
    token: Option<Digest>,
}

impl DeviceEndpoint {
    /// For a listener at `address`; whoever asks must know `token`, if there is one.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn new(address: SocketAddr, token: Option<&str>) -> io::Result<DeviceEndpoint> {
        let seal = Seal::new()?;
        let token = token.map(|token| seal.of_secret(token.as_bytes()));
        Ok(DeviceEndpoint { address, seal, token })
    }

    /// One answer, whatever comes.
    pub(super) async fn answer(
        &self,
        backend: &Backend,
        origin: Origin,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Answer {
        let verb = Verb::of(&parts.method);
        let path = DevicePath::of(parts.uri.path());
        if is_from_a_page(&parts.headers) {
            return answer::bad_request("Requests of web pages are not answered here");
        }
        if let DevicePath::Bytes(name) = &path {
            return self.bytes(backend, verb, name, parts, body).await;
        }
        if !self.is_allowed(&parts.headers) {
            return unauthorized(origin);
        }
        if backend.report().phase == Phase::Booting {
            return answer::not_ready();
        }
        let base = self.base(&parts.headers);
        match (path, verb) {
            (DevicePath::Remote, Verb::Get) => remote(&base),
            (DevicePath::State, Verb::Get) => steps::get(backend, &route::StepName::Current).await,
            (DevicePath::Objects, Verb::Post) => self.announced(backend, &base, body).await,
            (DevicePath::Object(name), Verb::Get) => self.described(backend, &base, &name),
            (DevicePath::Steps, Verb::Post) => posted(backend, body).await,
            (DevicePath::Progress(name), Verb::Get) => steps::progress(backend, &name).await,
            (DevicePath::Events, Verb::Get) => streams::events(backend, parts.uri.query(), &parts.headers),
            (DevicePath::Unknown, _) => answer::unknown_endpoint(&route::shown(parts.uri.path())),
            _ => answer::wrong_method(),
        }
    }

    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.split_at_checked(7));
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ")
                && self.seal.is_same(expected, &self.seal.of_secret(token.trim_ascii()))
        })
    }

    /// Where the client found us, so that it finds us again through whatever lies between.
    fn base(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let host = host.filter(|host| (1..=LONGEST_HOST).contains(&host.len()) && host.bytes().all(is_plain));
        let host = host.map_or_else(|| self.address.to_string(), str::to_owned);
        format!("http://{host}{}", route::DEVICE)
    }

    /// POST of an object's description.
    async fn announced(&self, backend: &Backend, base: &str, body: &mut Incoming) -> Answer {
        let text = match body::read(body, LONGEST_OBJECT).await {
            Ok(text) => text,
            Err(problem) => return unread(problem),
        };
        let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&text) else {
            return answer::bad_request(BAD_OBJECT);
        };
        let digest = object.get("sha256sum").and_then(Value::as_str).and_then(|sha| sha.parse().ok());
        let size = match object.get("size") {
            Some(Value::String(size)) => size.parse().ok(),
            Some(size) => size.as_u64(),
            None => None,
        };
        // They are repeated in the answer, where clients expect text.
        let texts = ["id", "storage-id", "owner", "objectname", "mime-type"];
        let is_text = texts.iter().all(|key| object.get(*key).is_none_or(Value::is_string));
        let (Some(digest), Some(size), true) = (digest, size, is_text) else {
            return answer::bad_request(BAD_OBJECT);
        };
        if backend.store.has_object(&digest) {
            let mut answer = self.object(base, object, &digest, Use::Get);
            *answer.status_mut() = StatusCode::CONFLICT;
            return answer;
        }
        object.remove(PARTIAL);
        if let Some(here) = backend.store.partial_size(&digest) {
            object.insert(PARTIAL.to_owned(), Value::String(here.to_string()));
        }
        self.object(base, object, &digest, Use::Put(size))
    }

    /// GET of an object's description.
    fn described(&self, backend: &Backend, base: &str, name: &Segment) -> Answer {
        let Some(digest) = objects::digest_of(name) else {
            return answer::bad_request("Request has bad object name");
        };
        let Some(size) = backend.store.object_size(&digest) else { return answer::no_resource() };
        let mut object = Map::new();
        for (key, value) in [
            ("id", digest.to_string()),
            ("storage-id", digest.to_string()),
            ("owner", String::new()),
            ("objectname", digest.to_string()),
            ("sha256sum", digest.to_string()),
            ("size", size.to_string()),
            ("mime-type", "application/octet-stream".to_owned()),
        ] {
            object.insert(key.to_owned(), Value::String(value));
        }
        self.object(base, object, &digest, Use::Get)
    }

    fn object(&self, base: &str, mut object: Map<String, Value>, digest: &Digest, what: Use) -> Answer {
        let sealed = format!("{base}/objects/{digest}/bytes?{}", self.seal.query(digest, what));
        let (put, get) = match what {
            Use::Put(_) => (sealed, String::new()),
            Use::Get => (String::new(), sealed),
        };
        let now = SystemTime::now();
        for (key, value) in [
            ("signed-puturl", put),
            ("signed-geturl", get),
            ("now", stamp(now)),
            ("expire-time", stamp(now + LIFETIME)),
        ] {
            object.insert(key.to_owned(), Value::String(value));
        }
        answer::json(render::json(&object))
    }

    /// PUT and GET of bytes, at an address that we sealed.
    async fn bytes(
        &self,
        backend: &Backend,
        verb: Verb,
        name: &Segment,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Answer {
        let query = parts.uri.query();
        let number = |key| route::query_value(query, key).and_then(|text| text.parse::<u64>().ok());
        let what = match verb {
            Verb::Get => Some(Use::Get),
            Verb::Put => number("size").map(Use::Put),
            Verb::Post | Verb::Delete | Verb::Other => return answer::wrong_method(),
        };
        let seal = route::query_value(query, "seal").and_then(|seal| seal.parse::<Digest>().ok());
        let ours = match (objects::digest_of(name), what, number("until"), seal) {
            (Some(digest), Some(what), Some(until), Some(seal))
                if self.seal.is_ours(&digest, what, until, &seal) =>
            {
                what
            }
            _ => return answer::bad_request("Address was not given out by this device, or its time is over"),
        };
        match ours {
            Use::Get => objects::get(backend, name).await,
            Use::Put(size) if !is_announced(size, &parts.headers, body) => {
                answer::bad_request("Object has another size than was announced")
            }
            Use::Put(_) => objects::put(backend, name, &parts.headers, body).await,
        }
    }
}

/// Whether it ends where an object of `size` bytes does, as far as its head tells.
fn is_announced(size: u64, headers: &HeaderMap, body: &Incoming) -> bool {
    let (from, length) = (objects::first_byte(headers, body), body.size_hint().exact());
    from.zip(length).is_none_or(|(from, length)| size.checked_sub(from) == Some(length))
}

/// A browser on this device, or on a laptop beside it, runs pages of anybody.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// On this device, `pvr` would take the proper code for a wish to log in to its cloud.
fn unauthorized(origin: Origin) -> Answer {
    const WHY: &str = "This device asks for a token: Authorization: Bearer TOKEN";
    match origin {
        Origin::Here => answer::bad_request(WHY),
        Origin::Network => {
            let mut answer = answer::error(StatusCode::UNAUTHORIZED, WHY);
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
    }
}

fn remote(base: &str) -> Answer {
    answer::json(render::json(&json!({
        "pvr-spec": "pvr-pantahub-1",
        "json-get-url": format!("{base}/json"),
        "json-key": "state",
        "objects-endpoint": format!("{base}/objects"),
        "post-url": format!("{base}/steps"),
        "post-fields": ["commit-msg"],
        "post-fields-opt": ["rev"],
    })))
}

#[derive(Deserialize)]
struct Posted<'a> {
    #[serde(borrow)]
    state: &'a RawValue,
    #[serde(borrow, default)]
    rev: Option<&'a RawValue>,
    #[serde(default, rename = "commit-msg")]
    message: Option<String>,
}

/// POST of a revision: stored under its name, then run as LOCAL_RUN does.
async fn posted(backend: &Backend, body: &mut Incoming) -> Answer {
    let text = match body::read(body, Limits::STATE.bytes + LONGEST_ENVELOPE).await {
        Ok(text) => text,
        Err(problem) => return unread(problem),
    };
    let Ok(Posted { state, rev, message }) = serde_json::from_slice::<Posted<'_>>(&text) else {
        return answer::bad_request(BAD_POST);
    };
    let state: Arc<[u8]> = Arc::from(state.get().as_bytes());
    let digest = crate::digest::of(&state);
    let Some(revision) = name(rev, &digest) else {
        return answer::bad_request("Post has bad rev: a number, or locals/NAME");
    };
    let message = message.unwrap_or_default();
    if message.len() > LONGEST_MESSAGE {
        return answer::bad_request("Post has a commit-msg of more than 256 bytes");
    }
    if is_updating(backend.report().phase) {
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, answer::UPDATE_ONGOING);
    }
    if !is_running(backend, &revision, &state).await
        && let Err(answer) = store_and_run(backend, &revision, state, message).await
    {
        return answer;
    }
    answer::json(render::json(&json!({
        "state-sha": digest.to_string(),
        "rev": -1,
        "revlocal": revision.as_str(),
        "trail-id": "device",
    })))
}

fn is_updating(phase: Phase) -> bool {
    match phase {
        Phase::Verifying | Phase::Trying | Phase::Testing | Phase::RollingBack => true,
        Phase::Booting | Phase::Running | Phase::OnlyAnswering | Phase::ShuttingDown => false,
    }
}

/// A number is a hub's to give: what is posted with one, or with none, is named after its content.
fn name(rev: Option<&RawValue>, digest: &Digest) -> Option<RevisionId> {
    let own = || format!("locals/{}", &digest.to_string()[..12]).parse().ok();
    let Some(rev) = rev.map(RawValue::get) else { return own() };
    if rev == "null" || rev.parse::<i64>().is_ok() {
        return own();
    }
    let name: String = serde_json::from_str(rev).ok()?;
    if name.is_empty() || name.parse::<i64>().is_ok() {
        return own();
    }
    name.parse().ok().filter(RevisionId::is_local)
}

/// To post again what runs changes nothing.
async fn is_running(backend: &Backend, revision: &RevisionId, state: &Arc<[u8]>) -> bool {
    if backend.report().revision.as_ref() != Some(revision) {
        return false;
    }
    let (revision, state) = (revision.clone(), state.clone());
    backend.on_disk(move |store| store.state_bytes(&revision)).await.is_ok_and(|bytes| *bytes == *state)
}

async fn store_and_run(
    backend: &Backend,
    revision: &RevisionId,
    state: Arc<[u8]>,
    message: String,
) -> Result<(), Answer> {
    steps::store(backend, revision, state).await?;
    if !message.is_empty() {
        let of = revision.clone();
        let kept = backend.on_disk(move |store| store.write_commit_message(&of, &message)).await;
        kept.map_err(|failure| answer::failed(&failure))?;
    }
    let run = Request::Run { revision: revision.clone(), force: false };
    match backend.ask.ask(run).await {
        Reply::Done | Reply::Collected { .. } => Ok(()),
        Reply::Refused(refusal) => Err(answer::refused(&refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_that_starts_a_login_is_only_for_those_beyond_this_device() {
        assert_eq!(unauthorized(Origin::Here).status(), StatusCode::BAD_REQUEST);
        let answer = unauthorized(Origin::Network);
        assert_eq!(
            (answer.status(), &answer.headers()[WWW_AUTHENTICATE]),
            (StatusCode::UNAUTHORIZED, &HeaderValue::from_static("Bearer"))
        );
    }
}
