//! Responses on the wire.

use super::knobs::{Failure, Fault, Knobs};
use super::log::Open;
use super::reply::Reply;
use super::steps::{self, Step};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;

/// The body of every response.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A stream to send.
#[derive(Clone)]
pub(super) enum Stream {
    /// In one piece.
    Whole(Bytes),
    /// Step by step.
    Paced(Arc<[Step]>),
}

impl Stream {
    /// The answer to this question.
    pub(super) fn of(knobs: &Knobs, question: &str) -> Stream {
        let steps = steps::of(knobs, &Reply::of(knobs, question));
        if knobs.is_plain() { Stream::Whole(steps::joined(&steps)) } else { Stream::Paced(steps.into()) }
    }
}

/// The response that plays a stream.
pub(super) fn streamed(stream: Stream, knobs: &Knobs, open: Open) -> Response<Body> {
    let builder = Response::builder().header(CONTENT_TYPE, "application/vnd.amazon.eventstream");
    let response = match stream {
        Stream::Whole(bytes) => {
            open.finish();
            builder.body(whole(bytes))
        }
        Stream::Paced(steps) => {
            let lies = matches!(knobs.fault, Some(Fault::Length { .. }));
            let length = lies.then(|| steps::joined(&steps).len() + steps::MISSING);
            let builder = match length {
                Some(length) => builder.header(CONTENT_LENGTH, length),
                None => builder,
            };
            builder.body(paced(steps, open))
        }
    };
    response.unwrap_or_default()
}

/// Plays the steps. The body is dropped as soon as the connection's task sees the client go.
fn paced(steps: Arc<[Step]>, open: Open) -> Body {
    let frames = stream::unfold((steps, 0, Some(open)), |(steps, mut next, mut open)| async move {
        loop {
            let step = steps.get(next).cloned();
            next += 1;
            match step {
                Some(Step::Wait(time)) => tokio::time::sleep(time).await,
                Some(Step::Stall) => std::future::pending().await,
                Some(Step::Send(bytes)) => {
                    open = open.map(Open::sent);
                    return Some((Ok(Frame::data(bytes)), (steps, next, open)));
                }
                Some(Step::Cut) => {
                    open.into_iter().for_each(Open::finish);
                    return Some((Err(io::Error::other("cut")), (steps, next, None)));
                }
                None => {
                    open.into_iter().for_each(Open::finish);
                    return None;
                }
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// An error as AWS spells it: the type in a header, the message in the body.
pub(super) fn refusal(failure: &Failure, retry_after: Option<u64>) -> Response<Body> {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, &json!({ "message": failure.message }));
    let kind = format!("{}:http://internal.amazon.com/coral/com.amazon.bedrock/", failure.name);
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert("x-amzn-errortype", kind);
    }
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A response of one JSON value.
pub(super) fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(whole(value.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}
