//! The agent's return to its socket, as inotify tells it.
//!
//! Every folder on the way to the socket is watched for the next name of the way, so that a run folder that was removed is
//! heard of when it is made again. What is mounted over one of them is not heard of.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A name is made or moved there, or its mode or group is set: the agent does the last after it listens, and between
/// `bind` and `listen` the kernel refuses connections.
const MAY_ANSWER: AddWatchFlags =
    AddWatchFlags::IN_CREATE.union(AddWatchFlags::IN_MOVED_TO).union(AddWatchFlags::IN_ATTRIB);
/// As many as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// Each moment at which a socket that was not answered may be answered.
#[derive(Debug)]
pub(crate) struct Arrivals {
    socket: PathBuf,
    inotify: Inotify,
    readable: AsyncFd<OwnedFd>,
    awaited: BTreeSet<(WatchDescriptor, OsString)>,
}

impl Arrivals {
    /// What happens from now on is heard.
    pub(crate) fn at(socket: &Path) -> io::Result<Arrivals> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let readable = readable(inotify.as_fd().try_clone_to_owned()?)?;
        let socket = std::path::absolute(socket)?;
        let mut arrivals = Arrivals { socket, inotify, readable, awaited: BTreeSet::new() };
        arrivals.watch_the_way()?;
        Ok(arrivals)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.readable.readable().await?;
            let Ok(events) = ready.try_io(|_| Ok(self.inotify.read_events()?)) else { continue };
            if events?.iter().any(|event| self.is_awaited(event)) {
                return self.watch_the_way();
            }
        }
    }

    fn is_awaited(&self, event: &InotifyEvent) -> bool {
        let lost_some = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        let named = event.name.as_ref().map(|name| (event.wd, name.clone()));
        lost_some || named.is_some_and(|named| self.awaited.contains(&named))
    }

    fn watch_the_way(&mut self) -> io::Result<()> {
        self.awaited.clear();
        for path in links(&self.socket) {
            // From the top: what is made below after its folder was looked for is heard of above.
            for step in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
                self.watch_step(step, step == path)?;
            }
        }
        Ok(())
    }

    fn watch_step(&mut self, step: &Path, is_socket: bool) -> io::Result<()> {
        let (Some(folder), Some(name)) = (step.parent(), step.file_name()) else { return Ok(()) };
        let flags = MAY_ANSWER | AddWatchFlags::IN_ONLYDIR;
        match self.inotify.add_watch(folder, flags) {
            Ok(watch) => _ = self.awaited.insert((watch, name.to_owned())),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            // It may be passed through, not read: its changes are not for us.
            Err(Errno::EACCES) if !is_socket => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

#[expect(deprecated, reason = "its successor is unsafe; an OwnedFd is what that one asks for")]
fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// The path, and each that a symbolic link at its end leads to.
fn links(path: &Path) -> Vec<PathBuf> {
    let follow = |path: &PathBuf| Some(path.parent()?.join(std::fs::read_link(path).ok()?));
    std::iter::successors(Some(path.to_owned()), follow).take(MOST_LINKS).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    async fn heard(arrivals: &mut Arrivals) {
        tokio::time::timeout(std::time::Duration::from_secs(60), arrivals.next()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_socket_is_heard_when_it_is_made_and_when_its_mode_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("pv-ctrl");
        let mut arrivals = Arrivals::at(&socket).unwrap();
        fs::write(folder.path().join("lock"), "").unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        heard(&mut arrivals).await;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
        heard(&mut arrivals).await;
    }

    #[tokio::test]
    async fn a_socket_is_heard_in_folders_that_are_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let socket = run.join("goalpost/pv-ctrl");
        fs::create_dir_all(run.join("goalpost")).unwrap();
        let mut arrivals = Arrivals::at(&socket).unwrap();
        fs::remove_dir_all(&run).unwrap();
        fs::create_dir(&run).unwrap();
        heard(&mut arrivals).await;
        fs::create_dir(run.join("goalpost")).unwrap();
        heard(&mut arrivals).await;
        let _listener = UnixListener::bind(&socket).unwrap();
        heard(&mut arrivals).await;
    }

    #[tokio::test]
    async fn a_socket_is_heard_where_a_link_leads() {
        let folder = tempfile::tempdir().unwrap();
        let (link, run) = (folder.path().join("link"), folder.path().join("run"));
        fs::create_dir(&run).unwrap();
        symlink("run/pv-ctrl", &link).unwrap();
        let mut arrivals = Arrivals::at(&link).unwrap();
        let _listener = UnixListener::bind(run.join("pv-ctrl")).unwrap();
        heard(&mut arrivals).await;
    }
}
