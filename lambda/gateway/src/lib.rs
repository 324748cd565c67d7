//! LLM Gateway: a request comes through a door (`edge`), becomes a [`chat::Request`], is answered
//! by [`gateway::Gateway::answer`], and goes out of the same door as [`chat::Event`]s.

pub mod chat;
pub mod error;
pub mod model;
pub mod retrieval;
#[cfg(feature = "embedded")]
pub mod words;
