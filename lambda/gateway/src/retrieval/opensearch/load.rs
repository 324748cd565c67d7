//! Writing to an index: it is made or looked at, asked what it holds of a file, and given what changed.

use super::bulk::{Change, Form, Outcome, outcomes};
use super::client::{Call, Client};
use super::mapping::{self, Vectors};
use super::reply::Reply;
use crate::config::retrieval::{Auth, OpenSearch, Service};
use crate::error::Error;
use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The first wait before another try, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a server that was never heard may be silent: its address may be wrong.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Passages that one question asks for at most.
pub const PAGE: usize = 1_000;

/// A passage that the index holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its document's id.
    pub at: String,
    /// The passage's id.
    pub id: String,
    /// The digest of the document that it came from.
    pub document: String,
}

/// An index to write to.
#[derive(Debug)]
pub struct Loader {
    client: Client,
    name: String,
    form: Form,
    /// How long the server may take nothing before it is given up.
    patience: Duration,
    /// Where `mapping::OWN_FIELDS` can be matched exactly.
    paths: [String; 3],
    /// What the index is to hold.
    vectors: Vectors,
    /// The server has answered.
    heard: AtomicBool,
}

/// What was found at the index's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No index.
    Nothing,
    /// An index that fits; whether anything says which model made its vectors.
    Fitting(bool),
}

impl Loader {
    /// The index of these settings, for these vectors.
    pub fn new(client: Client, settings: &OpenSearch, vectors: Vectors, patience: Duration) -> Loader {
        let serverless = settings.auth == Auth::Iam(Service::Serverless);
        let form = Form { fields: settings.fields.clone(), serverless };
        let paths = mapping::OWN_FIELDS.map(|name| format!("{}.{name}", settings.fields.metadata));
        Loader {
            client,
            name: settings.index.clone(),
            form,
            patience,
            paths,
            vectors,
            heard: AtomicBool::default(),
        }
    }

    /// Looks at the index.
    ///
    /// # Errors
    /// A sentence: it cannot be used, and what to do.
    pub async fn look(&mut self) -> Result<Found, String> {
        let reply = self.ask(Method::GET, "/_mapping", Bytes::new()).await?;
        if reply.status == 404 {
            return Ok(Found::Nothing);
        }
        let indexes: Map<String, Value> = self.read(&reply)?;
        let knn = self.knn().await?;
        let mut says = true;
        for (name, index) in &indexes {
            let mapping = &index["mappings"];
            mapping::judge(name, mapping, knn.as_deref(), &self.form.fields, &self.vectors)?;
            self.paths = mapping::own_fields(name, mapping, &self.form.fields)?.0;
            says &= mapping["_meta"]["llm_gateway"]["embeddings_model"].is_string();
        }
        Ok(Found::Fitting(says))
    }

    /// The setting that has vectors searched; none where the server does not show it.
    async fn knn(&self) -> Result<Option<String>, String> {
        let reply = self.ask(Method::GET, "/_settings?flat_settings=true", Bytes::new()).await?;
        if !reply.is_success() {
            return Ok(None);
        }
        let indexes: Map<String, Value> = self.read(&reply)?;
        let off = |index: &Value| index["settings"]["index.knn"].as_str().unwrap_or("false").to_owned();
        Ok(indexes.values().map(off).min())
    }

    /// Makes the index, or gives the one that is there the fields that it lacks.
    ///
    /// # Errors
    /// A sentence.
    pub async fn prepare(&mut self, found: Found) -> Result<(), String> {
        if found == Found::Nothing {
            let body = mapping::body(&self.form.fields, &self.vectors, self.form.serverless);
            let reply = self.ask(Method::PUT, "", body.to_string().into()).await?;
            let exists = reply.error_names().iter().any(|name| name == "resource_already_exists_exception");
            if !exists {
                return self.accepted(&reply);
            }
            self.look().await?;
        }
        let reply = self.ask(Method::GET, "/_mapping", Bytes::new()).await?;
        let indexes: Map<String, Value> = self.read(&reply)?;
        for (name, index) in &indexes {
            if let (_, Some(lacking)) = mapping::own_fields(name, &index["mappings"], &self.form.fields)? {
                let reply = self.ask(Method::PUT, "/_mapping", lacking.to_string().into()).await?;
                self.accepted(&reply)?;
            }
        }
        // An interrupted run may have written what searches do not see yet.
        self.refresh().await
    }

