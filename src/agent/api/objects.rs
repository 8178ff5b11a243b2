//! Objects: brought piece by piece, checked against their name, given out as they lie on disk.

use std::fs::File;
use std::io::Read;
use std::pin::pin;
use std::sync::Arc;

use hyper::body::{Body, Bytes, Incoming};
use hyper::{HeaderMap, StatusCode, header};
use model::ids::Digest;
use model::report::{DeviceReport, Failure, FailureKind};
use serde::Serialize;

use super::Backend;
use super::answer::{self, Answer, NextPiece, Source};
use super::body::{self, BodyProblem};
use super::caller::unread;
use super::recalled::Page;
use super::render::json;
use super::route::Segment;
use crate::store::{ObjectWriter, Store};

/// Uploads that write at the same time: fewer than there are blocking threads, so that however many arrive, and however slow the
/// disk is, a save finds a thread.
pub(super) const WRITING: usize = 4;
/// Bytes read from the disk at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Serialize)]
struct Listed {
    sha256: String,
    size: String,
}

fn listed(digest: &Digest, size: u64) -> Listed {
    Listed { sha256: digest.to_string(), size: size.to_string() }
}

/// GET /objects.
pub(super) async fn list(backend: &Backend) -> Answer {
    let read = |store: &Store, _: &DeviceReport| {
        let objects = store.objects()?;
        Ok(json(&objects.iter().map(|object| listed(&object.digest, object.size)).collect::<Vec<_>>()))
    };
    answer::read(backend.recalled(Page::Objects, read).await)
}

/// GET /objects/{sha}/partial.
pub(super) async fn partial(backend: &Backend, name: &Segment) -> Answer {
    let Some(digest) = digest_of(name) else { return answer::bad_request("Request has bad object name") };
    match backend.on_disk(move |store| Ok(store.partial_size(&digest))).await {
        Ok(Some(size)) => answer::json(json(&listed(&digest, size))),
        Ok(None) => answer::no_resource(),
        Err(failure) => answer::failed(&failure),
    }
}

