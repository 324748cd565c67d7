//! One reply from its beginning to its terminal. [`Run::prepare`] is the one place that knows the
//! order of the rooms.

use crate::chat::{CacheOutcome, Event, Request, Started, Usage, new_id};
use crate::error::Error;
use crate::flight::{Departure, Seat, past_deadline};
use crate::gateway::Gateway;
use crate::keep::{Done, GATHER, Keeper, Recording};
use crate::log::{Landing, Log};
use crate::plan::Plan;
use crate::reply::Reply;
use crate::store::ReplyKey;
use crate::telemetry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant as Clock;
use tokio::time::{Instant, sleep, sleep_until};

/// A reply being given.
pub struct Run {
    gateway: Arc<Gateway>,
    request: Request,
    plan: Plan,
    reply: Arc<Reply>,
    deadline: Instant,
    /// By the store's clock, milliseconds since 1970.
    started_at_ms: u64,
}

/// Everything that stands when a reply begins.
struct Ready {
    started: Started,
    /// What it will say: a flight's log, or that of a known answer.
    log: Arc<Log>,
    /// Keeps the flight going.
    seat: Option<Seat>,
    /// The key to learn the answer under, where it may be learned.
    learn: Option<String>,
    /// Another reply pays for the model call, or nobody does.
    free: bool,
    /// The newest stored turn that the model sees, and the oldest.
    seen: (u64, u64),
}

impl Run {
    /// A reply that has been admitted.
    pub fn new(gateway: Arc<Gateway>, request: Request, plan: Plan, reply: Arc<Reply>) -> Run {
        let deadline = Instant::now() + request.time_limit;
        let started_at_ms = gateway.store.as_ref().map_or(0, |store| store.now_ms());
        Run { gateway, request, plan, reply, deadline, started_at_ms }
    }

    /// Gives the reply.
    pub async fn go(self) {
        let end = match Box::pin(self.gateway.begin(&self.request, &self.reply)).await {
            Ok(true) => Some(self.lead().await),
            Ok(false) => None,
            Err(error) => Some(failed(error)),
        };
        // Whoever looks for the reply finds it here or, from now on, in the store.
        self.gateway.live.remove(&self.reply);
        if let Some(end) = end {
            telemetry::replied(
                &self.request,
                &self.plan,
                self.gateway.stands_in.is_some(),
                &self.reply,
                &end,
            );
            self.reply.end(end);
        }
    }

    async fn lead(&self) -> Event {
        // Boxed, as `keep` is: what only prepares or ends a reply takes no memory while it streams.
        let ready = tokio::select! {
            ready = Box::pin(self.prepare()) => Ok(ready),
            error = self.reply.stopped() => Err(error),
            () = sleep_until(self.deadline) => Err(past_deadline()),
        };
        match ready {
            Ok(ready) => self.follow(ready).await,
            Err(error) if self.request.id_given => {
                // The id is claimed: whoever asks for it again must learn how it ended.
                let keeper = self.keeper(self.started(CacheOutcome::Bypass), (0, 0));
                Box::pin(self.keep(keeper, &Log::new(), 0, (failed(error), None))).await
            }
            Err(error) => failed(error),
        }
    }

    /// The order of the rooms: what is known, asked before?, what belongs to it, ask.
    async fn prepare(&self) -> Ready {
        let (gateway, request) = (&self.gateway, &self.request);
        let mut stages = Stages::new();
        let history = gateway.history(request, &self.plan).await;
        let newest = history.last().map_or(0, |turn| turn.at_ms);
        stages.mark("history");

        let key = gateway.cache_key(request, &self.plan, &history);
        let (known, cache) = gateway.asked_before(request, key.as_deref(), &history).await;
        stages.mark("cache");
        let mut started = self.started(cache);
        if let Some(known) = known {
            started.sources = known.sources;
            started.model = known.model.unwrap_or(started.model);
            started.timings = stages.0;
            let log = Log::of(known.deltas);
            log.land(Landing { outcome: Ok(known.stop_reason), usage: None });
            return Ready { started, log, seat: None, learn: None, free: true, seen: (newest, 0) };
        }

        let passages = gateway.search(request).await;
        stages.mark("retrieval");
        started.retrieval_unavailable = passages.is_none();
        let asking = self.plan.ask(request, &history, passages.unwrap_or_default());
        started.sources = asking.sources;

        let departure =
            || Departure { model: gateway.model.clone(), ask: asking.ask, deadline: self.deadline };
        let (seat, shared) = gateway.flights.board(key.as_deref(), departure);
        if shared {
            started.cache = CacheOutcome::Shared;
        }
        started.timings = stages.0;
        let log = seat.log.clone();
        let learn = key.filter(|_| !shared);
        Ready { started, log, seat: Some(seat), learn, free: shared, seen: (newest, asking.first_kept) }
    }

