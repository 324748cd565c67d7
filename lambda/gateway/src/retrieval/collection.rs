//! A state of the embedded collection, never changed once it is built: passages, their words and their
//! vectors, and how a query ranks them.

use super::fusion::{self, Half, candidates, distinct};
use super::nearest::Nearest;
use super::ranking::Ranking;
use super::split::{Format, embedded, split};
use super::{Embed, Mode, Purpose, Query, metadata};
use crate::chat::Passage;
use crate::digest::hex;
use crate::error::Error;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::{Arc, OnceLock};

/// How often the title counts as text: a heading says once what its whole passage is about.
const TITLE_WEIGHT: usize = 2;

/// Texts that are embedded in one go.
const BATCH: usize = 64;

/// How passages are ranked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// By words, by vectors or by both.
    pub mode: Mode,
    /// Passages below it are left out. Scores are BM25's from 0 on in text mode, `(1 + cosine) / 2` in
    /// vector mode, and in hybrid mode from 0 to 1, relative to the best of the query.
    pub min_score: Option<f32>,
}

/// Where vectors come from.
#[derive(Clone)]
pub struct Meaning {
    /// Makes them.
    pub embed: Embed,
    /// The id of the model that does.
    pub model: String,
    /// They know spelling and not meaning: in hybrid mode they rank what the words have found, and find
    /// nothing by themselves.
    pub spelling: bool,
}

/// A passage as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The text, as it stands in the document.
    pub text: String,
    /// What is known about it.
    pub metadata: Map<String, Value>,
}

/// A document: its passages, their vectors once there are any, and a digest of it all.
#[derive(Debug)]
pub struct Document {
    /// The relative path, or the name of a built-in document.
    pub name: String,
    /// The passages, in the document's order.
    pub passages: Vec<Stored>,
    /// Another one for any other passages.
    pub digest: [u8; 32],
    /// One for each passage.
    pub vectors: OnceLock<Nearest>,
}

impl Document {
    /// A document by its name and text. A name without a known ending is read as Markdown.
    pub fn new(name: &str, text: &str) -> Document {
        let format = Format::of(name).unwrap_or(Format::Markdown);
        let passages: Vec<Stored> = split(name, text, format).into_iter().map(Stored::from).collect();
        Document { name: name.to_owned(), digest: digest(&passages), passages, vectors: OnceLock::new() }
    }
}

impl From<Passage> for Stored {
    fn from(Passage { text, source }: Passage) -> Stored {
        let mut metadata = Map::new();
        metadata.insert("source".to_owned(), json!(source.location));
        metadata.insert("title".to_owned(), json!(source.title));
        if let Some((first, last)) = source.span {
            metadata.insert("first_line".to_owned(), json!(first));
            metadata.insert("last_line".to_owned(), json!(last));
        }
        Stored { text, metadata }
    }
}

impl Stored {
    fn title(&self) -> &str {
        self.metadata.get("title").and_then(Value::as_str).unwrap_or_default()
    }
}

/// The state.
#[derive(Debug)]
pub struct Collection {
    /// What it is made of.
    pub documents: Vec<Arc<Document>>,
    /// A short name for these contents: another one for any other text or file name.
    pub snapshot: String,
    /// Where the ranking's texts stand: document and passage.
    places: Vec<(u32, u32)>,
    ranking: Ranking,
}

impl Collection {
    /// Indexes the words of these documents. Vectors are made later, where they are wanted.
    pub fn new(documents: Vec<Arc<Document>>) -> Collection {
        let mut places = Vec::new();
        for (number, document) in (0u32..).zip(&documents) {
            places.extend((0..document.passages.len() as u32).map(|passage| (number, passage)));
        }
        let passages = documents.iter().flat_map(|document| &document.passages);
        let ranking = Ranking::new(
            passages.map(|passage| format!("{}\n", passage.title()).repeat(TITLE_WEIGHT) + &passage.text),
        );
        let snapshot = snapshot(&documents);
        Collection { documents, places, ranking, snapshot }
    }

    /// How many passages there are.
    pub fn passages(&self) -> usize {
        self.places.len()
    }

    /// Is there a vector for every passage?
    pub fn has_vectors(&self) -> bool {
        self.documents.iter().all(|document| document.vectors.get().is_some())
    }

    /// How many numbers a search by vectors goes through.
    pub fn numbers(&self) -> usize {
        self.documents.iter().filter_map(|document| document.vectors.get()).map(Nearest::numbers).sum()
    }

    /// Makes the vectors that are missing.
    ///
    /// # Errors
    /// The embedder's; `internal` where its vectors do not fit each other.
    pub async fn embed(&self, embed: &Embed) -> Result<(), Error> {
        for document in &self.documents {
            if document.vectors.get().is_none() {
                let vectors = vectors(document, embed).await?;
                // Whoever was faster made the same.
                let _same = document.vectors.set(vectors);
            }
        }
        Ok(())
    }

