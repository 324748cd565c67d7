//! What a caller sees of all that, through door 1 and door 6.

use crate::engine::{http, searching};
use crate::scene::{FOREVER, embed, open, settings, with};
use crate::search::{Asked, Said, Server};
use crate::state::index;
use futures_util::future::FutureExt;
use gateway::edge::Doors;
use gateway::error::{Error, Kind};
use gateway::model::scripted::Scripted;
use gateway::retrieval::Retrieval;
use gateway::store::{CuratedRow, Retention, Store, SystemClock};
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

async fn store() -> Store {
    Store::embedded(None, Retention::default(), Arc::new(SystemClock)).await.unwrap()
}

/// Doors in front of this server, over a store of their own.
async fn opened(server: &Server, more: &[(&str, &str)]) -> Arc<Doors> {
    let retrieval: Arc<dyn Retrieval> = Arc::new(open(server, more));
    over(store().await, server, more, Some(retrieval))
}

fn over(
    store: Store,
    server: &Server,
    more: &[(&str, &str)],
    retrieval: Option<Arc<dyn Retrieval>>,
) -> Arc<Doors> {
    let model = Scripted::parse(r#"[{"deltas":[{"text":"An answer."}]}]"#).unwrap();
    searching(store, Arc::new(model), settings(&server.url, more), retrieval)
}

/// Asks, and gives what the cache did and the reply.
async fn ask(doors: &Doors, body: Value) -> (String, Value) {
    let asked = timeout(FOREVER, http(doors, Method::POST, "/local.scripted", &body)).await.unwrap();
    let (head, text) = asked;
    assert_eq!(head.status(), 200, "{text}");
    (head.headers()["x-cache"].to_str().unwrap().to_owned(), serde_json::from_str(&text).unwrap())
}

async fn cached(doors: &Doors, body: Value) -> String {
    ask(doors, body).await.0
}

fn question() -> Value {
    json!({ "prompt": "What is there?" })
}

#[tokio::test]
async fn an_answer_names_the_passages_that_it_could_draw_on() {
    let server = Server::new(index("a", 1, 8)).await;
    let (_, reply) = ask(&*opened(&server, &[]).await, question()).await;
    let source = json!({ "title": "found.md", "location": "found.md", "score": 1.0, "span": [1, 2] });
    assert_eq!(reply["sources"], json!([source]));
    assert_eq!(reply.get("retrieval"), None);
}

#[tokio::test]
async fn whatever_is_wrong_with_the_search_the_answer_comes_without_it_and_says_so() {
    for said in [
        Said::refusal(400, "query_shard_exception", "invalid dimension"),
        Said::refusal(403, "security_exception", "no permissions"),
        Said::refusal(404, "index_not_found_exception", "no such index"),
        Said::refusal(429, "rejected_execution_exception", "busy"),
        Said::refusal(503, "cluster_block_exception", "blocked"),
        Said::Half,
        Said::Reset,
        Said::Garbled,
        Said::Stall,
    ] {
        let server = Server::new(move |_| said.clone()).await;
        let doors = opened(&server, &[("RETRIEVAL_TIMEOUT_MS", "400")]).await;
        for _ in 0..2 {
            let (cache, reply) = ask(&doors, question()).await;
            assert_eq!(reply["completion"], "An answer.");
            assert_eq!((&reply["retrieval"], &reply["sources"]), (&json!("unavailable"), &json!([])));
            assert_eq!(cache, "miss", "what had to do without passages is not learned");
        }
    }
}

#[tokio::test]
async fn an_answer_from_a_search_by_words_alone_is_not_learned() {
    let server = Server::new(index("a", 1, 8)).await;
    let failing = embed(|_| async { Err(Error::new(Kind::Throttled, "too much")) }.boxed());
    let retrieval: Arc<dyn Retrieval> = Arc::new(with(&server, &[], failing, None));
    let doors = over(store().await, &server, &[], Some(retrieval));
    for _ in 0..2 {
        let (cache, reply) = ask(&doors, question()).await;
        assert_eq!((cache.as_str(), reply["sources"].as_array().unwrap().len()), ("miss", 1));
        assert_eq!(reply.get("retrieval"), None, "there are passages");
    }
}

#[tokio::test]
async fn a_learned_answer_is_served_until_the_index_changes_and_not_after() {
    let server = Server::new(index("a", 1, 8)).await;
    let doors = opened(&server, &[]).await;
    assert_eq!(cached(&doors, question()).await, "miss");
    assert_eq!(cached(&doors, question()).await, "hit");
    for plan in [index("a", 1, 9), index("b", 1, 9)] {
        server.plan(plan);
        let seen = async {
            while cached(&doors, question()).await == "hit" {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(FOREVER, seen).await.unwrap();
        assert_eq!(cached(&doors, question()).await, "hit", "it was learned anew");
    }
}

#[tokio::test]
async fn without_a_state_nothing_is_learned_and_curated_answers_are_served_all_the_same() {
    let server = Server::new(|asked: &Asked| match asked.is_search() {
        true => index("a", 1, 8)(asked),
        false => Said::refusal(403, "security_exception", "no permissions"),
    })
    .await;
    let store = store().await;
    let row = CuratedRow { pk: "Known?".into(), answer: "Curated.".into(), extra: String::new() };
    store.put_curated(&[row]).await.unwrap();
    let doors = over(store, &server, &[], Some(Arc::new(open(&server, &[]))));
    for _ in 0..2 {
        let (cache, reply) = ask(&doors, question()).await;
        assert_eq!((cache.as_str(), reply["sources"].as_array().unwrap().len()), ("miss", 1));
    }
    let (cache, reply) = ask(&doors, json!({ "prompt": "Known?" })).await;
    assert_eq!((cache.as_str(), &reply["completion"]), ("hit", &json!("Curated.")));
}

#[tokio::test]
async fn without_a_store_the_same_question_at_once_is_one_model_call_all_the_same() {
    let server = Server::new(index("a", 1, 8)).await;
    let script = r#"[{"after_ms":2000,"deltas":[{"text":"An answer."}]}]"#;
    let model = Arc::new(Scripted::parse(script).unwrap());
    let retrieval: Arc<dyn Retrieval> = Arc::new(open(&server, &[]));
    let doors = searching(None, model, settings(&server.url, &[]), Some(retrieval));
    let (one, other) = tokio::join!(cached(&doors, question()), cached(&doors, question()));
    // There is nothing that it could have been learned in: one of them was shared.
    assert!([&one, &other].contains(&&"hit".to_owned()), "{one} {other}");
}

#[tokio::test]
async fn a_search_with_another_filter_is_another_question() {
    let mapping = json!({ "docs": { "mappings": { "properties": { "metadata": { "properties": {
        "lang": { "type": "keyword" }, "team": { "type": "keyword" },
    } } } } } });
    let mut rest = index("a", 1, 8);
    let server = Server::new(move |asked| match asked.line.as_str() {
        "GET /docs/_mapping" => Said::ok(&mapping),
        _ => rest(asked),
    })
    .await;
    let doors = opened(&server, &[("RETRIEVAL_FILTER", "team=a")]).await;
    let english = json!({ "prompt": "What is there?", "rag_filter": { "lang": "en" } });
    assert_eq!(cached(&doors, question()).await, "miss");
    assert_eq!(cached(&doors, english.clone()).await, "miss");
    assert_eq!(cached(&doors, english).await, "hit");
    let searches: Vec<Asked> = server.take().into_iter().filter(Asked::is_search).collect();
    let filter = searches[1].json().pointer("/query/hybrid/queries/0/bool/filter").cloned();
    let both = json!([{ "terms": { "metadata.team": ["a"] } }, { "terms": { "metadata.lang": ["en"] } }]);
    assert_eq!(filter, Some(both), "the deployment's filter and the request's");
}

#[tokio::test]
async fn without_documents_a_filter_is_ignored_by_name_and_a_wrong_one_is_refused_all_the_same() {
    let server = Server::new(|_| Said::Stall).await;
    let doors = over(store().await, &server, &[], None);
    let (_, reply) = ask(&doors, json!({ "prompt": "q", "rag_filter": { "lang": "en" } })).await;
    assert_eq!(reply["ignored"], json!(["rag_filter"]));
    for path in ["/local.scripted", "/invokeModel"] {
        let wrong = json!({ "prompt": "q", "rag_filter": ["lang"] });
        let (head, text) = http(&doors, Method::POST, path, &wrong).await;
        assert!(head.status() == 400 && text.contains("rag_filter"), "{text}");
    }
}
