//! The REST API's stage and the function URL: a client's request, an event, a streamed reply.

use super::caller;
use super::events::{self, Identity};
use super::framing::{self, Flaw};
use super::front::Front;
use super::function::{Failure, Posted};
use super::wire::{Asked, Reply, json, refused};
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::timeout;

/// Bytes of a request that API Gateway reads at most; what Lambda takes is less.
const REQUEST: usize = 10 * 1024 * 1024;
/// What clients see of a function that failed.
const INTERNAL: &str = "Internal server error";
/// What they see of one that was silent for too long.
const TIMED_OUT: &str = "Endpoint request timed out";

/// A request to the REST API.
pub(super) async fn api(front: Arc<Front>, request: Request<Incoming>) -> Reply {
    let Ok(asked) = Asked::read(request, REQUEST).await else { return refused(413, "Request Too Long") };
    let Some(unknown) = events::rest(&asked, &Identity::default()) else { return refused(403, "Forbidden") };
    // A preflight cannot carry credentials; a stack leaves OPTIONS open.
    let identity = match asked.method {
        Method::OPTIONS => Identity::default(),
        _ => match caller::identify(&front, &asked, &unknown).await {
            Ok(identity) => identity,
            Err(refusal) => return refusal,
        },
    };
    let event = events::rest(&asked, &identity).unwrap_or(unknown);
    integrate(&front, "rest", &event).await
}

/// A request to the function URL.
pub(super) async fn url(front: Arc<Front>, request: Request<Incoming>) -> Reply {
    let Ok(asked) = Asked::read(request, REQUEST).await else { return refused(413, "Request Too Long") };
    let Some(identity) = caller::signed(&front, &asked) else {
        return json(403, &json!({ "Message": "Forbidden" }));
    };
    integrate(&front, "url", &events::function_url(&asked, &identity)).await
}

async fn integrate(front: &Front, kind: &str, event: &Value) -> Reply {
    let Some(function) = &front.rest else { return refused(502, INTERNAL) };
    let silence = front.options.limits.silence;
    let reply = match timeout(silence, function.invoke(kind, event)).await {
        Ok(Ok(Posted::Streamed(pieces))) => framing::open(pieces, silence).await,
        Ok(Err(Failure::Throttled)) => return refused(429, "Too Many Requests"),
        Ok(Err(Failure::TooLarge)) => return refused(413, "Request Too Long"),
        Ok(Ok(Posted::Whole(_)) | Err(Failure::Reported(_) | Failure::Gone)) => Err(Flaw::Framing),
        Err(_late) => Err(Flaw::Silence),
    };
    reply.unwrap_or_else(|flaw| match flaw {
        Flaw::Framing => refused(502, INTERNAL),
        Flaw::Silence => refused(504, TIMED_OUT),
    })
}
