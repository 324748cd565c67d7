//! HTTP replies: the body that cannot fail, JSON, and errors in the one shape of all doors.

use super::voice::error_object;
use crate::error::{Error, Kind};
use crate::reply::Reply;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A reply's body. It has no error: what goes wrong after the first byte is said in the format.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece, as it comes.
    Stream(BoxStream<'static, Bytes>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Stream(stream) => {
                stream.as_mut().poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Body::Whole(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

/// The header that tells official SDKs not to ask, and pay, again.
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A 200 with this JSON.
pub fn json(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from(value.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error before the first byte of an answer.
pub fn failed(error: &Error, request_id: Option<&str>) -> Response<Body> {
    failed_with(error, request_id, Value::Object(Default::default()))
}

/// An error with more to say beside it, such as the text so far.
pub fn failed_with(error: &Error, request_id: Option<&str>, more: Value) -> Response<Body> {
    let mut value = json!({"message": error.message, "error": error_object(error, request_id)});
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    let mut response = json(&value);
    *response.status_mut() =
        StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    put(headers, "x-request-id", request_id.unwrap_or_default());
    if let Some(wait) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    } else if error.kind == Kind::Throttled {
        headers.insert(RETRY_AFTER, HeaderValue::from(1));
    }
    if error.kind == Kind::Conflict {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    response
}

/// The headers of an answer: its id, its model, what the cache did, and how long each stage took.
pub fn describe(headers: &mut HeaderMap, reply: &Reply) {
    let Some(started) = reply.started() else {
        return;
    };
    put(headers, "x-request-id", &started.request_id);
    put(headers, "x-model", &started.model);
    put(headers, "x-cache", started.cache.as_str());
    let mut timing = String::new();
    for (stage, ms) in reply.timings() {
        let comma = if timing.is_empty() { "" } else { ", " };
        let _never_fails = write!(timing, "{comma}{stage};dur={ms:.2}");
    }
    put(headers, "server-timing", &timing);
}

/// Sets a header where the value is fit for one; ids of the client's may not be.
pub fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if value.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
