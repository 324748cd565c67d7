//! The engine: a [`Request`] in, a [`Reply`] with exactly one terminal out.
//!
//! [`Gateway::prepare`] is the one place that knows the order of the rooms.

use crate::cache_key;
use crate::chat::{CacheOutcome, Event, Request, Started, Usage, new_id};
use crate::config::Settings;
use crate::error::Error;
use crate::flight::{Departure, Flights, Seat, past_deadline};
use crate::keep::{Done, GATHER, Keeper};
use crate::live::{Admitted, Live};
use crate::log::{Landing, Log};
use crate::model::catalog::Catalog;
use crate::model::{Embedder, Model};
use crate::plan::{Menu, Plan};
use crate::reply::Reply;
use crate::retrieval::Retrieval;
use crate::store::{ReplyKey, Store, StoredAnswer};
use crate::telemetry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The engine and the rooms that it was given.
pub struct Gateway {
    /// The settings.
    pub settings: Settings,
    /// The models there are.
    pub catalog: Catalog,
    /// What answers.
    pub model: Arc<dyn Model>,
    /// What embeds.
    pub embedder: Arc<dyn Embedder>,
    /// Answers are this local model's, whatever model was asked for; `None` is Bedrock.
    pub stands_in: Option<&'static str>,
    /// The documents, where there are any.
    pub retrieval: Option<Arc<dyn Retrieval>>,
    /// What is remembered, where anything is.
    pub store: Option<Arc<Store>>,
    /// No other process uses the store: what is not running here is not running.
    pub sole: bool,
    /// The replies that run.
    pub live: Live,
    /// The model calls that run.
    pub flights: Arc<Flights>,
    /// How long a running reply may be silent in the store before it counts as dead.
    pub lease: Duration,
    /// How often the store failed and an answer went on without it.
    pub store_failures: AtomicU64,
}

/// Everything that stands when a reply begins.
struct Ready {
    started: Started,
    source: Source,
    /// The learned answer's key, where the answer may be learned.
    key: Option<String>,
    /// Another reply pays for the model call.
    shared: bool,
    seen: (u64, u64),
}

/// Where the deltas come from.
enum Source {
    /// An answer that is known.
    Known(StoredAnswer),
    /// A model call.
    Flight(Seat),
    /// Nothing more.
    Over,
}

impl Gateway {
    /// Answers a request. The same caller asking with the same id and body attaches to the reply
    /// that exists.
    ///
    /// # Errors
    /// What is wrong before anything runs: `invalid_request`, `model_not_found`, `too_large`,
    /// `throttled`, `conflict`, `unavailable`. Everything later is the reply's terminal.
    pub async fn answer(self: &Arc<Gateway>, request: Request) -> Result<Arc<Reply>, Error> {
        let plan = self.plan(&request)?;
        let fingerprint = if request.id_given { cache_key::fingerprint(&request) } else { String::new() };
        let cap = self.settings.max_running_per_caller;
        match self.live.admit(&request.caller, &request.id, &fingerprint, cap)? {
            Admitted::Running(reply) => Ok(reply),
            Admitted::New(reply) => {
                tokio::spawn(self.clone().run(request, plan, reply.clone()));
                Ok(reply)
            }
        }
    }

    /// Chooses the model for a request and checks the request against it.
    ///
    /// # Errors
    /// `invalid_request`, `model_not_found`, `too_large`.
    pub fn plan(&self, request: &Request) -> Result<Plan, Error> {
        Plan::new(self.menu(), request)
    }

