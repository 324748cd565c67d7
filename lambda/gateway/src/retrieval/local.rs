//! The embedded collection: words (BM25) and vectors over the passages of a directory, of the file that
//! `llm-gateway index` writes, or of documents compiled in.
//!
//! Vectors are made in the background after the start, which is not held up. A search waits for them, in hybrid
//! mode for half of its time and then goes by words alone.

use super::collection::{Collection, Document, Meaning, Rules};
use super::origin::{Directory, Origin, PassagesFile};
use super::{Found, Mode, Purpose, Query, Retrieval, in_time};
use crate::error::Error;
use futures_util::future::{BoxFuture, FutureExt};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::{JoinHandle, spawn_blocking};

/// A longer query is searched on a thread that may block: taking its words apart takes a while.
const INLINE_QUERY: usize = 16 * 1024;

/// So is a collection of more numbers than this, which takes about a millisecond.
const INLINE_NUMBERS: usize = 4_000_000;

/// BM25 and vectors over the passages of documents.
pub struct LocalIndex {
    current: RwLock<Arc<State>>,
    rules: Rules,
    /// Where the documents come from, if they can change, and what their vectors are made with.
    origin: Option<(Mutex<Origin>, Meaning)>,
}

/// The collection as it is now.
struct State {
    collection: Arc<Collection>,
    meaning: Meaning,
    /// Set once every passage has its vector.
    embedded: OnceCell<()>,
}

/// Built-in documents: name (`README.md`) and text of each.
pub type BuiltIn<'a> = &'a [(&'a str, &'a str)];

impl LocalIndex {
    /// An index over built-in documents.
    pub fn from_embedded(documents: BuiltIn<'_>, rules: Rules, meaning: Meaning) -> LocalIndex {
        LocalIndex { current: RwLock::new(State::new(built_in(documents), meaning)), rules, origin: None }
    }

    /// An index over the files of a directory, read now. Fails if there is no such directory.
    pub fn from_dir(path: PathBuf, rules: Rules, meaning: Meaning) -> io::Result<LocalIndex> {
        let (directory, documents) = Directory::open(path)?;
        let current = RwLock::new(State::new(documents, meaning.clone()));
        let origin = Some((Mutex::new(Origin::Directory(directory)), meaning));
        Ok(LocalIndex { current, rules, origin })
    }

    /// An index over the file that `llm-gateway index` writes, whose vectors are `meaning`'s. Until there
    /// is one it is over the built-in documents, with a meaning of their own.
    ///
    /// # Errors
    /// A sentence: the file is there and cannot be used.
    pub fn from_file(
        path: PathBuf,
        rules: Rules,
        meaning: Meaning,
        meanwhile: (BuiltIn<'_>, Meaning),
    ) -> Result<LocalIndex, String> {
        let model = (rules.mode != Mode::Text).then(|| meaning.model.clone());
        let (file, documents) = PassagesFile::open(path, model)?;
        let state = match documents {
            Some(documents) => State::new(documents, meaning.clone()),
            None => State::new(built_in(meanwhile.0), meanwhile.1),
        };
        let origin = Some((Mutex::new(Origin::File(file)), meaning));
        Ok(LocalIndex { current: RwLock::new(state), rules, origin })
    }

    /// How many documents and passages there are.
    pub fn size(&self) -> (usize, usize) {
        let collection = &self.state().collection;
        (collection.documents.len(), collection.passages())
    }

    /// Looks at the origin again and takes over what changed; says whether anything did. While it cannot
    /// be read the last index stays. It reads files: call it where blocking is allowed.
    pub fn refresh(&self) -> bool {
        let Some((origin, meaning)) = &self.origin else { return false };
        let mut origin = origin.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(documents) = origin.look() else { return false };
        let state = State::new(documents, meaning.clone());
        let (documents, passages) = (state.collection.documents.len(), state.collection.passages());
        tracing::info!(documents, passages, "documents indexed");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = state;
        true
    }

    /// Makes the vectors of the documents, and refreshes `every` so often, until nobody else holds the
    /// index.
    pub fn watch(self: Arc<Self>, every: Duration) -> JoinHandle<()> {
        let weak = Arc::downgrade(&self);
        tokio::spawn(async move {
            self.prepare().await;
            drop(self);
            loop {
                tokio::time::sleep(every).await;
                let Some(index) = weak.upgrade() else { return };
                let looked = index.clone();
                match spawn_blocking(move || looked.refresh()).await {
                    Ok(true) => index.prepare().await,
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "refreshing the documents failed"),
                }
            }
        })
    }

