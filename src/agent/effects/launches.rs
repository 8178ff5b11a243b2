//! The launcher, which is started again if it ever ends.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use host::keeping::{self, Kept};
use host::{HostError, Launcher};
use model::ids::ContainerName;
use nix::errno::Errno;

/// Our own binary, also after its file was replaced by a newer one.
const OURSELVES: &str = "/proc/self/exe";

/// Whoever makes processes for us. The mounts that it made are held by the agent and outlive it.
#[derive(Debug)]
pub(crate) struct Launches {
    folder: PathBuf,
    current: Mutex<Arc<Launcher>>,
}

impl Launches {
    /// Starts a launcher that puts containers' mounts into `folder`, which is there. Also what a former one kept.
    ///
    /// # Errors
    /// It cannot be executed, or not make its namespaces.
    pub(crate) fn start(folder: PathBuf) -> Result<(Launches, Kept), HostError> {
        let kept = keeping::take_over(&folder).unwrap_or_else(|error| {
            log::warn!("op=take-over error={:?}", error.to_string());
            Kept::new()
        });
        let launcher = Launcher::start(Path::new(OURSELVES), &folder)?;
        Ok((Launches { folder, current: Mutex::new(Arc::new(launcher)) }, kept))
    }

    /// Keeps our side of a container's console for the next agent, or nothing of it any more. A launcher that ends takes along
    /// what it kept; that matters only if this agent dies, too.
    pub(crate) fn keep(&self, container: &ContainerName, console: Option<BorrowedFd<'_>>) {
        if let Err(error) = self.ask(|launcher| launcher.keep(container.as_str(), console)) {
            log::warn!("op=keep-console container={container} error={:?}", error.to_string());
        }
    }

    /// A container will want its own network namespace. Whoever hears nothing of it makes it when it is time.
    pub(crate) fn expect_network(&self) {
        let launcher = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = launcher.expect_network();
    }

    /// Asks it; if it has ended, another one.
    pub(crate) fn ask<T>(&self, ask: impl Fn(&Launcher) -> Result<T, HostError>) -> Result<T, HostError> {
        let launcher = Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner));
        match ask(&launcher) {
            Err(error) if matches!(error.errno, Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => {
                log::warn!("op=ask-launcher error={:?} (starting another)", error.to_string());
                let another = self.another(&launcher)?;
                ask(&another)
            }
            outcome => outcome,
        }
    }

    fn another(&self, ended: &Arc<Launcher>) -> Result<Arc<Launcher>, HostError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, ended) {
            *current = Arc::new(ended.start_again(Path::new(OURSELVES), &self.folder)?);
        }
        Ok(Arc::clone(&current))
    }
}