    /// Lets the answer flow until it ends by itself, by its deadline or because it was stopped.
    async fn follow(&self, ready: Ready) -> Event {
        let Ready { started, log, mut seat, learn, free, seen } = ready;
        let keeper = self.keeper(started.clone(), seen);
        self.reply.start(started, log.clone());
        let mut recording = None;
        let landing = tokio::select! {
            landing = land(&log, keeper.as_ref(), &mut recording) => landing,
            error = self.reply.stopped() => Landing { outcome: Err(error), usage: None },
            () = sleep_until(self.deadline) => Landing { outcome: Err(past_deadline()), usage: None },
        };
        if landing.outcome.is_err() {
            // The seat is given up at once: if it was the last, the model stops now. A whole answer
            // keeps its seat until it is stored, for identical questions that come meanwhile.
            seat = None;
        }
        let written = match recording {
            Some(recording) => recording.stop().await,
            None => 0,
        };
        let end = self.terminal(landing, &log, free);
        let end = Box::pin(self.keep(keeper, &log, written, (end, learn))).await;
        drop(seat);
        end
    }

    /// The terminal of a landed flight. Where the model never said what it cost, that is estimated:
    /// a cancelled answer is paid for too.
    fn terminal(&self, landing: Landing, log: &Log, free: bool) -> Event {
        let nothing = free || (log.is_empty() && landing.outcome.is_err());
        let estimate = || Usage {
            input_tokens: self.plan.tokens,
            output_tokens: (log.text_bytes() as u64).div_ceil(4),
            estimated: true,
            ..Usage::default()
        };
        let usage = if nothing { Usage::default() } else { landing.usage.unwrap_or_else(estimate) };
        match landing.outcome {
            Ok(stop_reason) => Event::Completed { stop_reason, usage },
            Err(error) => Event::Failed { error, usage },
        }
    }

    /// Makes durable what the terminal promises, then gives the terminal.
    async fn keep(
        &self,
        keeper: Option<Arc<Keeper>>,
        log: &Log,
        written: u64,
        (end, learn): (Event, Option<String>),
    ) -> Event {
        let Some(keeper) = keeper else { return end };
        let learned = match &end {
            Event::Completed { stop_reason, .. } if stop_reason.is_complete() => {
                learn.map(|key| (key, stop_reason.clone()))
            }
            _ => None,
        };
        let done = Done { request: &self.request, all: &log.after(0), written, end: &end, learned };
        match keeper.finish(done).await {
            Ok(event) => event,
            Err(error) => {
                self.gateway.store_failed(&self.request.id, &error);
                end
            }
        }
    }

    fn keeper(&self, started: Started, seen: (u64, u64)) -> Option<Arc<Keeper>> {
        let store = self.gateway.store.clone()?;
        Some(Arc::new(Keeper {
            store,
            key: ReplyKey::new(&self.request.caller, &self.request.id),
            fingerprint: self.request.id_given.then(|| self.reply.fingerprint.clone()),
            started,
            started_at_ms: self.started_at_ms,
            seen,
            lease: self.gateway.lease,
        }))
    }

    fn started(&self, cache: CacheOutcome) -> Started {
        Started {
            request_id: self.request.id.clone(),
            chat_id: self.request.chat_id.clone().unwrap_or_else(new_id),
            model: self.gateway.stands_in.unwrap_or(&self.plan.choice.entry.id).to_owned(),
            cache,
            sources: Vec::new(),
            retrieval_unavailable: false,
            ignored: self.plan.ignored.clone(),
            timings: BTreeMap::new(),
        }
    }
}

/// Waits for the landing. Most short answers land before the first gathering: they are written once,
/// at their end, and `recording` stays empty.
async fn land(log: &Arc<Log>, keeper: Option<&Arc<Keeper>>, recording: &mut Option<Recording>) -> Landing {
    if let Some(keeper) = keeper {
        tokio::select! {
            landing = log.landing() => return landing,
            () = sleep(GATHER) => *recording = Some(keeper.record(log.clone())),
        }
    }
    log.landing().await
}

fn failed(error: Error) -> Event {
    Event::Failed { error, usage: Usage::default() }
}

/// Milliseconds a stage.
struct Stages(BTreeMap<&'static str, f64>, Clock);

impl Stages {
    fn new() -> Stages {
        Stages(BTreeMap::new(), Clock::now())
    }

    fn mark(&mut self, stage: &'static str) {
        self.0.insert(stage, self.1.elapsed().as_secs_f64() * 1e3);
        self.1 = Clock::now();
    }
}
