//! Identical questions that are asked at once of several processes: gateways over one store.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail")]

#[path = "single_flight/ends.rs"]
mod ends;
#[path = "support/engine.rs"]
mod engine;
#[path = "single_flight/kills.rs"]
mod kills;
#[path = "single_flight/sharing.rs"]
mod sharing;
#[path = "support/wire.rs"]
mod wire;

use engine::over;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::StreamExt;
use gateway::chat::{CacheOutcome, Caller, Request, Terminal, Usage};
use gateway::edge::Doors;
use gateway::error::{Error, Kind};
use gateway::model::scripted::Scripted;
use gateway::model::{Ask, Model, Parts};
use gateway::reply::Reply;
use gateway::store::Clock;
use gateway::whole::collect;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use wire::Wire;

/// What the model says; a long answer is three seconds.
const SCRIPT: &str = r#"[
    {"match": "long", "after_ms": 200, "deltas": [{"text": "word ", "after_ms": 100}], "repeat": 30,
     "usage": {"input_tokens": 3, "output_tokens": 30}},
    {"match": "pensive", "after_ms": 6000, "deltas": [{"text": "at last"}],
     "usage": {"input_tokens": 3, "output_tokens": 30}},
    {"match": "short", "deltas": [{"text": "so"}], "usage": {"input_tokens": 3, "output_tokens": 1}},
    {"match": "clipped", "after_ms": 1500, "deltas": [{"text": "so and"}], "stop_reason": "max_tokens",
     "usage": {"input_tokens": 3, "output_tokens": 30}},
    {"match": "wrong", "after_ms": 100, "error": {"code": "invalid_request", "message": "No."}},
    {"match": "refused", "after_ms": 1500, "error": {"code": "throttled", "message": "Too much.", "retry_after_s": 9}},
    {"match": "broken", "deltas": [{"text": "word ", "after_ms": 500}], "repeat": 9,
     "error": {"code": "upstream_error", "message": "It broke.", "after_deltas": 4}}]"#;

/// The model of all processes, and how often it was asked.
struct Counted {
    plays: Scripted,
    calls: AtomicUsize,
    /// Of these calls, how many are still being answered.
    open: Arc<AtomicUsize>,
}

impl Model for Counted {
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Parts, Error>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (asking, open) = (self.plays.ask(ask), Open::new(&self.open));
        Box::pin(async move {
            let parts = asking.await?;
            Ok(parts.inspect(move |_| open.keep()).boxed())
        })
    }
}

/// A call that is being answered, until its stream is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Open {
        count.fetch_add(1, Ordering::SeqCst);
        Open(count.clone())
    }

    fn keep(&self) {}
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The time of tests whose clock is paused: the store's goes with the runtime's.
struct Together(Instant);

impl Clock for Together {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000 + u64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

/// Some processes over one store.
struct World {
    model: Arc<Counted>,
    wire: Wire,
    gateways: Vec<Arc<Doors>>,
}

impl World {
    async fn new(processes: usize, settings: &[(&str, &str)]) -> World {
        World::at(Arc::new(Together(Instant::now())), processes, settings).await
    }

    async fn at(clock: Arc<dyn Clock>, processes: usize, settings: &[(&str, &str)]) -> World {
        let model = Arc::new(Counted {
            plays: Scripted::parse(SCRIPT).unwrap(),
            calls: AtomicUsize::new(0),
            open: Arc::default(),
        });
        let wire = Wire::new(clock.clone()).await;
        let gateways = (0..processes).map(|_| over(wire.store(clock.clone()), model.clone(), settings));
        World { gateways: gateways.collect(), wire, model }
    }

    /// How often the model was asked.
    fn calls(&self) -> usize {
        self.model.calls.load(Ordering::SeqCst)
    }

    /// How many calls are being answered.
    fn open(&self) -> usize {
        self.model.open.load(Ordering::SeqCst)
    }

    async fn ask(&self, process: usize, question: &str) -> Arc<Reply> {
        self.gateways[process].gateway.answer(asked("alice", question)).await.unwrap()
    }

    /// One after another, so that process 0 leads.
    async fn ask_each(&self, question: &str) -> Vec<Arc<Reply>> {
        let mut replies = Vec::new();
        for process in 0..self.gateways.len() {
            replies.push(self.ask(process, question).await);
            sleep(Duration::from_millis(300)).await;
        }
        replies
    }
}

fn asked(caller: &str, question: &str) -> Request {
    Request::new(Caller(caller.into()), "prompt", question)
}

/// A reply as its caller has it.
#[derive(Debug)]
struct Had {
    text: String,
    end: Result<Usage, Kind>,
    cache: Option<CacheOutcome>,
}

impl Had {
    /// Whole, with this text?
    fn is(&self, text: &str) -> bool {
        self.end.is_ok() && self.text == text
    }
}

async fn had(reply: &Arc<Reply>) -> Had {
    let whole = collect(reply.read(0)).await;
    let end = match whole.end {
        Terminal::Completed { usage, .. } => Ok(usage),
        Terminal::Failed { error, .. } => Err(error.kind),
    };
    Had { text: whole.text, end, cache: whole.started.map(|started| started.cache) }
}

async fn all(replies: &[Arc<Reply>]) -> Vec<Had> {
    join_all(replies.iter().map(had)).await
}

/// What those who got a whole answer paid together.
fn paid(all: &[Had]) -> u64 {
    all.iter().filter_map(|had| had.end.as_ref().ok()).map(|usage| usage.output_tokens).sum()
}

fn long() -> String {
    "word ".repeat(30)
}
