//! What the stand-in has seen: requests, open streams, clients that went away.

use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The path, as sent.
    pub path: String,
    /// The model id, percent-decoded.
    pub model: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub raw: Bytes,
    /// The body; `null` where it was not JSON.
    pub body: Value,
    /// When its body was complete.
    pub at: Instant,
}

/// A stream whose client went away before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The model id.
    pub model: String,
    /// How many pieces had been handed to the connection.
    pub sent: usize,
    /// When it was noticed.
    pub at: Instant,
}

/// The counters and lists behind a stand-in.
#[derive(Default)]
pub(super) struct Log {
    pub requests: Mutex<Vec<Recorded>>,
    pub calls: AtomicUsize,
    pub connections: AtomicUsize,
    pub open: AtomicUsize,
    pub dropped: Mutex<Vec<Dropped>>,
}

impl Log {
    /// Everything as JSON, for tests in other processes: times are seconds since 1970.
    pub(super) fn seen(&self) -> Value {
        let requests = lock(&self.requests);
        let requests: Vec<Value> = requests
            .iter()
            .map(|seen| json!({ "model": seen.model, "body": seen.body, "at": unix(seen.at) }))
            .collect();
        let dropped = lock(&self.dropped);
        let dropped: Vec<Value> = dropped
            .iter()
            .map(|seen| json!({ "model": seen.model, "sent": seen.sent, "at": unix(seen.at) }))
            .collect();
        json!({
            "calls": self.calls.load(Ordering::SeqCst),
            "open": self.open.load(Ordering::SeqCst),
            "requests": requests,
            "dropped": dropped,
        })
    }
}

/// A moment as the wall clock has it.
fn unix(at: Instant) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(at.elapsed()).as_secs_f64()
}

/// Locks, whatever a panicking test has left behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that is open as long as this lives; dropped unfinished, its client went away.
pub(super) struct Open {
    log: Arc<Log>,
    model: String,
    sent: usize,
    finished: bool,
}

impl Open {
    pub(super) fn new(log: Arc<Log>, model: String) -> Open {
        log.open.fetch_add(1, Ordering::SeqCst);
        Open { log, model, sent: 0, finished: false }
    }

    /// One more piece was handed to the connection.
    pub(super) fn sent(mut self) -> Open {
        self.sent += 1;
        self
    }

    /// The stand-in itself ends it.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.finished {
            let dropped =
                Dropped { model: std::mem::take(&mut self.model), sent: self.sent, at: Instant::now() };
            lock(&self.log.dropped).push(dropped);
        }
        self.log.open.fetch_sub(1, Ordering::SeqCst);
    }
}
