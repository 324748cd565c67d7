//! What comes out: numbered deltas between a beginning and exactly one terminal.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

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

    /// Bytes of it, as the caller sees them.
    pub fn len(&self) -> usize {
        match self {
            Delta::Text { text } | Delta::Reasoning { text, .. } => text.len(),
            Delta::ToolUse { name, .. } => name.len(),
            Delta::ToolInput { json } => json.len(),
        }
    }

    /// Is there nothing in it to see?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
    /// The search's own score, told to four places.
    #[serde(serialize_with = "rounded")]
    pub score: f32,
    /// First and last line of the passage in its document, or its page twice; absent where nothing says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(u64, u64)>,
}

/// A piece of a document and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// The text, as it stands in the document.
    pub text: String,
    /// Where it stands.
    pub source: Source,
}

fn rounded<S: serde::Serializer>(score: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((f64::from(*score) * 1e4).round() / 1e4)
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

/// What happens in a reply: it starts, deltas come, it ends. A reply that fails before it starts has
/// the end alone. What has come since the last event is told together.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The reply begins. Comes first and once, if it comes at all.
    Started(Arc<Started>),
    /// More of the answer.
    Deltas {
        /// Number of the last one.
        last: u64,
        /// In order, none missing.
        deltas: Vec<Delta>,
    },
    /// The last event.
    End(Terminal),
}

/// How a reply ends: each has exactly one.
#[derive(Clone, Debug, PartialEq)]
pub enum Terminal {
    /// The answer is whole.
    Completed {
        /// Why the model stopped.
        stop_reason: StopReason,
        /// What it cost in tokens.
        usage: Usage,
    },
    /// The answer is not whole, whatever came before.
    Failed {
        /// What went wrong.
        error: Error,
        /// The tokens known or estimated so far.
        usage: Usage,
    },
}

/// The end of a reply that cost nothing.
impl From<Error> for Terminal {
    fn from(error: Error) -> Terminal {
        Terminal::Failed { error, usage: Usage::default() }
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
}
