//! The embedded collection: BM25 over the passages of a directory, or of documents compiled in.
//!
//! Why an index of our own (`ranking.rs`): measured with 5,000 passages of 1,200 characters (6 MB of
//! source code and Markdown, x86_64, dev profile with `opt-level = "s"`, stripped), each against an
//! empty program that holds the text:
//!
//! | | crates | binary | memory | a question of 14 words | a query of 24 KB |
//! |---|---|---|---|---|---|
//! | `tantivy` 0.27, of its features only `stemmer` | 121 | +5.6 MB | +40 MB | 0.14 ms | |
//! | `bm25` 2.3 with `default_tokenizer` | 53 | +1.8 MB | +12 MB | 0.42 ms | 614 ms |
//! | this, with `rust-stemmers` | 8 | +0.15 MB | +7 MB | 0.05 ms | 2 ms |
//!
//! A prompt may be long and is the query by default, so the last column matters: `bm25` walks every
//! matching text's words for every word asked. `tantivy` pays off where an index outgrows memory.

use super::documents::{self, Document, Known, Stamp};
use super::ranking::Ranking;
use super::{Query, Retrieval};
use crate::chat::Passage;
use crate::digest::hex;
use crate::error::Error;
use futures_util::future::{BoxFuture, FutureExt};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinHandle;

/// A longer query is searched on a thread that may block: taking its words apart takes a while.
const INLINE_QUERY: usize = 16 * 1024;

/// How often the title counts as text: a heading says once what its whole passage is about.
const TITLE_WEIGHT: usize = 2;

/// BM25 over passages of text and Markdown documents.
#[derive(Debug)]
pub struct LocalIndex {
    current: RwLock<Arc<Index>>,
    /// The directory that the documents come from, if they were not compiled in.
    directory: Option<Mutex<Directory>>,
}

/// A state of the collection, never changed once it is built.
#[derive(Debug)]
struct Index {
    documents: Vec<Arc<Document>>,
    /// Where the ranking's texts stand: document and passage.
    places: Vec<(u32, u32)>,
    ranking: Ranking,
    snapshot: String,
}

/// What is remembered between two looks at the directory.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    stamps: Vec<Stamp>,
    known: Known,
    /// The skipped files that were logged already, and are not worth a second line.
    logged: HashSet<String>,
    /// The directory could not be read at the last look.
    away: bool,
}

impl LocalIndex {
    /// An index over built-in documents: name (`README.md`) and text of each.
    pub fn from_embedded(documents: &[(&str, &str)]) -> LocalIndex {
        let documents = documents.iter().map(|(name, text)| Arc::new(Document::new(name, text)));
        LocalIndex { current: RwLock::new(Arc::new(Index::new(documents.collect()))), directory: None }
    }

    /// An index over the files of a directory, read now. Fails if there is no such directory.
    pub fn from_dir(path: PathBuf) -> io::Result<LocalIndex> {
        let stamps = documents::signature(&path)?;
        let mut directory = Directory {
            path,
            stamps: Vec::new(),
            known: Known::default(),
            logged: HashSet::new(),
            away: false,
        };
        let index = directory.take(stamps);
        Ok(LocalIndex { current: RwLock::new(Arc::new(index)), directory: Some(Mutex::new(directory)) })
    }

    /// How many documents and passages there are.
    pub fn size(&self) -> (usize, usize) {
        let index = self.index();
        (index.documents.len(), index.places.len())
    }

    /// Looks at the directory again and takes over what changed; says whether anything did. While
    /// the directory cannot be read the last index stays. It reads files: call it where blocking
    /// is allowed.
    pub fn refresh(&self) -> bool {
        let Some(directory) = &self.directory else { return false };
        let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = directory.look() else { return false };
        let index = Arc::new(index);
        tracing::info!(documents = index.documents.len(), passages = index.places.len(), "documents indexed");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = index;
        true
    }

    /// Refreshes `every` so often, until nobody else holds the index.
    pub fn watch(self: Arc<Self>, every: Duration) -> JoinHandle<()> {
        let weak = Arc::downgrade(&self);
        drop(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(index) = weak.upgrade() else { return };
                let refreshed = tokio::task::spawn_blocking(move || index.refresh()).await;
                if let Err(error) = refreshed {
                    tracing::error!(%error, "refreshing the documents failed");
                }
            }
        })
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Directory {
    /// The new state of the collection, if the directory changed and can be read.
    fn look(&mut self) -> Option<Index> {
        match documents::signature(&self.path) {
            Ok(stamps) => {
                self.away = false;
                (stamps != self.stamps).then(|| self.take(stamps))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(%error, "the documents' directory cannot be read; the last index stays");
                }
                None
            }
        }
    }

    fn take(&mut self, stamps: Vec<Stamp>) -> Index {
        let read = documents::read(&self.path, &stamps, &self.known);
        for (file, reason) in &read.skipped {
            if self.logged.insert(format!("{file}: {reason}")) {
                tracing::warn!(file, reason, "document skipped");
            }
        }
        self.known = Known::new(&stamps, &read.documents);
        self.stamps = stamps;
        Index::new(read.documents)
    }
}

