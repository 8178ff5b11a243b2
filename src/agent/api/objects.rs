//! Objects: brought piece by piece, checked against their name, given out as they lie on disk.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::{Body, Bytes, Incoming};
use model::ids::Digest;
use model::report::{Failure, FailureKind};
use serde::Serialize;
use tokio::sync::mpsc;

use super::Backend;
use super::answer::{self, Answer, NextPiece, Source};
use super::body::{self, BodyProblem};
use super::caller::unread;
use super::render::json;
use super::route::Segment;
use crate::store::{ObjectWriter, Store};

/// Pieces of an upload between the socket and the disk: one is written while the next arrives.
const WAITING: usize = 2;
/// Bytes read from the disk at a time.
const CHUNK: usize = 64 * 1024;

#[derive(Serialize)]
struct Listed {
    sha256: String,
    size: String,
}

/// GET /objects.
pub(super) async fn list(backend: &Backend) -> Answer {
    match backend.on_disk(|store| store.objects()).await {
        Ok(objects) => {
            let listed = |object: &crate::store::Object| Listed {
                sha256: object.digest.to_string(),
                size: object.size.to_string(),
            };
            answer::json(json(&objects.iter().map(listed).collect::<Vec<_>>()))
        }
        Err(failure) => answer::failed(&failure),
    }
}

/// PUT /objects/{sha}.
pub(super) async fn put(backend: &Backend, name: &Segment, body: &mut Incoming) -> Answer {
    let Some(digest) = digest_of(name) else { return answer::bad_request("Request has bad object name") };
    if backend.store.has_object(&digest) {
        return drained(body).await;
    }
    if body.size_hint().exact() == Some(0) && digest != crate::digest::of(b"") {
        return wrong_checksum();
    }
    let store = backend.store.clone();
    let (pieces, to_write) = mpsc::channel(WAITING);
    let writing = tokio::task::spawn_blocking(move || write(&store, digest, to_write));
    let read = bring(body, pieces).await;
    let written = writing.await.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Transient, "store an object: the agent is ending"))
    });
    match (read, written) {
        (Err(problem), Ok(_)) => unread(problem),
        (_, Err(failure)) if failure.kind == FailureKind::Corrupt => wrong_checksum(),
        (_, Err(failure)) => answer::failed(&failure),
        (Ok(()), Ok(())) => answer::done(),
    }
}

/// What the upload says to the disk.
enum Piece {
    Bytes(Bytes),
    /// All bytes were brought; without it nothing of the object stays.
    End,
}

/// Passes the body on; stops where the disk has stopped.
async fn bring(body: &mut Incoming, pieces: mpsc::Sender<Piece>) -> Result<(), BodyProblem> {
    while let Some(bytes) = body::piece(body).await? {
        if pieces.send(Piece::Bytes(bytes)).await.is_err() {
            return Ok(());
        }
    }
    // The disk may have stopped, and says so itself.
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

fn write(store: &Arc<Store>, digest: Digest, mut pieces: mpsc::Receiver<Piece>) -> Result<(), Failure> {
    let mut object: ObjectWriter = store.put_object(digest)?;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => object.write(&bytes)?,
            Piece::End => return object.finish(),
        }
    }
    Ok(())
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
