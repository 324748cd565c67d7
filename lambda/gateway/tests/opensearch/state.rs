//! The state of an index as it is asked for.

use crate::scene::{FOREVER, embed, filtered, found, open, query, with};
use crate::search::{Asked, Said, Server, hits};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures_util::future::{FutureExt, join_all};
use gateway::retrieval::Retrieval;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// An index of so many shards with this id and these numbers in its shards.
pub fn index(id: &str, shards: usize, sum: u64) -> impl FnMut(&Asked) -> Said + Send + 'static {
    let settings = json!({ "index.uuid": id, "index.number_of_shards": shards.to_string() });
    let settings = json!({ "docs": { "settings": settings } });
    let numbers = json!({ "count": 2, "min": 0, "max": 7, "avg": 1, "sum": sum });
    let state = json!({ "_shards": { "failed": 0 }, "aggregations": { "indexes": { "buckets": [
        { "key": "docs", "doc_count": 2, "numbers": numbers },
    ] } } });
    move |asked: &Asked| match asked {
        _ if asked.line.contains("/_settings") => Said::ok(&settings),
        _ if asked.is_search() => Said::ok(&hits(&[("found", 1.0)])),
        _ => Said::ok(&state),
    }
}

async fn state(server: &Server, more: &[(&str, &str)]) -> Option<String> {
    open(server, more).snapshot().await
}

#[tokio::test]
async fn the_state_has_another_name_for_other_numbers_another_index_and_other_settings() {
    let server = Server::new(index("a", 1, 8)).await;
    let first = state(&server, &[]).await.unwrap();
    assert_eq!(state(&server, &[]).await.as_ref(), Some(&first));
    for more in
        [("RETRIEVAL_MODE", "text"), ("RETRIEVAL_MIN_SCORE", "0.5"), ("OPENSEARCH_TEXT_FIELD", "body")]
    {
        assert_ne!(state(&server, &[more]).await.as_ref(), Some(&first), "{more:?}");
    }
    server.plan(index("a", 1, 9));
    assert_ne!(state(&server, &[]).await.as_ref(), Some(&first));
    server.plan(index("b", 1, 8));
    assert_ne!(state(&server, &[]).await.as_ref(), Some(&first));
}

#[tokio::test]
async fn many_questions_at_once_read_the_state_once() {
    let server = Server::new(index("a", 1, 8)).await;
    let index = open(&server, &[]);
    let states = join_all((0..20).map(|_| index.snapshot())).await;
    assert!(states.iter().all(|state| *state == states[0] && state.is_some()));
    assert_eq!(server.take().len(), 2, "the settings and one shard");
}

#[tokio::test]
async fn a_filter_on_a_field_that_came_with_a_change_finds_what_the_new_state_has() {
    let mapping = |fields: Value| json!({ "docs": { "mappings": { "properties": { "metadata": { "properties": fields } } } } });
    let plan = |mut rest: Box<dyn FnMut(&Asked) -> Said + Send>, mapping: Value| {
        move |asked: &Asked| match asked.line.as_str() {
            "GET /docs/_mapping" => Said::ok(&mapping),
            _ => rest(asked),
        }
    };
    let server = Server::new(plan(Box::new(index("a", 1, 8)), mapping(json!({})))).await;
    let searched = open(&server, &[]);
    let before = searched.snapshot().await;
    assert!(found(&searched, &filtered(&[("lang", "en")])).await.unwrap().is_empty());
    server.plan(plan(Box::new(index("a", 1, 9)), mapping(json!({ "lang": { "type": "keyword" } }))));
    let changed = async {
        while searched.snapshot().await == before {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(FOREVER, changed).await.unwrap();
    assert_eq!(found(&searched, &filtered(&[("lang", "en")])).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_state_and_the_searches_after_it_are_of_the_same_copies() {
    let preference =
        |asked: &Asked| asked.line.split("preference=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let server = Server::new(index("a", 1, 8)).await;
    let one = open(&server, &[]);
    one.snapshot().await.unwrap();
    found(&one, &query()).await.unwrap();
    let asked = server.take();
    assert_eq!(preference(&asked[1]), preference(&asked[2]));
    assert!(!preference(&asked[1]).starts_with('_'));

    server.plan(index("a", 3, 8));
    let three = open(&server, &[]);
    three.snapshot().await.unwrap();
    found(&three, &query()).await.unwrap();
    let mut preferences: Vec<String> = server.take()[1..].iter().map(preference).collect();
    preferences.sort();
    let shard = |number| format!("_shards:{number}%7C_primary_first");
    assert_eq!(preferences, ["_primary_first".to_owned(), shard(0), shard(1), shard(2)]);
}

#[tokio::test]
async fn a_later_look_asks_for_settings_and_shards_side_by_side_and_again_for_those_of_another_index() {
    let server = Server::new(index("a", 1, 8)).await;
    let searched = open(&server, &[]);
    let looks = async |plan| {
        server.plan(plan);
        server.take();
        sleep(Duration::from_millis(1_001)).await;
        let state = searched.snapshot().await.unwrap();
        (state, server.take())
    };
    let (first, asked) = looks(index("a", 1, 8)).await;
    assert_eq!(asked.iter().map(|one| one.connection).collect::<Vec<_>>(), [0, 0], "one after the other");
    let (second, asked) = looks(index("a", 1, 8)).await;
    let mut connections: Vec<usize> = asked.iter().map(|one| one.connection).collect();
    connections.sort_unstable();
    assert_eq!((second == first, connections), (true, vec![0, 1]), "at once");
    let (third, asked) = looks(index("b", 2, 8)).await;
    let (settings, shards) = asked.iter().partition::<Vec<_>, _>(|one| one.line.contains("/_settings"));
    assert_eq!((third == first, settings.len(), shards.len()), (false, 1, 3));
    let last = asked.iter().skip(2).all(|one| one.line.contains("_shards:"));
    assert!(last, "the shards of the new index are asked after its id");
}

#[tokio::test]
async fn a_state_that_is_not_told_is_none() {
    let server = Server::new(|_| Said::refusal(403, "security_exception", "no permissions")).await;
    let refused = open(&server, &[]);
    assert_eq!(refused.snapshot().await, None);
    assert_eq!(refused.snapshot().await, None);
    assert_eq!(server.take().len(), 1, "and it is not asked for at every question");
    server.plan(index("a", 17, 8));
    assert_eq!(state(&server, &[]).await, None, "too many shards");
}

#[tokio::test]
async fn a_serverless_collection_is_never_asked() {
    let server = Server::new(index("a", 1, 8)).await;
    let keys = SharedCredentialsProvider::new(Credentials::new("AKID", "secret", None, None, "test"));
    let config =
        SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).credentials_provider(keys);
    let config = config.region(aws_config::Region::new("us-east-1")).build();
    let signed = [("OPENSEARCH_AUTH", "iam"), ("OPENSEARCH_SERVICE", "aoss")];
    let index = with(&server, &signed, embed(|_| async { Ok(vec![1.0]) }.boxed()), Some(&config));
    assert_eq!(index.snapshot().await, None);
    assert!(server.take().is_empty());
}
