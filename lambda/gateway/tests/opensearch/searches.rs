//! What a search asks, in the way that is set and that the server is able to.

use crate::scene::{FOREVER, LIMIT, WORDS, embed, filtered, found, open, query, texts, with};
use crate::search::{Asked, Said, Server, hits};
use futures_util::future::FutureExt;
use gateway::error::{Error, Kind};
use gateway::retrieval::Retrieval;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// A server without the plugin: it knows no `hybrid`, and what words and vectors find differs.
fn without_hybrid(asked: &Asked) -> Said {
    let query = &asked.json()["query"];
    if query.get("hybrid").is_some() {
        return Said::refusal(400, "parsing_exception", "unknown query [hybrid]");
    }
    match query.get("knn").is_some() {
        true => Said::ok(&hits(&[("meaning", 0.9), ("both", 0.8), ("far", 0.7)])),
        false => Said::ok(&hits(&[("words", 9.0), ("both", 8.0), ("less", 1.0)])),
    }
}

#[tokio::test]
async fn a_hybrid_search_is_one_request_over_a_connection_that_is_kept() {
    let server = Server::new(|_| Said::ok(&hits(&[("best", 0.9), ("second", 0.4)]))).await;
    let index = open(&server, &[]);
    let first = found(&index, &query()).await.unwrap();
    assert_eq!(first, [("best".to_owned(), 0.9), ("second".to_owned(), 0.4)]);
    assert_eq!(texts(&index).await, ["best", "second"]);
    let asked = server.take();
    assert_eq!(asked.iter().map(|one| one.connection).collect::<Vec<_>>(), [0, 0]);
    assert!(asked[0].line.starts_with("POST /docs/_search?preference="), "{}", asked[0].line);
    assert_eq!(asked[0].header("accept-encoding"), Some("gzip"));
    let body = asked[0].json();
    assert_eq!(body.pointer("/query/hybrid/queries/0/multi_match/query"), Some(&json!(WORDS)));
    assert_eq!(body["_source"], json!(["text", "metadata"]));
    assert!(body.pointer("/query/hybrid/queries/1/knn/vector_field/vector").is_some());
    assert!(body.get("search_pipeline").is_some());
}

#[tokio::test]
async fn a_server_without_hybrid_searches_is_asked_once_and_its_halves_are_merged_here() {
    let server = Server::new(without_hybrid).await;
    let index = open(&server, &[]);
    // Each half stretched over 0 to 1: `both` has 7/8 and 1/2, and the mean of them is the most.
    assert_eq!(texts(&index).await, ["both", "words", "meaning"]);
    assert_eq!(server.take().len(), 3);
    assert_eq!(texts(&index).await, ["both", "words", "meaning"]);
    assert_eq!(server.take().len(), 2, "the hybrid search was not asked for again");
}

#[tokio::test]
async fn a_hybrid_search_that_nothing_merged_counts_as_lacking() {
    let server = Server::new(|asked| match asked.json()["query"].get("hybrid") {
        Some(_) => Said::ok(&hits(&[("sentinel", -9_549_511_700.0), ("words", 9.0)])),
        None => without_hybrid(asked),
    })
    .await;
    let index = open(&server, &[]);
    assert_eq!(texts(&index).await, ["both", "words", "meaning"]);
    texts(&index).await;
    assert_eq!(server.take().len(), 5);
}

#[tokio::test]
async fn what_is_wrong_with_the_halves_too_is_no_lack_of_hybrid_searches() {
    let server = Server::new(|_| Said::refusal(400, "query_shard_exception", "invalid dimension")).await;
    let index = open(&server, &[]);
    let error = found(&index, &query()).await.unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("status 400 query_shard_exception"));
    server.take();
    server.plan(|_| Said::ok(&hits(&[("best", 1.0)])));
    assert_eq!(texts(&index).await, ["best"]);
    let asked_again = server.take().iter().any(|one| one.json()["query"].get("hybrid").is_some());
    assert!(asked_again, "one refusal of everything is no answer to that question");
}

#[tokio::test]
async fn words_alone_are_searched_where_the_embedding_fails_or_is_slow() {
    let failing = embed(|_| async { Err(Error::new(Kind::Throttled, "too much")) }.boxed());
    let silent = embed(|_| std::future::pending().boxed());
    let lacking = Server::new(without_hybrid).await;
    let offering = Server::new(|_| Said::ok(&hits(&[("words", 9.0)]))).await;
    for embed in [failing, silent] {
        for server in [&lacking, &offering] {
            let index = with(server, &[("RETRIEVAL_TIMEOUT_MS", "1000")], embed.clone(), None);
            assert_eq!(texts(&index).await[0], "words");
            let asked = server.take();
            assert!(asked.len() == 1 && asked[0].json()["query"].get("multi_match").is_some(), "{asked:?}");
        }
    }
}

#[tokio::test]
async fn without_server_merging_too_words_alone_are_the_whole_of_the_words() {
    let server = Server::new(without_hybrid).await;
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = broken.clone();
    let embed = embed(move |_| {
        let fails = breaks.load(Ordering::Relaxed);
        async move { if fails { Err(Error::new(Kind::Throttled, "too much")) } else { Ok(vec![0.6, 0.8]) } }
            .boxed()
    });
    let index = with(&server, &[], embed, None);
    texts(&index).await;
    server.take();
    broken.store(true, Ordering::Relaxed);
    let found = index.search(&query(), LIMIT).await.unwrap();
    assert!(found.degraded && found.passages[0].text == "words");
    let last = server.take().pop().unwrap().json();
    assert_eq!(last.pointer("/query/multi_match/minimum_should_match"), Some(&json!("0%")));
    assert_eq!(last.pointer("/size"), Some(&json!(6)));
}

