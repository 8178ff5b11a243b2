//! One request: whether this caller may ask it, what it is, who answers it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode, Version, header};
use model::ids::{ContainerName, Generation};
use model::recovery::Role;
use model::report::Phase;
use tokio::sync::Semaphore;

use super::answer::{self, Answer, Served};
use super::body::{self, BodyProblem, LeftOver};
use super::head::Problem;
use super::render::{Page, StatusOf};
use super::route::{Endpoint, Verb, shown};
use super::stream::Origin;
use super::wire::Talk;
use super::{Backend, DeviceEndpoint, drivers, meta, objects, plan, requests, steps, streams};

/// Connections that a container's socket takes.
const OF_CONTAINER: usize = 64;
/// Connections that the host's socket takes.
const OF_HOST: usize = 256;
/// Connections that the device endpoint takes: five uploads at a time, for a handful of clients.
const OF_DEVICE: usize = 64;
/// Requests that the device endpoint has under way at most.
const DEVICE_IN_FLIGHT: usize = 16;
/// Requests that a container's socket has under way at most.
const IN_FLIGHT: usize = 8;

/// Who is at the other end of a socket.
#[derive(Debug)]
pub(super) enum Who {
    /// An operator.
    Host,
    /// A container, in one of its lives.
    Container { name: ContainerName, generation: Generation, role: Role },
    /// Somebody with `pvr` or `goalctl --host`.
    Network(DeviceEndpoint),
}

/// What all connections of one socket share.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) who: Who,
    pub(super) backend: Arc<Backend>,
    in_flight: Semaphore,
}

impl Listener {
    pub(super) fn new(who: Who, backend: Arc<Backend>) -> Arc<Listener> {
        let in_flight = match who {
            Who::Host => OF_HOST,
            Who::Container { .. } => IN_FLIGHT,
            Who::Network(_) => DEVICE_IN_FLIGHT,
        };
        Arc::new(Listener { who, backend, in_flight: Semaphore::new(in_flight) })
    }

    pub(super) fn most_connections(&self) -> usize {
        match self.who {
            Who::Host => OF_HOST,
            Who::Container { .. } => OF_CONTAINER,
            Who::Network(_) => OF_DEVICE,
        }
    }

    /// The whole answer to a head that asks for a page and wants nothing else, from memory: it needs no hyper. `None` for any other.
    pub(super) fn answer_to(&self, head: &[u8]) -> Option<Bytes> {
        let (line, headers) = head.split_at(head.iter().position(|byte| *byte == b'\r')?);
        let (page, endpoint) = match line {
            b"GET /containers HTTP/1.1" => (Page::Containers, Endpoint::Containers),
            b"GET /groups HTTP/1.1" => (Page::Groups, Endpoint::Groups),
            _ => return None,
        };
        let plain = headers.split(|byte| *byte == b'\n').all(|header| {
            let name = header.split(|byte| *byte == b':').next().unwrap_or_default();
            !name.eq_ignore_ascii_case(b"connection") && !name.eq_ignore_ascii_case(b"expect")
        });
        let report = self.backend.report.borrow();
        match (plain, self.may_ask(Verb::Get, &endpoint), report.phase) {
            (false, _, _) | (_, Permission::Denied, _) | (_, _, Phase::Booting) => None,
            (true, Permission::Granted, _) => Some(self.backend.rendered.answer(page, &report)),
        }
    }

    fn may_ask(&self, verb: Verb, endpoint: &Endpoint) -> Permission {
        match &self.who {
            Who::Host | Who::Container { role: Role::Mgmt, .. } => Permission::Granted,
            Who::Container { role: Role::Nobody, .. } => match (verb, endpoint) {
                (Verb::Post, Endpoint::Signal) => Permission::Granted,
                _ => Permission::Denied,
            },
            // It has paths of its own.
            Who::Network(_) => Permission::Denied,
        }
    }
}

enum Permission {
    Granted,
    Denied,
}

/// The service of one connection.
#[derive(Debug)]
pub(super) struct Caller {
    listener: Arc<Listener>,
    talk: Arc<Talk>,
}

impl Caller {
    pub(super) fn new(listener: Arc<Listener>, talk: Arc<Talk>) -> Caller {
        Caller { listener, talk }
    }

