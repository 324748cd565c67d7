//! Where passages go: an index of OpenSearch, or this machine's.

use super::local::Local;
use gateway::retrieval::opensearch::bulk::Change;
use gateway::retrieval::opensearch::load::{Held, Loader};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A place for passages.
pub enum Store {
    /// OpenSearch; whether it has the index.
    OpenSearch(Box<Loader>, bool),
    /// This machine's index.
    Local(Mutex<Local>),
}

fn locked(local: &Mutex<Local>) -> MutexGuard<'_, Local> {
    local.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Is nothing there that anything could be compared with?
    pub fn is_empty(&self) -> bool {
        match self {
            Store::OpenSearch(_, there) => !there,
            Store::Local(local) => locked(local).is_empty(),
        }
    }

    /// Can a passage's metadata be replaced, and its text and vector stay?
    pub fn updates(&self) -> bool {
        match self {
            Store::OpenSearch(loader, _) => loader.updates(),
            Store::Local(_) => true,
        }
    }

    /// What is held of a file behind a passage's id, in the order of the ids, a page of it.
    ///
    /// # Errors
    /// A sentence.
    pub async fn of_file(&self, file: &str, after: Option<&str>) -> Result<Vec<Held>, String> {
        match self {
            Store::OpenSearch(_, false) => Ok(Vec::new()),
            Store::OpenSearch(loader, true) => loader.of_file(file, after).await,
            Store::Local(local) => Ok(locked(local).of_file(file, after)),
        }
    }

    /// Those of these passages that are held.
    ///
    /// # Errors
    /// A sentence.
    pub async fn of_ids(&self, file: &str, ids: &[String]) -> Result<Vec<Held>, String> {
        match self {
            Store::OpenSearch(_, false) => Ok(Vec::new()),
            Store::OpenSearch(loader, true) => loader.of_ids(ids).await,
            Store::Local(local) => Ok(locked(local).of_ids(file, ids)),
        }
    }

    /// The files whose names begin so, behind one of them, a page of them.
    ///
    /// # Errors
    /// A sentence.
    pub async fn files(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, String> {
        match self {
            Store::OpenSearch(_, false) => Ok(Vec::new()),
            Store::OpenSearch(loader, true) => loader.files(prefix, after).await,
            Store::Local(local) => Ok(locked(local).files(prefix, after)),
        }
    }

    /// Writes changes. Gives for each why it was refused, if it was.
    ///
    /// # Errors
    /// A sentence: nothing can be written.
    pub async fn write(&self, changes: &[Change]) -> Result<Vec<Option<String>>, String> {
        match self {
            Store::OpenSearch(loader, _) => {
                let lines: Result<Vec<_>, _> = changes.iter().map(|change| loader.lines(change)).collect();
                loader.write(&lines?).await
            }
            Store::Local(local) => locked(local).write(changes),
        }
    }

    /// Lets searches see all of it.
    ///
    /// # Errors
    /// A sentence.
    pub async fn finish(&self) -> Result<(), String> {
        match self {
            Store::OpenSearch(loader, _) => loader.refresh().await,
            Store::Local(local) => locked(local).finish(),
        }
    }
}
