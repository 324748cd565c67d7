//! The log of one generation: it only grows, and everyone who waits for it is woken by a bell.

use crate::chat::{Delta, StopReason, Usage};
use crate::error::{Error, Kind};
use crate::pieces::small;
use crate::reply::lock;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes of deltas that a reader takes at once, and what each counts beside its text.
const STEP: usize = 128 * 1024;
const EACH: usize = 16;

/// How a generation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Landing {
    /// The model's stop reason, or why there is none.
    pub outcome: Result<StopReason, Error>,
    /// What the model said it cost.
    pub usage: Option<Usage>,
}

/// The deltas of one generation, in order, and its landing.
pub struct Log {
    inner: Mutex<Inner>,
    landed: CancellationToken,
}

#[derive(Default)]
struct Inner {
    deltas: Vec<Delta>,
    landing: Option<Landing>,
    bells: Vec<Arc<Notify>>,
    first: Option<Instant>,
    failed_tries: u64,
    throttled_tries: u64,
}

impl Log {
    /// An empty log.
    pub fn new() -> Arc<Log> {
        Arc::new(Log { inner: Mutex::default(), landed: CancellationToken::new() })
    }

    /// A log that is complete: a cached or stored answer.
    pub fn of(deltas: Vec<Delta>) -> Arc<Log> {
        let log = Log::new();
        deltas.into_iter().for_each(|delta| log.push(delta));
        log
    }

    /// Appends and rings everyone who waits.
    pub fn push(&self, delta: Delta) {
        let mut inner = lock(&self.inner);
        inner.first.get_or_insert_with(Instant::now);
        inner.deltas.extend(small(delta));
        inner.bells.iter().for_each(|bell| bell.notify_waiters());
    }

    /// Deltas after number `seq`, as many as a reader should hold at once: what it makes of them
    /// can be twenty times their size, and a slow reader keeps that until it is taken.
    pub fn some_after(&self, seq: u64) -> Vec<Delta> {
        let inner = lock(&self.inner);
        let from = usize::try_from(seq).unwrap_or(usize::MAX).min(inner.deltas.len());
        let mut room = STEP;
        let fits = inner.deltas[from..].iter().take_while(|delta| {
            let before = room;
            room = room.saturating_sub(delta.as_text().len() + EACH);
            before > 0
        });
        fits.cloned().collect()
    }

    /// The deltas after number `seq`.
    pub fn after(&self, seq: u64) -> Vec<Delta> {
        let inner = lock(&self.inner);
        let from = usize::try_from(seq).unwrap_or(usize::MAX).min(inner.deltas.len());
        inner.deltas[from..].to_vec()
    }

    /// How many deltas there are.
    pub fn len(&self) -> u64 {
        lock(&self.inner).deltas.len() as u64
    }

    /// No delta yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the first delta came.
    pub fn first(&self) -> Option<Instant> {
        lock(&self.inner).first
    }

    /// A call of the model failed; another may follow.
    pub fn try_failed(&self, kind: Kind) {
        let mut inner = lock(&self.inner);
        inner.failed_tries += 1;
        inner.throttled_tries += u64::from(kind == Kind::Throttled);
    }

    /// How many calls of the model failed, and how many of them because it was busy.
    pub fn failed_tries(&self) -> (u64, u64) {
        let inner = lock(&self.inner);
        (inner.failed_tries, inner.throttled_tries)
    }

    /// From now on `bell` rings at every delta.
    pub fn ring(&self, bell: &Arc<Notify>) {
        lock(&self.inner).bells.push(bell.clone());
    }

    /// Ready when the generation has ended; at once for an ended one.
    pub async fn landing(&self) -> Landing {
        self.landed.cancelled().await;
        let landing = lock(&self.inner).landing.clone();
        landing
            .unwrap_or(Landing { outcome: Err(Error::internal("a flight without a landing")), usage: None })
    }

    /// Has the generation ended?
    pub fn has_landed(&self) -> bool {
        self.landed.is_cancelled()
    }

    /// Has the generation failed? Nobody should join it any more.
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.inner).landing.as_ref().is_some_and(|landing| landing.outcome.is_err())
    }

    /// Ends the log.
    pub fn land(&self, landing: Landing) {
        lock(&self.inner).landing.get_or_insert(landing);
        self.landed.cancel();
    }
}
