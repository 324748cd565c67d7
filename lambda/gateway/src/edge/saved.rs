//! Door 8 over HTTP: answers by their id, and the caller's own conversations.

use super::Doors;
use super::body::{Body, json};
use super::control::{said, summary};
use super::sendmessage::{PromptVoice, add_started};
use super::stream::{SSE, respond};
use super::voice::error_object;
use crate::chat::{Caller, Event, Terminal};
use crate::error::{Error, Kind};
use crate::recall::no_chat;
use crate::reply::Reply;
use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::{Map, Value, json};

/// `GET /answers/{id}?after=<seq>`: the stream from there on, or one status object where JSON is
/// asked for.
///
/// # Errors
/// `not_found`, also for a reply of another caller; `invalid_request` for a wrong `after`.
pub async fn answer(
    doors: &Doors,
    request: &Request<Bytes>,
    caller: &Caller,
    id: &str,
) -> Result<Response<Body>, Error> {
    let after = after(request.uri().query().unwrap_or_default())?;
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/json")) {
        return Ok(json(&status(&*doors.gateway.look(caller, id).await?)));
    }
    let reply = doors.gateway.attach(caller, id).await?;
    let reader = reply.read(after).stop_on_drop(doors.gateway.settings.stop_on_disconnect);
    Ok(respond(reader, PromptVoice::each_delta(&reply.id).resumed(after), SSE).await)
}

fn after(query: &str) -> Result<u64, Error> {
    // A reply has far fewer deltas than 32 bits can count.
    let value = query.split('&').find_map(|pair| pair.strip_prefix("after="));
    let wrong =
        |_| Error::invalid("after", "`after` must be the `seq` of the last frame received, a whole number.");
    value.map_or(Ok(0), |value| value.parse::<u32>().map(u64::from).map_err(wrong))
}

/// Where a reply stands now.
fn status(reply: &Reply) -> Value {
    let mut object = Map::new();
    object.insert("request_id".into(), reply.id.as_str().into());
    object.insert("status".into(), "running".into());
    let (mut text, mut seq) = (String::new(), 0);
    for step in reply.so_far() {
        match step {
            Event::Started(started) => {
                object.insert("chat_id".into(), started.chat_id.as_str().into());
                add_started(&mut object, &started);
            }
            Event::Deltas { last, deltas } => {
                seq = last;
                deltas.iter().for_each(|delta| text.push_str(delta.as_text()));
            }
            Event::End(end) => add_end(&mut object, &end, &reply.id),
        }
    }
    object.insert("completion".into(), text.into());
    object.insert("seq".into(), seq.into());
    Value::Object(object)
}

fn add_end(object: &mut Map<String, Value>, end: &Terminal, id: &str) {
    let status = match end {
        Terminal::Completed { stop_reason, usage } => {
            object.insert("stop_reason".into(), stop_reason.as_str().into());
            object.insert("usage".into(), json!(usage));
            "completed"
        }
        Terminal::Failed { error, usage } => {
            object.insert("error".into(), error_object(error, Some(id)));
            object.insert("usage".into(), json!(usage));
            if error.kind == Kind::Cancelled { "cancelled" } else { "failed" }
        }
    };
    object.insert("status".into(), status.into());
}

/// `DELETE /answers/{id}`: cancels.
///
/// # Errors
/// `not_found` where no reply of this id runs for this caller.
pub async fn cancel(doors: &Doors, caller: &Caller, id: &str) -> Result<Response<Body>, Error> {
    doors.gateway.cancel(caller, id).await?;
    Ok(json(&json!({"request_id": id, "status": "cancelled"})))
}

/// `GET /chats`.
///
/// # Errors
/// `unavailable` where nothing is stored or the store is down.
pub async fn chats(doors: &Doors, caller: &Caller) -> Result<Response<Body>, Error> {
    let chats = doors.gateway.list_chats(caller).await?;
    Ok(json(&json!({"chats": chats.iter().map(summary).collect::<Vec<Value>>()})))
}

/// `GET /chats/{id}`.
///
/// # Errors
/// `not_found`, also for a conversation of another caller.
pub async fn chat(doors: &Doors, caller: &Caller, id: &str) -> Result<Response<Body>, Error> {
    let turns = doors.gateway.read_chat(caller, id).await?;
    let messages: Vec<_> = turns.iter().flat_map(said).collect();
    Ok(json(&json!({"chat_id": id, "messages": messages})))
}

/// `DELETE /chats/{id}`.
///
/// # Errors
/// `not_found`, also for a conversation of another caller.
pub async fn delete_chat(doors: &Doors, caller: &Caller, id: &str) -> Result<Response<Body>, Error> {
    if !doors.gateway.delete_chat(caller, id).await? {
        return Err(no_chat());
    }
    Ok(json(&json!({"chat_id": id, "deleted": true})))
}
