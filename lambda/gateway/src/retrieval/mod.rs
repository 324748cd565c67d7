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
use crate::error::{Error, Kind};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A searchable collection of passages.
pub trait Retrieval: Send + Sync {
    /// The passages for a query. `limit` is how long whoever asks will wait: what is slow and can be
    /// done without is given up in time for the rest.
    ///
    /// # Errors
    /// The search is away or refuses. What it says is for the log and never holds the query.
    fn search<'a>(&'a self, query: &'a Query, limit: Duration) -> BoxFuture<'a, Result<Found, Error>>;

    /// Names the state of the collection as searches see it: it is part of the answer cache's key, so
    /// that a changed document is never answered from before the change. It is asked for before the
    /// search. `None` where it cannot be told: then no answer is looked up or learned.
    fn snapshot(&self) -> BoxFuture<'_, Option<String>>;
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The passages, best first; none where nothing matches.
    pub passages: Vec<Passage>,
    /// It was to go by meaning too and had to go by words alone, which another try may not have to. An
    /// answer from such passages is neither shared nor learned.
    pub degraded: bool,
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

/// The vector of a query where words alone will do: `None` if making it fails, or takes so much of the
/// `limit` that nothing would be left for the search.
async fn in_time<T>(limit: Duration, making: impl Future<Output = Result<T, Error>>) -> Option<T> {
    let late = |_| Err(Error::new(Kind::DeadlineExceeded, "").because("the embedding takes too long"));
    let made = timeout(limit / 2, making).await.unwrap_or_else(late);
    made.inspect_err(|error| tracing::warn!(error = error.quiet(), "searched by words alone")).ok()
}
