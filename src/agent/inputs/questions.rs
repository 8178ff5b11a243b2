//! Requests on their way through the engine: from a question to its number, from a reply back to who asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::Event;
use model::ids::RequestId;
use model::request::{Reply, Request};
use tokio::sync::oneshot;

use crate::ask::Question;

/// The requests that the engine has not answered.
#[derive(Debug, Default)]
pub struct Questions {
    last: u64,
    open: BTreeMap<RequestId, Open>,
}

#[derive(Debug)]
struct Open {
    answer: Option<oneshot::Sender<Reply>>,
    step: Option<Arc<[u8]>>,
}

impl Questions {
    /// Numbers a question, keeps its channel and staged step, and makes it an event.
    pub fn take_in(&mut self, question: Question) -> Event {
        self.open(question.what, Some(question.answer), question.step)
    }

    /// A request of the agent itself, whose answer nobody waits for.
    pub fn own(&mut self, what: Request) -> Event {
        self.open(what, None, None)
    }

    /// The step that came with a post.
    pub fn staged(&self, request: RequestId) -> Option<Arc<[u8]>> {
        self.open.get(&request)?.step.clone()
    }

    /// Sends the answer and forgets the request; a client that hung up misses it.
    pub fn answer(&mut self, request: RequestId, reply: Reply) {
        if let Some(answer) = self.open.remove(&request).and_then(|open| open.answer) {
            let _ = answer.send(reply);
        }
    }

    fn open(
        &mut self,
        what: Request,
        answer: Option<oneshot::Sender<Reply>>,
        step: Option<Arc<[u8]>>,
    ) -> Event {
        self.last += 1;
        let request = RequestId(self.last);
        self.open.insert(request, Open { answer, step });
        Event::Asked { request, what }
    }
}
