//! Door 1, `prompt` over REST: `POST /{modelId}`, answered whole or as server-sent events.

use super::Doors;
use super::body::{Body, describe, failed, json, put};
use super::fields::Fields;
use super::prompt;
use super::sendmessage::{PromptVoice, add_started};
use super::stream::{SSE, failed_whole, respond};
use crate::chat::{CacheOutcome, Caller, SILENT_LIMIT, Terminal, new_id};
use crate::error::Error;
use crate::model::catalog::LegacyShape;
use crate::whole::{Whole, collect};
use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};

/// Answers `POST /{modelId}`.
///
/// # Errors
/// Those before the engine takes over; a failed reply is a response already.
pub async fn handle(
    doors: &Doors,
    body: &Bytes,
    caller: Caller,
    model: &str,
) -> Result<Response<Body>, Error> {
    let mut fields = Fields::parse(body)?;
    let stream = fields.flag("stream")?;
    if doors.gateway.is_embedding(model) {
        // The text as it is: no turns are looked for in what is to become a vector.
        return Ok(embed(doors, &caller, model, &fields.required("prompt")?).await);
    }
    let mut request = prompt::read(fields, caller, "prompt")?;
    request.model = Some(model.to_owned());
    if !stream {
        request.time_limit = SILENT_LIMIT;
    }
    let stop = doors.gateway.settings.stop_on_disconnect;
    let reply = doors.answer(request).await?;
    let reader = reply.read(0).stop_on_drop(stop);
    if stream {
        return Ok(respond(reader, PromptVoice::each_delta(&reply.id), SSE).await);
    }
    let whole = collect(reader).await;
    let shape = doors.gateway.legacy_shape(model);
    Ok(failed_whole(&whole, &reply.id).unwrap_or_else(|| {
        let mut response = json(&whole_reply(&whole, shape));
        describe(response.headers_mut(), &reply);
        response
    }))
}

fn whole_reply(whole: &Whole, shape: Option<LegacyShape>) -> Value {
    let mut object = Map::new();
    object.insert("completion".into(), whole.text.as_str().into());
    if let Terminal::Completed { stop_reason, usage } = &whole.end {
        object.insert("stop_reason".into(), stop_reason.as_str().into());
        object.insert("usage".into(), json!(usage));
    }
    object.insert("sources".into(), json!([]));
    if let Some(started) = &whole.started {
        object.insert("chat_id".into(), started.chat_id.as_str().into());
        let cached = started.cache == CacheOutcome::Hit;
        object.insert("cached".into(), if cached { "true" } else { "false" }.into());
        object.insert("request_id".into(), started.request_id.as_str().into());
        add_started(&mut object, started);
    }
    match shape {
        Some(LegacyShape::Cohere) => object.insert("generations".into(), json!([{"text": whole.text}])),
        Some(LegacyShape::Ai21) => {
            object.insert("completions".into(), json!([{"data": {"text": whole.text}}]))
        }
        None => None,
    };
    Value::Object(object)
}

async fn embed(doors: &Doors, caller: &Caller, model: &str, text: &str) -> Response<Body> {
    let id = new_id();
    // Whatever comes of it is in the log by now, and no refusal of this door's.
    match doors.gateway.embed(caller, model, text).await {
        Err(error) => failed(&error, Some(&id)),
        Ok(embedding) => {
            let mut response = json(
                &json!({"embedding": embedding.vectors.first(), "inputTextTokenCount": embedding.input_tokens}),
            );
            put(response.headers_mut(), "x-request-id", &id);
            response
        }
    }
}
