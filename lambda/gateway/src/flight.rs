//! A generation in flight: one model call, its log, and everyone who waits for it.
//!
//! Identical questions asked at once share one flight, those of other processes too where there are any
//! ([`crate::shared_flight`]). Each reply that takes part holds a [`Seat`];
//! when the last seat is given up before the end, the model is stopped.

use crate::chat::LONGEST_REPLY;
use crate::error::{Error, Kind};
use crate::log::{Landing, Log};
use crate::model::{Ask, Model, Part};
use crate::reply::lock;
use crate::shared_flight::Share;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// A place in a flight. The model stops when the last one is dropped.
#[derive(Clone)]
pub struct Seat {
    /// What the flight has brought.
    pub log: Arc<Log>,
    place: Arc<Place>,
}

/// What all seats of a flight hold together. A landed flight can be boarded while somebody still
/// sits in it, so that a question which comes while the answer is being stored finds it here.
struct Place {
    stop: CancellationToken,
    flights: Arc<Flights>,
    key: Option<String>,
    share: Option<Arc<Share>>,
    paid: AtomicBool,
}

impl Seat {
    /// Does this reply pay for the model call? Of those that share one to its end one does; a reply
    /// that stops early does only if nobody else goes on with the call.
    pub fn pays(&self) -> bool {
        if self.place.share.as_ref().is_some_and(|share| !share.pays()) {
            return false;
        }
        if self.log.has_landed() {
            return !self.place.paid.swap(true, Ordering::Relaxed);
        }
        self.is_last()
    }

    /// Does nobody else here sit in the flight?
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.place) == 1
    }

    /// Is the call another process's? Waits until that is known.
    pub async fn follows(&self) -> bool {
        match self.share() {
            Some(share) => share.follows().await,
            None => false,
        }
    }

    /// What other processes have to do with the flight, where they may have.
    pub fn share(&self) -> Option<&Arc<Share>> {
        self.place.share.as_ref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(key) = &self.key {
            lock(&self.flights.shared).retain(|known, (_, place)| known != key || place.strong_count() > 0);
        }
    }
}

type Shared = (Arc<Log>, Weak<Place>);

/// The flights that identical questions share, by cache key.
#[derive(Default)]
pub struct Flights {
    shared: Mutex<HashMap<String, Shared>>,
    started: AtomicU64,
}

/// One model call to make.
pub struct Departure {
    /// Whom to ask.
    pub model: Arc<dyn Model>,
    /// What.
    pub ask: Ask,
    /// Where another process may have asked the same already.
    pub share: Option<Arc<Share>>,
}

impl Flights {
    /// A seat in the flight of this key: `true` where another question started it.
    /// Without a key the flight is one's own.
    pub fn board(
        self: &Arc<Flights>,
        key: Option<&str>,
        departure: impl FnOnce() -> Departure,
    ) -> (Seat, bool) {
        let Some(key) = key else {
            return (self.depart(None, departure()), false);
        };
        // The upgraded place may be the last one: it must not drop, and lock again, in here.
        let mut shared = lock(&self.shared);
        let known = shared.get(key).map(|(log, place)| (log.clone(), place.upgrade()));
        let failed = match known {
            Some((log, Some(place))) if !log.has_failed() => {
                drop(shared);
                return (Seat { log, place }, true);
            }
            other => other,
        };
        let seat = self.depart(Some(key.to_owned()), departure());
        shared.insert(key.to_owned(), (seat.log.clone(), Arc::downgrade(&seat.place)));
        drop(shared);
        drop(failed);
        (seat, false)
    }

