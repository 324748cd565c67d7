//! Replies over HTTP: collected whole, or streamed once there is something to send.

use super::body::{Body, SHOULD_RETRY, describe, failed, failed_with};
use super::voice::Voice;
use crate::chat::{Event, Terminal};
use crate::reply::Reader;
use crate::whole::Whole;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// The HTTP error of a whole reply that failed, with the text so far where there is some.
pub fn failed_whole(whole: &Whole, request_id: &str) -> Option<Response<Body>> {
    let Terminal::Failed { error, usage } = &whole.end else {
        return None;
    };
    if !whole.began {
        return Some(failed(error, Some(request_id)));
    }
    let mut response =
        failed_with(error, Some(request_id), json!({"completion": whole.text, "usage": usage}));
    // The model began to answer, and what it said is paid for: an SDK must not ask again by itself.
    response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    Some(response)
}

/// How the pieces of a streamed reply look.
pub struct Format {
    /// Value of `content-type`.
    pub content_type: &'static str,
    /// What is sent when the model has been silent for [`SILENCE`]; where there is nothing to
    /// send, the reply waits with its status for the first piece.
    pub keep_alive: Option<&'static str>,
    /// What stands before and behind each of the voice's frames.
    pub around: (&'static str, &'static str),
}

/// Server-sent events. No `id:` and no `retry:` lines: official SDKs crash on them.
pub const SSE: Format = Format {
    content_type: "text/event-stream",
    keep_alive: Some(": keep-alive\n\n"),
    around: ("data: ", "\n\n"),
};

/// Raw text.
pub const RAW: Format =
    Format { content_type: "text/plain; charset=utf-8", keep_alive: None, around: ("", "") };

/// How long a stream stays silent before a keep-alive.
const SILENCE: Duration = Duration::from_secs(15);

struct Flow<V> {
    reader: Reader,
    voice: V,
    format: Format,
    ready: VecDeque<Bytes>,
}

/// Streams a reply. It waits for the first delta, so that an error before it has its HTTP status.
pub async fn respond(reader: Reader, voice: impl Voice + 'static, format: Format) -> Response<Body> {
    let mut flow = Flow { reader, voice, format, ready: VecDeque::new() };
    while flow.ready.is_empty() {
        let next = flow.reader.next();
        let step = match flow.format.keep_alive {
            Some(comment) => match timeout(SILENCE, next).await {
                Ok(step) => step,
                Err(_) => {
                    flow.ready.push_back(Bytes::from_static(comment.as_bytes()));
                    break;
                }
            },
            None => next.await,
        };
        match step {
            // Once the model has begun, the end belongs to the stream: a status would have it asked again.
            Some(Event::End(Terminal::Failed { error, .. })) if flow.reader.seq() == 0 => {
                return failed(&error, Some(&flow.reader.reply().id));
            }
            Some(step) => flow.take(step),
            None => break,
        }
    }
    let mut response = Response::new(Body::Whole(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(flow.format.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    describe(headers, flow.reader.reply());
    *response.body_mut() = Body::Stream(Box::pin(stream::unfold(flow, |mut flow| async {
        let bytes = flow.next().await?;
        Some((bytes, flow))
    })));
    response
}

impl<V: Voice> Flow<V> {
    fn take(&mut self, step: Event) {
        let (before, behind) = self.format.around;
        let frames = self.voice.frames(step);
        let size = frames.iter().map(|frame| before.len() + frame.len() + behind.len()).sum();
        let mut bytes = String::with_capacity(size);
        for frame in &frames {
            [before, frame, behind].iter().for_each(|piece| bytes.push_str(piece));
        }
        if !bytes.is_empty() {
            self.ready.push_back(Bytes::from(bytes));
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            match (timeout(SILENCE, self.reader.next()).await, self.format.keep_alive) {
                (Ok(step), _) => self.take(step?),
                (Err(_), Some(comment)) => return Some(Bytes::from_static(comment.as_bytes())),
                (Err(_), None) => {}
            }
        }
    }
}
