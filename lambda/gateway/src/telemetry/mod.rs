//! What is said about replies: ids, sizes, times and outcomes, one line each. Never a prompt, an
//! answer or a key.
//!
//! On Lambda the line of a reply is its metrics too: [`emf`] adds what CloudWatch needs to find the
//! numbers in it. So nothing is logged twice, and each figure of a graph leads to the line behind it.

pub mod emf;
mod lines;
#[cfg(test)]
mod tests;

pub use lines::{json_logs, text_logs};

use crate::chat::{CacheOutcome, Caller, Request, Terminal, Vectors};
use crate::error::{Error, Kind};
use crate::model::catalog::Choice;
use crate::plan::Plan;
use crate::reply::Reply;
use std::time::Duration;
use tracing::Level;

/// The door that embeddings come through.
const EMBEDDING_DOOR: &str = "prompt";

/// One line that carries metrics. A level is part of a call site, so each level has one of its own.
macro_rules! measured {
    ($level:expr, $($fields:tt)+) => {
        match $level {
            Level::ERROR => tracing::error!(target: emf::TARGET, $($fields)+),
            Level::WARN => tracing::warn!(target: emf::TARGET, $($fields)+),
            _ => tracing::info!(target: emf::TARGET, $($fields)+),
        }
    };
}

/// A reply has its terminal: one line, with everything that went wrong on the way.
pub fn replied(request: &Request, plan: &Plan, stands_in: bool, reply: &Reply, end: &Terminal) {
    let (outcome, usage, error) = match end {
        Terminal::Failed { error, usage } => (error.kind.code(), usage, Some(error)),
        Terminal::Completed { stop_reason, usage } => (stop_reason.as_str(), usage, None),
    };
    let cache = reply.started().map(|started| started.cache);
    let log = reply.log();
    let (failed_tries, throttles) = log.as_ref().map_or((0, 0), |log| log.failed_tries());
    let first_token = log.and_then(|log| log.first());
    let (store_failures, store_error) = reply.lacks.store_failures();
    let retrieval_error = reply.lacks.retrieval_error();
    let lacking = store_failures > 0 || retrieval_error.is_some();
    measured!(
        error.map_or(if lacking { Level::WARN } else { Level::INFO }, level),
        request_id = request.id,
        door = request.door,
        model = plan.choice.entry.id,
        outcome,
        cache = cache.map_or("", CacheOutcome::as_str),
        first_token_ms = first_token.map(|first| ms(first.saturating_duration_since(reply.born))),
        total_ms = ms(reply.born.elapsed()),
        input_tokens = usage.input_tokens,
        output_tokens = usage.output_tokens,
        cost_usd = cost(&plan.choice, stands_in, |choice| choice.cost(usage)),
        cache_hit = cache.and_then(hit),
        errors = u64::from(error.is_some_and(|error| error.kind != Kind::Cancelled)),
        throttles = more_than_none(throttles),
        store_failures = more_than_none(store_failures),
        retrieval_unavailable = retrieval_error.is_some().then_some(1),
        failed_tries = more_than_none(failed_tries),
        store_error,
        retrieval_error,
        detail = error.and_then(|error| error.detail.as_deref()),
        "reply"
    );
}

/// A request came to nothing before there was a reply. What was wrong with it the caller is told;
/// the sentence may quote the request, so that the line has only its code.
pub fn refused(door: &str, request_id: Option<&str>, error: &Error) {
    let level = if error.kind.status() < 500 { Level::INFO } else { level(error) };
    measured!(
        level,
        request_id,
        door,
        outcome = error.kind.code(),
        param = error.param.as_deref(),
        refused = 1,
        throttles = (error.kind == Kind::Throttled).then_some(1),
        detail = error.detail.as_deref(),
        "refused"
    );
}

/// A text was embedded, or not.
pub fn embedded(caller: &Caller, choice: &Choice, took: Duration, outcome: &Result<Vectors, Error>) {
    let (embedding, error) = (outcome.as_ref().ok(), outcome.as_ref().err());
    let input_tokens = embedding.map(|embedding| embedding.input_tokens);
    measured!(
        error.map_or(Level::INFO, level),
        caller = caller.0,
        door = EMBEDDING_DOOR,
        model = choice.entry.id,
        outcome = error.map_or("embedded", |error| error.kind.code()),
        total_ms = ms(took),
        input_tokens,
        cost_usd = input_tokens.map(|input_tokens| cost(choice, false, |choice| {
            choice.cost(&crate::chat::Usage { input_tokens, ..Default::default() })
        })),
        errors = u64::from(error.is_some()),
        throttles = error.filter(|error| error.kind == Kind::Throttled).map(|_| 1),
        detail = error.and_then(|error| error.detail.as_deref()),
        "embedding"
    );
}

/// The store failed where no reply can tell it.
pub fn store_failed(request_id: &str, error: &Error) {
    tracing::warn!(request_id, %error, "going on without the store");
}

/// The function cannot start.
pub fn cannot_start(sentence: &str) {
    tracing::error!(target: lines::FATAL, sentence, "the function cannot start");
}

/// Our own fault is an error, the caller's wish nothing to worry about, all else a warning.
fn level(error: &Error) -> Level {
    match error.kind {
        Kind::Internal => Level::ERROR,
        Kind::Cancelled => Level::INFO,
        _ => Level::WARN,
    }
}

/// A local model that stands in for another costs nothing.
fn cost(choice: &Choice, stands_in: bool, of: impl Fn(&Choice) -> f64) -> f64 {
    if stands_in { 0.0 } else { of(choice) }
}

/// Nothing where the cache was not asked: the average is then the hit rate, and the number of
/// samples that of the look-ups.
fn hit(cache: CacheOutcome) -> Option<u64> {
    match cache {
        CacheOutcome::Hit | CacheOutcome::Shared => Some(1),
        CacheOutcome::Miss => Some(0),
        CacheOutcome::Bypass | CacheOutcome::Off => None,
    }
}

/// A rare count is told only where there is one: a custom metric costs by the hour it is sent in.
fn more_than_none(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

/// Milliseconds, to a tenth.
fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e4).round() / 10.0
}
