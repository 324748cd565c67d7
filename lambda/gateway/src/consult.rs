//! What each room is asked before the model is, and what its absence means: a store or a search that
//! is down is a gap in the answer, never an error.

use crate::cache_key::{self, Asked};
use crate::chat::{CacheOutcome, Request};
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::plan::Plan;
use crate::reply::Reply;
use crate::retrieval::{Found, Query};
use crate::shared_flight::Share;
use crate::store::{AnswerKeys, StoredAnswer, Turn};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

impl Gateway {
    /// The caller's earlier turns of this conversation; `None` where the store is down and nobody knows.
    pub(crate) async fn history(&self, request: &Request, plan: &Plan, reply: &Reply) -> Option<Vec<Turn>> {
        let (Some(store), Some(chat_id), true) = (&self.rooms.store, &request.chat_id, request.keep_chat)
        else {
            return Some(Vec::new());
        };
        // Far more bytes than tokens: what fits is for `Plan::ask` to say, by tokens.
        let bytes = usize::try_from(plan.room() * 12).unwrap_or(usize::MAX);
        let turns = store.turns(&request.caller, chat_id, bytes).await;
        turns.inspect_err(|error| reply.lacks.store(error)).ok()
    }

    pub(crate) fn cache_key(
        &self,
        request: &Request,
        plan: &Plan,
        history: Option<&[Turn]>,
        snapshot: Option<&str>,
    ) -> Option<String> {
        let first = history.is_some_and(<[Turn]>::is_empty);
        // Among strangers there is no scope but everybody's.
        let nobodys = request.caller.is_anyone() && !self.settings.cache_shared;
        if !self.settings.answer_cache || !first || nobodys {
            return None;
        }
        let scope = (!self.settings.cache_shared).then_some(request.caller.0.as_str());
        // What is searched for is as much a part of it as what is there to be found.
        let snapshot = format!("{} {:?}", snapshot?, self.query(request));
        let model = format!("{}/{}", self.rooms.stands_in.unwrap_or_default(), plan.choice.invoke_id);
        Some(cache_key::learned(&Asked {
            request,
            scope,
            model: &model,
            sampling: &plan.sampling,
            snapshot: &snapshot,
        }))
    }

    /// What is searched for.
    fn query(&self, request: &Request) -> Query {
        let settings = &self.settings.retrieval;
        Query {
            text: request.rag_prompt.as_deref().unwrap_or(request.question()).to_owned(),
            k: settings.k,
            filter: settings.filter.and(&request.rag_filter),
        }
    }

    pub(crate) async fn asked_before(
        &self,
        request: &Request,
        key: Option<&str>,
        history: Option<&[Turn]>,
        reply: &Reply,
    ) -> (Option<StoredAnswer>, CacheOutcome) {
        let Some(store) = self.rooms.store.as_ref().filter(|_| self.settings.answer_cache) else {
            return (None, CacheOutcome::Off);
        };
        let Some(history) = history else { return (None, CacheOutcome::Off) };
        if request.cache.invalidate || !history.is_empty() {
            return (None, CacheOutcome::Bypass);
        }
        let keys = AnswerKeys {
            prompt: request.is_bare_question().then(|| request.question().to_owned()),
            node_id: request.cache.node_id.clone(),
            learned: key.map(str::to_owned),
        };
        match store.find_answer(&keys).await {
            Ok(Some(known)) => (Some(known), CacheOutcome::Hit),
            Ok(None) => (None, CacheOutcome::Miss),
            Err(error) => {
                reply.lacks.store(&error);
                (None, CacheOutcome::Off)
            }
        }
    }

    /// The part of this process in a flight that other processes may share; `None` where none may.
    pub(crate) fn share(&self, key: Option<&str>, cache: CacheOutcome, reply: &Arc<Reply>) -> Option<Share> {
        let store = self.rooms.store.clone()?;
        // A store that was down a moment ago is not waited for again.
        let many = !self.rooms.single_process && self.settings.single_flight && cache == CacheOutcome::Miss;
        let key = key.filter(|_| many)?;
        Some(Share::new(store, reply.clone(), key.to_owned(), self.rooms.lease))
    }

    /// The state of the documents, and how much of retrieval's time is left for the search. Without
    /// documents the state is always the same; `None` where it cannot be told, or is not needed.
    pub(crate) async fn snapshot(&self) -> (Option<String>, Duration) {
        let limit = self.settings.retrieval.timeout;
        let Some(retrieval) = &self.rooms.retrieval else { return (Some(String::new()), limit) };
        if !self.settings.answer_cache {
            return (None, limit);
        }
        let begun = Instant::now();
        // A state that takes so long to tell costs this answer the cache, but not its passages.
        let snapshot = timeout(limit / 4, retrieval.snapshot()).await.ok().flatten();
        (snapshot, limit.saturating_sub(begun.elapsed()))
    }

    /// What search found for a question; `None` where it is down or slow.
    pub(crate) async fn search(&self, request: &Request, left: Duration, reply: &Reply) -> Option<Found> {
        let Some(retrieval) = &self.rooms.retrieval else {
            return Some(Found::default());
        };
        let query = self.query(request);
        match timeout(left, retrieval.search(&query, left)).await {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(error)) => reply.lacks.retrieval(&error),
            Err(_) => {
                let late = Error::new(Kind::DeadlineExceeded, "").because("it took too long");
                reply.lacks.retrieval(&late);
            }
        }
        None
    }
}