#[tokio::test]
async fn an_embedding_may_take_half_of_what_is_left_and_not_of_what_there_was() {
    let server = Server::new(|_| Said::ok(&hits(&[("words", 9.0)]))).await;
    let silent = embed(|_| std::future::pending().boxed());
    let index = with(&server, &[("RETRIEVAL_TIMEOUT_MS", "60000")], silent, None);
    let query = query();
    // Half of what there was would be 30 seconds.
    let found = timeout(FOREVER / 4, index.search(&query, Duration::from_millis(100)));
    let found = found.await.unwrap().unwrap();
    assert!(found.degraded && found.passages[0].text == "words");
}

#[tokio::test]
async fn a_search_by_vectors_alone_fails_with_its_embedding() {
    let server = Server::new(|_| Said::ok(&hits(&[]))).await;
    let failing = embed(|_| async { Err(Error::new(Kind::Throttled, "too much")) }.boxed());
    let index = with(&server, &[("RETRIEVAL_MODE", "vector")], failing, None);
    assert_eq!(found(&index, &query()).await.unwrap_err().kind, Kind::Throttled);
    assert!(server.take().is_empty());
    let index = open(&server, &[("RETRIEVAL_MODE", "vector")]);
    assert!(texts(&index).await.is_empty());
    assert!(server.take()[0].json()["query"].get("knn").is_some());
}

#[tokio::test]
async fn words_alone_embed_nothing() {
    let server = Server::new(|_| Said::ok(&hits(&[("words", 9.0)]))).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let counting = embed(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(vec![1.0]) }.boxed()
    });
    let index =
        with(&server, &[("RETRIEVAL_MODE", "text"), ("OPENSEARCH_TEXT_FIELD", "body")], counting, None);
    found(&index, &query()).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let words = server.take()[0].json()["query"]["multi_match"].take();
    assert_eq!((&words["query"], &words["fields"]), (&json!(WORDS), &json!(["body", "metadata.title"])));
}

#[tokio::test]
async fn passages_below_the_least_score_and_beyond_k_are_left_out() {
    let server = Server::new(|_| Said::ok(&hits(&[("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.6)]))).await;
    let index = open(&server, &[("RETRIEVAL_MIN_SCORE", "0.75")]);
    assert_eq!(texts(&index).await, ["a", "b"]);
    assert_eq!(texts(&open(&server, &[])).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_text_that_was_loaded_twice_takes_one_place() {
    let server = Server::new(|_| Said::ok(&hits(&[("a", 0.9), ("a", 0.9), ("b", 0.8), ("c", 0.7)]))).await;
    for mode in ["text", "vector", "hybrid"] {
        assert_eq!(texts(&open(&server, &[("RETRIEVAL_MODE", mode)])).await, ["a", "b", "c"]);
        assert_eq!(server.take()[0].json()["size"], 6, "more than the three that are wanted");
    }
}

#[tokio::test]
async fn a_filter_is_matched_by_what_the_mapping_says_and_the_mapping_is_asked_for_once() {
    let mapping = json!({ "docs": { "mappings": { "properties": { "metadata": { "properties": {
        "lang": { "type": "text", "fields": { "keyword": { "type": "keyword" } } },
        "page": { "type": "long" },
    } } } } } });
    let server = Server::new(move |asked| match asked.line.as_str() {
        "GET /docs/_mapping" => Said::ok(&mapping),
        _ => Said::ok(&hits(&[("found", 0.5)])),
    })
    .await;
    let index = open(&server, &[("RETRIEVAL_MODE", "text")]);
    let both = filtered(&[("lang", "en"), ("page", "3")]);
    found(&index, &both).await.unwrap();
    found(&index, &both).await.unwrap();
    let asked = server.take();
    assert_eq!(asked.len(), 3, "one mapping and two searches");
    let clauses = json!([
        { "terms": { "metadata.lang.keyword": ["en"] } },
        { "terms": { "metadata.page": ["3"] } },
    ]);
    assert_eq!(asked[1].json().pointer("/query/bool/filter"), Some(&clauses));
    assert!(found(&index, &filtered(&[("page", "three")])).await.unwrap().is_empty());
    assert!(server.take().is_empty(), "nothing can fulfil it, and nothing is asked");
}

#[tokio::test]
async fn a_mapping_that_is_not_shown_leaves_the_exact_form_of_strings() {
    let server = Server::new(|asked| match asked.line.as_str() {
        "GET /docs/_mapping" => Said::refusal(403, "security_exception", "no permissions"),
        _ => Said::ok(&hits(&[("found", 0.5)])),
    })
    .await;
    let index = open(&server, &[("RETRIEVAL_MODE", "vector")]);
    found(&index, &filtered(&[("lang", "en")])).await.unwrap();
    let filter = server.take()[1].json().pointer("/query/knn/vector_field/filter/bool/filter").cloned();
    assert_eq!(filter, Some(json!([{ "terms": { "metadata.lang.keyword": ["en"] } }])));
}
