//! The replies that run in this process, by caller and id.

use crate::chat::Caller;
use crate::error::{Error, Kind};
use crate::reply::{Reply, lock};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Running replies. A caller's id means nothing to another caller.
#[derive(Default)]
pub struct Live {
    state: Mutex<State>,
    fewer: Notify,
}

#[derive(Default)]
struct State {
    replies: HashMap<Caller, HashMap<String, Arc<Reply>>>,
    closed: bool,
}

/// A request's place among the running replies.
pub enum Admitted {
    /// A new reply: run it, then [`Live::remove`] it.
    New(Arc<Reply>),
    /// The same request runs already: attach to it.
    Running(Arc<Reply>),
}

impl Live {
    /// Takes a request in, or finds the reply that it repeats.
    ///
    /// # Errors
    /// `conflict` for an id in use by another request, `throttled` past `cap` running replies of
    /// the caller, `unavailable` while shutting down.
    pub fn admit(
        &self,
        caller: &Caller,
        id: &str,
        fingerprint: &str,
        cap: Option<usize>,
    ) -> Result<Admitted, Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(closing());
        }
        let replies = state.replies.entry(caller.clone()).or_default();
        if let Some(reply) = replies.get(id) {
            if reply.fingerprint != fingerprint {
                return Err(conflict());
            }
            return Ok(Admitted::Running(reply.clone()));
        }
        if cap.is_some_and(|cap| replies.len() >= cap) {
            return Err(too_many(replies.len()));
        }
        let reply = Reply::new(id.to_owned(), caller.clone(), fingerprint.to_owned());
        replies.insert(id.to_owned(), reply.clone());
        Ok(Admitted::New(reply))
    }

    /// The caller's running reply of this id.
    pub fn find(&self, caller: &Caller, id: &str) -> Option<Arc<Reply>> {
        lock(&self.state).replies.get(caller)?.get(id).cloned()
    }

    /// Would a new reply of this caller be refused?
    pub fn is_full(&self, caller: &Caller, cap: Option<usize>) -> bool {
        let state = lock(&self.state);
        let running = state.replies.get(caller).map_or(0, HashMap::len);
        state.closed || cap.is_some_and(|cap| running >= cap)
    }

    /// Is nothing taken in any more?
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// The reply has ended.
    pub fn remove(&self, reply: &Reply) {
        let mut state = lock(&self.state);
        if let Some(replies) = state.replies.get_mut(&reply.caller) {
            replies.remove(&reply.id);
            if replies.is_empty() {
                state.replies.remove(&reply.caller);
            }
        }
        drop(state);
        self.fewer.notify_waiters();
    }

    /// Takes nothing in any more and waits until every reply has ended: by itself within
    /// `patience`, then because it is told to.
    pub async fn close(&self, patience: Duration) {
        lock(&self.state).closed = true;
        if timeout(patience, self.empty()).await.is_ok() {
            return;
        }
        for reply in lock(&self.state).replies.values().flat_map(HashMap::values) {
            reply.stop(closing());
        }
        // What remains now only has its terminal to write.
        let _late = timeout(Duration::from_secs(2), self.empty()).await;
    }

    async fn empty(&self) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if lock(&self.state).replies.is_empty() {
                return;
            }
            fewer.await;
        }
    }
}

/// The error of an id that stands for another request.
pub fn conflict() -> Error {
    Error::new(
        Kind::Conflict,
        "This request_id belongs to another request of yours. Use a new one for a new question.",
    )
}

/// The error of a caller at the cap.
pub fn too_many(running: usize) -> Error {
    let message = format!("{running} replies of yours are running, which is the limit. Wait for one to end.");
    Error::new(Kind::Throttled, message).after(Some(Duration::from_secs(1)))
}

fn closing() -> Error {
    Error::new(Kind::Unavailable, "The gateway is shutting down. Ask again in a moment.")
        .after(Some(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(live: &Live, caller: &str, id: &str, fingerprint: &str) -> Result<Admitted, Error> {
        live.admit(&Caller(caller.into()), id, fingerprint, Some(2))
    }

    #[test]
    fn the_same_request_attaches_and_another_one_of_the_same_id_conflicts() {
        let live = Live::default();
        assert!(matches!(admit(&live, "a", "1", "x"), Ok(Admitted::New(_))));
        assert!(matches!(admit(&live, "a", "1", "x"), Ok(Admitted::Running(_))));
        assert_eq!(admit(&live, "a", "1", "y").err().map(|error| error.kind), Some(Kind::Conflict));
        assert!(
            matches!(admit(&live, "b", "1", "y"), Ok(Admitted::New(_))),
            "another caller's id is another reply"
        );
    }

    #[test]
    fn a_caller_past_the_cap_is_throttled_until_a_reply_ends() {
        let live = Live::default();
        let Ok(Admitted::New(first)) = admit(&live, "a", "1", "") else { panic!() };
        assert!(admit(&live, "a", "2", "").is_ok());
        assert_eq!(admit(&live, "a", "3", "").err().map(|error| error.kind), Some(Kind::Throttled));
        live.remove(&first);
        assert!(admit(&live, "a", "3", "").is_ok());
        assert!(live.find(&Caller("a".into()), "1").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_refuses_new_work_and_stops_what_does_not_end() {
        let live = Arc::new(Live::default());
        let Ok(Admitted::New(reply)) = admit(&live, "a", "1", "") else { panic!() };
        let running = {
            let (live, reply) = (live.clone(), reply.clone());
            tokio::spawn(async move {
                let error = reply.stopped().await;
                live.remove(&reply);
                error.kind
            })
        };
        live.close(Duration::from_secs(8)).await;
        assert_eq!(running.await.unwrap(), Kind::Unavailable);
        assert_eq!(admit(&live, "a", "2", "").err().map(|error| error.kind), Some(Kind::Unavailable));
    }
}