    /// The models on offer.
    pub fn menu(&self) -> Menu<'_> {
        Menu { catalog: &self.catalog, settings: &self.settings, stands_in: self.stands_in }
    }

    /// One reply from its beginning to its terminal.
    async fn run(self: Arc<Gateway>, request: Request, plan: Plan, reply: Arc<Reply>) {
        match self.begin(&request, &reply).await {
            Ok(true) => {}
            Ok(false) => return self.live.remove(&reply),
            Err(error) => {
                self.live.remove(&reply);
                return reply.end(Event::Failed { error, usage: Usage::default() });
            }
        }
        let end = self.lead(&request, &plan, &reply).await;
        telemetry::replied(&request, &plan, self.stands_in.is_some(), &reply, &end);
        // Whoever looks for the reply finds it here or, from now on, in the store.
        self.live.remove(&reply);
        reply.end(end);
    }

    async fn lead(&self, request: &Request, plan: &Plan, reply: &Arc<Reply>) -> Event {
        let deadline = Instant::now() + request.time_limit;
        let started_at_ms = self.store.as_ref().map_or(0, |store| store.now_ms());
        let ready = tokio::select! {
            ready = self.prepare(request, plan, deadline) => ready,
            error = reply.stopped() => Err(error),
            () = sleep_until(deadline) => Err(past_deadline()),
        };
        let (mut ready, failed) = match ready {
            Ok(ready) => (ready, None),
            Err(error) => (
                Ready::nothing(request, self.name(plan)),
                Some(Event::Failed { error, usage: Usage::default() }),
            ),
        };
        let keeper = self.store.clone().map(|store| {
            Arc::new(Keeper {
                store,
                key: ReplyKey::new(&request.caller, &request.id),
                fingerprint: request.id_given.then(|| reply.fingerprint.clone()),
                started: ready.started.clone(),
                started_at_ms,
                seen: ready.seen,
                lease: self.lease,
            })
        });
        let end = match failed {
            Some(end) => (end, Log::new(), 0),
            None => self.follow(plan, reply, &mut ready, keeper.as_ref(), deadline).await,
        };
        self.keep(request, &ready, keeper, end).await
    }

    /// The order of the rooms: what is known, asked before?, what belongs to it, ask.
    async fn prepare(&self, request: &Request, plan: &Plan, deadline: Instant) -> Result<Ready, Error> {
        let mut stages = Stages::new();
        let history = self.history(request, plan).await;
        stages.mark("history");

        let snapshot = self.retrieval.as_ref().map(|retrieval| retrieval.snapshot()).unwrap_or_default();
        let key = self.cache_key(request, plan, &snapshot, &history);
        let (known, cache) = self.asked_before(request, key.as_deref(), &history).await;
        stages.mark("cache");
        let seen_last = history.last().map_or(0, |turn| turn.at_ms);
        let mut started = Started {
            request_id: request.id.clone(),
            chat_id: request.chat_id.clone().unwrap_or_else(new_id),
            model: self.name(plan),
            cache,
            sources: Vec::new(),
            retrieval_unavailable: false,
            ignored: plan.ignored.clone(),
            timings: BTreeMap::new(),
        };
        if let Some(known) = known {
            started.sources.clone_from(&known.sources);
            started.model = known.model.clone().unwrap_or(started.model);
            started.timings = stages.done();
            return Ok(Ready {
                started,
                source: Source::Known(known),
                key: None,
                shared: false,
                seen: (seen_last, 0),
            });
        }

        let passages = self.search(request).await;
        stages.mark("retrieval");
        started.retrieval_unavailable = passages.is_none();
        let asking = plan.ask(request, &history, passages.unwrap_or_default());
        started.sources = asking.sources;

        let model = self.model.clone();
        let (seat, shared) =
            self.flights.board(key.as_deref(), || Departure { model, ask: asking.ask, deadline });
        if shared {
            started.cache = CacheOutcome::Shared;
        }
        started.timings = stages.done();
        Ok(Ready { started, source: Source::Flight(seat), key, shared, seen: (seen_last, asking.first_kept) })
    }

    /// Lets the answer flow until it ends by itself, by its deadline or because it was stopped.
    async fn follow(
        &self,
        plan: &Plan,
        reply: &Arc<Reply>,
        ready: &mut Ready,
        keeper: Option<&Arc<Keeper>>,
        deadline: Instant,
    ) -> (Event, Arc<Log>, u64) {
        let log = match &ready.source {
            Source::Over => {
                return (
                    Event::Failed { error: Error::internal("nothing to follow"), usage: Usage::default() },
                    Log::new(),
                    0,
                );
            }
            Source::Known(known) => {
                let log = Log::of(known.deltas.clone());
                reply.start(ready.started.clone(), log.clone());
                let end =
                    Event::Completed { stop_reason: known.stop_reason.clone(), usage: Usage::default() };
                return (end, log, 0);
            }
            Source::Flight(seat) => seat.log.clone(),
        };
        reply.start(ready.started.clone(), log.clone());
        let mut recording = None;
        let ended = async {
            // Most answers that are short never need this: they are written once, at their end.
            tokio::select! {
                landing = log.landing() => return landing,
                () = sleep(GATHER) => recording = keeper.map(|keeper| keeper.record(log.clone())),
            }
            log.landing().await
        };
        let landing = tokio::select! {
            landing = ended => landing,
            error = reply.stopped() => Landing { outcome: Err(error), usage: None },
            () = sleep_until(deadline) => Landing { outcome: Err(past_deadline()), usage: None },
        };
        if landing.outcome.is_err() {
            // The seat is given up at once: if it was the last, the model stops now. A whole answer
            // keeps its seat until it is stored, for identical questions that come meanwhile.
            ready.source = Source::Over;
        }
        let written = match recording {
            Some(recording) => recording.stop().await,
            None => 0,
        };
        (terminal(landing, plan, &log, ready.shared), log, written)
    }

    /// Makes durable what the terminal promises, then gives the terminal.
    async fn keep(
        &self,
        request: &Request,
        ready: &Ready,
        keeper: Option<Arc<Keeper>>,
        (end, log, written): (Event, Arc<Log>, u64),
    ) -> Event {
        let Some(keeper) = keeper else { return end };
        let all = log.after(0);
        // What failed before it began, under an id of our own making, nobody can ask for again.
        if all.is_empty() && !request.id_given && matches!(end, Event::Failed { .. }) {
            return end;
        }
        let learned = match &end {
            Event::Completed { stop_reason, .. } if stop_reason.is_complete() && !ready.shared => {
                ready.key.clone().map(|key| (key, stop_reason.clone()))
            }
            _ => None,
        };
        let done = Done { request, all: &all, written, end: &end, learned };
        match keeper.finish(done).await {
            Ok(event) => event,
            Err(error) => {
                self.store_failed(&request.id, &error);
                end
            }
        }
    }

    /// Counts a failure of the store that an answer goes on without.
    pub fn store_failed(&self, request_id: &str, error: &Error) {
        self.store_failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(request_id, %error, "going on without the store");
    }

    /// The name of the model that answers, for the caller.
    fn name(&self, plan: &Plan) -> String {
        self.stands_in.unwrap_or(&plan.choice.entry.id).to_owned()
    }
}