    /// The passages for a query, best first; `vector` is the query's, where it is searched by one,
    /// and `spelling` as [`Meaning`] has it.
    ///
    /// # Errors
    /// `internal`: the vector does not fit those of the passages.
    pub fn best(
        &self,
        query: &Query,
        vector: Option<&[f32]>,
        spelling: bool,
        rules: Rules,
    ) -> Result<Vec<Passage>, Error> {
        let near = vector.map(|vector| self.likeness(vector)).transpose()?;
        let found = match (rules.mode, near) {
            (Mode::Vector, Some(near)) => self.top(&near, query, |_| true),
            (Mode::Hybrid, Some(near)) => {
                let least_share = if spelling { 0 } else { fusion::LEAST_SHARE };
                let words = self.ranking.scores(&query.text, least_share);
                let named = |place: usize| words.get(place).is_some_and(|score| *score > 0.0);
                let [by_words, by_vectors] = fusion::weights(spelling);
                fusion::fuse(&[
                    Half { weight: by_words, found: self.top(&words, query, named) },
                    Half {
                        weight: by_vectors,
                        found: self.top(&near, query, |place| !spelling || named(place)),
                    },
                ])
            }
            _ => {
                let words = self.ranking.scores(&query.text, 0);
                self.top(&words, query, |place| words.get(place).is_some_and(|score| *score > 0.0))
            }
        };
        let good = found.into_iter().filter(|(_, score)| rules.min_score.is_none_or(|least| *score >= least));
        Ok(distinct(good.filter_map(|(place, score)| self.passage(place, score)), query.k))
    }

    /// How near each passage is, from 0 to 1, as OpenSearch scores a cosine.
    fn likeness(&self, vector: &[f32]) -> Result<Vec<f32>, Error> {
        let vectors = self.documents.iter().filter_map(|document| document.vectors.get());
        let cosines = vectors.flat_map(|nearest| nearest.cosines(vector));
        let near: Vec<f32> = cosines.map(|cosine| f32::midpoint(1.0, cosine)).collect();
        match near.len() == self.passages() {
            true => Ok(near),
            false => Err(Error::internal("the query's vector does not fit those of the passages")),
        }
    }

    /// The best candidates among the passages that count as `found` and that the query's filter lets
    /// through, best first, the earlier one first among equals.
    fn top(&self, scores: &[f32], query: &Query, found: impl Fn(usize) -> bool) -> Vec<(usize, f32)> {
        let fulfils = |stored: &Stored| metadata::fulfils(&stored.metadata, &query.filter);
        let meant = |place| query.filter.is_empty() || self.stored(place).is_some_and(fulfils);
        let scored = scores.iter().copied().enumerate();
        let mut best: Vec<(usize, f32)> =
            scored.filter(|(place, _)| found(*place) && meant(*place)).collect();
        let best_first = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let wanted = candidates(query.k);
        if best.len() > wanted {
            best.select_nth_unstable_by(wanted, best_first);
            best.truncate(wanted);
        }
        best.sort_by(best_first);
        best
    }

    fn stored(&self, place: usize) -> Option<&Stored> {
        let (document, passage) = *self.places.get(place)?;
        self.documents.get(document as usize)?.passages.get(passage as usize)
    }

    fn passage(&self, place: usize, score: f32) -> Option<Passage> {
        let stored = self.stored(place)?;
        Some(Passage { text: stored.text.clone(), source: metadata::source(&stored.metadata, score) })
    }
}

/// One vector for each passage.
async fn vectors(document: &Document, embed: &Embed) -> Result<Nearest, Error> {
    let mut nearest: Option<Nearest> = None;
    for batch in document.passages.chunks(BATCH) {
        let texts = batch.iter().map(|passage| embedded(passage.title(), &passage.text)).collect();
        let made = embed(texts, Purpose::Document).await?.vectors;
        let dimensions = made.first().map_or(0, Vec::len);
        let all = nearest.get_or_insert_with(|| Nearest::new(dimensions));
        if made.len() != batch.len() || !made.iter().all(|vector| all.add(vector)) {
            return Err(Error::internal("the embedder's vectors do not fit the passages"));
        }
    }
    Ok(nearest.unwrap_or_default())
}

/// Of the passages and not of the text, so that another way to split it is told apart too.
fn digest(passages: &[Stored]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for Stored { text, metadata } in passages {
        let line = json!([text, metadata]).to_string();
        hash.update((line.len() as u64).to_be_bytes());
        hash.update(line);
    }
    hash.finalize().into()
}

fn snapshot(documents: &[Arc<Document>]) -> String {
    let mut hash = Sha256::new();
    for document in documents {
        hash.update((document.name.len() as u64).to_be_bytes());
        hash.update(document.name.as_bytes());
        hash.update(document.digest);
    }
    hex(&hash.finalize()[..8])
}
