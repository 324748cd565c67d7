//! The room of retrieval: passages of the team's documents that belong to a question.

#[cfg(feature = "embedded")]
pub mod bm25;
#[cfg(feature = "embedded")]
pub mod documents;
pub mod framing;
pub mod fusion;
#[cfg(feature = "embedded")]
mod nearest;
#[cfg(feature = "embedded")]
mod ranking;
#[cfg(feature = "embedded")]
pub mod split;

use crate::chat::Passage;
use crate::error::Error;
use futures_util::future::BoxFuture;

/// A searchable collection of passages.
pub trait Retrieval: Send + Sync {
    /// The best `k` passages for `query`, best first; none where nothing matches.
    fn search<'a>(&'a self, query: &'a str, k: usize) -> BoxFuture<'a, Result<Vec<Passage>, Error>>;

    /// Names the state of the collection: it is part of the answer cache's key, so that a changed
    /// document is never answered from before the change.
    fn snapshot(&self) -> String;
}