impl Ready {
    /// The beginning of a reply that failed before it began.
    fn nothing(request: &Request, model: String) -> Ready {
        let started = Started {
            request_id: request.id.clone(),
            chat_id: request.chat_id.clone().unwrap_or_default(),
            model,
            cache: CacheOutcome::Bypass,
            sources: Vec::new(),
            retrieval_unavailable: false,
            ignored: Vec::new(),
            timings: BTreeMap::new(),
        };
        Ready { started, source: Source::Over, key: None, shared: false, seen: (0, 0) }
    }
}

/// The terminal of a landed flight. Where the model never said what it cost, that is estimated:
/// a cancelled answer is paid for too. A shared flight is paid for by the reply that began it.
fn terminal(landing: Landing, plan: &Plan, log: &Log, shared: bool) -> Event {
    let estimate = || Usage {
        input_tokens: plan.tokens,
        output_tokens: (log.text_bytes() as u64).div_ceil(4),
        estimated: true,
        ..Usage::default()
    };
    let usage = match landing.usage {
        _ if shared => Usage::default(),
        Some(usage) => usage,
        None if log.is_empty() && landing.outcome.is_err() => Usage::default(),
        None => estimate(),
    };
    match landing.outcome {
        Ok(stop_reason) => Event::Completed { stop_reason, usage },
        Err(error) => Event::Failed { error, usage },
    }
}

/// Milliseconds a stage.
struct Stages {
    last: std::time::Instant,
    marks: BTreeMap<&'static str, f64>,
}

impl Stages {
    fn new() -> Stages {
        Stages { last: std::time::Instant::now(), marks: BTreeMap::new() }
    }

    fn mark(&mut self, stage: &'static str) {
        let now = std::time::Instant::now();
        self.marks.insert(stage, (now - self.last).as_secs_f64() * 1e3);
        self.last = now;
    }

    fn done(self) -> BTreeMap<&'static str, f64> {
        self.marks
    }
}
