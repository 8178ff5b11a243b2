//! Order among what is done to one subject: a container's mounts, a revision's progress document.

use std::collections::BTreeMap;
use std::convert::Infallible;

use tokio::sync::oneshot;

/// What is asked later begins when all that was asked earlier of the same subject has ended, however late that is. An unmount
/// so takes away what a mount makes that nobody waits for any more, and no document replaces a newer one.
#[derive(Debug)]
pub(super) struct Turns<Subject>(BTreeMap<Subject, oneshot::Receiver<Infallible>>);

/// A place in the order.
#[derive(Debug)]
pub(super) struct Place {
    before: Option<oneshot::Receiver<Infallible>>,
    turn: Turn,
}

/// Until it is dropped, nothing else is done to this subject.
#[derive(Debug)]
pub(super) struct Turn {
    _ends: oneshot::Sender<Infallible>,
}

impl<Subject: Ord + Clone> Turns<Subject> {
    pub(super) fn new() -> Turns<Subject> {
        Turns(BTreeMap::new())
    }

    /// The place after all that were given out.
    pub(super) fn place(&mut self, subject: &Subject) -> Place {
        self.0.retain(|_, last| matches!(last.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let (ends, end) = oneshot::channel();
        Place { before: self.0.insert(subject.clone(), end), turn: Turn { _ends: ends } }
    }
}

impl Place {
    /// Waits for all that came before.
    pub(super) async fn turn(self) -> Turn {
        if let Some(before) = self.before {
            let Err(_dropped) = before.await;
        }
        self.turn
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use model::ids::ContainerName;

    use super::*;

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn an_unmount_waits_for_the_mount_before_it_and_the_next_mount_for_both() {
        let mut turns = Turns::new();
        let web: ContainerName = "web".parse().unwrap();
        let mut mount = pin!(turns.place(&web).turn());
        let mut unmount = pin!(turns.place(&web).turn());
        let mut next = pin!(turns.place(&web).turn());
        assert!(poll(next.as_mut()).is_pending());
        assert!(poll(unmount.as_mut()).is_pending());
        let Poll::Ready(mounting) = poll(mount.as_mut()) else { panic!("nothing is before it") };
        assert!(poll(unmount.as_mut()).is_pending());
        drop(mounting);
        let Poll::Ready(unmounting) = poll(unmount.as_mut()) else { panic!("the mount has ended") };
        assert!(poll(next.as_mut()).is_pending());
        drop(unmounting);
        assert!(poll(next.as_mut()).is_ready());
    }

    #[test]
    fn containers_do_not_wait_for_each_other() {
        let mut turns = Turns::<ContainerName>::new();
        let _web = turns.place(&"web".parse().unwrap());
        assert!(poll(pin!(turns.place(&"db".parse().unwrap()).turn())).is_ready());
    }
}
