//! The room of the models: one trait, Amazon Bedrock and the embedded ones beside it.

#[cfg(feature = "aws")]
pub mod bedrock;
pub mod catalog;
#[cfg(feature = "aws")]
pub mod convert;
#[cfg(feature = "embedded")]
pub mod embedding;
#[cfg(feature = "embedded")]
pub mod extractive;
#[cfg(feature = "embedded")]
mod quotes;
#[cfg(feature = "embedded")]
pub mod scripted;

use crate::chat::Passage;
use crate::chat::{Delta, Message, Purpose, Sampling, StopReason, Tool, ToolChoice, Usage, Vectors};
use crate::error::Error;
use catalog::EmbeddingSpec;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::Value;

/// One question to a model: checked, resolved, ready to translate.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The id to call: a model or an inference profile (`catalog::Choice::invoke_id`).
    pub invoke_id: String,
    /// The conversation, retrieved passages already framed into the last user message.
    pub messages: Vec<Message>,
    /// How many of `messages` are stored earlier turns: a prompt cache point may stand after them.
    pub stored_messages: usize,
    /// Whether the model supports prompt cache points.
    pub cache_points: bool,
    /// System instruction.
    pub system: Option<String>,
    /// Only the parameters that the model takes.
    pub sampling: Sampling,
    /// Tools on offer.
    pub tools: Vec<Tool>,
    /// Whether one must be used.
    pub tool_choice: Option<ToolChoice>,
    /// JSON schema that the answer must follow.
    pub response_schema: Option<Value>,
    /// The passages again, with their sources, for a model that quotes them.
    pub passages: Vec<Passage>,
    /// The question itself, without passages.
    pub question: String,
}

/// What a model's stream is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// A piece of the answer.
    Delta(Delta),
    /// The model stopped. A stream that ends without it was cut short.
    Stop(StopReason),
    /// What it cost; after `Stop`, where the provider says it at all.
    Usage(Usage),
}

/// A model's answer: parts until the end, or an error that ends it.
pub type Parts = BoxStream<'static, Result<Part, Error>>;

/// A model that answers in a stream.
pub trait Model: Send + Sync {
    /// Asks. An error before the stream (`throttled`, `unavailable` …) carries the provider's
    /// Retry-After; retries are the engine's, never the model's. Dropping the stream, or the
    /// future, stops the generation upstream.
    fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Parts, Error>>;
}

/// Texts to embed.
#[derive(Clone, Debug)]
pub struct EmbedAsk {
    /// The id to call.
    pub invoke_id: String,
    /// Whose request and response it speaks, and how many texts fit in one.
    pub spec: EmbeddingSpec,
    /// The texts, at least one.
    pub texts: Vec<String>,
    /// What the vectors are for.
    pub purpose: Purpose,
}

/// A model that turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// Embeds texts: all of them, or none. How many go into one request is the provider's matter
    /// (`catalog::EmbeddingSpec::batch`). One try each; retries are the caller's.
    fn embed(&self, ask: EmbedAsk) -> BoxFuture<'static, Result<Vectors, Error>>;
}
