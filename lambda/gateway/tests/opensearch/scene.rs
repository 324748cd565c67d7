//! An index in front of a scripted server.

use crate::search::Server;
use aws_config::SdkConfig;
use futures_util::future::{BoxFuture, FutureExt};
use gateway::aws::connector;
use gateway::chat::{Condition, Filter, Purpose, Vectors};
use gateway::config::Settings;
use gateway::error::Error;
use gateway::retrieval::opensearch::{Embedding, OpenSearch};
use gateway::retrieval::{Embed, Query, Retrieval};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Nothing takes longer, however slow the machine: it proves that nothing hangs.
pub const FOREVER: Duration = Duration::from_secs(60);

/// How long a search may take, where a test says nothing else.
pub const LIMIT: Duration = Duration::from_secs(1);

/// What is searched for, where a test says nothing else. It must not come up in any error.
pub const WORDS: &str = "Xylophone maintenance";

/// The settings of an index at this address.
pub fn settings(url: &str, more: &[(&str, &str)]) -> Settings {
    let ours = [
        ("OPENSEARCH_DOMAIN_ENDPOINT", url),
        ("OPENSEARCH_INDEX", "docs"),
        ("RETRIEVAL_TIMEOUT_MS", "10000"),
    ];
    // The last value of a name counts.
    let mut vars: Vec<(String, String)> = Vec::new();
    for (name, value) in ours.iter().chain(more) {
        vars.retain(|(known, _)| known != name);
        vars.push((name.to_string(), value.to_string()));
    }
    Settings::from_vars(vars).unwrap()
}

/// The index.
pub fn open(server: &Server, more: &[(&str, &str)]) -> OpenSearch {
    with(server, more, embed(|_| async { Ok(vec![0.6, 0.8]) }.boxed()), None)
}

/// The same with an embedder and credentials of the test's own.
pub fn with(server: &Server, more: &[(&str, &str)], embed: Embed, config: Option<&SdkConfig>) -> OpenSearch {
    let settings = settings(&server.url, more);
    let embedding = Embedding { model: "test".into(), spelling: false, dimensions: 2, embed };
    OpenSearch::open(connector(None).unwrap(), config, &settings.retrieval, embedding).unwrap().unwrap()
}

/// An embedder of one text.
pub fn embed(
    one: impl Fn(String) -> BoxFuture<'static, Result<Vec<f32>, Error>> + Send + Sync + 'static,
) -> Embed {
    let one = Arc::new(one);
    Arc::new(move |texts: Vec<String>, purpose| {
        assert_eq!((texts.len(), purpose), (1, Purpose::Query));
        let one = one.clone();
        async move {
            let vector = one(texts.into_iter().next().unwrap()).await?;
            Ok(Vectors { vectors: vec![vector], input_tokens: 1 })
        }
        .boxed()
    })
}

/// A query for three passages.
pub fn query() -> Query {
    Query { text: WORDS.to_owned(), k: 3, filter: Filter::default() }
}

pub fn filtered(conditions: &[(&str, &str)]) -> Query {
    let condition = |(field, value): &(&str, &str)| Condition {
        field: (*field).to_owned(),
        any_of: vec![(*value).to_owned()],
    };
    Query { filter: Filter(conditions.iter().map(condition).collect()), ..query() }
}

/// Searches, and gives the passages' texts with their scores.
pub async fn found(index: &OpenSearch, query: &Query) -> Result<Vec<(String, f32)>, Error> {
    let found = timeout(FOREVER, index.search(query, LIMIT)).await.unwrap()?;
    Ok(found.passages.into_iter().map(|passage| (passage.text, passage.source.score)).collect())
}

/// Searches, and gives the passages' texts.
pub async fn texts(index: &OpenSearch) -> Vec<String> {
    found(index, &query()).await.unwrap().into_iter().map(|(text, _)| text).collect()
}
