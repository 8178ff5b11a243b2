//! The way in for requests: a bounded channel to the loop, with a channel back for the answer.

use std::sync::Arc;

use model::ids::RevisionId;
use model::report::Phase;
use model::request::{AfterShutdown, Refusal, Reply, Request};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the loop at once; a client beyond that waits in its own task, never in the loop.
const WAITING: usize = 64;

/// Asks the engine. Cheap to clone; each client's task has its own.
#[derive(Debug, Clone)]
pub struct Asker {
    to_loop: mpsc::Sender<Question>,
}

/// A request on its way to the loop.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub what: Request,
    /// The state of the step that `Request::Post` brings, as received.
    pub step: Option<Arc<[u8]>>,
    /// Where the answer goes; nobody listens any more if the client hung up.
    pub answer: oneshot::Sender<Reply>,
}

/// The asking end, with the end that the loop reads.
pub fn channel() -> (Asker, mpsc::Receiver<Question>) {
    let (to_loop, questions) = mpsc::channel(WAITING);
    (Asker { to_loop }, questions)
}

impl Asker {
    /// Asks anything but a post. While the agent leaves, everything is refused as busy.
    pub async fn ask(&self, what: Request) -> Reply {
        self.send(what, None).await
    }

    /// Asks for a step to be stored; `state` is its JSON, byte for byte.
    pub async fn post(&self, revision: RevisionId, state: Arc<[u8]>) -> Reply {
        self.send(Request::Post { revision }, Some(state)).await
    }

    /// Asks for the orderly stop.
    pub async fn shut_down(&self, then: AfterShutdown) -> Reply {
        self.ask(Request::ShutDown { then }).await
    }

    async fn send(&self, what: Request, step: Option<Arc<[u8]>>) -> Reply {
        let (answer, answered) = oneshot::channel();
        let leaving = || Reply::Refused(Refusal::Busy(Phase::ShuttingDown));
        if self.to_loop.send(Question { what, step, answer }).await.is_err() {
            return leaving();
        }
        answered.await.unwrap_or_else(|_| leaving())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_runtime<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn an_answer_comes_back_to_whoever_asked() {
        on_runtime(async {
            let (asker, mut questions) = channel();
            let loop_side = async {
                let question = questions.recv().await.unwrap();
                assert_eq!(question.what, Request::Collect);
                question.answer.send(Reply::Collected { reclaimed: 7 }).unwrap();
            };
            let (reply, ()) = tokio::join!(asker.ask(Request::Collect), loop_side);
            assert_eq!(reply, Reply::Collected { reclaimed: 7 });
        });
    }

    #[test]
    fn a_loop_that_has_left_refuses_everything() {
        on_runtime(async {
            let (asker, questions) = channel();
            drop(questions);
            let reply = asker.ask(Request::Collect).await;
            assert_eq!(reply, Reply::Refused(Refusal::Busy(Phase::ShuttingDown)));
        });
    }
}
