//! The types that carry everything: `Request` in, `Event`s out, exactly one of them terminal.
//!
//! The shapes follow Amazon Bedrock's Converse API (messages of content blocks, tools, inference
//! parameters), so that every door fits and nothing is lost on the way to the model.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Who asks: the authenticated principal, or `local` on a laptop without keys.
/// Everything that is stored or running belongs to one caller and is reachable by no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller(pub String);

impl Caller {
    /// The only caller of a gateway without keys.
    pub fn local() -> Caller {
        Caller("local".to_owned())
    }
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The caller's side.
    User,
    /// The model's side.
    Assistant,
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said, in order.
    pub content: Vec<Block>,
}

impl Message {
    /// A message of one text block.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, content: vec![Block::Text { text: text.into() }] }
    }
}

/// A content block, as Converse has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Plain text.
    Text {
        /// The text, never altered.
        text: String,
    },
    /// An image, `bytes` in base64.
    Image {
        /// `png`, `jpeg`, `gif` or `webp`.
        format: String,
        /// The image, base64.
        bytes: String,
    },
    /// The model asks for a tool.
    ToolUse {
        /// Ties the result to the call.
        id: String,
        /// The tool's name.
        name: String,
        /// Its arguments.
        input: Value,
    },
    /// The caller's result of a tool.
    ToolResult {
        /// The id of the call that this answers.
        id: String,
        /// Text and images.
        content: Vec<Block>,
        /// The tool failed.
        is_error: bool,
    },
    /// The model's reasoning, to be handed back unchanged in a tool loop.
    Reasoning {
        /// The reasoning text; empty where it is redacted.
        text: String,
        /// The provider's signature over it.
        signature: Option<String>,
        /// Redacted reasoning, base64.
        redacted: Option<String>,
    },
}

/// Inference parameters. `None` leaves the choice to the gateway's defaults, then the model's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Most tokens to generate.
    pub max_tokens: Option<u32>,
    /// 0 to 1.
    pub temperature: Option<f32>,
    /// 0 to 1.
    pub top_p: Option<f32>,
    /// A field of the model's own: it travels in `additionalModelRequestFields`.
    pub top_k: Option<u32>,
    /// Sequences that end the answer.
    pub stop_sequences: Vec<String>,
}

/// A tool the model may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// 1 to 64 of `[A-Za-z0-9_-]`.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of its input.
    pub schema: Value,
}

/// Whether the model must use a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// Some tool.
    Any,
    /// This tool.
    Named(String),
}

/// What the answer cache may do for a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CachePolicy {
    /// Cache scope of the seeds' clients: part of the curated key.
    pub node_id: Option<String>,
    /// Skip the read and overwrite.
    pub invalidate: bool,
}

/// One checked request. Doors build it; the engine and the rooms take it as true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The reply's id, the caller's own choice or a fresh UUIDv7.
    pub id: String,
    /// The caller chose the id: the same id with the same body attaches to the reply that exists.
    pub id_given: bool,
    /// Who asks.
    pub caller: Caller,
    /// The door it came through, for logs and metrics.
    pub door: String,
    /// The model as asked for; `None` is `DEFAULT_MODEL`.
    pub model: Option<String>,
    /// The conversation as this request carries it, the question last.
    pub messages: Vec<Message>,
    /// System instruction.
    pub system: Option<String>,
    /// Inference parameters.
    pub sampling: Sampling,
    /// Tools on offer.
    pub tools: Vec<Tool>,
    /// Whether one must be used.
    pub tool_choice: Option<ToolChoice>,
    /// JSON schema that the answer must follow.
    pub response_schema: Option<Value>,
    /// The stored conversation to go on with. `None` starts one.
    pub chat_id: Option<String>,
    /// Keep the turn in a conversation at all.
    pub keep_chat: bool,
    /// What to search for instead of the question.
    pub rag_prompt: Option<String>,
    /// What the cache may do.
    pub cache: CachePolicy,
    /// The whole reply's time limit.
    pub time_limit: Duration,
    /// Keys of the caller's that mean nothing here.
    pub ignored: Vec<String>,
}

/// The longest a reply may take, from Lambda's limit of 15 minutes less a margin for its terminal.
pub const LONGEST_REPLY: Duration = Duration::from_secs(890);

impl Request {
    /// A request of one user text, everything else at its default.
    pub fn new(caller: Caller, door: &str, text: impl Into<String>) -> Request {
        Request {
            id: new_id(),
            id_given: false,
            caller,
            door: door.to_owned(),
            model: None,
            messages: vec![Message::text(Role::User, text)],
            system: None,
            sampling: Sampling::default(),
            tools: Vec::new(),
            tool_choice: None,
            response_schema: None,
            chat_id: None,
            keep_chat: true,
            rag_prompt: None,
            cache: CachePolicy::default(),
            time_limit: LONGEST_REPLY,
            ignored: Vec::new(),
        }
    }

    /// The text of the last user message: the question.
    pub fn question(&self) -> &str {
        let last = self.messages.iter().rev().find(|message| message.role == Role::User);
        let texts = last.into_iter().flat_map(|message| message.content.iter().rev());
        texts.filter_map(Block::as_text).next().unwrap_or_default()
    }

    /// One user text and nothing else: what a curated answer may answer.
    pub fn is_bare_question(&self) -> bool {
        let [message] = self.messages.as_slice() else { return false };
        matches!(message.content.as_slice(), [Block::Text { .. }])
            && message.role == Role::User
            && self.system.is_none()
            && self.tools.is_empty()
            && self.response_schema.is_none()
    }
}

