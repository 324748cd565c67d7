//! What an index holds of a file, beside what the file holds now.

use super::passage::Passage;
use super::store::Store;
use gateway::retrieval::opensearch::load::{Held, PAGE};
use std::collections::{HashMap, HashSet};

/// How a passage stands to the index.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// The index does not have it.
    New,
    /// The index has its text and vector, at this document, and its metadata is another.
    Moved(String),
    /// The index has it as it is.
    Same,
}

/// One file's passages in the index.
pub struct Beside<'a> {
    store: &'a Store,
    file: &'a str,
    known: HashMap<String, Held>,
    /// Documents that hold what another one holds too.
    twice: Vec<String>,
    /// `known` is all of the file's.
    all: bool,
    seen: HashSet<u128>,
}

impl<'a> Beside<'a> {
    /// What the index holds of a file.
    ///
    /// # Errors
    /// A sentence.
    pub async fn of(store: &'a Store, file: &'a str) -> Result<Beside<'a>, String> {
        let page = store.of_file(file, None).await?;
        let all = page.len() < PAGE;
        let mut beside =
            Beside { store, file, known: HashMap::new(), twice: Vec::new(), all, seen: HashSet::new() };
        if all {
            beside.learn(page);
        }
        Ok(beside)
    }

    fn learn(&mut self, held: Vec<Held>) {
        for held in held {
            if let Some(before) = self.known.insert(held.id.clone(), held) {
                self.twice.push(before.at);
            }
        }
    }

    /// Asks for these passages, where not all of the file's are known.
    ///
    /// # Errors
    /// A sentence.
    pub async fn ask(&mut self, passages: &[Passage]) -> Result<(), String> {
        if self.all {
            return Ok(());
        }
        self.known.clear();
        for chunk in passages.chunks(PAGE / 2) {
            let ids: Vec<String> = chunk.iter().map(|passage| passage.id.clone()).collect();
            let held = self.store.of_ids(self.file, &ids).await?;
            self.learn(held);
        }
        Ok(())
    }

    /// How a passage stands.
    pub fn compare(&mut self, passage: &Passage) -> Standing {
        self.seen.insert(number(&passage.id));
        match self.known.get(&passage.id) {
            None => Standing::New,
            Some(held) if held.document == passage.document() => Standing::Same,
            Some(held) => Standing::Moved(held.at.clone()),
        }
    }

    /// The documents of the file's passages that were not compared: the file does not have them any more.
    ///
    /// # Errors
    /// A sentence.
    pub async fn gone(self) -> Result<Vec<String>, String> {
        let mut gone = self.twice;
        let unseen = |held: &Held| !self.seen.contains(&number(&held.id));
        if self.all {
            gone.extend(self.known.into_values().filter(unseen).map(|held| held.at));
            return Ok(gone);
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.store.of_file(self.file, after.as_deref()).await?;
            after = page.last().map(|held| held.id.clone());
            let whole = page.len() == PAGE;
            gone.extend(page.into_iter().filter(unseen).map(|held| held.at));
            if !whole {
                return Ok(gone);
            }
        }
    }
}

/// An id in half of its bytes. One that is none of ours is told by a digest.
fn number(id: &str) -> u128 {
    u128::from_str_radix(id, 16).unwrap_or_else(|_| {
        let digest = gateway::digest::Lengths::new("id").part(id.as_bytes()).hex();
        u128::from_str_radix(&digest[..32], 16).unwrap_or_default()
    })
}

/// All documents of a file.
///
/// # Errors
/// A sentence.
pub async fn all_of(store: &Store, file: &str) -> Result<Vec<String>, String> {
    Beside { store, file, known: HashMap::new(), twice: Vec::new(), all: false, seen: HashSet::new() }
        .gone()
        .await
}
