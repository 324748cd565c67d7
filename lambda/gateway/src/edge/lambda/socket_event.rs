//! WebSocket API events: `$connect`, `$disconnect`, and messages, which are answered at once and
//! streamed after.

use super::caller::caller;
use super::open::Lambda;
use super::push::Connection;
use super::runtime::{Answer, LAST_WORDS};
use crate::chat::Caller;
use crate::edge::cors::Origin;
use crate::edge::key;
use crate::edge::socket::Session;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Span;

/// Takes one event.
pub async fn handle(lambda: &Lambda, event: &[u8], until: Instant) -> Answer {
    let Ok(event) = serde_json::from_slice::<Value>(event) else {
        return Answer::Failed("This is no WebSocket event of API Gateway.".to_owned());
    };
    let context = &event["requestContext"];
    let Some(id) = context["connectionId"].as_str() else {
        return Answer::Failed(
            "This is no WebSocket event of API Gateway: it has no connectionId.".to_owned(),
        );
    };
    // Beside the invocation's id, on every line from here on.
    Span::current().record("connection_id", id);
    match context["eventType"].as_str() {
        Some("CONNECT") => Answer::Whole(connect(lambda, id, &event).await),
        Some("DISCONNECT") => Answer::Whole(disconnect(lambda, id).await),
        _ => message(lambda, id, &event, until).await,
    }
}

/// The connection's caller, kept with it: later events do not say who it was. Never a push from
/// here: API Gateway does not know the connection yet.
async fn connect(lambda: &Lambda, id: &str, event: &Value) -> Value {
    let foreign = |origin: &str| lambda.origins.judge(origin) != Origin::Allowed;
    if !lambda.origins.is_empty() && header(event, "origin").any(foreign) {
        return json!({"statusCode": 403});
    }
    let caller = caller(&event["requestContext"], lambda.gateway.settings.caller_session);
    if let (Some(caller), Some(store)) = (caller, lambda.gateway.store())
        && let Err(error) = store.put_connection(id, &caller).await
    {
        tracing::warn!(%error, "a connection's caller was not stored");
        return json!({"statusCode": error.kind.status()});
    }
    let offered = header(event, "sec-websocket-protocol").flat_map(key::subprotocols);
    let selected = offered.into_iter().any(|name| name == key::SUBPROTOCOL);
    match selected {
        true => json!({"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": key::SUBPROTOCOL}}),
        false => json!({"statusCode": 200}),
    }
}

/// The event's headers of this name.
fn header<'a>(event: &'a Value, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    let all = event["headers"].as_object().into_iter().flatten();
    all.filter(move |(name, _)| name.eq_ignore_ascii_case(wanted)).filter_map(|(_, value)| value.as_str())
}

async fn disconnect(lambda: &Lambda, id: &str) -> Value {
    if let Some(store) = lambda.gateway.store()
        && let Err(error) = store.delete_connection(id).await
    {
        // It expires by itself.
        tracing::warn!(%error, "a connection was not removed");
    }
    json!({"statusCode": 200})
}

async fn message(lambda: &Lambda, id: &str, event: &Value, until: Instant) -> Answer {
    let caller = caller_of(lambda, id, event).await;
    let context = &event["requestContext"];
    let text = event["body"].as_str().unwrap_or_default().to_owned();
    let outlet = Arc::new(Connection::new(lambda.connections.clone(), id.to_owned(), until + LAST_WORDS));
    let doors = Arc::new(lambda.doors(Some(until)));
    let message_id = context["messageId"].as_str().unwrap_or_default();
    let session = Session::new(doors, caller, outlet.clone()).delivered(id, message_id);
    // Answered before anything is asked: API Gateway gives up on an integration after 29 seconds and
    // puts a frame of its own into the client's stream.
    let going = Box::pin(async move {
        if let Some(going) = session.text(&text).await {
            going.await;
        }
        outlet.tell();
    });
    Answer::Then(json!({"statusCode": 200}), going)
}

/// Who the connection was opened by, as it was found out then. Where nobody was, or the store cannot
/// say, the connection is its own caller: nothing of anybody else's can be reached from it.
async fn caller_of(lambda: &Lambda, id: &str, event: &Value) -> Caller {
    let stored = match lambda.gateway.store() {
        Some(store) => store.connection(id).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a message's caller is not known");
            None
        }),
        None => None,
    };
    let told = || caller(&event["requestContext"], lambda.gateway.settings.caller_session);
    stored.or_else(told).unwrap_or_else(|| Caller::connection(id))
}
