//! What is sent back: the field's codes with its texts byte for byte, bytes, files, streams.

use std::convert::Infallible;
use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use model::report::{Failure, FailureKind, Phase};
use model::request::{Refusal, Reply};

pub(super) type Answer = Response<Body>;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Why, in our own words, beside the field's text.
const REASON: HeaderName = HeaderName::from_static("goalpost-reason");
/// Longest value of that header: the shortest buffer among the field's clients is 8 KiB for everything.
const LONGEST_REASON: usize = 1024;

pub(super) const UPDATE_ONGOING: &str = "Cannot do this operation while update is ongoing";
const COMMAND_UNDER_WAY: &str = "A command is already in progress. Try again";
pub(super) const NO_RESOURCE: &str = "Resource does not exist";
pub(super) const NO_SPACE: &str = "Not enough disk space available";
pub(super) const WRONG_METHOD: &str = "Method not supported for this endpoint";

/// 200 with what is in memory.
#[derive(Debug)]
pub(super) struct Known {
    kind: &'static str,
    body: Bytes,
}

impl Known {
    pub(super) fn json(body: Bytes) -> Known {
        Known { kind: JSON, body }
    }

    pub(super) fn text(body: Bytes) -> Known {
        Known { kind: TEXT, body }
    }

    /// For hyper to send.
    pub(super) fn answer(self) -> Answer {
        with_type(Body::Whole(self.body), HeaderValue::from_static(self.kind))
    }

    /// As it is sent on a connection that stays: its head, and its body, which all such answers share.
    pub(super) fn sent(self) -> [Bytes; 2] {
        let Known { kind, body } = self;
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        [Bytes::from(head), body]
    }
}

/// 200 without data.
pub(super) fn done() -> Answer {
    Response::new(Body::Whole(Bytes::new()))
}

/// 200 with JSON.
pub(super) fn json(text: Bytes) -> Answer {
    Known::json(text).answer()
}

/// 200 with what the disk told, or why it told nothing.
pub(super) fn read(text: Result<Bytes, Failure>) -> Answer {
    text.map_or_else(|failure| failed(&failure), json)
}

/// 200 with what `source` yields.
pub(super) fn stream(source: impl Source + 'static, kind: &'static str) -> Answer {
    with_type(Body::from(source, None), HeaderValue::from_static(kind))
}

fn with_type(body: Body, kind: HeaderValue) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// 200 with `length` bytes that `source` yields.
pub(super) fn bytes(source: impl Source + 'static, length: u64) -> Answer {
    with_type(Body::from(source, Some(length)), HeaderValue::from_static("application/octet-stream"))
}

/// `{"Error":"<text>"}`.
pub(super) fn error(code: StatusCode, text: &str) -> Answer {
    let text = serde_json::to_string(text).expect("a string always serializes");
    let mut answer = json(Bytes::from(format!("{{\"Error\":{text}}}")));
    *answer.status_mut() = code;
    if code == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// An error whose fixed text says less than we know.
pub(super) fn error_because(code: StatusCode, text: &str, reason: &str) -> Answer {
    let mut answer = error(code, text);
    if let Ok(reason) = HeaderValue::from_str(&printable(reason)) {
        answer.headers_mut().insert(REASON, reason);
    }
    answer
}

/// Closes the connection after the answer.
pub(super) fn then_close(answer: &mut Answer) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// `text` as one line of printable ASCII, the rest (and `%`) as `%XX`.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for byte in text.bytes() {
        if line.len() >= LONGEST_REASON {
            break;
        }
        match byte {
            b' '..=b'~' if byte != b'%' => line.push(char::from(byte)),
            _ => write!(line, "%{byte:02X}").expect("a string takes whatever is written"),
        }
    }
    line
}

pub(super) fn unknown_endpoint(path: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, &format!("unknown endpoint: {path}"))
}

pub(super) fn wrong_method() -> Answer {
    error(StatusCode::BAD_REQUEST, WRONG_METHOD)
}

pub(super) fn bad_request(text: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, text)
}

pub(super) fn not_mgmt() -> Answer {
    error(StatusCode::FORBIDDEN, "Request not sent from a mgmt platform")
}

pub(super) fn no_space() -> Answer {
    error(StatusCode::INSUFFICIENT_STORAGE, NO_SPACE)
}

pub(super) fn no_resource() -> Answer {
    error(StatusCode::NOT_FOUND, NO_RESOURCE)
}

pub(super) fn not_ready() -> Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, "State not loaded yet")
}

/// The engine's answer where it has nothing to give but done or not.
pub(super) fn reply(reply: Reply) -> Answer {
    match reply {
        Reply::Done | Reply::Collected { .. } => done(),
        Reply::Refused(refusal) => refused(&refusal),
    }
}

