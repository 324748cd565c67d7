//! Door 3, `invokeModel` over WebSocket: raw text frames, then the end frame, always.

use super::fields::Fields;
use super::prompt;
use super::voice::{Voice, pack};
use crate::chat::{Caller, Event, Request, Terminal};
use crate::error::{Error, Kind};

/// The frame that ends every reply of this door.
pub const END: &str = "<End of LLM response>";

/// Reads an `invokeModel` request.
///
/// # Errors
/// `invalid_request`, naming the field.
pub fn request(mut fields: Fields, caller: Caller) -> Result<Request, Error> {
    fields.take("action");
    let mut request = prompt::read(fields, caller, "invokeModel")?;
    // This door's clients know no conversation: their prompts carry it.
    request.keep_chat = request.chat_id.is_some();
    Ok(request)
}

/// Plain text.
pub struct RawVoice;

impl Voice for RawVoice {
    fn frames(&mut self, step: Event) -> Vec<String> {
        match step {
            Event::Started(_) => Vec::new(),
            Event::Deltas { last, deltas } => {
                pack(&deltas, last).into_iter().map(|chunk| chunk.text).collect()
            }
            Event::End(Terminal::Failed { error, .. }) => failed(&error),
            Event::End(_) => vec![END.to_owned()],
        }
    }

    fn bears_repetition(&self) -> bool {
        false
    }
}

/// The frames of a failed reply: one that says why, and the end. A cancelled one only ends.
pub fn failed(error: &Error) -> Vec<String> {
    match error.kind {
        Kind::Cancelled => vec![END.to_owned()],
        _ => vec![format!("Error: {}", error.message), END.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Delta, StopReason, Usage};

    #[test]
    fn an_answer_is_its_text_and_the_end_frame() {
        let deltas = Event::Deltas { last: 2, deltas: vec![Delta::text("The "), Delta::text("sky")] };
        assert_eq!(RawVoice.frames(deltas), ["The sky"]);
        let end = Terminal::Completed { stop_reason: StopReason::EndTurn, usage: Usage::default() };
        assert_eq!(RawVoice.frames(Event::End(end)), [END]);
    }

    #[test]
    fn an_error_says_why_and_ends_all_the_same() {
        let end = Terminal::Failed { error: Error::new(Kind::UpstreamError, "cut"), usage: Usage::default() };
        assert_eq!(RawVoice.frames(Event::End(end)), ["Error: cut", END]);
    }

    #[test]
    fn the_model_and_the_old_spelling_of_max_tokens_stand_in_parameters() {
        let json = br#"{"action":"invokeModel","prompt":"q","parameters":{"modelId":"m","maxTokens":256}}"#;
        let request = request(Fields::parse(json).unwrap(), Caller::local()).unwrap();
        assert_eq!((request.model.as_deref(), request.sampling.max_tokens), (Some("m"), Some(256)));
        assert!(!request.keep_chat && request.ignored.is_empty());
    }
}
