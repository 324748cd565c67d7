//! One reply from its beginning to its terminal. [`Run::prepare`] is the one place that knows the
//! order of the rooms.

use crate::chat::{CacheOutcome, Delta, Request, Started, StopReason, Terminal, Usage, new_id};
use crate::error::{Error, Kind};
use crate::flight::{Departure, Seat, past_deadline};
use crate::gateway::Gateway;
use crate::keep::{Done, GATHER, Keeper, Recording};
use crate::log::{Landing, Log};
use crate::plan::Plan;
use crate::reply::{Reply, cancelled};
use crate::shared_flight::Left;
use crate::store::{ReplyKey, Slot};
use crate::telemetry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant as Clock;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// A reply being given.
pub struct Run {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    place: Option<Slot>,
    pub(crate) reply: Arc<Reply>,
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
    /// The newest stored turn that the model sees, and the oldest.
    seen: (u64, u64),
}

impl Run {
    /// A reply that has been admitted, with its plan and the place that it has.
    pub fn new(
        gateway: Arc<Gateway>,
        request: Request,
        (plan, place): (Plan, Option<Slot>),
        reply: Arc<Reply>,
    ) -> Run {
        let deadline = Instant::now() + request.time_limit;
        let started_at_ms = gateway.rooms.store.as_ref().map_or(0, |store| store.now_ms());
        Run { gateway, request, plan, place, reply, deadline, started_at_ms }
    }

    /// Gives the reply.
    pub async fn go(mut self) {
        let begun = tokio::select! {
            biased;
            begun = Box::pin(self.gateway.begin(&self.request, &self.reply)) => begun,
            error = self.reply.stopped() => Err(self.stopped_elsewhere(error).await),
            () = sleep_until(self.deadline) => Err(past_deadline()),
        };
        let end = match begun {
            Ok(true) => Some(self.lead().await),
            Ok(false) => None,
            Err(error) => Some(Terminal::from(error)),
        };
        if let Some(end) = end {
            telemetry::replied(
                &self.request,
                &self.plan,
                self.gateway.rooms.stands_in.is_some(),
                &self.reply,
                &end,
            );
            // Before the end, because on Lambda nothing is sure to happen after it.
            self.leave().await;
            self.reply.end(end);
        }
        self.leave().await;
        // Whoever looks for the reply finds it, ended, here or, from now on, in the store.
        self.gateway.live.remove(&self.reply);
    }

    /// Gives up its place among the caller's running replies.
    async fn leave(&mut self) {
        let (Some(store), Some(place)) = (self.gateway.store(), self.place.take()) else { return };
        let late = |_| Err(Error::internal("the store took too long"));
        if let Err(error) = timeout(LEAVE_LIMIT, store.free_slot(place)).await.unwrap_or_else(late) {
            tracing::warn!(request_id = self.request.id, %error, "a place was not given back yet");
        }
    }

    /// Stopped while it may only mirror a reply that runs in another process: that one is asked to
    /// stop too.
    async fn stopped_elsewhere(&self, why: Error) -> Error {
        let elsewhere = !self.gateway.rooms.single_process && why.kind == Kind::Cancelled;
        if let (Some(store), true) = (self.gateway.store(), elsewhere) {
            let key = ReplyKey::new(&self.request.caller, &self.request.id);
            if let Ok(Err(error)) = timeout(STOP_LIMIT, store.ask_to_cancel(&key)).await {
                self.reply.lacks.store(&error);
            }
        }
        why
    }

    async fn lead(&self) -> Terminal {
        // Boxed, as `keep` is: what only prepares or ends a reply takes no memory while it streams.
        let ready = tokio::select! {
            biased;
            ready = Box::pin(self.prepare()) => Ok(ready),
            error = self.reply.stopped() => Err(error),
            () = sleep_until(self.deadline) => Err(past_deadline()),
        };
        match ready {
            Ok(ready) => self.follow(ready).await,
            Err(error) if self.request.claims_its_id() => {
                // The id is claimed: whoever asks for it again must learn how it ended.
                let keeper = self.keeper(self.started(CacheOutcome::Bypass), (0, 0));
                Box::pin(self.keep(keeper, &[], None, (Terminal::from(error), None))).await
            }
            Err(error) => Terminal::from(error),
        }
    }

