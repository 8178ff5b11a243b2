//! A task that serves a socket for as long as somebody holds it.

use tokio::task::JoinHandle;

/// Dropped, the task ends, and its connections with it.
#[derive(Debug)]
pub(crate) struct Serving(JoinHandle<()>);

impl Serving {
    /// Begins to serve.
    pub(crate) fn begin(serve: impl Future<Output = ()> + Send + 'static) -> Serving {
        Serving(tokio::spawn(serve))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
