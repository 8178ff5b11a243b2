//! One socket: accepts connections, counts them, serves each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::caller::{Caller, Listener};
use super::head::Problem;
use super::stream::{Origin, Socket, Stream};
use super::wire::{Talk, Wire};

/// Connections beyond the limit that are still told so; further ones are closed.
const TOLD_AT_ONCE: usize = 16;
/// Bytes that hyper buffers per connection: its smallest power of two above the longest head.
const BUFFER: usize = 32 * 1024;
/// Until the next try where no descriptor is left.
const FOR_DESCRIPTORS: Duration = Duration::from_secs(1);

/// A task for each container waits in it: it holds little else than what it waits for.
pub(super) async fn serve(socket: Socket, listener: Arc<Listener>) {
    let (mut served, mut told) = (Connections::default(), Connections::default());
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, origin)) if served.still_there() < listener.most_connections() => {
                    served.spawn(connection(stream, origin, listener.clone(), None));
                }
                Ok((stream, origin)) if told.still_there() < TOLD_AT_ONCE => {
                    let problem = Some(Problem::TooManyConnections);
                    told.spawn(connection(stream, origin, listener.clone(), problem));
                }
                Ok(_) => {}
                // No descriptor or no memory: the caller stays in the backlog, which would wake this loop again at once.
                Err(error) => {
                    log::warn!("accept on a control socket: {error}");
                    if served.still_there() > 0 {
                        served.one_ended().await;
                    } else {
                        Box::pin(tokio::time::sleep_until(Instant::now() + FOR_DESCRIPTORS)).await;
                    }
                }
            },
            () = served.one_ended() => {}
            () = told.one_ended() => {}
        }
    }
}

/// The tasks that serve connections. While there are none, as for most containers, they take no memory.
#[derive(Default)]
struct Connections(Option<JoinSet<()>>);

impl Connections {
    fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.0.get_or_insert_with(JoinSet::new).spawn(connection);
    }

    /// How many have not ended; a client that saw the end of one connection finds its place free.
    fn still_there(&mut self) -> usize {
        let Some(connections) = &mut self.0 else { return 0 };
        while connections.try_join_next().is_some() {}
        connections.len()
    }

    /// Waits for one to end, for ever where there is none. Cancel-safe.
    async fn one_ended(&mut self) {
        let Some(connections) = &mut self.0 else { return std::future::pending().await };
        if connections.join_next().await.is_none() {
            self.0 = None;
        }
    }
}

async fn connection(stream: Stream, origin: Origin, listener: Arc<Listener>, refused: Option<Problem>) {
    let talk = Arc::new(Talk::new(origin));
    let mut wire = Wire::new(stream, talk.clone(), listener.clone());
    if let Some(problem) = refused {
        wire.refuse(problem);
    }
    let mut serving = http1::Builder::new()
        .half_close(true)
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_buf_size(BUFFER)
        .serve_connection(wire, Caller::new(listener, talk));
    if let Err(error) = std::future::poll_fn(|cx| serving.poll_without_shutdown(cx)).await {
        log::debug!("a control connection ended: {error}");
    }
    serving.into_parts().io.close().await;
}