impl Retrieval for LocalIndex {
    fn search<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Vec<Passage>, Error>> {
        async move {
            if !query.filter.is_empty() {
                // These passages have no metadata that could fulfil a condition.
                return Ok(Vec::new());
            }
            let index = self.index();
            if query.text.len() <= INLINE_QUERY {
                return Ok(index.best(&query.text, query.k));
            }
            let (text, k) = (query.text.clone(), query.k);
            tokio::task::spawn_blocking(move || index.best(&text, k)).await.map_err(Error::internal)
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Option<String>> {
        let snapshot = self.index().snapshot.clone();
        async { Some(snapshot) }.boxed()
    }
}

impl Index {
    fn new(documents: Vec<Arc<Document>>) -> Index {
        let mut places = Vec::new();
        for (number, document) in (0u32..).zip(&documents) {
            places.extend((0..document.passages.len() as u32).map(|passage| (number, passage)));
        }
        let passages = documents.iter().flat_map(|document| &document.passages);
        let texts = passages.map(|passage| {
            let title = format!("{}\n", passage.source.title);
            title.repeat(TITLE_WEIGHT) + &passage.text
        });
        let ranking = Ranking::new(texts);
        let snapshot = snapshot(&documents);
        Index { documents, places, ranking, snapshot }
    }

    fn best(&self, query: &str, k: usize) -> Vec<Passage> {
        let found = self.ranking.best(query, k, |_| true).into_iter();
        found.filter_map(|(text, score)| self.passage(text, score)).collect()
    }

    fn passage(&self, text: usize, score: f32) -> Option<Passage> {
        let (document, passage) = *self.places.get(text)?;
        let mut passage = self.documents.get(document as usize)?.passages.get(passage as usize)?.clone();
        passage.source.score = score;
        Some(passage)
    }
}

/// A short name for these contents: another one for any other text or file name.
fn snapshot(documents: &[Arc<Document>]) -> String {
    let mut hash = Sha256::new();
    for document in documents {
        hash.update((document.name.len() as u64).to_be_bytes());
        hash.update(document.name.as_bytes());
        hash.update(document.digest);
    }
    hex(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::documents::testing::TempDirectory;

    const README: &str = "# Gateway\n\n## Doors\nThe REST door streams its answer.\n\n## Errors\nThrottled requests carry Retry-After.\n";

    async fn search(index: &LocalIndex, text: &str, k: usize) -> Vec<Passage> {
        let query = Query { text: text.to_owned(), k, ..Query::default() };
        index.search(&query).await.unwrap()
    }

    async fn titles(index: &LocalIndex, query: &str) -> Vec<String> {
        let passages = search(index, query, 4).await;
        passages.into_iter().map(|passage| passage.source.title).collect()
    }

    #[tokio::test]
    async fn a_question_finds_its_passage_by_text_and_by_heading() {
        let index = LocalIndex::from_embedded(&[("README.md", README)]);
        assert_eq!(titles(&index, "What happens when a request is throttled?").await, ["README.md › Errors"]);
        assert_eq!(titles(&index, "which doors are there?").await, ["README.md › Doors"]);
        assert!(titles(&index, "what is it?").await.is_empty());
        assert!(titles(&index, "zebra").await.is_empty());
        let long = "zebra ".repeat(INLINE_QUERY) + "throttled";
        assert_eq!(titles(&index, &long).await, ["README.md › Errors"]);
        let passage = &search(&index, "throttled", 1).await[0];
        assert_eq!((passage.source.location.as_str(), passage.source.span), ("README.md", Some((6, 7))));
        assert!(passage.source.score > 0.0);
        assert_eq!(index.size(), (1, 2));
    }

    #[tokio::test]
    async fn a_changed_file_is_found_after_a_refresh_and_renames_the_snapshot() {
        let directory = TempDirectory::new();
        directory.write("a.md", "about zebras");
        let index = LocalIndex::from_dir(directory.path().to_owned()).unwrap();
        let before = index.snapshot().await;
        assert!(!index.refresh(), "nothing changed");
        directory.write("b/c.md", "about giraffes");
        assert!(index.refresh());
        assert_eq!(titles(&index, "giraffe").await, ["b/c.md"]);
        assert_ne!(index.snapshot().await, before);
        std::fs::remove_dir_all(directory.path().join("b")).unwrap();
        assert!(index.refresh());
        assert_eq!(index.snapshot().await, before, "the same contents have the same name");
    }

    #[tokio::test]
    async fn a_directory_that_vanishes_keeps_the_last_index() {
        let directory = TempDirectory::new();
        directory.write("a.md", "about zebras");
        let index = LocalIndex::from_dir(directory.path().to_owned()).unwrap();
        std::fs::remove_dir_all(directory.path()).unwrap();
        assert!(!index.refresh() && !index.refresh());
        assert_eq!(titles(&index, "zebra").await, ["a.md"]);
        directory.write("b.md", "about giraffes");
        assert!(index.refresh(), "it came back");
        assert_eq!(titles(&index, "zebra giraffe").await, ["b.md"]);
        assert!(LocalIndex::from_dir("/nowhere/at/all".into()).is_err());
    }

    #[tokio::test]
    async fn watching_takes_changes_over_and_ends_with_the_last_holder() {
        let directory = TempDirectory::new();
        directory.write("a.md", "about zebras");
        let index = Arc::new(LocalIndex::from_dir(directory.path().to_owned()).unwrap());
        let watcher = Arc::clone(&index).watch(Duration::from_millis(1));
        directory.write("b.md", "about giraffes");
        let seen = async {
            while titles(&index, "giraffe").await.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap();
        drop(index);
        tokio::time::timeout(Duration::from_secs(10), watcher).await.unwrap().unwrap();
    }
}