    /// The order of the rooms: what is known, asked before?, what belongs to it, ask.
    async fn prepare(&self) -> Ready {
        let (gateway, request) = (&self.gateway, &self.request);
        let mut stages = Stages::new();
        let history = gateway.history(request, &self.plan, &self.reply);
        // Before the search, which may then see a newer state but never an older one.
        let (history, (snapshot, left)) = tokio::join!(history, gateway.snapshot());
        let newest = history.iter().flatten().last().map_or(0, |turn| turn.at_ms);
        stages.mark("history");

        let key = gateway.cache_key(request, &self.plan, history.as_deref(), snapshot.as_deref());
        let (known, cache) =
            gateway.asked_before(request, key.as_deref(), history.as_deref(), &self.reply).await;
        stages.mark("cache");
        let mut started = self.started(cache);
        if request.caller.is_anyone() && history.as_ref().is_none_or(Vec::is_empty) {
            // A conversation that is not there must not begin under an id that a stranger may choose too.
            started.chat_id = new_id();
        }
        if let Some(known) = known {
            started.sources = known.sources;
            started.model = known.model.unwrap_or(started.model);
            started.timings = stages.0;
            let log = Log::of(known.deltas);
            log.land(Landing { outcome: Ok(known.stop_reason), usage: None });
            return Ready { started, log, seat: None, learn: None, seen: (newest, 0) };
        }

        let found = gateway.search(request, left, &self.reply).await;
        stages.mark("retrieval");
        started.retrieval_unavailable = found.is_none();
        // An answer that had to do without passages, or with worse ones, is neither shared nor learned.
        let key = key.filter(|_| found.as_ref().is_some_and(|found| !found.degraded));
        let passages = found.unwrap_or_default().passages;
        let asking = self.plan.ask(request, &history.unwrap_or_default(), passages);
        started.sources = asking.sources;

        // Who wants a fresh answer does not take the one that is being given.
        let shareable = key.as_deref().filter(|_| !request.cache.invalidate);
        let departure = || Departure {
            model: gateway.rooms.model.clone(),
            ask: asking.ask,
            share: gateway.share(shareable, cache, &self.reply).map(Arc::new),
        };
        let (seat, shared) = gateway.flights.board(shareable, departure);
        if shared || seat.follows().await {
            started.cache = CacheOutcome::Shared;
        }
        started.timings = stages.0;
        let log = seat.log.clone();
        Ready { started, log, seat: Some(seat), learn: key, seen: (newest, asking.first_kept) }
    }

    /// Lets the answer flow until it ends by itself, by its deadline or because it was stopped.
    async fn follow(&self, ready: Ready) -> Terminal {
        let Ready { started, log, mut seat, learn, seen } = ready;
        let keeper = self.keeper(started.clone(), seen);
        self.reply.start(started, log.clone());
        let mut recording = None;
        let landing = tokio::select! {
            landing = land(&log, keeper.as_ref(), &mut recording) => landing,
            error = self.reply.stopped() => Landing { outcome: Err(error), usage: None },
            () = sleep_until(self.deadline) => Landing { outcome: Err(past_deadline()), usage: None },
            () = self.watch(keeper.as_ref()) => Landing { outcome: Err(cancelled()), usage: None },
        };
        let all = self.reply.freeze();
        let stopped = landing.outcome.is_err();
        let left = match (&seat, &keeper) {
            (Some(seat), Some(keeper)) if stopped => {
                Box::pin(self.leave_flight(seat, keeper, learn.as_ref())).await
            }
            _ => Left::Alone,
        };
        // One of those who share a model call pays for it and learns its answer.
        let pays = left != Left::HandedOver && seat.as_ref().is_some_and(|seat| seat.pays());
        if stopped {
            // The seat is given up: if it was the last, the model stops now. A whole answer
            // keeps its seat until it is stored, for identical questions that come meanwhile.
            seat = None;
        }
        // Who was told to stop is not kept waiting by a store that hangs; what may be written twice
        // then is read once.
        let patience = if stopped { STOP_LIMIT } else { KEEP_LIMIT };
        let written = match recording {
            Some(recording) => Some(timeout_at(self.by(patience / 2), recording.stop()).await.unwrap_or(0)),
            // Those who follow must find how it ended.
            None => (left != Left::Alone).then_some(0),
        };
        let end = terminal(landing, &all, (self.plan.tokens, pays));
        let end = Box::pin(self.keep(keeper, &all, written, (end, learn.filter(|_| pays)))).await;
        drop(seat);
        end
    }