    /// How many model calls were made since the start.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    fn depart(self: &Arc<Flights>, key: Option<String>, departure: Departure) -> Seat {
        let log = Log::new();
        let stop = CancellationToken::new();
        let (flying, stopped, flights) = (log.clone(), stop.clone(), self.clone());
        let share = departure.share.clone();
        let shared = share.clone();
        let flight = async move {
            let own = async {
                flights.started.fetch_add(1, Ordering::Relaxed);
                fly(departure, &flying).await
            };
            let landing = tokio::select! {
                landing = along(shared, &flying, own) => landing,
                () = stopped.cancelled() => abandoned(),
            };
            flying.land(landing);
        };
        tokio::spawn(flight.in_current_span());
        Seat {
            log,
            place: Arc::new(Place { stop, flights: self.clone(), key, share, paid: AtomicBool::new(false) }),
        }
    }
}

/// By `own`, or along with another process's flight.
async fn along(share: Option<Arc<Share>>, log: &Log, own: impl Future<Output = Landing>) -> Landing {
    match share {
        Some(share) => share.fly(log, own).await,
        None => own.await,
    }
}

fn abandoned() -> Landing {
    let error = Error::new(Kind::Cancelled, "Nobody waits for this answer any more.");
    Landing { outcome: Err(error), usage: None }
}

/// Tries after the first, and the longest wait before one: beyond it the caller decides.
const RETRIES: u32 = 2;
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Asks the model, again where that is safe, and writes what it says into the log.
async fn fly(departure: Departure, log: &Log) -> Landing {
    let Departure { model, ask, .. } = departure;
    // Each reply keeps its own deadline by giving up its seat; this one only bounds the call.
    let deadline = Instant::now() + LONGEST_REPLY;
    let mut attempt = 0;
    loop {
        let landing = match timeout_at(deadline, attempt_once(model.as_ref(), ask.clone(), log)).await {
            Ok(landing) => landing,
            Err(_) => Landing { outcome: Err(past_deadline()), usage: None },
        };
        let Err(error) = &landing.outcome else {
            return landing;
        };
        log.try_failed(error.kind);
        let Some(wait) = wait_before_retry(error, attempt) else {
            return landing;
        };
        if !log.is_empty() || Instant::now() + wait >= deadline {
            return landing;
        }
        sleep(wait).await;
        attempt += 1;
    }
}

async fn attempt_once(model: &dyn Model, ask: Ask, log: &Log) -> Landing {
    let mut usage = None;
    let mut stop = None;
    let mut parts = match model.ask(ask).await {
        Ok(parts) => parts,
        Err(error) => {
            return Landing { outcome: Err(error), usage };
        }
    };
    while let Some(part) = parts.next().await {
        match part {
            Ok(Part::Delta(delta)) => log.push(delta),
            Ok(Part::Stop(reason)) => stop = Some(reason),
            Ok(Part::Usage(known)) => usage = Some(known),
            // The answer is whole once the model has stopped; only its bill is lost.
            Err(error) if stop.is_some() => {
                tracing::warn!(%error, "the stream broke after the stop reason");
                break;
            }
            Err(error) => {
                return Landing { outcome: Err(error), usage };
            }
        }
    }
    Landing { outcome: stop.ok_or_else(cut_short), usage }
}

/// The error of a deadline, for the flight and for the reply.
pub fn past_deadline() -> Error {
    Error::new(
        Kind::DeadlineExceeded,
        "The answer was not complete when its time was up. Ask for a shorter answer, or stream over WebSocket.",
    )
}

fn cut_short() -> Error {
    Error::new(Kind::UpstreamError, "The model's stream was cut off before its end. Ask again.")
}

