//! The two sides: the embedded collection over a file of passages, as `llm-gateway index` leaves it, and an
//! index of an OpenSearch that runs on this machine.

use crate::{Given, World, opensearch, vector};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use gateway::aws::connector;
use gateway::config::Settings;
use gateway::retrieval::collection::{Meaning, Rules};
use gateway::retrieval::local::LocalIndex;
use gateway::retrieval::opensearch::client::{Call, Client};
use gateway::retrieval::opensearch::{Embedding, OpenSearch, mapping};
use gateway::retrieval::{Embed, Mode, Vectors, passages};
use http::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const MODEL: &str = "test.embed";
const DIMENSIONS: usize = 4;
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(non_camel_case_types, reason = "the names of the sides in the tests' names")]
pub(crate) enum Kind {
    embedded,
    on_opensearch,
}

/// Where passages are put.
pub(crate) enum Side {
    Embedded { folder: PathBuf, index: Arc<LocalIndex> },
    OpenSearch { client: Client, index: String },
}

/// How a collection is searched.
pub(crate) async fn world(kind: Kind, rules: Rules, passages: &[Given]) -> World {
    searched(kind, rules, false, passages).await
}

/// The same, where `spelling` says of the vectors that they know nothing else.
pub(crate) async fn searched(kind: Kind, rules: Rules, spelling: bool, passages: &[Given]) -> World {
    let world = match kind {
        Kind::embedded => embedded(rules, spelling),
        Kind::on_opensearch => served(rules, spelling).await,
    };
    world.side.fill(passages).await;
    world
}

fn embed() -> Embed {
    Arc::new(|texts, _| {
        let vectors = texts.iter().map(|text| vector(text)).collect();
        std::future::ready(Ok(Vectors { vectors, input_tokens: 0 })).boxed()
    })
}

fn embedded(rules: Rules, spelling: bool) -> World {
    let folder = std::env::temp_dir().join(format!("gateway-contract-{}", gateway::chat::new_id()));
    std::fs::create_dir_all(&folder).unwrap();
    let meaning = Meaning { embed: embed(), model: MODEL.into(), spelling };
    let index = LocalIndex::from_file(folder.join(passages::FILE), rules, meaning.clone(), (&[], meaning));
    let index = Arc::new(index.unwrap());
    World { search: index.clone(), side: Side::Embedded { folder, index } }
}

async fn served(rules: Rules, spelling: bool) -> World {
    // Starting it blocks.
    let url = tokio::task::spawn_blocking(opensearch::url).await.unwrap();
    let index = format!("contract-{}", gateway::chat::new_id());
    let mode = match rules.mode {
        Mode::Hybrid => "hybrid",
        Mode::Vector => "vector",
        Mode::Text => "text",
    };
    let least = rules.min_score.map(|score| score.to_string()).unwrap_or_default();
    let vars = [
        ("OPENSEARCH_DOMAIN_ENDPOINT", url),
        ("OPENSEARCH_INDEX", &index),
        ("RETRIEVAL_MODE", mode),
        ("RETRIEVAL_MIN_SCORE", &least),
        // The machine may be busy with other tests.
        ("RETRIEVAL_TIMEOUT_MS", "60000"),
    ];
    let settings =
        Settings::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    let (retrieval, connector) = (settings.retrieval, connector(None).unwrap());
    let there = retrieval.opensearch.as_ref().unwrap();
    let client = Client::new(connector.clone(), there, None).unwrap();
    let vectors = mapping::Vectors { model: MODEL.into(), dimensions: DIMENSIONS };
    let made = mapping::body(&there.fields, &vectors, false);
    call(&client, Method::PUT, &format!("/{index}"), made.to_string()).await;
    let embedding = Embedding { model: MODEL.into(), spelling, dimensions: DIMENSIONS, embed: embed() };
    let search = OpenSearch::open(connector, None, &retrieval, embedding).unwrap().unwrap();
    search.check().await.unwrap();
    World { search: Arc::new(search), side: Side::OpenSearch { client, index } }
}

impl Side {
    /// Puts these passages in the place of all that are there.
    pub(crate) async fn fill(&self, passages: &[Given]) {
        match self {
            Side::Embedded { folder, index } => {
                let header = json!({ "format": passages::FORMAT, "embeddings_model": MODEL, "dimensions": DIMENSIONS });
                let lines = [header].into_iter().chain(passages.iter().map(line));
                let text: String = lines.map(|line| format!("{line}\n")).collect();
                // As the command does it: whoever looks meanwhile sees the old file or the new one.
                let file = folder.join(passages::FILE);
                std::fs::write(file.with_extension("new"), text).unwrap();
                std::fs::rename(file.with_extension("new"), file).unwrap();
                let index = index.clone();
                assert!(tokio::task::spawn_blocking(move || index.refresh()).await.unwrap());
            }
            Side::OpenSearch { client, index } => {
                let all = json!({ "query": { "match_all": {} } }).to_string();
                let path = format!("/{index}/_delete_by_query?refresh=true");
                call(client, Method::POST, &path, all).await;
                if !passages.is_empty() {
                    let lines = passages.iter().enumerate().map(|(id, passage)| bulk(id, passage));
                    let path = format!("/{index}/_bulk?refresh=true");
                    let reply = call(client, Method::POST, &path, lines.collect()).await;
                    assert_eq!(reply["errors"], false, "{reply}");
                }
            }
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Indexes go with the server, which is this process's own.
        if let Side::Embedded { folder, .. } = self {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn line((text, metadata): &Given) -> Value {
    let bytes: Vec<u8> = vector(text).iter().flat_map(|number| number.to_le_bytes()).collect();
    json!({ "text": text, "metadata": metadata, "vector": STANDARD.encode(bytes) })
}

fn bulk(id: usize, (text, metadata): &Given) -> String {
    let (action, vector) = (json!({ "index": { "_id": format!("{id:08}") } }), vector(text));
    format!("{action}\n{}\n", json!({ "text": text, "vector_field": vector, "metadata": metadata }))
}

async fn call(client: &Client, method: Method, path: &str, body: String) -> Value {
    let call =
        Call { method, path: path.to_owned(), body: Bytes::from(body), limit: LIMIT, repeatable: false };
    let reply = client.send(&call).await.unwrap();
    assert!(reply.is_success(), "{path}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
    reply.json().unwrap()
}