/// PUT /objects/{sha}: all of it, or the rest of one that was cut off.
pub(super) async fn put(
    backend: &Backend,
    name: &Segment,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Answer {
    let Some(digest) = digest_of(name) else { return answer::bad_request("Request has bad object name") };
    let Some(from) = first_byte(headers, body) else { return answer::bad_request("Request has bad range") };
    if backend.store.has_object(&digest) {
        return drained(body).await;
    }
    if body.size_hint().exact() == Some(0) && digest != crate::digest::of(b"") {
        return wrong_checksum();
    }
    match bring(backend, digest, from, body).await {
        Ok(()) => answer::done(),
        Err(Unbrought::TooFew) => answer::error(StatusCode::CONFLICT, "Object has fewer bytes here"),
        Err(Unbrought::Body(problem)) => unread(problem),
        Err(Unbrought::Disk(failure)) if failure.kind == FailureKind::Corrupt => wrong_checksum(),
        Err(Unbrought::Disk(failure)) => answer::failed(&failure),
    }
}

/// Where in its object a body begins, which always goes to the end: `Content-Range: bytes FIRST-LAST/SIZE`, or at its first byte.
/// `None` if that is something else, or not as long as the body.
pub(super) fn first_byte(headers: &HeaderMap, body: &Incoming) -> Option<u64> {
    let mut ranges = headers.get_all(header::CONTENT_RANGE).iter();
    let Some(range) = ranges.next() else { return Some(0) };
    let (unit, range) = range.to_str().ok().filter(|_| ranges.next().is_none())?.split_once(' ')?;
    let (bytes, size) = range.split_once('/')?;
    let (first, last) = bytes.split_once('-')?;
    let number =
        |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    let is_the_rest = first <= last && last.checked_add(1) == Some(size);
    let is_so_long = body.size_hint().exact().is_none_or(|length| Some(length) == size.checked_sub(first));
    (unit.eq_ignore_ascii_case("bytes") && is_the_rest && is_so_long).then_some(first)
}

/// Why an object did not arrive.
enum Unbrought {
    /// Fewer bytes of it are here than the body begins behind.
    TooFew,
    Body(BodyProblem),
    Disk(Failure),
}

/// An object that arrives holds a blocking thread only while something of it is written, not while its client is silent. What
/// comes meanwhile waits, up to a bound, and is written together.
async fn bring(backend: &Backend, digest: Digest, from: u64, body: &mut Incoming) -> Result<(), Unbrought> {
    let store = backend.store.clone();
    let begun = writing(backend, move || match from {
        0 => store.put_object(digest).map(Some),
        _ => store.continue_object(digest, from),
    });
    let mut arriving = Arriving(Some(begun.await?.ok_or(Unbrought::TooFew)?));
    let mut ahead = body::Ahead::default();
    let ending = loop {
        match ahead.first(body).await {
            Ok(true) => {}
            ended => break ended.map(drop),
        }
        let (Some(mut object), pieces) = (arriving.0.take(), ahead.take()) else { break Ok(()) };
        let mut written = pin!(writing(backend, move || {
            pieces.iter().try_for_each(|piece| object.write(piece)).map(|()| object)
        }));
        arriving.0 = loop {
            tokio::select! {
                biased;
                object = &mut written => break Some(object?),
                () = ahead.next(body), if ahead.has_room() => {}
            }
        };
    };
    // An answer comes when what was cut off can be gone on with.
    if let Some(object) = arriving.0.take() {
        writing(backend, move || if ending.is_ok() { object.finish() } else { Ok(()) }).await?;
    }
    ending.map_err(Unbrought::Body)
}

/// Writes on a blocking thread, of which uploads leave some to others.
async fn writing<T: Send + 'static>(
    backend: &Backend,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Unbrought> {
    let turn = Arc::clone(&backend.writing).acquire_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        // Held here: the client may be gone before it is done.
        let _turn = turn;
        work()
    });
    let ending = |_| Failure::new(FailureKind::Transient, "store an object: the agent is ending");
    done.await.unwrap_or_else(|error| Err(ending(error))).map_err(Unbrought::Disk)
}

/// An object between two of its pieces.
struct Arriving(Option<ObjectWriter>);

impl Drop for Arriving {
    /// Its client went away. What there is of it is kept, or removed, where that blocks nobody.
    fn drop(&mut self) {
        if let (Some(object), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(object));
        }
    }
}

/// It is there already: the client still wants to say it all.
async fn drained(body: &mut Incoming) -> Answer {
    loop {
        match body::piece(body).await {
            Ok(Some(_)) => {}
            Ok(None) => return answer::done(),
            Err(problem) => return unread(problem),
        }
    }
}

fn wrong_checksum() -> Answer {
    answer::error(StatusCode::UNPROCESSABLE_ENTITY, "Object has bad checksum")
}

/// GET /objects/{sha}.
pub(super) async fn get(backend: &Backend, name: &Segment) -> Answer {
    let Some(digest) = digest_of(name) else { return answer::bad_request("Request has bad object name") };
    let opened = backend.on_disk(move |store| {
        let file = store.open_object(&digest)?;
        Ok(store.object_size(&digest).map(|size| (file, size)))
    });
    match opened.await {
        Ok(Some((file, size))) => answer::bytes(FromDisk { file }, size),
        Ok(None) => answer::no_resource(),
        Err(failure) => answer::failed(&failure),
    }
}

pub(super) fn digest_of(name: &Segment) -> Option<Digest> {
    name.name()?.parse().ok()
}

/// A file, read on a blocking thread only while the client takes what was read.
struct FromDisk {
    file: File,
}

impl Source for FromDisk {
    fn next(mut self: Box<Self>) -> NextPiece {
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; CHUNK];
                let length = self.file.read(&mut bytes)?;
                bytes.truncate(length);
                std::io::Result::Ok((Bytes::from(bytes), self))
            });
            let (bytes, source) = read.await.map_err(std::io::Error::other)??;
            Ok((!bytes.is_empty()).then_some((bytes, source as Box<dyn Source>)))
        })
    }
}
