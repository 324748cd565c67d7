//! OpenSearch as the room has it: what goes over the wire, what is made of the replies, and what comes of
//! everything that can go wrong.

#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail")]

#[path = "opensearch/answers.rs"]
mod answers;
#[path = "support/engine.rs"]
mod engine;
#[path = "opensearch/faults.rs"]
mod faults;
#[path = "opensearch/proof.rs"]
mod proof;
#[path = "opensearch/scene.rs"]
mod scene;
#[path = "support/search.rs"]
mod search;
#[path = "opensearch/searches.rs"]
mod searches;
#[path = "opensearch/state.rs"]
mod state;
