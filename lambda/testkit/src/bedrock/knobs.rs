//! What a test can turn: the answer, its pace and its faults.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the stand-in answers. Everything left out keeps its default: an echo, at once, no fault.
///
/// The same struct as JSON, behind `@standin` in the last user text, steers one request:
/// `@standin{"tokens":32,"gap_ms":20,"throttle":2}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Wait before the head of the response, in ms.
    pub head_ms: u64,
    /// Wait between the head and the first token, in ms.
    pub first_ms: u64,
    /// Wait between two tokens, in ms.
    pub gap_ms: u64,
    /// The text to answer, cut into tokens at its spaces. Goes before `tokens`.
    pub text: Option<String>,
    /// Answer with this many numbered tokens. Without `text` and `tokens` the question is echoed.
    pub tokens: Option<usize>,
    /// Refuse the first so many tries with a `ThrottlingException`.
    pub throttle: u32,
    /// `Retry-After` of a refusal, in seconds.
    pub retry_after: Option<u64>,
    /// Refuse with this error before the stream.
    pub error: Option<Failure>,
    /// What goes wrong within the stream.
    pub fault: Option<Fault>,
    /// Bedrock's stop reason; `end_turn`, or `tool_use` where there is a tool call.
    pub stop_reason: Option<String>,
    /// A tool call after the text.
    pub tool: Option<ToolCall>,
    /// Reasoning before the text.
    pub reasoning: Vec<Reasoning>,
    /// The token counts to report, instead of the ones counted.
    pub usage: Option<TokenUsage>,
    /// Never send the `metadata` event, but keep the stream open after `messageStop`.
    pub no_metadata: bool,
    /// How the text of a directive is embedded, where it is not asked but embedded: a question that is
    /// searched for meets both, and the knobs around these are about its answer.
    pub embedding: Option<Box<Knobs>>,
}

/// A refusal before the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The exception's name, such as `ValidationException`.
    pub name: String,
    /// The HTTP status.
    pub status: u16,
    /// The message.
    #[serde(default)]
    pub message: String,
}

impl Failure {
    /// A refusal of this name, status and message.
    pub fn new(name: &str, status: u16, message: &str) -> Failure {
        Failure { name: name.to_owned(), status, message: message.to_owned() }
    }
}

/// What goes wrong within a stream, after `after` text tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// An exception event, such as `throttlingException`.
    Exception {
        /// Tokens before it.
        after: usize,
        /// The exception's name as the stream spells it: first letter small.
        name: String,
        /// Its message.
        message: String,
    },
    /// The connection breaks between two frames.
    Cut {
        /// Tokens before it.
        after: usize,
    },
    /// The connection breaks inside a frame.
    CutInside {
        /// Tokens before it.
        after: usize,
    },
    /// A whole response, as HTTP sees it, that ends inside a frame.
    EndInside {
        /// Tokens before it.
        after: usize,
    },
    /// Nothing more comes, and the connection stays open.
    Stall {
        /// Tokens before it.
        after: usize,
    },
    /// The checksum of the next message is wrong.
    Checksum {
        /// Tokens before it.
        after: usize,
    },
    /// A whole response, as HTTP sees it, without `messageStop`.
    End {
        /// Tokens before it.
        after: usize,
    },
    /// `content-length` says more than comes; the stream breaks off where the rest would stand.
    Length {
        /// Tokens before it.
        after: usize,
    },
}

impl Fault {
    /// Tokens before the fault.
    pub(super) fn after(&self) -> usize {
        match self {
            Fault::Exception { after, .. }
            | Fault::Cut { after }
            | Fault::CutInside { after }
            | Fault::EndInside { after }
            | Fault::Stall { after }
            | Fault::Checksum { after }
            | Fault::End { after }
            | Fault::Length { after } => *after,
        }
    }
}

/// A tool call of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call's id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments, streamed as JSON text in pieces.
    pub input: Value,
}

/// A piece of reasoning, as the stream carries it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reasoning {
    /// Reasoning text.
    Text(String),
    /// The signature over it.
    Signature(String),
    /// Redacted reasoning, base64.
    RedactedContent(String),
}

/// Token counts, spelt as Bedrock spells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TokenUsage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// All of them.
    pub total_tokens: u64,
    /// Read from the prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_input_tokens: Option<u64>,
    /// Written to the prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_input_tokens: Option<u64>,
}

/// What introduces a directive in a prompt.
pub(super) const DIRECTIVE: &str = "@standin{";

impl Knobs {
    /// These knobs with a directive of the prompt laid over them, or `None` where there is none.
    /// A directive that is not JSON of this struct is an error that says why.
    pub(super) fn directed(&self, prompt: &str) -> Option<Result<Knobs, serde_json::Error>> {
        let json = &prompt[prompt.find(DIRECTIVE)? + DIRECTIVE.len() - 1..];
        let directive = serde_json::Deserializer::from_str(json).into_iter::<Value>().next()?;
        Some(directive.and_then(|directive| self.overlaid(directive)))
    }

    /// What a directive of a text says about its embedding, or `None` where it says nothing of it.
    pub(super) fn directed_to_embed(text: &str) -> Option<Result<Knobs, serde_json::Error>> {
        let knobs = Knobs::default().directed(text)?.map(|knobs| knobs.embedding);
        knobs.map(|knobs| knobs.map(|knobs| *knobs)).transpose()
    }

    fn overlaid(&self, directive: Value) -> Result<Knobs, serde_json::Error> {
        let mut knobs = serde_json::to_value(self)?;
        if let (Value::Object(knobs), Value::Object(directive)) = (&mut knobs, directive) {
            knobs.extend(directive);
        }
        serde_json::from_value(knobs)
    }

    /// Nothing waits and nothing breaks: the whole stream can be one piece.
    pub(super) fn is_plain(&self) -> bool {
        self.first_ms == 0 && self.gap_ms == 0 && self.fault.is_none() && !self.no_metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_changes_what_it_names_and_nothing_else() {
        let base = Knobs { gap_ms: 7, ..Knobs::default() };
        let prompt = r#"hello @standin{"tokens":3,"fault":{"kind":"cut","after":2}} and more"#;
        let knobs = base.directed(prompt).unwrap().unwrap();
        let expected = Knobs { tokens: Some(3), fault: Some(Fault::Cut { after: 2 }), ..base };
        assert_eq!(knobs, expected);
    }

    #[test]
    fn what_is_said_about_an_embedding_is_about_nothing_else() {
        let text = r#"@standin{"tokens":3,"embedding":{"head_ms":5}}"#;
        let knobs = Knobs::directed_to_embed(text).unwrap().unwrap();
        assert_eq!(knobs, Knobs { head_ms: 5, ..Knobs::default() });
        assert_eq!(Knobs::default().directed(text).unwrap().unwrap().head_ms, 0);
        assert!(Knobs::directed_to_embed(r#"@standin{"head_ms":5}"#).is_none());
    }

    #[test]
    fn a_misspelt_directive_is_an_error() {
        assert!(Knobs::default().directed(r#"@standin{"tokenz":3}"#).unwrap().is_err());
        assert!(Knobs::default().directed("no directive").is_none());
    }
}
