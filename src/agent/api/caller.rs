//! One request: whether this caller may ask it, what it is, who answers it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode, Version, header};
use model::ids::{ContainerName, Generation};
use model::recovery::Role;
use tokio::sync::Semaphore;

use super::answer::{self, Answer, Known, Served};
use super::body::{self, BodyProblem, LeftOver};
use super::head::Problem;
use super::recalled::Page;
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

    /// The whole answer to a head that asks for what is in memory and wants nothing else: it needs no hyper. `None` for any other.
    pub(super) fn answer_to(&self, head: &[u8]) -> Option<[Bytes; 2]> {
        let (line, headers) = head.split_at(head.iter().position(|byte| *byte == b'\n')?);
        let target = line.strip_prefix(b"GET ")?.strip_suffix(b" HTTP/1.1\r")?;
        let target = str::from_utf8(target).ok()?;
        let is_plain = headers.split(|byte| *byte == b'\n').all(|header| {
            let name = header.split(|byte| *byte == b':').next().unwrap_or_default();
            !name.eq_ignore_ascii_case(b"connection") && !name.eq_ignore_ascii_case(b"expect")
        });
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        if is_plain { self.known(path, query).map(|known| known.sent()) } else { None }
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
}

impl hyper::service::Service<Request<Incoming>> for Caller {
    type Response = Answer;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Served> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (listener, talk) = (self.listener.clone(), self.talk.clone());
        Box::pin(async move {
            let version = request.version();
            talk.streams.store(false, Ordering::Relaxed);
            let mut answer = match talk.refused.get() {
                Some(problem) => refused_head(*problem),
                None => listener.answer(request, talk.origin).await,
            };
            close_if_old(version, &mut answer);
            talk.streams.store(answer.body().is_open_ended(), Ordering::Relaxed);
            Ok(answer)
        })
    }
}

impl Listener {
    /// One answer, whatever comes; nothing of the request is left unread that would take the answer away from its client.
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Answer {
        let (parts, mut body) = request.into_parts();
        let known = match parts.method {
            Method::GET => self.known(parts.uri.path(), parts.uri.query()),
            _ => None,
        };
        let answer = match (known, self.in_flight.try_acquire(), &self.who) {
            (Some(known), _, _) => known.answer(),
            (None, Err(_), _) => answer::error(StatusCode::SERVICE_UNAVAILABLE, "Too many requests"),
            (None, Ok(_permit), Who::Network(endpoint)) => {
                endpoint.answer(&self.backend, origin, &parts, &mut body).await
            }
            (None, Ok(_permit), Who::Host | Who::Container { .. }) => {
                self.answer_local(&parts, &mut body).await
            }
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
            headers: &parts.headers,
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

    /// What GET tells this caller without the disk and without anybody else.
    fn known(&self, path: &str, query: Option<&str>) -> Option<Known> {
        let (backend, endpoint) = (&self.backend, Endpoint::of(path));
        let Permission::Granted = self.may_ask(Verb::Get, &endpoint) else { return None };
        let body = match &endpoint {
            Endpoint::BuildInfo => return Some(Known::text(Bytes::from_static(BUILD_INFO.as_bytes()))),
            Endpoint::Config => backend.settings.flat.clone(),
            Endpoint::Config2 => backend.settings.list.clone(),
            Endpoint::Containers => backend.rendered.containers(&backend.booted()?),
            Endpoint::Groups => backend.rendered.groups(&backend.booted()?),
            // No services are linked, and nothing is kept running beside the containers.
            Endpoint::Daemons | Endpoint::XconnectGraph => Bytes::from_static(b"[]"),
            Endpoint::Drivers if matches!(self.who, Who::Host) => Bytes::from_static(b"[]"),
            Endpoint::Meta(kind) => backend.metadata.at_hand(*kind)?,
            Endpoint::Objects => backend.remembered(&Page::Objects)?,
            Endpoint::Plan => {
                let (from, to) = plan::asked(backend, query)?;
                backend.remembered(&Page::Plan(from, to))?
            }
            Endpoint::Status => backend.status(),
            Endpoint::Step(name) => backend.remembered(&Page::Step(steps::found(backend, name).ok()?))?,
            Endpoint::StepProgress(name) => {
                backend.remembered(&Page::Progress(steps::found(backend, name).ok()?))?
            }
            Endpoint::Steps => backend.remembered(&Page::Steps)?,
            Endpoint::Commands
            | Endpoint::Container(_)
            | Endpoint::Daemon
            | Endpoint::DriverChange(..)
            | Endpoint::Drivers
            | Endpoint::Events
            | Endpoint::Logs(_)
            | Endpoint::MetaKey(..)
            | Endpoint::Object(_)
            | Endpoint::ObjectPartial(_)
            | Endpoint::Signal
            | Endpoint::StepMessage(_)
            | Endpoint::StorageGc
            | Endpoint::Unknown => return None,
        };
        Some(Known::json(body))
    }

    async fn dispatch(&self, asked: &Asked<'_>, body: &mut Incoming) -> Answer {
        let backend = &self.backend;
        match (&asked.endpoint, asked.verb) {
            (Endpoint::Signal, Verb::Post) => requests::signal(backend, &self.who, body).await,
            (Endpoint::Commands, Verb::Post) => requests::command(backend, body).await,
            (Endpoint::Container(name), Verb::Put) => requests::control(backend, name, body).await,
            (Endpoint::StorageGc, Verb::Post) => requests::collect(backend).await,
            (Endpoint::Containers | Endpoint::Groups, Verb::Get) => answer::not_ready(),
            (Endpoint::Events, Verb::Get) => streams::events(backend, asked.query, asked.headers),
            (Endpoint::Objects, Verb::Get) => objects::list(backend).await,
            (Endpoint::Object(name), Verb::Get) => objects::get(backend, name).await,
            (Endpoint::Object(name), Verb::Put) => objects::put(backend, name, asked.headers, body).await,
            (Endpoint::ObjectPartial(name), Verb::Get) => objects::partial(backend, name).await,
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
    headers: &'a HeaderMap,
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
