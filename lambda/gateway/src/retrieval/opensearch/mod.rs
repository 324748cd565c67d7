//! OpenSearch: a domain of Amazon OpenSearch Service, a collection of OpenSearch Serverless, or a server of
//! one's own, with passages in LangChain's layout.
//!
//! Nothing is asked before the first search. What a server can do is asked, not guessed from its version:
//! the first hybrid search is the question (`search.rs`).

mod auth;
mod bodies;
pub mod bulk;
mod check;
pub mod client;
mod fields;
mod hits;
pub mod load;
pub mod mapping;
pub mod reply;
mod search;
mod snapshot;

pub use bodies::shortened;

use super::{Embed, Filter, Found, Mode, Query, Retrieval};
use crate::config::retrieval::{self as settings, Auth, FieldNames, Service};
use crate::error::Error;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_types::SdkConfig;
use client::{Call, Client};
use fields::{Clauses, Mappings};
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use snapshot::{Indexes, MOST_SHARDS, State};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What is escaped in an index's name. Not `llm-gateway`'s hyphen: what needs no escape may lose it on the
/// way, and then the signature is wrong.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How long the state of the index counts as known: so old an answer may be.
const FRESH: Duration = Duration::from_secs(1);

/// How long a mapping counts as known; and how long where it lacks a field that is asked for, because
/// new documents may bring one.
const MAPPING_FRESH: Duration = Duration::from_secs(60);
const LACKING_FRESH: Duration = Duration::from_secs(2);

/// What turns the words of a search into a vector.
#[derive(Clone)]
pub struct Embedding {
    /// The model behind it.
    pub model: String,
    /// Its vectors know spelling and not meaning: in hybrid mode they rank what the words have found, and
    /// find nothing by themselves.
    pub spelling: bool,
    /// How long its vectors are.
    pub dimensions: usize,
    /// The way to it.
    pub embed: Embed,
}

/// The mappings as they were read last.
struct Known {
    at: Instant,
    /// After so many changes of the index: an answer is learned under a state, and what it was found by
    /// must not be older.
    changes: u64,
    /// None where they are not shown.
    mappings: Option<Mappings>,
}

/// An index to search.
pub struct OpenSearch {
    client: Client,
    /// The index's name in an address.
    index: String,
    named: String,
    fields: FieldNames,
    mode: Mode,
    min_score: Option<f32>,
    /// For one request; the engine holds the whole search to it too.
    limit: Duration,
    embedding: Embedding,
    serverless: bool,
    /// Whether the server merges the halves of a hybrid search: `search::Merging`.
    merging: AtomicU8,
    /// Copies of shards that this process prefers, so that searches see at least the state that was named
    /// before them: any copy, chosen by this word; of several shards the primary.
    preference: String,
    primaries: AtomicBool,
    state: Mutex<Option<(Instant, Option<String>)>>,
    /// The indexes behind the name at the last look.
    indexes: Mutex<Option<Indexes>>,
    /// How often the state was seen to be another one.
    changes: AtomicU64,
    mappings: Mutex<Option<Known>>,
    said: Once,
}

impl OpenSearch {
    /// The index of these settings, where they name one. `config` has the credentials to sign with.
    ///
    /// # Errors
    /// A sentence where there is nothing to sign with.
    pub fn open(
        connector: SharedHttpConnector,
        config: Option<&SdkConfig>,
        settings: &settings::Retrieval,
        embedding: Embedding,
    ) -> Result<Option<OpenSearch>, String> {
        let Some(opensearch) = &settings.opensearch else { return Ok(None) };
        Ok(Some(OpenSearch {
            client: Client::new(connector, opensearch, config)?,
            index: escaped(&opensearch.index),
            named: opensearch.index.clone(),
            fields: opensearch.fields.clone(),
            mode: settings.mode,
            min_score: settings.min_score,
            limit: settings.timeout,
            embedding,
            serverless: opensearch.auth == Auth::Iam(Service::Serverless),
            merging: AtomicU8::default(),
            preference: uuid::Uuid::new_v4().simple().to_string(),
            primaries: AtomicBool::default(),
            state: Mutex::default(),
            indexes: Mutex::default(),
            changes: AtomicU64::default(),
            mappings: Mutex::default(),
            said: Once::new(),
        }))
    }

    fn preference(&self) -> &str {
        if self.primaries.load(Ordering::Relaxed) { "_primary_first" } else { &self.preference }
    }

