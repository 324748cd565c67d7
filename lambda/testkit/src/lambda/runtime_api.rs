//! The Runtime API of one environment, version 2018-06-01.

use super::environment::Environment;
use super::events::ACCOUNT;
use super::function::{Failure, Piece, Posted};
use super::moment::now_ms;
use super::options::PAYLOAD;
use super::wire::{self, Asked, Reply};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Pieces that may wait for a slow client before the runtime has to.
const BUFFERED: usize = 16;

/// Answers the runtime.
pub(super) async fn handle(environment: Arc<Environment>, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().strip_prefix("/2018-06-01/runtime/").unwrap_or_default().to_owned();
    match (request.method(), path.split('/').collect::<Vec<_>>().as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next(&environment).await,
        (&Method::POST, ["invocation", id, "response"]) => response(&environment, id, request).await,
        (&Method::POST, ["invocation", id, "error"]) => {
            let message = reported(request).await;
            let known = environment.post(id, Err(Failure::Reported(message)));
            if known { accepted() } else { unknown(id) }
        }
        (&Method::POST, ["init", "error"]) => {
            let _message = reported(request).await;
            environment.init_error();
            accepted()
        }
        _ => wire::json(404, &json!({ "errorType": "NotFound", "errorMessage": path })),
    }
}

async fn next(environment: &Arc<Environment>) -> Reply {
    let Some(next) = environment.next().await else {
        return wire::json(500, &json!({ "errorType": "Shutdown", "errorMessage": "the process is over" }));
    };
    let setup = &environment.setup;
    let deadline = now_ms() + u64::try_from(setup.limits.function.as_millis()).unwrap_or(u64::MAX);
    let mut reply = wire::whole(200, next.event);
    let trace = format!("Root=1-{:08x}-{};Sampled=0", now_ms() / 1000, next.id.replace('-', ""));
    for (name, value) in [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", next.id),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", arn(setup.name)),
        ("lambda-runtime-trace-id", trace),
    ] {
        if let Ok(value) = http::HeaderValue::try_from(value) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}

async fn response(environment: &Arc<Environment>, id: &str, request: Request<Incoming>) -> Reply {
    let mode = request.headers().get("lambda-runtime-function-response-mode");
    if mode.is_some_and(|mode| mode == "streaming") {
        return streamed(environment, id, request.into_body()).await;
    }
    let Ok(asked) = Asked::read(request, PAYLOAD).await else {
        environment.post(id, Err(Failure::Reported("the response is over 6 MB".to_owned())));
        let body = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": "over 6 MB" });
        return wire::json(413, &body);
    };
    if environment.post(id, Ok(Posted::Whole(asked.body))) { accepted() } else { unknown(id) }
}

/// Passes chunks on as they come. A client that went away does not stop the function, as on AWS.
async fn streamed(environment: &Arc<Environment>, id: &str, mut body: Incoming) -> Reply {
    let (pieces, receiver) = mpsc::channel(BUFFERED);
    if !environment.post(id, Ok(Posted::Streamed(receiver))) {
        return unknown(id);
    }
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        if let Some(trailers) = frame.trailers_ref() {
            whole = !failed(trailers);
        } else if let Ok(data) = frame.into_data() {
            let _client_went_away = pieces.send(Piece::Data(data)).await;
        }
    }
    environment.streamed(id, whole);
    if whole {
        let _client_went_away = pieces.send(Piece::End).await;
    }
    accepted()
}

fn failed(trailers: &HeaderMap) -> bool {
    let error = "lambda-runtime-function-error-";
    trailers.keys().any(|name| name.as_str().starts_with(error))
}

/// The message of an error report; what is no report is given whole.
async fn reported(request: Request<Incoming>) -> String {
    let body = Asked::read(request, PAYLOAD).await.map_or(Bytes::new(), |asked| asked.body);
    let report: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = report["errorMessage"].as_str().map(str::to_owned);
    message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned())
}

fn arn(function: &str) -> String {
    format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{function}")
}

fn accepted() -> Reply {
    wire::json(202, &json!({ "status": "OK" }))
}

fn unknown(id: &str) -> Reply {
    let body =
        json!({ "errorType": "InvalidRequestID", "errorMessage": format!("no such invocation: {id}") });
    wire::json(400, &body)
}
