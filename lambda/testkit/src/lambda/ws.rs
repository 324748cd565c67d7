//! The WebSocket API: the handshake, routes and integrations.

use super::events::{self, Connection, Identity};
use super::front::Front;
use super::function::{self, Failure, Posted};
use super::moment::now_ms;
use super::registry::{self, Order};
use super::wire::{Asked, Reply, json, refused, whole};
use super::{caller, session};
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The actions that have a route; every other message goes to `$default`.
const ROUTES: [&str; 7] = ["sendmessage", "invokeModel", "cancel", "resume", "chats", "chat", "delete_chat"];

/// A request to the WebSocket API's port.
pub(super) async fn api(front: Arc<Front>, request: Request<Incoming>) -> Reply {
    if let Some(id) = registry::id_of(request.uri().path()) {
        return registry::manage(&front, &id, request).await;
    }
    let asked = Asked::head(&request);
    match (asked.in_stage(), asked.header("sec-websocket-key")) {
        (Some("/"), Some(key)) => {
            let accept = derive_accept_key(key.as_bytes());
            connect(&front, &asked, &accept, request).await
        }
        _ => refused(403, "Forbidden"),
    }
}

/// The handshake is pending until the integration has returned.
async fn connect(front: &Arc<Front>, asked: &Asked, accept: &str, request: Request<Incoming>) -> Reply {
    let mut connection = Connection {
        id: events::short_id(),
        connected_at: now_ms(),
        domain: front.ws_address.to_string(),
        identity: Identity::default(),
        agent: asked.header("user-agent").map(str::to_owned),
    };
    match caller::identify(front, asked, &events::connect(&connection, asked)).await {
        Ok(identity) => connection.identity = identity,
        Err(refusal) => return refusal,
    }
    let answer = match integrate(front, "$connect", &events::connect(&connection, asked)).await {
        Ok(answer) => answer,
        Err(message) => {
            let body =
                json!({ "message": message, "connectionId": connection.id, "requestId": events::short_id() });
            return json(if message == TIMED_OUT { 504 } else { 502 }, &body);
        }
    };
    let status = answer["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(502);
    if status != 200 {
        let body = answer["body"].as_str().unwrap_or_default().to_owned();
        return whole(status, Bytes::from(body));
    }
    let query = asked.uri.query().unwrap_or_default().to_owned();
    tokio::spawn(session::run(Arc::clone(front), connection, query, hyper::upgrade::on(request)));
    switching(accept, protocol(&answer))
}

/// A client's message: its route's integration, and the frame that its failure injects.
pub(super) async fn message(front: Arc<Front>, connection: Arc<Connection>, body: String) {
    let route = route(&body);
    let event = events::message(&connection, route, &body);
    if let Err(message) = integrate(&front, route, &event).await {
        let request = &event["requestContext"]["requestId"];
        let frame = json!({ "message": message, "connectionId": connection.id, "requestId": request });
        front.registry.order(&connection.id, Order::Text(frame.to_string()));
    }
    if front.pushing.knobs().repeated_messages {
        let _whatever = integrate(&front, route, &event).await;
    }
}

const TIMED_OUT: &str = "Endpoint request timed out";
const INTERNAL: &str = "Internal server error";

/// Waits for the function's reply no longer than API Gateway does; the invocation goes on all the
/// same. The error is what the client is told.
pub(super) async fn integrate(front: &Front, kind: &str, event: &Value) -> Result<Value, &'static str> {
    let Some(function) = &front.ws else { return Err(INTERNAL) };
    let limit = front.options.limits.integration;
    match timeout(limit, function.invoke(kind, event)).await {
        Err(_late) => Err(TIMED_OUT),
        Ok(Ok(posted @ Posted::Whole(_))) => {
            let answer = function::json(posted).await.filter(|answer| answer["statusCode"].is_u64());
            answer.ok_or(INTERNAL)
        }
        Ok(Ok(Posted::Streamed(_)) | Err(Failure::Reported(_) | Failure::Gone)) => Err(INTERNAL),
        Ok(Err(Failure::Throttled | Failure::TooLarge)) => Err(INTERNAL),
    }
}

/// Route selection by `$request.body.action`.
fn route(body: &str) -> &'static str {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let action = parsed["action"].as_str().unwrap_or_default();
    ROUTES.into_iter().find(|route| *route == action).unwrap_or("$default")
}

/// The subprotocol that the `$connect` integration has chosen.
fn protocol(answer: &Value) -> Option<HeaderValue> {
    let headers = answer["headers"].as_object().into_iter().chain(answer["multiValueHeaders"].as_object());
    let mut all = headers.flatten();
    let (_, value) = all.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"))?;
    HeaderValue::from_str(value.as_str().or_else(|| value[0].as_str())?).ok()
}

fn switching(accept: &str, protocol: Option<HeaderValue>) -> Reply {
    let mut reply = whole(101, Bytes::new());
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_the_route_of_its_action() {
        assert_eq!(route(r#"{"action":"cancel"}"#), "cancel");
        for other in ["__ping__", "{}", r#"{"action":"Cancel"}"#, r#"{"action":1}"#, "[1]", ""] {
            assert_eq!(route(other), "$default", "{other}");
        }
    }

    #[test]
    fn the_subprotocol_is_found_whatever_the_spelling() {
        assert_eq!(protocol(&json!({ "headers": { "Sec-WebSocket-Protocol": "a" } })).unwrap(), "a");
        assert_eq!(
            protocol(&json!({ "multiValueHeaders": { "sec-websocket-protocol": ["b"] } })).unwrap(),
            "b"
        );
        assert_eq!(protocol(&json!({ "statusCode": 200 })), None);
    }
}
