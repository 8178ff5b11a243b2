//! Bodies of requests: read within bounds, or taken in so that the answer arrives.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};

/// Bytes of an unread body that are taken in before the answer, which keeps the connection usable.
const MOST_LEFT_OVER: u64 = 64 * 1024;
/// How long that may take; after it the answer comes first, the rest is taken in behind it.
const FOR_LEFT_OVER: Duration = Duration::from_millis(100);
/// Bytes of a body that wait for what came before them to be written.
const MOST_AHEAD: usize = 64 * 1024;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyProblem {
    /// More than the endpoint takes.
    TooLarge,
    /// The client stopped in the middle, or its chunks are wrong.
    EndedEarly,
}

/// Whether anything of the body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOver {
    Nothing,
    Something,
}

/// The whole body, of at most `most` bytes.
pub(super) async fn read(body: &mut Incoming, most: usize) -> Result<Bytes, BodyProblem> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyProblem::TooLarge);
    }
    let Some(first) = piece(body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= most {
        return Ok(first);
    }
    let mut whole = Vec::from(first);
    while let Some(more) = piece(body).await? {
        if whole.len() + more.len() > most {
            return Err(BodyProblem::TooLarge);
        }
        whole.extend_from_slice(&more);
    }
    if whole.len() > most { Err(BodyProblem::TooLarge) } else { Ok(Bytes::from(whole)) }
}

/// The next bytes of the body, or its end.
pub(super) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, BodyProblem> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(BodyProblem::EndedEarly),
            // Nothing here asks for trailers.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// What has come of a body and was not used yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pieces: Vec<Bytes>,
    length: usize,
    rest: Rest,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Rest {
    #[default]
    Comes,
    Ended,
    Broken(BodyProblem),
}

impl Ahead {
    /// Waits for something to use; false at the end. What came before the body broke off is used first.
    pub(super) async fn first(&mut self, body: &mut Incoming) -> Result<bool, BodyProblem> {
        while self.pieces.is_empty() {
            match self.rest {
                Rest::Comes => self.next(body).await,
                Rest::Ended => return Ok(false),
                Rest::Broken(problem) => return Err(problem),
            }
        }
        Ok(true)
    }

    /// Waits for one more piece, or the end. Cancelled, it has taken nothing.
    pub(super) async fn next(&mut self, body: &mut Incoming) {
        match piece(body).await {
            Ok(Some(more)) => {
                self.length += more.len();
                self.pieces.push(more);
            }
            Ok(None) => self.rest = Rest::Ended,
            Err(problem) => self.rest = Rest::Broken(problem),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.rest == Rest::Comes && self.length < MOST_AHEAD
    }

    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.length = 0;
        std::mem::take(&mut self.pieces)
    }
}

/// Takes in what a refused request still has to say, if that is little and comes at once.
pub(super) async fn take_in(body: &mut Incoming) -> LeftOver {
    if body.is_end_stream() {
        return LeftOver::Nothing;
    }
    if body.size_hint().upper().is_none_or(|upper| upper > MOST_LEFT_OVER) {
        return LeftOver::Something;
    }
    let rest = async { while let Ok(Some(_)) = piece(body).await {} };
    match tokio::time::timeout(FOR_LEFT_OVER, rest).await {
        Ok(()) if body.is_end_stream() => LeftOver::Nothing,
        Ok(()) | Err(_) => LeftOver::Something,
    }
}
