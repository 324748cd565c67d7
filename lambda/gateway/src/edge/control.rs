//! Door 8: cancel, resume, and the caller's own conversations.

use super::Doors;
use super::fields::Fields;
use super::voice::{TEXT_LIMIT, error_object};
use crate::chat::{Block, Caller, Role};
use crate::error::Error;
use crate::pieces::cut;
use crate::recall::no_chat;
use crate::reply::Reader;
use crate::store::{ChatSummary, Turn};
use crate::telemetry;
use serde::Serialize;
use serde_json::{Value, json};

/// Carries out a control action that is answered by frames of its own, and gives those frames.
/// A cancel that works has none: the reply's own terminal says it.
pub async fn act(doors: &Doors, caller: &Caller, action: &str, fields: &mut Fields) -> Vec<String> {
    let named = fields.peek_name("request_id");
    let done = match action {
        "cancel" => cancel(doors, caller, fields).await,
        "chats" => list(doors, caller).await,
        "chat" => read(doors, caller, fields).await,
        _ => delete(doors, caller, fields).await,
    };
    done.unwrap_or_else(|error| vec![failed(action, named.as_deref(), &error)])
}

/// A control request that failed: its frame, and its line in the log.
pub fn failed(action: &str, request_id: Option<&str>, error: &Error) -> String {
    telemetry::refused("control", request_id, error);
    json!({"action": action, "request_id": request_id, "error": error_object(error, request_id)}).to_string()
}

/// A reader of the caller's reply that `request_id` names, after delta number `after`.
///
/// # Errors
/// `not_found`, also for a reply of another caller.
pub async fn attach(doors: &Doors, caller: &Caller, fields: &mut Fields) -> Result<Reader, Error> {
    let id = required_name(fields, "request_id")?;
    let after = fields.count("after", 0..=u32::MAX)?.unwrap_or(0);
    Ok(doors.gateway.attach(caller, &id).await?.read(u64::from(after)))
}

async fn cancel(doors: &Doors, caller: &Caller, fields: &mut Fields) -> Result<Vec<String>, Error> {
    let id = required_name(fields, "request_id")?;
    doors.gateway.cancel(caller, &id).await?;
    Ok(Vec::new())
}

async fn list(doors: &Doors, caller: &Caller) -> Result<Vec<String>, Error> {
    let chats = doors.gateway.list_chats(caller).await?;
    let items: Vec<Value> = chats.iter().map(summary).collect();
    Ok(paged(items, |chats, more| json!({"action": "chats", "chats": chats, "has_more": more})))
}

async fn read(doors: &Doors, caller: &Caller, fields: &mut Fields) -> Result<Vec<String>, Error> {
    let chat_id = required_name(fields, "chat_id")?;
    let turns = doors.gateway.read_chat(caller, &chat_id).await?;
    let said = turns.iter().flat_map(said).flat_map(|said| said.pieces());
    let items: Vec<Value> = said.map(|said| json!(said)).collect();
    Ok(paged(
        items,
        |said, more| json!({"action": "chat", "chat_id": chat_id, "messages": said, "has_more": more}),
    ))
}

async fn delete(doors: &Doors, caller: &Caller, fields: &mut Fields) -> Result<Vec<String>, Error> {
    let chat_id = required_name(fields, "chat_id")?;
    if !doors.gateway.delete_chat(caller, &chat_id).await? {
        return Err(no_chat());
    }
    Ok(vec![json!({"action": "delete_chat", "chat_id": chat_id, "deleted": true}).to_string()])
}

fn required_name(fields: &mut Fields, name: &str) -> Result<String, Error> {
    let missing = || Error::invalid(name, format!("`{name}` is missing."));
    fields.name(name)?.ok_or_else(missing)
}

/// A conversation in a list.
pub fn summary(chat: &ChatSummary) -> Value {
    json!({
        "chat_id": chat.chat_id,
        "title": chat.title,
        "turns": chat.turns,
        "created_at": super::rfc3339(chat.created_at_ms),
        "updated_at": super::rfc3339(chat.updated_at_ms),
    })
}

/// One message of a conversation, as it is told.
#[derive(Clone, Debug, Serialize)]
pub struct Said {
    request_id: String,
    created_at: String,
    role: Role,
    text: String,
    /// A text too long for a frame comes in parts, numbered from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
}

/// The messages of a turn.
pub fn said(turn: &Turn) -> Vec<Said> {
    let answer = std::iter::once((Role::Assistant, turn.answer.as_slice()));
    let asked = turn.messages.iter().map(|message| (message.role, message.content.as_slice()));
    let said = asked.chain(answer).map(|(role, blocks)| Said {
        request_id: turn.request_id.clone(),
        created_at: super::rfc3339(turn.at_ms),
        role,
        text: blocks.iter().filter_map(Block::as_text).collect(),
        part: None,
    });
    said.collect()
}

impl Said {
    fn pieces(self) -> Vec<Said> {
        let pieces = cut(&self.text, TEXT_LIMIT - 1024);
        if pieces.len() == 1 {
            return vec![self];
        }
        let parts = pieces.iter().zip(1..).map(|(text, part)| Said {
            text: (*text).to_owned(),
            part: Some(part),
            ..self.clone()
        });
        parts.collect()
    }
}

/// As many frames as the items need.
fn paged(items: Vec<Value>, frame: impl Fn(Vec<Value>, bool) -> Value) -> Vec<String> {
    let mut pages: Vec<Vec<Value>> = vec![Vec::new()];
    let mut size = 0;
    for item in items {
        let more = item.to_string().len();
        if size + more > TEXT_LIMIT && size > 0 {
            pages.push(Vec::new());
            size = 0;
        }
        size += more;
        if let Some(page) = pages.last_mut() {
            page.push(item);
        }
    }
    let last = pages.len() - 1;
    pages.into_iter().enumerate().map(|(at, page)| frame(page, at < last).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::voice::FRAME_LIMIT;
    use crate::pieces::escaped_len;

    #[test]
    fn a_long_conversation_comes_in_frames_that_fit_and_loses_nothing() {
        let long = Said {
            request_id: "r".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            role: Role::Assistant,
            text: "日\n".repeat(20_000),
            part: None,
        };
        let items = long.clone().pieces().into_iter().map(|said| json!(said)).collect();
        let frames = paged(items, |said, more| json!({"messages": said, "has_more": more}));
        assert!(frames.len() > 2 && frames.iter().all(|frame| frame.len() <= FRAME_LIMIT));
        let values: Vec<Value> = frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect();
        let texts = values.iter().flat_map(|frame| frame["messages"].as_array().unwrap());
        let whole: String = texts.map(|said| said["text"].as_str().unwrap()).collect();
        assert_eq!(whole, long.text);
        assert_eq!(values.last().unwrap()["has_more"], false);
        assert!(escaped_len(&long.text) > FRAME_LIMIT);
    }
}
