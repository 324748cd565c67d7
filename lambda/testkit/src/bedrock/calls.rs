//! One request, from its bytes to its response.

use super::knobs::{DIRECTIVE, Failure, Knobs};
use super::log::{Open, Recorded, lock};
use super::reply::{self, Reply};
use super::server::State;
use super::wire::{Body, Stream, json_response, refusal, streamed};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Answers a request; every failure is a response.
pub(super) async fn handle(state: &State, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() == "/seen" {
        return json_response(StatusCode::OK, &state.log.seen());
    }
    state.log.calls.fetch_add(1, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return refusal(&Failure::new("SerializationException", 400, "the body broke off"), None);
    };
    let body = body.to_bytes();
    let Some((model, operation)) = target(head.uri.path()) else {
        return refusal(&Failure::new("UnknownOperationException", 404, "no such operation"), None);
    };
    let open = Open::new(Arc::clone(&state.log), model.clone());
    match call(state, &head, &body, &model).await {
        Ok(call) => respond(state, &operation, call, open),
        Err(refused) => {
            open.finish();
            refused
        }
    }
}

/// Model id and operation of `/model/{modelId}/{operation}`.
fn target(path: &str) -> Option<(String, String)> {
    let (model, operation) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let model = percent_decode_str(model).decode_utf8().ok()?;
    Some((model.into_owned(), operation.to_owned()))
}

/// A request that is answered.
struct Call {
    knobs: Knobs,
    body: Value,
    /// The stream, where it is known before the question is.
    stream: Option<Stream>,
}

/// Reads a request, records it, and refuses it where the knobs say so.
async fn call(state: &State, head: &Parts, body: &Bytes, model: &str) -> Result<Call, Response<Body>> {
    let prepared = Arc::clone(&lock(&state.prepared));
    let in_stream = head.uri.path().ends_with("/converse-stream");
    let scripted = lock(&state.script).pop_front();
    let forgetful = state.forgetful.load(Ordering::SeqCst);
    let directed = body.windows(DIRECTIVE.len()).any(|window| window == DIRECTIVE.as_bytes());
    if in_stream && forgetful && !directed && scripted.is_none() && prepared.stream.is_some() {
        let knobs = prepared.knobs.clone();
        refuse(state, &knobs, "").await?;
        return Ok(Call { knobs, body: Value::Null, stream: prepared.stream.clone() });
    }
    let raw = body;
    let body: Value = serde_json::from_slice(raw).unwrap_or_default();
    if !forgetful {
        let path = head.uri.path().to_owned();
        let (headers, at) = (head.headers.clone(), Instant::now());
        let record =
            Recorded { path, model: model.to_owned(), headers, raw: raw.clone(), body: body.clone(), at };
        lock(&state.log.requests).push(record);
    }
    let base = scripted.unwrap_or_else(|| prepared.knobs.clone());
    let embedded = reply::embedded(&body);
    let question = embedded.unwrap_or_else(|| reply::question(&body));
    let directed =
        if embedded.is_some() { Knobs::directed_to_embed(question) } else { base.directed(question) };
    let (knobs, counted_under) = match directed {
        None => (base, ""),
        Some(Ok(knobs)) => (knobs, question),
        Some(Err(error)) => {
            let message = format!("the @standin directive is wrong: {error}");
            return Err(refusal(&Failure::new("ValidationException", 400, &message), None));
        }
    };
    refuse(state, &knobs, counted_under).await?;
    Ok(Call { knobs, body, stream: None })
}

/// The wait before the head, then the refusals that the knobs ask for. Tries are counted under
/// `counted_under`: the question that carried the directive, or nothing for the knobs of all.
async fn refuse(state: &State, knobs: &Knobs, counted_under: &str) -> Result<(), Response<Body>> {
    if knobs.head_ms > 0 {
        tokio::time::sleep(Duration::from_millis(knobs.head_ms)).await;
    }
    if knobs.throttle > 0 {
        let mut tries = lock(&state.tries);
        let given = tries.entry(counted_under.to_owned()).or_default();
        if *given < knobs.throttle {
            *given += 1;
            let failure = Failure::new(
                "ThrottlingException",
                429,
                "Too many requests, please wait before trying again.",
            );
            return Err(refusal(&failure, knobs.retry_after));
        }
    }
    match &knobs.error {
        Some(failure) => Err(refusal(failure, knobs.retry_after)),
        None => Ok(()),
    }
}

fn respond(state: &State, operation: &str, call: Call, open: Open) -> Response<Body> {
    let question = reply::question(&call.body);
    if operation == "converse-stream" {
        let stream = call.stream.unwrap_or_else(|| Stream::of(&call.knobs, question));
        return streamed(stream, &call.knobs, open);
    }
    open.finish();
    match operation {
        "converse" => json_response(StatusCode::OK, &Reply::of(&call.knobs, question).converse(&call.knobs)),
        "invoke" => match reply::embedding(&call.body, &Arc::clone(&lock(&state.vectors))) {
            Some(embedding) => json_response(StatusCode::OK, &embedding),
            None => refusal(&Failure::new("ValidationException", 400, "Malformed input request"), None),
        },
        _ => refusal(&Failure::new("UnknownOperationException", 404, "no such operation"), None),
    }
}
