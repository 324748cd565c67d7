//! Door 5, function URL streaming: `POST /` with Bedrock's own parameters, answered as raw text.

use super::Doors;
use super::body::Body;
use super::fields::Fields;
use super::prompt::{question, read_parameters};
use super::stream::{RAW, respond};
use super::voice::{Voice, error_line};
use crate::chat::{Caller, Event, Request, SILENT_LIMIT, Terminal};
use crate::error::Error;
use bytes::Bytes;
use http::Response;

/// Answers `POST /`.
///
/// # Errors
/// Those before the engine takes over; a failed reply is a response already.
pub async fn handle(doors: &Doors, body: &Bytes, caller: Caller) -> Result<Response<Body>, Error> {
    let request = request(Fields::parse(body)?, caller)?;
    let stop = doors.gateway.settings.stop_on_disconnect;
    let reply = doors.answer(request).await?;
    Ok(respond(reply.read(0).stop_on_drop(stop), TextVoice, RAW).await)
}

fn request(mut fields: Fields, caller: Caller) -> Result<Request, Error> {
    if !fields.has("modelParams") {
        let message = "`modelParams` is missing. Send {\"bedrockParams\": {\"modelId\": \"…\"}, \"modelParams\": \
                       {\"prompt\": \"…\"}}; other formats have paths of their own.";
        return Err(Error::invalid("modelParams", message));
    }
    let mut bedrock = fields.object("bedrockParams")?;
    let mut parameters = fields.object("modelParams")?;
    let mut request = question(parameters.required("prompt")?, caller, "functionUrl");
    request.ignored = fields.ignored();
    read_parameters(parameters, &mut request)?;
    request.model = bedrock.name("modelId")?.or(request.model);
    // What the seed's clients send to InvokeModel; Converse has one answer to both.
    bedrock.take("contentType");
    bedrock.take("accept");
    request.ignored.extend(bedrock.ignored());
    request.keep_chat = false;
    request.time_limit = SILENT_LIMIT;
    Ok(request)
}

/// The text and nothing else; an error after the first byte is the last line.
struct TextVoice;

impl Voice for TextVoice {
    fn frames(&mut self, step: Event) -> Vec<String> {
        match step {
            Event::Started(_) => Vec::new(),
            Event::Deltas { deltas, .. } => deltas.iter().map(|delta| delta.as_text().to_owned()).collect(),
            Event::End(Terminal::Failed { error, .. }) => vec![format!("\n{}\n", error_line(&error))],
            Event::End(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_event_is_read_whole() {
        let json = br#"{"bedrockParams":{"modelId":"anthropic.claude-v2","contentType":"application/json","accept":"*/*"},
            "modelParams":{"max_tokens_to_sample":2048,"temperature":0.5,"top_k":250,"top_p":0.5,"prompt":"Explain."}}"#;
        let request = request(Fields::parse(json).unwrap(), Caller::local()).unwrap();
        assert_eq!(request.model.as_deref(), Some("anthropic.claude-v2"));
        assert_eq!((request.sampling.top_k, request.sampling.max_tokens), (Some(250), Some(2048)));
        assert!(request.ignored.is_empty());
    }

    #[test]
    fn a_body_of_another_door_is_told_what_to_send() {
        let error = request(Fields::parse(br#"{"prompt":"q"}"#).unwrap(), Caller::local()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("modelParams"));
    }
}