    /// What is answered from memory, without a task that waits.
    fn at_once(&self, request: &Request<Incoming>) -> Option<Answer> {
        if let Some(problem) = self.talk.refused.get() {
            return Some(refused_head(*problem));
        }
        if !request.body().is_end_stream() || matches!(self.listener.who, Who::Network(_)) {
            return None;
        }
        let (verb, endpoint) = (Verb::of(request.method()), Endpoint::of(request.uri().path()));
        if let Permission::Denied = self.listener.may_ask(verb, &endpoint) {
            return Some(answer::not_mgmt());
        }
        self.listener.known(verb, &endpoint)
    }
}

impl hyper::service::Service<Request<Incoming>> for Caller {
    type Response = Answer;
    type Error = std::convert::Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.talk.streams.store(false, Ordering::Relaxed);
        let version = request.version();
        if let Some(mut answer) = self.at_once(&request) {
            close_if_old(version, &mut answer);
            return Answering::Known(Some(answer));
        }
        let (listener, talk) = (self.listener.clone(), self.talk.clone());
        Answering::Waited(Box::pin(async move {
            let mut answer = listener.answer(request, talk.origin).await;
            close_if_old(version, &mut answer);
            talk.streams.store(answer.body().is_open_ended(), Ordering::Relaxed);
            answer
        }))
    }
}

