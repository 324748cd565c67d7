//! The types that carry everything: `Request` in, `Terminal`s out, exactly one of them terminal.
//!
//! The shapes follow Amazon Bedrock's Converse API (messages of content blocks, tools, inference
//! parameters), so that every door fits and nothing is lost on the way to the model.

mod event;
mod filter;
mod request;
mod vectors;

pub use event::{CacheOutcome, Delta, Event, Passage, Source, Started, StopReason, Terminal, Usage};
pub use filter::{Condition, Filter};
pub use request::{
    Block, CachePolicy, LONGEST_REPLY, Message, Request, Role, SILENT_LIMIT, Sampling, Tool, ToolChoice,
};
pub use vectors::{Purpose, Vectors};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Who asks: the authenticated principal, or `local` on a laptop without keys.
/// Everything that is stored or running belongs to one caller and is reachable by no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller(pub String);

impl Caller {
    /// The only caller of a gateway without keys.
    pub fn local() -> Caller {
        Caller("local".to_owned())
    }

    /// Whoever asks over HTTP where a deployment has no authentication: all such requests share this
    /// caller, and an id that the gateway made opens what it names, because nobody can guess it.
    pub fn anyone() -> Caller {
        Caller("anyone".to_owned())
    }

    /// A WebSocket connection where a deployment has no authentication.
    pub fn connection(id: &str) -> Caller {
        Caller(format!("connection:{id}"))
    }

    /// Is it [`Caller::anyone`]? Then an id chosen by a client means nothing, because a stranger may
    /// choose the same.
    pub fn is_anyone(&self) -> bool {
        self.0 == "anyone"
    }

    /// Was it authenticated, so that it can be asked what belongs to it?
    pub fn is_known(&self) -> bool {
        !self.is_anyone() && !self.0.starts_with("connection:")
    }
}

/// The id that belongs to a name: a UUID of its digest.
pub(crate) fn id_of(name: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

/// A fresh id: UUIDv7, so ids sort by time and cannot be guessed (74 random bits).
pub fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