/// How long to wait before the next try, or `None` to give up. Jitter comes from the clock: it only
/// has to differ between processes.
fn wait_before_retry(error: &Error, attempt: u32) -> Option<Duration> {
    let again = matches!(error.kind, Kind::Throttled | Kind::Unavailable | Kind::UpstreamError);
    if !again || attempt >= RETRIES {
        return None;
    }
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    let jitter = Duration::from_millis(u64::from(nanos / 1000 % 100));
    let wait = error.retry_after.unwrap_or(Duration::from_millis(100 << attempt) + jitter);
    (wait <= LONGEST_WAIT).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Delta, StopReason};
    use crate::model::Parts;
    use futures_util::future::BoxFuture;
    use futures_util::stream;

    /// Plays one list of parts per call; an empty list never ends.
    struct Plays(Mutex<Vec<Vec<Result<Part, Error>>>>);

    impl Model for Plays {
        fn ask(&self, _: Ask) -> BoxFuture<'static, Result<Parts, Error>> {
            let parts = lock(&self.0).remove(0);
            Box::pin(async move {
                match parts.first() {
                    None => Ok(stream::pending().boxed()),
                    Some(Err(error)) => Err(error.clone()),
                    Some(Ok(_)) => Ok(stream::iter(parts).boxed()),
                }
            })
        }
    }

    fn departure(plays: Vec<Vec<Result<Part, Error>>>) -> Departure {
        Departure { model: Arc::new(Plays(Mutex::new(plays))), ask: Ask::default(), share: None }
    }

    fn text(text: &str) -> Result<Part, Error> {
        Ok(Part::Delta(Delta::text(text)))
    }

    fn stop() -> Result<Part, Error> {
        Ok(Part::Stop(StopReason::EndTurn))
    }

    fn fails(kind: Kind, wait: Option<Duration>) -> Vec<Result<Part, Error>> {
        vec![Err(Error::new(kind, "no").after(wait))]
    }

    async fn land(plays: Vec<Vec<Result<Part, Error>>>) -> (Landing, u64) {
        let (seat, _) = Arc::new(Flights::default()).board(None, || departure(plays));
        (seat.log.landing().await, seat.log.len())
    }

    #[tokio::test]
    async fn a_stream_without_a_stop_reason_is_an_error() {
        let (landing, deltas) = land(vec![vec![text("half")]]).await;
        assert_eq!(landing.outcome.unwrap_err().kind, Kind::UpstreamError);
        assert_eq!(deltas, 1, "and what came before it was not asked for again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_call_is_tried_again_before_the_first_token() {
        let throttled = || fails(Kind::Throttled, Some(Duration::from_secs(1)));
        let (landing, deltas) = land(vec![throttled(), throttled(), vec![text("a"), stop()]]).await;
        assert_eq!((landing.outcome, deltas), (Ok(StopReason::EndTurn), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_retry_after_goes_to_the_caller_at_once() {
        let wait = Some(Duration::from_secs(7));
        let (landing, _) = land(vec![fails(Kind::Throttled, wait)]).await;
        assert_eq!(landing.outcome.unwrap_err().retry_after, wait);
    }

    #[tokio::test]
    async fn a_wrong_request_is_not_tried_again() {
        let (landing, _) = land(vec![fails(Kind::InvalidRequest, None)]).await;
        assert_eq!(landing.outcome.unwrap_err().kind, Kind::InvalidRequest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_model_ends_at_the_deadline() {
        let (landing, _) = land(vec![vec![]]).await;
        assert_eq!(landing.outcome.unwrap_err().kind, Kind::DeadlineExceeded);
    }

    #[tokio::test]
    async fn identical_questions_share_a_flight_and_the_last_to_leave_stops_it() {
        let flights = Arc::new(Flights::default());
        let (one, joined) = flights.board(Some("key"), || departure(vec![vec![]]));
        assert!(!joined);
        let (two, joined) = flights.board(Some("key"), || unreachable!());
        assert!(joined);
        assert!(!one.pays(), "it stops early, and the other goes on");
        drop(one);
        assert!(two.pays(), "nobody else is left");
        let log = two.log.clone();
        tokio::task::yield_now().await;
        assert!(!log.has_landed(), "one still waits for it");
        drop(two);
        assert_eq!(log.landing().await.outcome.unwrap_err().kind, Kind::Cancelled);
        assert_eq!(flights.started(), 1);
    }
}
