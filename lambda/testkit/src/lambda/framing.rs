//! The streaming framing of a proxy integration: JSON prelude, eight NUL bytes, body.

use super::function::Piece;
use super::wire::Reply;
use bytes::BytesMut;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue, SET_COOKIE};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Bytes of a prelude at most; without an end of it by then there is none.
const PRELUDE: usize = 64 * 1024;
const DELIMITER: [u8; 8] = [0; 8];
/// What the connection itself decides.
const HOP: [&str; 4] = ["content-length", "transfer-encoding", "connection", "keep-alive"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prelude {
    status_code: u16,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    multi_value_headers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    cookies: Vec<String>,
}

/// Why a stream is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The framing is not kept.
    Framing,
    /// The function was silent for too long before the end of its prelude.
    Silence,
}

/// Turns a function's stream into a client's reply, as soon as the prelude is there. After that the
/// connection is cut when the function is silent for too long, or its reply breaks off.
pub(super) async fn open(mut pieces: Receiver<Piece>, silence: Duration) -> Result<Reply, Flaw> {
    let mut head = BytesMut::new();
    let end = loop {
        let piece = timeout(silence, pieces.recv()).await.map_err(|_late| Flaw::Silence)?;
        let Some(Piece::Data(data)) = piece else { return Err(Flaw::Framing) };
        head.extend_from_slice(&data);
        if let Some(end) = head.windows(DELIMITER.len()).position(|bytes| bytes == DELIMITER) {
            break end;
        }
        if head.len() > PRELUDE {
            return Err(Flaw::Framing);
        }
    };
    let prelude: Prelude = serde_json::from_slice(&head[..end]).map_err(|_| Flaw::Framing)?;
    let first = head.freeze().slice(end + DELIMITER.len()..);
    let first = (!first.is_empty()).then_some(first);

    let frames = stream::unfold((first, Some(pieces)), move |(first, pieces)| async move {
        let mut pieces = pieces?;
        if let Some(first) = first {
            return Some((Ok(Frame::data(first)), (None, Some(pieces))));
        }
        match timeout(silence, pieces.recv()).await {
            Ok(Some(Piece::Data(data))) => Some((Ok(Frame::data(data)), (None, Some(pieces)))),
            Ok(Some(Piece::End)) => None,
            Ok(None) => Some((Err(cut("the function's reply broke off")), (None, None))),
            Err(_late) => Some((Err(cut("the function was silent for too long")), (None, None))),
        }
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(prelude.status_code).map_err(|_| Flaw::Framing)?;
    for (name, value) in fields(prelude) {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(Flaw::Framing);
        };
        if !HOP.contains(&name.as_str()) {
            reply.headers_mut().append(name, value);
        }
    }
    Ok(reply)
}

fn fields(prelude: Prelude) -> Vec<(String, String)> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let cookies = prelude.cookies.into_iter().map(|cookie| (SET_COOKIE.as_str().to_owned(), cookie));
    let many = prelude.multi_value_headers;
    let single: Vec<_> = prelude.headers.into_iter().filter(|(name, _)| !many.contains_key(name)).collect();
    let many = many.into_iter().flat_map(|(name, all)| all.into_iter().map(move |one| (name.clone(), one)));
    let single = single.into_iter().map(|(name, value)| (name, text(value)));
    many.chain(single).chain(cookies).collect()
}

fn cut(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use tokio::sync::mpsc;

    async fn opened(chunks: &[&[u8]], end: bool) -> Result<Reply, Flaw> {
        let (pieces, receiver) = mpsc::channel(16);
        for chunk in chunks {
            pieces.send(Piece::Data(Bytes::copy_from_slice(chunk))).await.unwrap();
        }
        if end {
            pieces.send(Piece::End).await.unwrap();
        }
        drop(pieces);
        open(receiver, Duration::from_secs(1)).await
    }

    #[tokio::test]
    async fn a_prelude_may_come_in_any_pieces() {
        let prelude = br#"{"statusCode":201,"headers":{"x-a":"b"},"cookies":["c=1","d=2"]}"#;
        let mut whole = prelude.to_vec();
        whole.extend_from_slice(&[0; 8]);
        whole.extend_from_slice(b"body");
        for cut in 1..whole.len() - 1 {
            let reply = opened(&[&whole[..cut], &whole[cut..]], true).await.unwrap();
            assert_eq!(reply.status(), 201);
            assert_eq!(reply.headers()["x-a"], "b");
            assert_eq!(reply.headers().get_all("set-cookie").iter().count(), 2);
            assert_eq!(reply.into_body().collect().await.unwrap().to_bytes(), "body", "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn no_prelude_is_no_reply() {
        for chunk in [&b"hello"[..], b"{\"statusCode\":200}", b"no json\0\0\0\0\0\0\0\0body", b""] {
            assert_eq!(opened(&[chunk], true).await.err(), Some(Flaw::Framing));
        }
    }

    #[tokio::test]
    async fn a_reply_that_breaks_off_is_an_error_to_the_client() {
        let reply = opened(&[b"{\"statusCode\":200}\0\0\0\0\0\0\0\0half"], false).await.unwrap();
        assert!(reply.into_body().collect().await.is_err());
    }
}
