//! The types that carry everything: `Request` in, `Terminal`s out, exactly one of them terminal.
//!
//! The shapes follow Amazon Bedrock's Converse API (messages of content blocks, tools, inference
//! parameters), so that every door fits and nothing is lost on the way to the model.

mod event;
mod request;

pub use event::{CacheOutcome, Delta, Event, Passage, Source, Started, StopReason, Terminal, Usage};
pub use request::{
    Block, CachePolicy, LONGEST_REPLY, Message, Request, Role, SILENT_LIMIT, Sampling, Tool, ToolChoice,
};

use serde::{Deserialize, Serialize};

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

/// A fresh id: UUIDv7, so ids sort by time and cannot be guessed (74 random bits).
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
