//! The open WebSocket connections and `@connections`.

use super::events::{STAGE, short_id};
use super::front::Front;
use super::knobs::Fate;
use super::moment::{now, now_ms, text};
use super::options::{FRAME, MESSAGE};
use super::records::{Push, lock};
use super::wire::{Asked, Reply, json, whole};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Frames that may wait for a slow client; then pushes are answered 429.
const WAITING: usize = 256;

/// What a connection's session is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Send this text.
    Text(String),
    /// Close.
    Close,
}

/// The open connections by id.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<String, Open>>);

#[derive(Debug)]
struct Open {
    orders: mpsc::Sender<Order>,
    connected_ms: u64,
    active_ms: u64,
}

impl Registry {
    /// A connection is open from now on; its orders come from here.
    pub fn open(&self, id: &str, connected_ms: u64) -> mpsc::Receiver<Order> {
        let (orders, receiver) = mpsc::channel(WAITING);
        let open = Open { orders, connected_ms, active_ms: now_ms() };
        lock(&self.0).insert(id.to_owned(), open);
        receiver
    }

    /// A connection is over.
    pub fn close(&self, id: &str) {
        lock(&self.0).remove(id);
    }

    /// Something went over it.
    pub fn active(&self, id: &str) {
        if let Some(open) = lock(&self.0).get_mut(id) {
            open.active_ms = now_ms();
        }
    }

    /// Gives a connection an order: `Some(false)` where too much waits already, `None` where it is
    /// not open.
    pub fn order(&self, id: &str, order: Order) -> Option<bool> {
        let orders = lock(&self.0).get(id)?.orders.clone();
        match orders.try_send(order) {
            Ok(()) => Some(true),
            Err(mpsc::error::TrySendError::Full(_)) => Some(false),
            Err(mpsc::error::TrySendError::Closed(_)) => None,
        }
    }

    fn times(&self, id: &str) -> Option<(u64, u64)> {
        lock(&self.0).get(id).map(|open| (open.connected_ms, open.active_ms))
    }
}

/// The connection's id, where a path is one of `@connections`.
pub(super) fn id_of(path: &str) -> Option<String> {
    let encoded = path.strip_prefix('/')?.strip_prefix(STAGE)?.strip_prefix("/")?;
    let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
    Some(decoded.strip_prefix("@connections/")?.to_owned())
}

/// POST, GET or DELETE of a connection.
pub(super) async fn manage(front: &Front, id: &str, request: Request<Incoming>) -> Reply {
    match *request.method() {
        Method::POST => post(front, id, request).await,
        Method::GET => match front.registry.times(id) {
            Some((connected, active)) => {
                let identity = json!({ "sourceIp": "127.0.0.1", "userAgent": "" });
                json(
                    200,
                    &json!({ "connectedAt": iso(connected), "lastActiveAt": iso(active), "identity": identity }),
                )
            }
            None => error(410),
        },
        Method::DELETE => match front.registry.order(id, Order::Close) {
            Some(_) => whole(204, Bytes::new()),
            None => error(410),
        },
        _ => error(403),
    }
}

async fn post(front: &Front, id: &str, request: Request<Incoming>) -> Reply {
    let data = Asked::read(request, MESSAGE).await.map(|asked| asked.body);
    let (fate, delay) = front.pushing.fate(id);
    sleep(delay).await;
    let bytes = data.as_ref().map_or(MESSAGE + 1, Bytes::len);
    let text = data.ok().filter(|data| data.len() <= FRAME);
    let text = text.map(|data| String::from_utf8_lossy(&data).into_owned());
    let (status, delivered) = match (fate, text) {
        (Fate::Gone, _) => (410, false),
        (_, None) => (413, false),
        (Fate::Throttled, _) => (429, false),
        (Fate::Unavailable, _) => (503, false),
        (fate, Some(text)) => match front.registry.order(id, Order::Text(text)) {
            None => (410, false),
            Some(false) => (429, false),
            Some(true) => (if fate == Fate::Ambiguous { 503 } else { 200 }, true),
        },
    };
    let push = Push { connection: id.to_owned(), bytes, status, delivered, at: now() };
    front.records.note(|seen| seen.pushes.push(push));
    if status == 200 { whole(200, Bytes::new()) } else { error(status) }
}

/// An error as the service's JSON protocol has it: the type is in a header.
fn error(status: u16) -> Reply {
    let (kind, message) = match status {
        403 => ("ForbiddenException", "Forbidden"),
        410 => ("GoneException", "Gone"),
        413 => ("PayloadTooLargeException", "Frames hold 32 KB, messages 128 KB"),
        429 => ("LimitExceededException", "Too many requests"),
        _ => ("ServiceUnavailableException", "Service unavailable"),
    };
    let mut reply =
        json(status, &json!({ "message": message, "connectionId": null, "requestId": short_id() }));
    reply.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(kind));
    reply
}

/// `2020-05-15T06:01:09Z`, made of the form that events have.
fn iso(ms: u64) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let long = text(ms);
    let month = MONTHS.find(&long[3..6]).unwrap_or_default() / 3 + 1;
    format!("{}-{month:02}-{}T{}Z", &long[7..11], &long[..2], &long[12..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_from_its_path_encoded_or_not() {
        assert_eq!(id_of("/prod/@connections/abc%3D").unwrap(), "abc=");
        assert_eq!(id_of("/prod/%40connections/abc=").unwrap(), "abc=");
        assert_eq!(id_of("/@connections/abc="), None);
        assert_eq!(id_of("/prod/other"), None);
    }

    #[test]
    fn moments_are_written_as_the_service_writes_them() {
        assert_eq!(iso(1_589_522_469_693), "2020-05-15T06:01:09Z");
    }
}