    /// Ready when another process was asked to stop this reply; never where there is no other.
    async fn watch(&self, keeper: Option<&Arc<Keeper>>) {
        let Some(keeper) = keeper.filter(|_| !self.gateway.rooms.single_process) else {
            return std::future::pending().await;
        };
        loop {
            sleep(LOOK).await;
            match keeper.store.is_cancel_asked(&keeper.key).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(request_id = self.request.id, %error, "no look for a cancel"),
            }
        }
    }

    /// Makes durable what the terminal promises, then gives the terminal.
    async fn keep(
        &self,
        keeper: Option<Arc<Keeper>>,
        all: &[Delta],
        written: Option<u64>,
        (end, learn): (Terminal, Option<String>),
    ) -> Terminal {
        let Some(keeper) = keeper else { return end };
        let learned = learnable(&end, learn);
        let done = Done { request: &self.request, all, written, end: &end, learned };
        let patience = if matches!(end, Terminal::Failed { .. }) { STOP_LIMIT } else { KEEP_LIMIT };
        let kept = match timeout_at(self.by(patience), keeper.finish(done)).await {
            Ok(kept) => kept,
            Err(_) => Err(Error::internal("the store took too long to keep a reply")),
        };
        match kept {
            Ok(event) => event,
            // An answer never fails for the store's sake.
            Err(error) => {
                self.reply.lacks.store(&error);
                end
            }
        }
    }

    /// When a wait for the store that begins now has to be over: on Lambda the process ends soon after
    /// the deadline.
    fn by(&self, patience: Duration) -> Instant {
        let now = Instant::now();
        (now + patience).min((self.deadline + LAST_WRITES).max(now + STOP_LIMIT / 2))
    }

    fn keeper(&self, started: Started, seen: (u64, u64)) -> Option<Arc<Keeper>> {
        let store = self.gateway.rooms.store.clone()?;
        Some(Arc::new(Keeper {
            store,
            key: ReplyKey::new(&self.request.caller, &self.request.id),
            reply: self.reply.clone(),
            fingerprint: self.request.claims_its_id().then(|| self.reply.fingerprint.clone()),
            started,
            started_at_ms: self.started_at_ms,
            seen,
            lease: self.gateway.rooms.lease,
        }))
    }

    fn started(&self, cache: CacheOutcome) -> Started {
        Started {
            request_id: self.request.id.clone(),
            chat_id: self.request.chat_id.clone().unwrap_or_else(new_id),
            model: self.gateway.rooms.stands_in.unwrap_or(&self.plan.choice.entry.id).to_owned(),
            cache,
            sources: Vec::new(),
            retrieval_unavailable: false,
            ignored: self.plan.ignored.clone(),
            timings: BTreeMap::new(),
        }
    }
}

/// How often a reply looks whether it was cancelled in another process: within 250 ms it must know.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal waits for the store this long and then goes without it.
const KEEP_LIMIT: Duration = Duration::from_secs(8);

/// Past its deadline a reply writes no longer than this.
const LAST_WRITES: Duration = Duration::from_millis(1500);

/// A place is given back within this time, or later by itself.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// A terminal that is an error waits this long.
const STOP_LIMIT: Duration = Duration::from_millis(1500);

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

/// The terminal of a landed flight, of a question of so many tokens. Where the model never said what it
/// cost, that is estimated: a cancelled answer is paid for too.
pub(crate) fn terminal(landing: Landing, all: &[Delta], (tokens, pays): (u64, bool)) -> Terminal {
    let nothing = !pays || (all.is_empty() && landing.outcome.is_err());
    let estimate = || Usage {
        input_tokens: tokens,
        output_tokens: all.iter().map(|delta| delta.len() as u64).sum::<u64>().div_ceil(4),
        estimated: true,
        ..Usage::default()
    };
    let usage = if nothing { Usage::default() } else { landing.usage.unwrap_or_else(estimate) };
    match landing.outcome {
        Ok(stop_reason) => Terminal::Completed { stop_reason, usage },
        Err(error) => Terminal::Failed { error, usage },
    }
}

/// The key to learn a whole answer under, with its stop reason.
pub(crate) fn learnable(end: &Terminal, key: Option<String>) -> Option<(String, StopReason)> {
    match end {
        Terminal::Completed { stop_reason, .. } if stop_reason.is_complete() => {
            key.map(|key| (key, stop_reason.clone()))
        }
        _ => None,
    }
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
