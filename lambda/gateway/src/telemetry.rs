//! What is said about replies: ids, sizes, times and outcomes, one line each. Never a prompt, an
//! answer or a key.

use crate::chat::{Caller, Request, Terminal};
use crate::error::{Error, Kind};
use crate::model::Embedding;
use crate::plan::Plan;
use crate::reply::Reply;
use std::time::Duration;

/// A reply has its terminal.
pub fn replied(request: &Request, plan: &Plan, stands_in: bool, reply: &Reply, end: &Terminal) {
    let (outcome, usage, detail) = match end {
        Terminal::Failed { error, usage } => (error.kind.code(), usage, error.detail.as_deref()),
        Terminal::Completed { stop_reason, usage } => (stop_reason.as_str(), usage, None),
    };
    let timings = reply.timings();
    let ms = |stage: &str| {
        timings.iter().find(|(name, _)| *name == stage).map_or(0.0, |(_, ms)| (ms * 10.0).round() / 10.0)
    };
    let cache = reply.started().map_or("", |started| started.cache.as_str());
    tracing::info!(
        request_id = request.id,
        door = request.door,
        model = plan.choice.entry.id,
        outcome,
        cache,
        first_token_ms = ms("model"),
        total_ms = ms("total"),
        input_tokens = usage.input_tokens,
        output_tokens = usage.output_tokens,
        // A local model that stands in for another costs nothing.
        cost_usd = if stands_in { 0.0 } else { plan.choice.cost(usage) },
        "reply"
    );
    let ours = matches!(end, Terminal::Failed { error, .. } if error.kind == Kind::Internal);
    match detail {
        Some(detail) if ours => tracing::error!(request_id = request.id, detail, "reply failed"),
        Some(detail) => tracing::warn!(request_id = request.id, detail, "reply failed"),
        None => {}
    }
}

/// A text was embedded.
pub fn embedded(caller: &Caller, model: &str, took: Duration, outcome: &Result<Embedding, Error>) {
    let total_ms = took.as_secs_f64() * 1e3;
    match outcome {
        Ok(embedding) => {
            tracing::info!(
                caller = caller.0,
                model,
                total_ms,
                input_tokens = embedding.input_tokens,
                "embedding"
            );
        }
        Err(error) => {
            tracing::warn!(caller = caller.0, model, total_ms, %error, "embedding failed")
        }
    }
}

/// JSON logs on standard output, where Lambda takes them from.
pub fn json_logs(filter: Option<&str>) {
    let filter = tracing_subscriber::EnvFilter::new(filter.unwrap_or(DEFAULT_FILTER));
    let logs = tracing_subscriber::fmt().json().with_env_filter(filter).with_ansi(false);
    // Only a second call can fail, and then logs are there already.
    let _already = logs.with_target(false).flatten_event(true).try_init();
}

/// The function cannot start.
pub fn cannot_start(sentence: &str) {
    tracing::error!(sentence, "the function cannot start");
}

/// Warnings of libraries, everything of ours from `info` up.
const DEFAULT_FILTER: &str = "warn,gateway=info,llm_gateway=info";

/// Text logs on standard error, filtered by `LLM_GATEWAY_LOG` (default: warnings of libraries,
/// everything of ours from `info` up).
pub fn text_logs(filter: Option<&str>) {
    let filter = tracing_subscriber::EnvFilter::new(filter.unwrap_or(DEFAULT_FILTER));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only a second call can fail, and then logs are there already.
    let _already = logs.with_target(false).try_init();
}