    /// What the index holds of a file behind a passage's id, by id, one page of it.
    ///
    /// # Errors
    /// A sentence.
    pub async fn of_file(&self, file: &str, after: Option<&str>) -> Result<Vec<Held>, String> {
        let [id, _, loaded_from] = &self.paths;
        let sort = json!([{ id.as_str(): { "order": "asc", "unmapped_type": "keyword" } }]);
        let mut body = json!({ "sort": sort, "query": { "bool": { "filter": [
            { "term": { loaded_from.as_str(): file } }, { "exists": { "field": id } } ] } } });
        if let Some(after) = after {
            body["search_after"] = json!([after]);
        }
        self.held(body).await
    }

    /// Those of these passages that the index holds.
    ///
    /// # Errors
    /// A sentence.
    pub async fn of_ids(&self, ids: &[String]) -> Result<Vec<Held>, String> {
        let id = &self.paths[0];
        self.held(json!({ "query": { "bool": { "filter": [{ "terms": { id.as_str(): ids } }] } } })).await
    }

    async fn held(&self, mut body: Value) -> Result<Vec<Held>, String> {
        let own = mapping::OWN_FIELDS.map(|name| format!("{}.{name}", self.form.fields.metadata));
        body["size"] = PAGE.into();
        body["_source"] = json!(own[..2]);
        body["track_total_hits"] = false.into();
        let reply = self.ask(Method::POST, "/_search", body.to_string().into()).await?;
        let found: Value = self.read(&reply)?;
        let hits = found["hits"]["hits"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(hits.iter().filter_map(|hit| self.one(hit)).collect())
    }

    fn one(&self, hit: &Value) -> Option<Held> {
        let metadata = &hit["_source"];
        // A field's name may be written with its dots, or as objects in each other.
        let metadata = match metadata.get(&self.form.fields.metadata) {
            Some(metadata) => metadata,
            None => self.form.fields.metadata.split('.').fold(metadata, |inner, name| &inner[name]),
        };
        let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        let at = hit["_id"].as_str()?.to_owned();
        Some(Held { at, id: text("passage_id"), document: text("document") })
    }

    /// The files that passages were loaded from, whose names begin so, behind one of them: a page of them.
    ///
    /// # Errors
    /// A sentence.
    pub async fn files(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, String> {
        let loaded_from = &self.paths[2];
        let sources = json!([{ "file": { "terms": { "field": loaded_from } } }]);
        let mut composite = json!({ "size": PAGE, "sources": sources });
        if let Some(after) = after {
            composite["after"] = json!({ "file": after });
        }
        let query = json!({ "prefix": { loaded_from.as_str(): prefix } });
        let body = json!({ "size": 0, "query": query, "aggs": { "files": { "composite": composite } } });
        let reply = self.ask(Method::POST, "/_search", body.to_string().into()).await?;
        let found: Value = self.read(&reply)?;
        let buckets = found["aggregations"]["files"]["buckets"].as_array().cloned().unwrap_or_default();
        Ok(buckets.iter().filter_map(|bucket| Some(bucket["key"]["file"].as_str()?.to_owned())).collect())
    }

    /// Can metadata be replaced? OpenSearch Serverless runs no script, and a partial document is merged into
    /// the one that is there: a key that is gone would stay, and filters would find it.
    pub fn updates(&self) -> bool {
        !self.form.serverless
    }

    /// The bytes that a change is on the way.
    ///
    /// # Errors
    /// A sentence.
    pub fn lines(&self, change: &Change) -> Result<Vec<u8>, String> {
        self.form.lines(change)
    }

    /// Writes changes, given by their lines; what the server is too busy for is sent again. Gives for each
    /// why it was refused, if it was.
    ///
    /// # Errors
    /// A sentence: the server cannot be reached, refuses everything or takes nothing for too long.
    pub async fn write(&self, lines: &[Vec<u8>]) -> Result<Vec<Option<String>>, String> {
        let mut refused = vec![None; lines.len()];
        let mut open: Vec<usize> = (0..lines.len()).collect();
        let (mut pause, mut until) = (FIRST_PAUSE, Instant::now() + self.patience);
        while !open.is_empty() {
            let body: Vec<u8> = open.iter().filter_map(|at| lines.get(*at)).flatten().copied().collect();
            let reply = self.ask(Method::POST, "/_bulk", body.into()).await?;
            let outcomes = outcomes(&self.checked(reply)?, open.len())?;
            let before = open.len();
            let mut again = Vec::new();
            for (at, outcome) in open.iter().zip(outcomes) {
                match outcome {
                    Outcome::Done => refused[*at] = None,
                    Outcome::Again => {
                        refused[*at] = None;
                        again.push(*at);
                    }
                    Outcome::Failed(why) => {
                        refused[*at] = Some(why);
                        again.push(*at);
                    }
                    Outcome::Refused(why) => refused[*at] = Some(why),
                }
            }
            if again.is_empty() {
                break;
            }
            if again.len() < before {
                (pause, until) = (FIRST_PAUSE, Instant::now() + self.patience);
            } else if Instant::now() + pause > until {
                // A few that fail whatever is done must not keep the others out.
                let few = before < lines.len() && again.iter().all(|at| refused[*at].is_some());
                return if few { Ok(refused) } else { Err(self.busy()) };
            }
            open = again;
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(refused)
    }

    /// Lets searches see what was written. OpenSearch Serverless does so by itself, within a minute.
    ///
    /// # Errors
    /// A sentence.
    pub async fn refresh(&self) -> Result<(), String> {
        if self.form.serverless {
            return Ok(());
        }
        let reply = self.ask(Method::POST, "/_refresh", Bytes::new()).await?;
        // Whoever may write may not always refresh; the index does so by itself every second.
        if matches!(reply.status, 401 | 403) { Ok(()) } else { self.accepted(&reply) }
    }

    /// Asks until the server has time for it.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Reply, String> {
        let path = format!("/{}{path}", super::escaped(&self.name));
        let heard = self.heard.load(Ordering::Relaxed);
        let patience = if heard { self.patience } else { FIRST_PATIENCE.min(self.patience) };
        let call = Call { method, path, body, limit: LIMIT.min(patience), repeatable: false };
        let (until, mut pause) = (Instant::now() + patience, FIRST_PAUSE);
        loop {
            let reply = self.client.send(&call).await;
            let busy = match &reply {
                Ok(reply) => matches!(reply.status, 429 | 502 | 503 | 504),
                Err(_) => true,
            };
            self.heard.fetch_or(!busy, Ordering::Relaxed);
            if !busy || Instant::now() + pause > until {
                return match reply {
                    Ok(_) if busy => Err(self.busy()),
                    Ok(reply) => Ok(reply),
                    Err(error) => Err(away(&error)),
                };
            }
            let asked = reply.ok().and_then(|reply| reply.retry_after).unwrap_or_default();
            sleep(jittered(pause).max(asked).min(LONGEST_PAUSE)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, reply: &Reply) -> Result<T, String> {
        self.accepted(reply)?;
        reply.json().map_err(|_| {
            "OPENSEARCH_DOMAIN_ENDPOINT does not answer as OpenSearch does. Check the address.".to_owned()
        })
    }

    fn checked(&self, reply: Reply) -> Result<Reply, String> {
        self.accepted(&reply).map(|()| reply)
    }

    fn accepted(&self, reply: &Reply) -> Result<(), String> {
        let index = &self.name;
        match reply.status {
            200..=299 => Ok(()),
            401 => Err("OpenSearch does not know these credentials (401). Check OPENSEARCH_AUTH, \
                        OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD."
                .to_owned()),
            403 => Err(format!(
                "OpenSearch does not let these credentials write to the index \"{index}\" (403). Allow \
                 es:ESHttpGet, es:ESHttpPost and es:ESHttpPut (Serverless: aoss:APIAccessAll and a data access \
                 policy); with fine-grained access control map them to a role that may create and write it."
            )),
            404 => Err(format!("The index \"{index}\" is gone. Run the same command again to make it.")),
            status => {
                let said = reply.reason().unwrap_or_else(|| "it gave no reason".to_owned());
                Err(format!("OpenSearch refused the index \"{index}\" ({status}): {said}."))
            }
        }
    }

    fn busy(&self) -> String {
        format!("OpenSearch has had too much to do for {} s. Try again later.", self.patience.as_secs())
    }
}

fn away(error: &Error) -> String {
    let why = error.detail.as_deref().unwrap_or(&error.message);
    format!("OpenSearch cannot be reached: {why}. Check OPENSEARCH_DOMAIN_ENDPOINT.")
}

/// Many that wait must not all come back at once.
fn jittered(pause: Duration) -> Duration {
    let share = u32::from(uuid::Uuid::new_v4().as_bytes()[0]) + 256;
    pause * share / 512
}
