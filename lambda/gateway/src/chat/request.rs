//! What goes in: one checked request, in the shapes of Amazon Bedrock's Converse API.

use super::{Caller, Filter, id_of, new_id};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

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
    /// The delivery that brought it, where a delivery may be repeated: a repeated one does nothing.
    #[serde(default)]
    pub delivery: Option<String>,
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
    /// What the metadata of the passages must say, besides the deployment's own filter.
    #[serde(default)]
    pub rag_filter: Filter,
    /// What the cache may do.
    pub cache: CachePolicy,
    /// The whole reply's time limit.
    pub time_limit: Duration,
    /// Keys of the caller's that mean nothing here.
    pub ignored: Vec<String>,
}

/// The longest a reply may take, from Lambda's limit of 15 minutes less a margin for its terminal.
pub const LONGEST_REPLY: Duration = Duration::from_secs(890);

/// The longest a reply may take that sends nothing before its end: API Gateway gives up on a
/// Regional endpoint after 5 minutes of silence.
pub const SILENT_LIMIT: Duration = Duration::from_secs(285);

impl Request {
    /// A request of one user text, everything else at its default.
    pub fn new(caller: Caller, door: &str, text: impl Into<String>) -> Request {
        Request {
            id: new_id(),
            id_given: false,
            delivery: None,
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
            rag_filter: Filter::default(),
            cache: CachePolicy::default(),
            time_limit: LONGEST_REPLY,
            ignored: Vec::new(),
        }
    }

    /// A delivery's repetition must find the same reply, so that its id comes from the delivery
    /// where the caller gave none.
    pub fn delivered_by(&mut self, delivery: String) {
        if !self.id_given {
            self.id = id_of(&delivery);
        }
        self.delivery = Some(delivery);
    }

    /// Is its id to be claimed before the model is asked?
    pub fn claims_its_id(&self) -> bool {
        self.id_given || self.delivery.is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_with_a_system_instruction_is_not_bare() {
        let mut request = Request::new(Caller::local(), "prompt", "why?");
        assert!(request.is_bare_question());
        request.system = Some("be brief".into());
        assert!(!request.is_bare_question());
        assert_eq!(request.question(), "why?");
    }
}
