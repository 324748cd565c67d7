//! Door 4, the chatbot over WebSocket's `$default` route: cumulative frames that replace each other.

use super::fields::{Fields, check_name};
use super::voice::{TEXT_LIMIT, Voice};
use crate::chat::{Caller, Event, Request, Terminal, new_id};
use crate::digest::hex;
use crate::error::Error;
use crate::pieces::{cut, escaped_len};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// What the page sends to see whether the gateway is there, and what it wants to hear.
pub const PING: &str = "__ping__";
/// The answer, with the quotes.
pub const PONG: &str = "\"__pong__\"";

/// What a message of this door asks for.
#[derive(Debug, PartialEq)]
pub enum Wish {
    /// An answer.
    Answer(Box<Request>),
    /// `clearMemory`: the conversation is to be forgotten.
    Forget {
        /// The conversation.
        chat_id: String,
    },
    /// `list models`.
    ListModels,
    /// A mode command of the old page, which is acknowledged and changes nothing.
    Mode(String),
}

/// A message of this door, its id known even where the rest is wrong.
pub struct Asked {
    /// The client's id, which every frame carries.
    pub request_id: String,
    /// The wish, or what is wrong with it.
    pub wish: Result<Wish, Error>,
}

/// The old page's mode commands.
const MODES: [&str; 6] =
    ["enableReference", "disableReference", "enableRag", "disableRag", "enableDebug", "disableDebug"];

static INSTRUCTIONS: LazyLock<HashMap<String, String>> =
    LazyLock::new(|| serde_json::from_str(include_str!("conv_types.json")).unwrap_or_default());

/// Reads a message. `user_id` labels the caller's conversation; it is never an identity.
pub fn request(mut fields: Fields, caller: Caller) -> Asked {
    let (request_id, given) = match fields.name("request_id") {
        Ok(Some(id)) => (id, Ok(true)),
        Ok(None) => (new_id(), Ok(false)),
        Err(error) => (new_id(), Err(error)),
    };
    let wish = given.and_then(|given| wish(&mut fields, caller, &request_id, given)).map(|wish| match wish {
        Wish::Answer(mut request) => {
            request.ignored = fields.ignored();
            Wish::Answer(request)
        }
        other => other,
    });
    Asked { request_id, wish }
}

fn wish(fields: &mut Fields, caller: Caller, id: &str, given: bool) -> Result<Wish, Error> {
    fields.take("request_time");
    let user = fields.name("user_id")?.unwrap_or_default();
    let kind = fields.text("type")?;
    if kind.as_deref() == Some("document") {
        return Err(Error::invalid(
            "type",
            "Uploads are not offered. Send `type`: \"text\" with the question in `body`.",
        ));
    }
    let body = fields.required("body")?;
    let instruction = fields.text("convType")?.and_then(|kind| INSTRUCTIONS.get(&kind).cloned());
    let chat_id = chat_of(&user);
    match body.trim() {
        "clearMemory" => return Ok(Wish::Forget { chat_id }),
        "list models" => return Ok(Wish::ListModels),
        mode if MODES.contains(&mode) => return Ok(Wish::Mode(mode.to_owned())),
        _ => {}
    }
    let mut request = Request::new(caller, "chatbot", body);
    request.id = id.to_owned();
    request.id_given = given;
    request.chat_id = Some(chat_id);
    request.system = instruction;
    Ok(Wish::Answer(Box::new(request)))
}

/// The conversation of a `user_id`: the label itself, or its digest where it is too long for a name.
fn chat_of(user: &str) -> String {
    let named = format!("chatbot:{user}");
    if check_name("user_id", &named).is_ok() {
        return named;
    }
    format!("chatbot:{}", hex(&Sha256::digest(user.as_bytes())))
}

/// One frame of this door.
pub fn frame(request_id: &str, msg: &str, status: &str) -> String {
    json!({"request_id": request_id, "msg": msg, "status": status}).to_string()
}

/// The next cumulative frame goes out when the text has grown by this fraction, or after this time,
/// so that all frames together stay within a small multiple of the text.
const GROWTH: usize = 8;
const PAUSE: Duration = Duration::from_millis(300);

const TOO_LONG: &str = "\n[The rest of this answer is too long for one message. It is kept: resume this request, \
                        or read /answers/{request_id}.]";

/// Text so far, again and again, until it is complete.
pub struct ChatbotVoice {
    request_id: String,
    text: String,
    size: usize,
    sent: usize,
    last: Option<Instant>,
}

impl ChatbotVoice {
    /// The format for one reply.
    pub fn new(request_id: &str) -> ChatbotVoice {
        ChatbotVoice { request_id: request_id.to_owned(), text: String::new(), size: 0, sent: 0, last: None }
    }

    fn is_due(&self) -> bool {
        let grown = self.size - self.sent;
        grown > 0 && (grown >= self.sent / GROWTH || self.last.is_none_or(|last| last.elapsed() >= PAUSE))
    }

    fn add(&mut self, text: &str) {
        self.size += escaped_len(text);
        self.text.push_str(text);
    }