pub(super) fn refused(refusal: &Refusal) -> Answer {
    let why = || refusal.to_string();
    match refusal {
        Refusal::NotBooted => not_ready(),
        Refusal::Busy(Phase::ShuttingDown) => {
            error(StatusCode::SERVICE_UNAVAILABLE, "The device is shutting down")
        }
        Refusal::Busy(phase) => error_because(
            StatusCode::SERVICE_UNAVAILABLE,
            match phase {
                Phase::Verifying => COMMAND_UNDER_WAY,
                Phase::Booting
                | Phase::Running
                | Phase::Trying
                | Phase::Testing
                | Phase::RollingBack
                | Phase::OnlyAnswering
                | Phase::ShuttingDown => UPDATE_ONGOING,
            },
            &why(),
        ),
        Refusal::CommandUnderWay => error(StatusCode::SERVICE_UNAVAILABLE, COMMAND_UNDER_WAY),
        Refusal::NotSaved => error_because(StatusCode::INSUFFICIENT_STORAGE, NO_SPACE, &why()),
        Refusal::RevisionInUse(_) | Refusal::FailedBefore { .. } | Refusal::Unsupported(_) => {
            error(StatusCode::CONFLICT, &why())
        }
        Refusal::NoSuchRevision(_) => error_because(StatusCode::NOT_FOUND, NO_RESOURCE, &why()),
        Refusal::Failed(failure) => failed(failure),
        Refusal::NoSuchContainer(_) => error(StatusCode::NOT_FOUND, "Container not found"),
        Refusal::NotControllable(_) => error(
            StatusCode::FORBIDDEN,
            "Container has restart_policy 'system' and cannot be controlled via API",
        ),
        Refusal::CannotStart => {
            bad_request("Container must be in STOPPED, STOPPING, or RECOVERING state to start")
        }
        Refusal::CannotStop => bad_request("Container state does not allow restart"),
        Refusal::UnexpectedSignal => {
            error(StatusCode::INTERNAL_SERVER_ERROR, "Signal not expected from this platform")
        }
    }
}

/// What the disk could not do, where the endpoint has no text of its own for it.
pub(super) fn failed(failure: &Failure) -> Answer {
    let why = format!("failed to {}", failure.detail);
    match failure.kind {
        FailureKind::NoSpace => error_because(StatusCode::INSUFFICIENT_STORAGE, NO_SPACE, &why),
        FailureKind::Missing => error_because(StatusCode::NOT_FOUND, NO_RESOURCE, &why),
        FailureKind::Permanent | FailureKind::Corrupt => error(StatusCode::UNPROCESSABLE_ENTITY, &why),
        FailureKind::Unsupported => error(StatusCode::CONFLICT, &why),
        FailureKind::Transient | FailureKind::Denied => error(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

/// Something that yields pieces of a body, one after the other.
pub(super) trait Source: Send {
    /// The next piece with the source that goes on, or the end.
    fn next(self: Box<Self>) -> NextPiece;
}

pub(super) type NextPiece =
    Pin<Box<dyn Future<Output = io::Result<Option<(Bytes, Box<dyn Source>)>>> + Send>>;

/// An answer's body.
pub(super) enum Body {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece; the length where it is known before.
    Pieces { next: NextPiece, length: Option<u64> },
    /// Nothing is left.
    Ended,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            Body::Pieces { length, .. } => {
                f.debug_struct("Pieces").field("length", length).finish_non_exhaustive()
            }
            Body::Ended => f.write_str("Ended"),
        }
    }
}

impl Body {
    fn from(source: impl Source + 'static, length: Option<u64>) -> Body {
        Body::Pieces { next: Box::new(source).next(), length }
    }

    /// Whether it goes on for as long as the client likes.
    pub(super) fn is_open_ended(&self) -> bool {
        matches!(self, Body::Pieces { length: None, .. })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Body::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Ended;
                Poll::Ready(if bytes.is_empty() { None } else { Some(Ok(Frame::data(bytes))) })
            }
            Body::Pieces { next, length } => match ready!(next.as_mut().poll(cx)) {
                Ok(Some((bytes, source))) => {
                    *next = source.next();
                    *length = length.map(|length| length.saturating_sub(bytes.len() as u64));
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Ok(None) => {
                    *self = Body::Ended;
                    Poll::Ready(None)
                }
                Err(error) => {
                    *self = Body::Ended;
                    Poll::Ready(Some(Err(error)))
                }
            },
            Body::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_empty(),
            Body::Pieces { length, .. } => *length == Some(0),
            Body::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Pieces { length: Some(length), .. } => SizeHint::with_exact(*length),
            Body::Pieces { length: None, .. } => SizeHint::default(),
            Body::Ended => SizeHint::with_exact(0),
        }
    }
}

/// The service answers every request.
pub(super) type Served = Result<Answer, Infallible>;
