//! Everything that can go wrong with one search: an error within the time limit, which names what the
//! server said and never what it was asked.

use crate::scene::{FOREVER, WORDS, filtered, found, open, query, texts};
use crate::search::{Asked, Said, Server, hits};
use gateway::error::{Error, Kind};
use gateway::retrieval::Retrieval;
use serde_json::json;
use tokio::time::timeout;

/// The error of a search whose every request meets this, and how often it was tried.
async fn failed(said: Said, limit: &'static str) -> (Error, usize) {
    let server = Server::new(move |_| said.clone()).await;
    let index = open(&server, &[("RETRIEVAL_MODE", "text"), ("RETRIEVAL_TIMEOUT_MS", limit)]);
    let error = found(&index, &query()).await.unwrap_err();
    assert!(!error.to_string().contains("Xylophone"), "{error}");
    (error, server.take().len())
}

fn quoting(status: u16, name: &str) -> Said {
    Said::refusal(status, name, &format!("failed to parse [{WORDS}]"))
}

#[tokio::test]
async fn each_refusal_is_named_by_status_and_type() {
    for (status, name, tries) in [
        (400, "query_shard_exception", 1),
        (401, "security_exception", 1),
        (403, "security_exception", 1),
        (404, "index_not_found_exception", 1),
        (429, "circuit_breaking_exception", 2),
        (500, "null_pointer_exception", 1),
        (503, "cluster_block_exception", 2),
    ] {
        let (error, asked) = failed(quoting(status, name), "10000").await;
        assert_eq!(error.detail, Some(format!("status {status} {name}")));
        assert_eq!(error.kind, if status == 429 { Kind::Throttled } else { Kind::Unavailable });
        assert_eq!(asked, tries, "{status}");
    }
}

#[tokio::test]
async fn half_a_reply_a_closed_connection_and_what_cannot_be_read_are_errors() {
    for (said, tries, word) in [
        (Said::Half, 2, "half a reply"),
        (Said::Reset, 2, ""),
        (Said::Garbled, 1, "unpacked"),
        (Said::Reply(200, "<html>".into()), 1, "cannot be read"),
        (Said::Reply(200, json!({ "hits": WORDS }).to_string()), 1, "cannot be read"),
        (
            Said::Reply(200, json!({ "timed_out": true, "hits": { "hits": [] } }).to_string()),
            1,
            "out of time",
        ),
        (Said::Reply(200, "0".repeat(17 * 1024 * 1024)), 1, "more than"),
        (Said::With(200, ("content-encoding", "identity"), "0".repeat(17 * 1024 * 1024)), 1, "more than"),
    ] {
        let (error, asked) = failed(said, "10000").await;
        assert!(error.detail.as_ref().unwrap().contains(word), "{error}");
        assert_eq!((error.kind, asked), (Kind::Unavailable, tries), "{word}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_within_the_limit() {
    let (error, asked) = failed(Said::Stall, "300").await;
    assert_eq!(error.detail.as_deref(), Some("nothing within 300 ms"));
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let server = Server::new(|_| Said::Stall).await;
    let index = open(&server, &[]);
    drop(server);
    assert_eq!(found(&index, &query()).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(timeout(FOREVER, index.snapshot()).await.unwrap(), None);
    index.check().await.unwrap();
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_once_more() {
    for said in [Said::Reset, Said::Half, quoting(503, "x"), quoting(429, "x")] {
        let mut first = Some(said);
        let server =
            Server::new(move |_| first.take().unwrap_or_else(|| Said::ok(&hits(&[("found", 1.0)])))).await;
        assert_eq!(texts(&open(&server, &[])).await, ["found"]);
        assert_eq!(server.take().len(), 2);
    }
}

#[tokio::test]
async fn a_filter_whose_mapping_cannot_be_had_does_not_search_without_it() {
    let server = Server::new(|asked: &Asked| match asked.is_search() {
        true => Said::ok(&hits(&[("everything", 1.0)])),
        false => quoting(500, "oops"),
    })
    .await;
    assert!(found(&open(&server, &[]), &filtered(&[("lang", "en")])).await.is_err());
    assert!(server.take().iter().all(|asked| !asked.is_search()));
}

/// What a start says about a server that answers so.
async fn start(said: Said, more: &[(&str, &str)]) -> Result<(), String> {
    let server = Server::new(move |_| said.clone()).await;
    open(&server, more).check().await
}

fn mapping(fields: serde_json::Value) -> Said {
    Said::ok(&json!({ "docs": { "mappings": { "properties": fields } } }))
}

#[tokio::test]
async fn a_start_says_what_must_be_mended() {
    let text = json!({ "type": "text" });
    for (said, words) in [
        (
            quoting(404, "index_not_found_exception"),
            vec!["\"docs\"", "llm-gateway index", "OPENSEARCH_INDEX"],
        ),
        (quoting(401, "security_exception"), vec!["(401)", "OPENSEARCH_PASSWORD"]),
        (quoting(403, "security_exception"), vec!["(403)", "es:ESHttpPost"]),
        (quoting(400, "illegal_argument_exception"), vec!["400 illegal_argument_exception"]),
        (Said::Reply(200, "<html>".into()), vec!["OPENSEARCH_DOMAIN_ENDPOINT"]),
        (mapping(json!({})), vec!["OPENSEARCH_TEXT_FIELD", "\"text\""]),
        (mapping(json!({ "text": text })), vec!["OPENSEARCH_VECTOR_FIELD", "\"vector_field\""]),
        (mapping(json!({ "text": text, "vector_field": { "type": "float" } })), vec!["of type float"]),
        (
            mapping(json!({ "text": text, "vector_field": { "type": "knn_vector", "dimension": 384 } })),
            vec!["384", "makes 2", "EMBEDDINGS_MODEL", "llm-gateway index"],
        ),
        (
            Said::ok(&json!({ "docs": { "mappings": {
                "_meta": { "llm_gateway": { "embeddings_model": "another", "dimensions": 2 } },
                "properties": { "text": text, "vector_field": { "type": "knn_vector", "dimension": 2 } },
            } } })),
            vec!["vectors of another", "EMBEDDINGS_MODEL=another"],
        ),
    ] {
        let sentence = start(said, &[]).await.unwrap_err();
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        assert!(sentence.ends_with('.') && !sentence.contains("Xylophone"), "{sentence}");
    }
}

#[tokio::test]
async fn a_start_goes_on_where_the_index_fits_or_the_server_is_busy() {
    let vectors =
        json!({ "text": { "type": "text" }, "vector_field": { "type": "knn_vector", "dimension": 2 } });
    start(mapping(vectors), &[]).await.unwrap();
    start(mapping(json!({ "text": { "type": "text" } })), &[("RETRIEVAL_MODE", "text")]).await.unwrap();
    for status in [429, 500, 503] {
        start(quoting(status, "x"), &[]).await.unwrap();
    }
}
