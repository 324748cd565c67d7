//! The room of retrieval: passages of the team's documents that belong to a question.

#[cfg(feature = "embedded")]
pub mod collection;
#[cfg(feature = "embedded")]
pub mod documents;
pub mod framing;
pub mod fusion;
#[cfg(feature = "embedded")]
pub mod local;
pub mod metadata;
#[cfg(feature = "embedded")]
mod nearest;
#[cfg(feature = "aws")]
pub mod opensearch;
#[cfg(feature = "embedded")]
mod origin;
#[cfg(feature = "embedded")]
pub mod passages;
#[cfg(feature = "embedded")]
mod ranking;
#[cfg(feature = "embedded")]
pub mod split;

pub use crate::chat::{Condition, Filter, Purpose, Vectors};

use crate::chat::Passage;
use crate::error::Error;
use futures_util::future::BoxFuture;
use std::sync::Arc;

/// A searchable collection of passages.
pub trait Retrieval: Send + Sync {
    /// The passages for a query, best first; none where nothing matches.
    ///
    /// # Errors
    /// The search is away or refuses. What it says is for the log and never holds the query.
    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Passage>, Error>>;

    /// Names the state of the collection as searches see it: it is part of the answer cache's key, so
    /// that a changed document is never answered from before the change. It is asked for before the
    /// search. `None` where it cannot be told: then no answer is looked up or learned.
    fn snapshot(&self) -> BoxFuture<'_, Option<String>>;
}

/// What is searched for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// The words.
    pub text: String,
    /// Passages wanted at most.
    pub k: usize,
    /// What a passage's metadata must say.
    pub filter: Filter,
}

/// What counts when passages are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Words and meaning together.
    #[default]
    Hybrid,
    /// Meaning alone.
    Vector,
    /// Words alone.
    Text,
}

/// Turns texts into vectors, one each and in their order. The engine makes it, over a model.
pub type Embed =
    Arc<dyn Fn(Vec<String>, Purpose) -> BoxFuture<'static, Result<Vectors, Error>> + Send + Sync>;