    fn end(&self, end: &Terminal) -> String {
        let fits = cut(&self.text, TEXT_LIMIT).first().copied().unwrap_or_default();
        match end {
            Terminal::Failed { error, .. } => error_frame(&self.request_id, fits, error),
            _ if fits.len() < self.text.len() => {
                let note = TOO_LONG.replace("{request_id}", &self.request_id);
                frame(&self.request_id, &format!("{fits}{note}"), "error")
            }
            _ => frame(&self.request_id, &self.text, "completed"),
        }
    }
}

/// The frame of an error, after the text so far: the old page replaces its bubble by it.
pub fn error_frame(request_id: &str, text: &str, error: &Error) -> String {
    let mut frame: Value = json!({"request_id": request_id, "status": "error"});
    frame["msg"] = format!("{text}\n{}", error.message).into();
    frame["error"] = super::voice::error_object(error, Some(request_id));
    frame.to_string()
}

impl Voice for ChatbotVoice {
    fn frames(&mut self, step: Event) -> Vec<String> {
        match step {
            Event::Started(_) => Vec::new(),
            Event::Deltas { deltas, .. } => {
                deltas.iter().for_each(|delta| self.add(delta.as_text()));
                if !self.is_due() || self.size > TEXT_LIMIT {
                    return Vec::new();
                }
                self.sent = self.size;
                self.last = Some(Instant::now());
                vec![frame(&self.request_id, &self.text, "proceeding")]
            }
            Event::End(end) => vec![self.end(&end)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Delta, StopReason, Usage};
    use crate::edge::voice::FRAME_LIMIT;

    fn ask(json: &str) -> Asked {
        request(Fields::parse(json.as_bytes()).unwrap(), Caller::local())
    }

    fn play(texts: &[&str]) -> Vec<Value> {
        let mut voice = ChatbotVoice::new("r");
        let mut frames = Vec::new();
        for (text, last) in texts.iter().zip(1..) {
            frames.extend(voice.frames(Event::Deltas { last, deltas: vec![Delta::text(*text)] }));
        }
        let end = Terminal::Completed { stop_reason: StopReason::EndTurn, usage: Usage::default() };
        frames.extend(voice.frames(Event::End(end)));
        frames
            .iter()
            .inspect(|frame| assert!(frame.len() <= FRAME_LIMIT))
            .map(|f| serde_json::from_str(f).unwrap())
            .collect()
    }

    #[test]
    fn frames_are_cumulative_and_the_last_has_the_full_text() {
        let frames = play(&["a", "b", "c"]);
        assert_eq!(frames[0], json!({"request_id": "r", "msg": "a", "status": "proceeding"}));
        assert_eq!(*frames.last().unwrap(), json!({"request_id": "r", "msg": "abc", "status": "completed"}));
    }

    #[test]
    fn all_frames_together_stay_within_a_multiple_of_the_text() {
        let texts = vec!["0123456789"; 2_000];
        let sent: usize = play(&texts).iter().map(|frame| frame["msg"].as_str().unwrap().len()).sum();
        assert!(sent < 15 * 20_000, "{sent} bytes for 20,000 of text");
    }

    #[test]
    fn an_answer_too_long_for_a_frame_ends_with_an_error_and_the_text_that_fits() {
        let big = "x".repeat(10_000);
        let frames = play(&[&big, &big, &big, &big]);
        let last = frames.last().unwrap();
        assert_eq!(last["status"], "error");
        assert!(last["msg"].as_str().unwrap().contains("/answers/r"));
    }

    #[test]
    fn commands_and_modes_are_told_from_questions() {
        let message = |body: &str| {
            ask(&json!({"user_id":"u","request_id":"r","type":"text","body":body}).to_string()).wish
        };
        assert_eq!(message("clearMemory").unwrap(), Wish::Forget { chat_id: "chatbot:u".into() });
        assert_eq!(message("list models").unwrap(), Wish::ListModels);
        assert_eq!(message("enableRag").unwrap(), Wish::Mode("enableRag".into()));
        let Wish::Answer(request) = message("why?").unwrap() else { panic!() };
        assert_eq!((request.id.as_str(), request.chat_id.as_deref()), ("r", Some("chatbot:u")));
    }

    #[test]
    fn a_long_user_id_has_a_conversation_that_can_be_named() {
        let (one, two) = (chat_of(&"a".repeat(128)), chat_of(&format!("{}b", "a".repeat(127))));
        assert!(one != two && check_name("chat_id", &one).is_ok());
        assert_eq!(chat_of("ann"), "chatbot:ann");
    }

    #[test]
    fn conversation_types_pick_an_instruction_and_unknown_ones_pick_none() {
        for (kind, some) in
            [("translation", true), ("pii", true), ("step-by-step", true), ("normal", false), ("odd", false)]
        {
            let asked = ask(&json!({"request_id":"r","body":"x","convType":kind}).to_string());
            let Wish::Answer(request) = asked.wish.unwrap() else { panic!() };
            assert_eq!(request.system.is_some(), some, "{kind}");
        }
        assert_eq!(INSTRUCTIONS.len(), 7);
    }

    #[test]
    fn an_upload_is_refused_under_its_own_request_id() {
        let asked = ask(r#"{"request_id":"r","type":"document","body":"a.pdf"}"#);
        assert_eq!(asked.request_id, "r");
        assert_eq!(asked.wish.unwrap_err().param.as_deref(), Some("type"));
    }
}
