//! The doors: foreign bytes into [`crate::chat::Request`]s, [`crate::chat::Terminal`]s into foreign
//! bytes. One file a door; none knows of models or stores.
//!
//! HTTP comes in as `http::Request<Bytes>` and goes out as `http::Response<Body>`; WebSocket texts
//! go through [`socket::Session`]. So the same doors serve a local port and Lambda's events.

pub mod body;
pub mod chatbot;
pub mod control;
pub mod cors;
pub mod fields;
pub mod filter;
pub mod framing;
pub mod function_url;
pub mod invoke_model;
pub mod jobs;
pub mod key;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod prompt;
pub mod rest;
pub mod saved;
pub mod sendmessage;
mod slots;
pub mod socket;
pub mod stream;
pub mod voice;

use crate::chat::{Caller, Request as ChatRequest, new_id};
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::queue::Queue;
use crate::reply::Reply;
use crate::telemetry;
use body::{Body, failed};
use bytes::Bytes;
use http::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use tokio::time::Instant;

/// All doors over one gateway.
pub struct Doors {
    /// The engine.
    pub gateway: Arc<Gateway>,
    /// Where jobs wait, where there is a store to keep them in.
    pub queue: Option<Arc<dyn Queue>>,
    /// Replies asked for here end by then, whatever their own limit: the end of an invocation.
    pub until: Option<Instant>,
}

/// The largest HTTP body, in bytes: Lambda's limit.
pub const BODY_LIMIT: usize = 6 * 1024 * 1024;

impl Doors {
    /// Answers one HTTP request of this caller. Errors come in the doors' own format.
    pub async fn http(&self, request: Request<Bytes>, caller: Caller) -> Response<Body> {
        let done = self.route(&request, caller).await;
        done.unwrap_or_else(|error| {
            let id = new_id();
            telemetry::refused(door(request.uri().path()), Some(&id), &error);
            failed(&error, Some(&id))
        })
    }

    /// Answers a request within the time that there is.
    ///
    /// # Errors
    /// As [`Gateway::answer`].
    pub async fn answer(&self, mut request: ChatRequest) -> Result<Arc<Reply>, Error> {
        if request.caller.is_anyone() && request.id_given {
            request.id = new_id();
            request.id_given = false;
            request.ignored.push("request_id".to_owned());
        }
        if let Some(until) = self.until {
            request.time_limit = request.time_limit.min(until.saturating_duration_since(Instant::now()));
        }
        self.gateway.answer(request).await
    }

    async fn route(&self, request: &Request<Bytes>, caller: Caller) -> Result<Response<Body>, Error> {
        let segments = segments(request.uri().path())?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let method = request.method();
        match (method, segments.as_slice()) {
            (&Method::GET, ["health"]) => Ok(body::json(&serde_json::json!({"status": "ok"}))),
            (&Method::POST, []) => function_url::handle(self, request.body(), caller).await,
            (&Method::POST, ["invokeModel"]) => jobs::submit(self, request, caller).await,
            (&Method::GET, ["jobs", id]) => jobs::show(self, &caller, id).await,
            (&Method::DELETE, ["jobs", id]) => jobs::cancel(self, &caller, id).await,
            (&Method::GET, ["answers", id]) => saved::answer(self, request, &caller, id).await,
            (&Method::DELETE, ["answers", id]) => saved::cancel(self, &caller, id).await,
            (&Method::GET, ["chats"]) => saved::chats(self, &caller).await,
            (&Method::GET, ["chats", id]) => saved::chat(self, &caller, id).await,
            (&Method::DELETE, ["chats", id]) => saved::delete_chat(self, &caller, id).await,
            (&Method::POST, [model]) if !is_reserved(model) => {
                rest::handle(self, request.body(), caller, model).await
            }
            _ => Err(no_route(method, request.uri().path())),
        }
    }
}

/// The name, for the log, of the door that a path leads to. Few names: they tell metrics apart.
fn door(path: &str) -> &'static str {
    let segments = segments(path).unwrap_or_default();
    match segments.first().map(String::as_str) {
        None => "functionUrl",
        Some("invokeModel" | "jobs") => "jobs",
        Some("answers" | "chats") => "control",
        Some(model) if segments.len() == 1 && !is_reserved(model) => "prompt",
        Some(_) => "none",
    }
}

/// First segments that are never a model id.
fn is_reserved(segment: &str) -> bool {
    ["invokeModel", "jobs", "answers", "chats", "v1", "model", "health"].contains(&segment)
}

/// The path's segments, decoded one by one, so that `%2F` stays inside a model id. One leading
/// `/prod` is dropped: URLs written for a deployed stage work.
fn segments(path: &str) -> Result<Vec<String>, Error> {
    let wrong =
        |_| Error::new(Kind::InvalidRequest, "The path is not valid UTF-8 where it is percent-encoded.");
    let parts = path.split('/').filter(|part| !part.is_empty());
    let decoded = parts.map(|part| percent_decode_str(part).decode_utf8().map(|text| text.into_owned()));
    let mut segments = decoded.collect::<Result<Vec<String>, _>>().map_err(wrong)?;
    if segments.first().is_some_and(|first| first == "prod") {
        segments.remove(0);
    }
    Ok(segments)
}

fn no_route(method: &Method, path: &str) -> Error {
    let path: String = path.chars().take(80).collect();
    let routes = "POST /{modelId}, POST /, POST /invokeModel, GET and DELETE /jobs/{id}, /answers/{id} and \
                  /chats/{id}, GET /chats, GET /health";
    Error::new(
        Kind::NotFound,
        format!("There is no {method} {path} here. There are {routes}; a WebSocket on any path."),
    )
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn rfc3339(ms: u64) -> String {
    let time = aws_smithy_types::DateTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    time.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_stage_is_dropped_once_and_an_encoded_slash_stays_in_its_segment() {
        for (path, expected) in [
            ("/", vec![]),
            ("/prod", vec![]),
            ("/prod/prod", vec!["prod"]),
            ("/anthropic.claude-v2%3A1", vec!["anthropic.claude-v2:1"]),
            ("/prod/jobs/7/", vec!["jobs", "7"]),
            ("/arn%3Aaws%2Fx", vec!["arn:aws/x"]),
        ] {
            assert_eq!(segments(path).unwrap(), expected, "{path}");
        }
        assert!(segments("/%ff").is_err());
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }
}