impl Block {
    /// The text of a text block.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Block::Text { text } => Some(text),
            _ => None,
        }
    }
}

/// A fresh id: UUIDv7, so ids sort by time and cannot be guessed (74 random bits).
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Tokens of one answer, as the model counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read, cached ones not included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Input tokens read from the provider's prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_input_tokens: u64,
    /// Input tokens written to the provider's prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_input_tokens: u64,
    /// The model never said: counted here from the text's length.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}

/// Why the model stopped, in Bedrock's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was done.
    EndTurn,
    /// A stop sequence came up.
    StopSequence,
    /// `max_tokens` was reached.
    MaxTokens,
    /// It waits for a tool's result.
    ToolUse,
    /// A guardrail stepped in.
    GuardrailIntervened,
    /// The provider filtered it.
    ContentFiltered,
    /// A reason this version does not know, as the provider spelt it.
    #[serde(untagged)]
    Other(String),
}

impl StopReason {
    /// Bedrock's spelling.
    pub fn as_str(&self) -> &str {
        match self {
            StopReason::EndTurn => "end_turn",
            StopReason::StopSequence => "stop_sequence",
            StopReason::MaxTokens => "max_tokens",
            StopReason::ToolUse => "tool_use",
            StopReason::GuardrailIntervened => "guardrail_intervened",
            StopReason::ContentFiltered => "content_filtered",
            StopReason::Other(other) => other,
        }
    }

    /// A whole answer of the model's own, fit to be learned.
    pub fn is_complete(&self) -> bool {
        matches!(self, StopReason::EndTurn | StopReason::StopSequence)
    }
}

/// A piece of the answer. The n-th delta of a reply has `seq` n, counted from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    /// More text.
    Text {
        /// The text to append.
        text: String,
    },
    /// More reasoning.
    Reasoning {
        /// The text to append.
        text: String,
        /// The signature, when the block ends.
        signature: Option<String>,
        /// Redacted reasoning, base64.
        redacted: Option<String>,
    },
    /// A tool call begins.
    ToolUse {
        /// The call's id.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// More of the current tool call's input.
    ToolInput {
        /// A piece of JSON text.
        json: String,
    },
}

impl Delta {
    /// A text delta.
    pub fn text(text: impl Into<String>) -> Delta {
        Delta::Text { text: text.into() }
    }

    /// The text of a text delta, empty for the others.
    pub fn as_text(&self) -> &str {
        match self {
            Delta::Text { text } => text,
            _ => "",
        }
    }
}

/// Where a passage came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The heading or title.
    pub title: String,
    /// File, page or URL.
    pub location: String,
    /// The search's own score.
    pub score: f32,
    /// First and last line, or byte span, of the passage in its document.
    pub span: (u64, u64),
}

/// What the cache did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheOutcome {
    /// Answered without a model call of this reply's own.
    Hit,
    /// Streams along with an identical question that was asked a moment before.
    Shared,
    /// Asked the model; a complete answer is learned.
    Miss,
    /// The request is not one that the cache answers.
    Bypass,
    /// There is no cache, or it is down.
    Off,
}

impl CacheOutcome {
    /// The value of `x-cache`.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheOutcome::Hit | CacheOutcome::Shared => "hit",
            CacheOutcome::Miss => "miss",
            CacheOutcome::Bypass => "bypass",
            CacheOutcome::Off => "off",
        }
    }
}

/// What is known when a reply begins. Constant through the reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The reply's id.
    pub request_id: String,
    /// The conversation.
    pub chat_id: String,
    /// The model that answers.
    pub model: String,
    /// What the cache did.
    pub cache: CacheOutcome,
    /// The passages the answer may draw on.
    pub sources: Vec<Source>,
    /// Search was wanted but down or slow: the answer comes without it.
    pub retrieval_unavailable: bool,
    /// Keys and parameters of the request that had no effect.
    pub ignored: Vec<String>,
    /// Stage to milliseconds, for `server-timing`.
    #[serde(skip)]
    pub timings: BTreeMap<&'static str, f64>,
}

/// What happens in a reply: `Started`, then deltas, then exactly one of the two terminals.
/// A reply that fails before it starts has the terminal alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The reply begins.
    Started(Started),
    /// A piece of the answer.
    Delta(Delta),
    /// Terminal: the answer is whole.
    Completed {
        /// Why the model stopped.
        stop_reason: StopReason,
        /// What it cost in tokens.
        usage: Usage,
    },
    /// Terminal: the answer is not whole, whatever came before.
    Failed {
        /// What went wrong.
        error: Error,
        /// The tokens known or estimated so far.
        usage: Usage,
    },
}

impl Event {
    /// Is it the last event of its reply?
    pub fn is_terminal(&self) -> bool {
        matches!(self, Event::Completed { .. } | Event::Failed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_reason_keeps_the_providers_spelling() {
        for text in ["end_turn", "stop_sequence", "malformed_tool_use"] {
            let json = format!("\"{text}\"");
            let reason: StopReason = serde_json::from_str(&json).unwrap();
            assert_eq!(reason.as_str(), text);
            assert_eq!(serde_json::to_string(&reason).unwrap(), json);
        }
    }

    #[test]
    fn a_question_with_a_system_instruction_is_not_bare() {
        let mut request = Request::new(Caller::local(), "prompt", "why?");
        assert!(request.is_bare_question());
        request.system = Some("be brief".into());
        assert!(!request.is_bare_question());
        assert_eq!(request.question(), "why?");
    }
}