/// An answer on its way.
pub(super) enum Answering {
    Known(Option<Answer>),
    Waited(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl Future for Answering {
    type Output = Served;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Served> {
        match &mut *self {
            Answering::Known(answer) => answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            Answering::Waited(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

impl Listener {
    /// One answer, whatever comes; nothing of the request is left unread that would take the answer away from its client.
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Answer {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return self
                .after_body(
                    request.into_body(),
                    answer::error(StatusCode::SERVICE_UNAVAILABLE, "Too many requests"),
                )
                .await;
        };
        let (parts, mut body) = request.into_parts();
        let answer = match &self.who {
            Who::Network(endpoint) => endpoint.answer(&self.backend, origin, &parts, &mut body).await,
            Who::Host | Who::Container { .. } => self.answer_local(&parts, &mut body).await,
        };
        if parts.headers.contains_key(header::EXPECT) && !body.is_end_stream() {
            let mut answer = answer;
            answer::then_close(&mut answer);
            return answer;
        }
        self.after_body(body, answer).await
    }

    async fn answer_local(&self, parts: &Parts, body: &mut Incoming) -> Answer {
        let asked = Asked {
            verb: Verb::of(&parts.method),
            endpoint: Endpoint::of(parts.uri.path()),
            path: parts.uri.path(),
            query: parts.uri.query(),
            last_event: parts.headers.get("last-event-id").and_then(|id| id.to_str().ok()),
        };
        match self.may_ask(asked.verb, &asked.endpoint) {
            Permission::Granted => self.dispatch(&asked, body).await,
            Permission::Denied => answer::not_mgmt(),
        }
    }

    async fn after_body(&self, mut body: Incoming, mut answer: Answer) -> Answer {
        if let LeftOver::Something = body::take_in(&mut body).await {
            answer::then_close(&mut answer);
        }
        answer
    }

    /// What needs no disk and nobody else.
    fn known(&self, verb: Verb, endpoint: &Endpoint) -> Option<Answer> {
        let backend = &self.backend;
        match (verb, endpoint) {
            (Verb::Get, Endpoint::Containers) => Some(self.rendered(Page::Containers)),
            (Verb::Get, Endpoint::Groups) => Some(self.rendered(Page::Groups)),
            (Verb::Get, Endpoint::Meta(kind)) => backend.metadata.at_hand(*kind).map(answer::json),
            (Verb::Get, Endpoint::Config) => Some(answer::json(backend.settings.flat.clone())),
            (Verb::Get, Endpoint::Config2) => Some(answer::json(backend.settings.list.clone())),
            (Verb::Get, Endpoint::BuildInfo) => Some(answer::text(Bytes::from_static(BUILD_INFO.as_bytes()))),
            // No services are linked, and nothing is kept running beside the containers.
            (Verb::Get, Endpoint::Daemons | Endpoint::XconnectGraph) => {
                Some(answer::json(Bytes::from_static(b"[]")))
            }
            _ => None,
        }
    }

    fn rendered(&self, page: Page) -> Answer {
        let report = self.backend.report.borrow();
        match report.phase {
            Phase::Booting => answer::not_ready(),
            Phase::Running
            | Phase::Verifying
            | Phase::Trying
            | Phase::Testing
            | Phase::RollingBack
            | Phase::OnlyAnswering
            | Phase::ShuttingDown => answer::json(self.backend.rendered.page(page, &report)),
        }
    }

    async fn dispatch(&self, asked: &Asked<'_>, body: &mut Incoming) -> Answer {
        let backend = &self.backend;
        if let Some(answer) = self.known(asked.verb, &asked.endpoint) {
            return answer;
        }
        match (&asked.endpoint, asked.verb) {
            (Endpoint::Signal, Verb::Post) => requests::signal(backend, &self.who, body).await,
            (Endpoint::Commands, Verb::Post) => requests::command(backend, body).await,
            (Endpoint::Container(name), Verb::Put) => requests::control(backend, name, body).await,
            (Endpoint::StorageGc, Verb::Post) => requests::collect(backend).await,
            (Endpoint::Status, Verb::Get) => {
                let report = backend.report();
                let of = StatusOf { event: backend.history.last(), disk: backend.store.full() };
                answer::json(backend.rendered.status(&report, of))
            }
            (Endpoint::Events, Verb::Get) => streams::events(backend, asked.query, asked.last_event),
            (Endpoint::Objects, Verb::Get) => objects::list(backend).await,
            (Endpoint::Object(name), Verb::Get) => objects::get(backend, name).await,
            (Endpoint::Object(name), Verb::Put) => objects::put(backend, name, body).await,
            (Endpoint::Steps, Verb::Get) => steps::list(backend).await,
            (Endpoint::Step(name), Verb::Get) => steps::get(backend, name).await,
            (Endpoint::Step(name), Verb::Put) => steps::put(backend, name, body).await,
            (Endpoint::StepProgress(name), Verb::Get) => steps::progress(backend, name).await,
            (Endpoint::StepMessage(name), Verb::Put) => steps::put_message(backend, name, body).await,
            (Endpoint::Logs(name), Verb::Get) => streams::logs(backend, name, asked.query).await,
            (Endpoint::Meta(kind), Verb::Get) => meta::list(backend, *kind).await,
            (Endpoint::MetaKey(kind, key), Verb::Put) => meta::put(backend, *kind, key, body).await,
            (Endpoint::MetaKey(kind, key), Verb::Delete) => meta::delete(backend, *kind, key).await,
            (Endpoint::Drivers, Verb::Get) => drivers::list(backend, &self.who).await,
            (Endpoint::DriverChange(name, change), Verb::Put) => {
                drivers::change(backend, &self.who, name.as_ref(), *change).await
            }
            // Whatever is asked of it: this agent keeps none beside the containers.
            (Endpoint::Daemon, Verb::Put) => answer::error(StatusCode::NOT_FOUND, "Daemon not found"),
            (Endpoint::Plan, Verb::Get) => plan::plan(backend, asked.query).await,
            (Endpoint::Unknown, _) => answer::unknown_endpoint(&shown(asked.path)),
            _ => answer::wrong_method(),
        }
    }
}

/// A request's head, as far as an answer depends on it.
struct Asked<'a> {
    verb: Verb,
    endpoint: Endpoint,
    path: &'a str,
    query: Option<&'a str>,
    last_event: Option<&'a str>,
}

const BUILD_INFO: &str = concat!("goalpost ", env!("CARGO_PKG_VERSION"), "\n");

/// HTTP/1.0 clients wait for the end of the connection.
fn close_if_old(version: Version, answer: &mut Answer) {
    if version == Version::HTTP_10 {
        answer::then_close(answer);
    }
}

fn refused_head(problem: Problem) -> Answer {
    let code = match problem {
        Problem::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
        Problem::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Problem::TooLong
        | Problem::TooManyFields
        | Problem::RequestLine
        | Problem::Target
        | Problem::Version
        | Problem::Method
        | Problem::Field
        | Problem::Length
        | Problem::Encoding
        | Problem::EndedEarly => StatusCode::BAD_REQUEST,
    };
    let mut answer = answer::error(code, &problem.to_string());
    answer::then_close(&mut answer);
    answer
}

/// What an endpoint answers to a body that it could not read.
pub(super) fn unread(problem: BodyProblem) -> Answer {
    match problem {
        BodyProblem::TooLarge => answer::no_space(),
        BodyProblem::EndedEarly => answer::bad_request("Request body ended too early"),
    }
}
