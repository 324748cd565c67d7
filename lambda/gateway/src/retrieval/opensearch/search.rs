//! One search, in the way that is set and that the server is able to.

use super::OpenSearch;
use super::bodies::{Search, shortened};
use super::client::{Call, away};
use super::fields::Clauses;
use super::hits::{self, Hit};
use super::reply::Reply;
use crate::error::Error;
use crate::retrieval::fusion::{Half, distinct, fuse, weights};
use crate::retrieval::{Found, Mode, Purpose, Query, in_time};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Whether the server merges the halves of a hybrid search.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Merging {
    Unknown = 0,
    Offered = 1,
    Lacking = 2,
}

type Scored = Vec<(Hit, f32)>;

impl OpenSearch {
    /// What there is for a query.
    ///
    /// # Errors
    /// The server refuses, is away, or says something that cannot be read.
    pub(super) async fn find(&self, query: &Query, limit: Duration) -> Result<Found, Error> {
        let begun = Instant::now();
        let Clauses::All(filter) = self.clauses(&query.filter).await? else { return Ok(Found::default()) };
        let spelling = self.embedding.spelling;
        let search = Search { fields: &self.fields, k: query.k, filter: &filter, spelling };
        let text = shortened(&query.text);
        let (found, degraded) = match self.mode {
            Mode::Text => (self.found(&search.text(&text)).await?, false),
            Mode::Vector => (self.found(&search.vector(&self.vector(&text).await?)).await?, false),
            Mode::Hybrid => self.hybrid(&search, &text, limit.saturating_sub(begun.elapsed())).await?,
        };
        let good = found.into_iter().filter(|(_, score)| self.min_score.is_none_or(|least| *score >= least));
        let passages = good.filter_map(|(hit, score)| hit.passage(&self.fields, score));
        Ok(Found { passages: distinct(passages, query.k), degraded })
    }

    /// By words and meaning, and whether it had to do without the meaning.
    async fn hybrid(
        &self,
        search: &Search<'_>,
        text: &str,
        limit: Duration,
    ) -> Result<(Scored, bool), Error> {
        let (merging, vector) = (self.merging(), in_time(limit, self.vector(text)));
        if merging == Merging::Lacking {
            let half = search.text_half(text);
            let (words, vector) = tokio::join!(self.found(&half), vector);
            return match vector {
                Some(vector) => {
                    let meaning = self.found(&search.vector_half(text, &vector)).await?;
                    Ok((merged(search, words?, meaning), false))
                }
                // Half of a hybrid search finds less than the words can, and scores in other terms.
                None => Ok((self.found(&search.text(text)).await?, true)),
            };
        }
        let Some(vector) = vector.await else { return Ok((self.found(&search.text(text)).await?, true)) };
        let reply = self.ask(&search.hybrid(text, &vector)).await?;
        if reply.is_success() {
            let found = whole(&reply)?;
            if !found.is_unmerged() {
                let hits = scored(found);
                // A search that finds nothing shows nothing of what the server can do.
                if !hits.is_empty() {
                    self.set_merging(Merging::Offered);
                }
                return Ok((hits, false));
            }
        } else if reply.status != 400 || merging == Merging::Offered {
            return Err(reply.refusal());
        }
        // The server does not know hybrid searches, or something else is wrong: then a half fails too.
        let halves = (search.text_half(text), search.vector_half(text, &vector));
        let (words, meaning) = tokio::try_join!(self.found(&halves.0), self.found(&halves.1))?;
        self.set_merging(Merging::Lacking);
        Ok((merged(search, words, meaning), false))
    }

    async fn found(&self, body: &Value) -> Result<Scored, Error> {
        let reply = self.ask(body).await?;
        if reply.is_success() { whole(&reply).map(scored) } else { Err(reply.refusal()) }
    }

    async fn ask(&self, body: &Value) -> Result<Reply, Error> {
        // Half of the shards' passages would be learned as if they were all.
        let path = match self.serverless {
            true => format!("/{}/_search", self.index),
            false => {
                let preference = self.preference();
                format!("/{}/_search?preference={preference}&allow_partial_search_results=false", self.index)
            }
        };
        self.client.send(&Call::post(path, body, self.limit)).await
    }

    async fn vector(&self, text: &str) -> Result<Vec<f32>, Error> {
        let vectors = (self.embedding.embed)(vec![text.to_owned()], Purpose::Query).await?;
        vectors.vectors.into_iter().next().ok_or_else(|| Error::internal("an embedding without a vector"))
    }

    /// Does the server merge the halves of hybrid searches? None until one has found something.
    pub fn merges(&self) -> Option<bool> {
        match self.merging() {
            Merging::Unknown => None,
            Merging::Offered => Some(true),
            Merging::Lacking => Some(false),
        }
    }

    fn merging(&self) -> Merging {
        match self.merging.load(Ordering::Relaxed) {
            1 => Merging::Offered,
            2 => Merging::Lacking,
            _ => Merging::Unknown,
        }
    }

    fn set_merging(&self, merging: Merging) {
        if self.merging.swap(merging as u8, Ordering::Relaxed) != merging as u8 {
            tracing::info!(?merging, "hybrid searches");
        }
    }
}

/// A reply in which everything was searched.
fn whole(reply: &Reply) -> Result<hits::Found, Error> {
    let found: hits::Found = reply.json()?;
    if found.is_partial() { Err(away("the server ran out of time")) } else { Ok(found) }
}

fn scored(found: hits::Found) -> Scored {
    found
        .hits()
        .into_iter()
        .map(|hit| {
            let score = hit.score();
            (hit, score)
        })
        .collect()
}

/// The halves as a server would merge them.
fn merged(search: &Search<'_>, words: Scored, meaning: Scored) -> Scored {
    let mut hits = HashMap::new();
    let halves = [words, meaning].into_iter().zip(weights(search.spelling)).map(|(half, weight)| {
        let found = half.into_iter().map(|(hit, score)| {
            let key = hit.key();
            hits.entry(key.clone()).or_insert(hit);
            (key, score)
        });
        Half { weight, found: found.collect() }
    });
    let fused = fuse(&halves.collect::<Vec<_>>());
    fused.into_iter().filter_map(|(key, score)| Some((hits.remove(&key)?, score))).collect()
}
