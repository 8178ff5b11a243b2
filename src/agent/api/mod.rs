//! The control API: HTTP on Unix sockets, where the socket says who asks.
//!
//! ```text
//! listen.rs    accepts, counts connections            wire.rs, head.rs   bytes cleaned on their way to hyper, or answered at once
//!                                                     inbox.rs           what came in, deadlines
//! caller.rs    one request: who may, what is it       route.rs           path -> Endpoint
//! render.rs    the report as JSON, once per report    requests.rs        what only the engine can answer
//! pvr/         the device endpoint, over TCP          stream.rs          a connection of either kind
//! answer.rs    codes, texts, bodies                   recalled.rs        what the disk told, until it changes
//!                                                     streams.rs, …      the endpoints that take longer
//! ```
//!
//! README.md beside this file has the shapes that the specification leaves open.

mod answer;
mod body;
mod caller;
mod drivers;
pub mod head;
mod inbox;
mod listen;
mod meta;
mod objects;
mod plan;
mod pvr;
mod recalled;
mod render;
mod requests;
mod route;
mod settings;
mod steps;
mod stream;
mod streams;
mod wire;

use std::sync::Arc;

use hyper::body::Bytes;
use model::ids::{ContainerName, Generation};
use model::recovery::Role;
use model::report::{DeviceReport, Failure, FailureKind, Phase};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::ask::Asker;
use crate::config::Config;
use crate::history::History;
use crate::logs::Logs;
use crate::metadata::Metadata;
use crate::power::Owner;
use crate::store::Store;
use caller::{Listener, Who};
use recalled::{Page, Recalled, Then};
use render::{Rendered, StatusOf};
use stream::Socket;

pub use pvr::DeviceEndpoint;

/// What the answers come from.
#[derive(Debug)]
pub struct Backend {
    store: Arc<Store>,
    ask: Asker,
    report: watch::Receiver<Arc<DeviceReport>>,
    history: Arc<History>,
    logs: Arc<Logs>,
    power: Owner,
    metadata: Arc<Metadata>,
    settings: settings::Pages,
    rendered: Rendered,
    recalled: Recalled,
    /// Taken by an upload while it writes.
    writing: Arc<Semaphore>,
}

impl Backend {
    /// One for all listeners. The loop publishes a step's report first, then records its happenings in `history`: whoever reads
    /// the report and follows the history from there misses nothing.
    pub fn new(
        store: Arc<Store>,
        ask: Asker,
        report: watch::Receiver<Arc<DeviceReport>>,
        history: Arc<History>,
        logs: Arc<Logs>,
        metadata: Arc<Metadata>,
        config: &Config,
    ) -> Arc<Backend> {
        Arc::new(Backend {
            store,
            ask,
            report,
            history,
            logs,
            power: Owner::of(config),
            metadata,
            settings: settings::Pages::of(&config.listed()),
            rendered: Rendered::default(),
            recalled: Recalled::default(),
            writing: Arc::new(Semaphore::new(objects::WRITING)),
        })
    }

    fn report(&self) -> Arc<DeviceReport> {
        self.report.borrow().clone()
    }

    /// The report, once there is something to tell.
    fn booted(&self) -> Option<Arc<DeviceReport>> {
        Some(self.report()).filter(|report| report.phase != Phase::Booting)
    }

    /// The page of the whole device.
    fn status(&self) -> Bytes {
        let of = StatusOf { event: self.history.last(), disk: self.store.full() };
        self.rendered.status(&self.report(), of)
    }

    /// Runs what blocks on the disk where it may.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.store.clone();
        let ending = |_| Failure::new(FailureKind::Transient, "read the disk: the agent is ending");
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(ending)?
    }

    /// A page that the disk told, if it was read before and nothing has changed.
    fn remembered(&self, page: &Page) -> Option<Bytes> {
        self.recalled.find(page, &self.then())
    }

    fn then(&self) -> Then {
        Then { names: self.store.names(), report: self.report() }
    }

    /// A page that the disk tells. `read` reads it where that may block, unless it was read before and nothing has changed.
    async fn recalled(
        &self,
        page: Page,
        read: impl FnOnce(&Store, &DeviceReport) -> Result<Bytes, Failure> + Send + 'static,
    ) -> Result<Bytes, Failure> {
        let then = self.then();
        if let Some(text) = self.recalled.find(&page, &then) {
            return Ok(text);
        }
        let report = then.report.clone();
        let text = self.on_disk(move |store| read(store, &report)).await?;
        self.recalled.keep(page, then, text.clone());
        Ok(text)
    }
}

/// Answers on the host's socket, where everything may be asked. Never returns; dropping it ends its connections.
pub fn serve_host(listener: UnixListener, backend: Arc<Backend>) -> impl Future<Output = ()> {
    listen::serve(Socket::Unix(listener), Listener::new(Who::Host, backend))
}

/// Answers on the socket of one life of one container. Never returns; dropping it ends its connections.
pub fn serve_container(
    listener: UnixListener,
    container: ContainerName,
    generation: Generation,
    role: Role,
    backend: Arc<Backend>,
) -> impl Future<Output = ()> {
    let who = Who::Container { name: container, generation, role };
    listen::serve(Socket::Unix(listener), Listener::new(who, backend))
}

/// Answers `pvr` and `goalctl --host`. Never returns; dropping it ends its connections.
pub fn serve_device(
    listener: TcpListener,
    endpoint: DeviceEndpoint,
    backend: Arc<Backend>,
) -> impl Future<Output = ()> {
    listen::serve(Socket::Tcp(listener), Listener::new(Who::Network(endpoint), backend))
}