    /// Makes vectors before anybody asks for them.
    async fn prepare(&self) {
        if self.rules.mode != Mode::Text
            && let Err(error) = self.embedded(&self.state()).await
        {
            tracing::warn!(error = error.quiet(), "the documents could not be embedded yet");
        }
    }

    /// Ready when every passage has its vector.
    async fn embedded(&self, state: &State) -> Result<(), Error> {
        let make = || async {
            let (collection, embed) = (state.collection.clone(), state.meaning.embed.clone());
            if collection.has_vectors() {
                return Ok(());
            }
            let runtime = Handle::current();
            let made = spawn_blocking(move || runtime.block_on(collection.embed(&embed)));
            made.await.map_err(Error::internal)?
        };
        state.embedded.get_or_try_init(make).await.map(|_| ())
    }

    async fn find(&self, query: &Query, limit: Duration) -> Result<Found, Error> {
        let state = self.state();
        if query.text.trim().is_empty() || state.collection.passages() == 0 {
            return Ok(Found::default());
        }
        let vector = match self.rules.mode {
            Mode::Text => None,
            Mode::Vector => Some(self.vector(&state, query).await?),
            Mode::Hybrid => in_time(limit, self.vector(&state, query)).await,
        };
        let degraded = self.rules.mode == Mode::Hybrid && vector.is_none();
        let (collection, rules, spelling) = (state.collection.clone(), self.rules, state.meaning.spelling);
        if query.text.len() <= INLINE_QUERY && collection.numbers() <= INLINE_NUMBERS {
            let passages = collection.best(query, vector.as_deref(), spelling, rules)?;
            return Ok(Found { passages, degraded });
        }
        let query = query.clone();
        let best = spawn_blocking(move || collection.best(&query, vector.as_deref(), spelling, rules));
        Ok(Found { passages: best.await.map_err(Error::internal)??, degraded })
    }

    /// The query's vector, once there are those of the passages.
    async fn vector(&self, state: &State, query: &Query) -> Result<Vec<f32>, Error> {
        self.embedded(state).await?;
        let made = (state.meaning.embed)(vec![query.text.clone()], Purpose::Query).await?;
        Ok(made.vectors.into_iter().next().unwrap_or_default())
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn new(documents: Vec<Arc<Document>>, meaning: Meaning) -> Arc<State> {
        let collection = Arc::new(Collection::new(documents));
        Arc::new(State { collection, meaning, embedded: OnceCell::new() })
    }
}

fn built_in(documents: BuiltIn<'_>) -> Vec<Arc<Document>> {
    documents.iter().map(|(name, text)| Arc::new(Document::new(name, text))).collect()
}

impl Retrieval for LocalIndex {
    fn search<'a>(&'a self, query: &'a Query, limit: Duration) -> BoxFuture<'a, Result<Found, Error>> {
        self.find(query, limit).boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Option<String>> {
        let state = self.state();
        let (mode, least) = (self.rules.mode, self.rules.min_score);
        let found_by = (mode, least, (mode != Mode::Text).then_some(&state.meaning.model));
        let snapshot = format!("{} {found_by:?}", state.collection.snapshot);
        std::future::ready(Some(snapshot)).boxed()
    }
}

#[cfg(test)]
mod tests;