    /// The filter in the server's language.
    async fn clauses(&self, filter: &Filter) -> Result<Clauses, Error> {
        if filter.is_empty() {
            return Ok(Clauses::All(Vec::new()));
        }
        let mut known = self.mappings.lock().await;
        let (begun, changes) = (Instant::now(), self.changes.load(Ordering::Acquire));
        let usable = known.as_ref().is_some_and(|known| {
            let lacking = known.mappings.as_ref().is_some_and(|mappings| mappings.lack(filter, &self.fields));
            let fresh = if lacking { LACKING_FRESH } else { MAPPING_FRESH };
            known.changes == changes && known.at.elapsed() < fresh
        });
        if !usable {
            let reply = self.client.send(&Call::get(format!("/{}/_mapping", self.index), self.limit)).await?;
            let mappings = match reply.status {
                200 => Some(Mappings::read(reply.json()?)),
                // Whoever may search may not always see the mapping.
                401 | 403 => None,
                _ => return Err(reply.refusal()),
            };
            *known = Some(Known { at: begun, changes, mappings });
        }
        Ok(match known.as_ref().and_then(|known| known.mappings.as_ref()) {
            Some(mappings) => mappings.clauses(filter, &self.fields),
            None => fields::guessed(filter, &self.fields),
        })
    }

    /// The state of the index, read now. The shards of the indexes that were there at the last look are asked
    /// while the settings are.
    async fn read_state(&self) -> Result<Option<String>, Error> {
        let expected = self.indexes.lock().await.clone();
        let (indexes, early) = match expected {
            Some(expected) => {
                let (indexes, early) = tokio::join!(self.read_indexes(), self.read_shards(expected.shards));
                let indexes = indexes?;
                let as_expected = indexes.as_ref() == Some(&expected);
                (indexes, as_expected.then_some(early))
            }
            None => (self.read_indexes().await?, None),
        };
        self.indexes.lock().await.clone_from(&indexes);
        let Some(indexes) = indexes else {
            self.say("its settings do not name it, or it has too many shards");
            return Ok(None);
        };
        self.primaries.store(indexes.shards > 1, Ordering::Relaxed);
        let shards = match early {
            Some(early) => early?,
            // After the settings: of an index that is made anew in between, the id is one that no state has.
            None => self.read_shards(indexes.shards).await?,
        };
        let states: Option<Vec<String>> = shards.iter().map(State::name).collect();
        Ok(states.map(|states| {
            let settings = (&self.fields, self.mode, self.min_score, &self.embedding.model);
            format!("{:?} {states:?} {settings:?}", indexes.ids)
        }))
    }

    async fn read_indexes(&self) -> Result<Option<Indexes>, Error> {
        let path = format!("/{}/_settings?flat_settings=true", self.index);
        let settings: Map<String, Value> = self.client.ask(&Call::get(path, self.limit)).await?.json()?;
        Ok(Indexes::read(&settings).filter(|indexes| indexes.shards <= MOST_SHARDS))
    }

    async fn read_shards(&self, shards: usize) -> Result<Vec<State>, Error> {
        try_join_all((0..shards).map(|shard| self.shard(shard, shards))).await
    }

    async fn shard(&self, shard: usize, of: usize) -> Result<State, Error> {
        let preference = self.preference();
        let preference =
            if of > 1 { format!("_shards:{shard}%7C{preference}") } else { preference.to_owned() };
        let path = format!("/{}/_search?preference={preference}", self.index);
        self.client.ask(&Call::post(path, &snapshot::body(), self.limit)).await?.json()
    }

    /// Says once why no answers are learned.
    fn say(&self, why: &str) {
        self.said.call_once(|| {
            tracing::warn!(why, "the index does not tell its state: no answer is looked up or learned");
        });
    }
}

/// An index's name in an address, as it is signed.
pub fn escaped(index: &str) -> String {
    utf8_percent_encode(index, ESCAPED).to_string()
}

impl Retrieval for OpenSearch {
    fn search<'a>(&'a self, query: &'a Query, limit: Duration) -> BoxFuture<'a, Result<Found, Error>> {
        self.find(query, limit).boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Option<String>> {
        async {
            if self.serverless {
                // Its searches run apart from its writes, and nothing documented says what they see.
                self.say("it is in OpenSearch Serverless");
                return None;
            }
            // Whoever comes while it is being read waits for that.
            let mut known = self.state.lock().await;
            if let Some((_, state)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
                return state.clone();
            }
            let begun = Instant::now();
            let state = self.read_state().await.unwrap_or_else(|error| {
                self.say(error.detail.as_deref().unwrap_or_default());
                None
            });
            if known.as_ref().is_some_and(|(_, before)| *before != state) {
                self.changes.fetch_add(1, Ordering::Release);
            }
            *known = Some((begun, state.clone()));
            state
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_indexs_name_only_what_must_be_escaped_is() {
        assert_eq!(escaped("llm-gateway_v1.2~a"), "llm-gateway_v1.2~a");
        assert_eq!(escaped("a,b/c %"), "a%2Cb%2Fc%20%25");
    }
}
