//! The Bedrock adapter's connections: signed, shared, and closed when nobody reads any more.

#![cfg(feature = "aws")]

mod support;

use futures_util::StreamExt;
use gateway::chat::Tool;
use gateway::error::Kind;
use gateway::model::bedrock::{Bedrock, IDLE};
use gateway::model::{Ask, Model};
use serde_json::json;
use std::time::{Duration, Instant};
use support::{adapter, all, ask, poll_until};
use testkit::bedrock::{Knobs, Standin};

#[tokio::test]
async fn dropping_the_parts_stops_the_generation_at_once() {
    let standin = Standin::start().await;
    standin.set(Knobs { tokens: Some(99), gap_ms: 20_000, ..Knobs::default() });
    let mut parts = adapter(&standin, IDLE).ask(ask("why?")).await.unwrap();
    assert!(parts.next().await.is_some());
    assert_eq!((standin.open(), standin.dropped().len()), (1, 0));
    let dropped = Instant::now();
    drop(parts);
    poll_until("the stream is dropped", || standin.open() == 0).await;
    let noticed = standin.dropped()[0].at;
    assert!(noticed - dropped < Duration::from_millis(250), "{:?}", noticed - dropped);
}

#[tokio::test]
async fn dropping_the_call_closes_its_connection() {
    let standin = Standin::start().await;
    standin.set(Knobs { head_ms: 20_000, ..Knobs::default() });
    let call = tokio::spawn(adapter(&standin, IDLE).ask(ask("why?")));
    poll_until("the call has come in", || standin.open() == 1).await;
    call.abort();
    poll_until("the call is dropped", || standin.dropped().len() == 1).await;
}

#[tokio::test]
async fn answers_read_to_their_end_share_a_connection() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    for knobs in [Knobs::default(), Knobs { gap_ms: 1, ..Knobs::default() }, Knobs::default()] {
        standin.set(knobs);
        all(bedrock.ask(ask("why?")).await.unwrap()).await;
    }
    assert_eq!((standin.calls(), standin.connections()), (3, 1));
}

#[tokio::test]
async fn a_gateway_without_a_bedrock_to_reach_is_unavailable() {
    let standin = Standin::start().await;
    let bedrock = adapter(&standin, IDLE);
    drop(standin);
    let refused = async || bedrock.ask(ask("why?")).await.err().map(|error| error.kind);
    let deadline = Instant::now() + IDLE;
    // The listener closes a moment after the stand-in is dropped.
    while refused().await != Some(Kind::Unavailable) {
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test]
async fn a_gateway_that_has_lost_its_credentials_is_unavailable() {
    let config = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url("http://127.0.0.1:1")
        .http_client(gateway::aws::http_client(None).unwrap())
        .build();
    let error = Bedrock::new(&config, IDLE).ask(ask("why?")).await.err().unwrap();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.detail.unwrap().contains("identity"), "{}", error.message);
}

#[tokio::test]
async fn a_call_is_signed_for_bedrock_in_its_region() {
    let standin = Standin::start().await;
    all(adapter(&standin, IDLE).ask(ask("why?")).await.unwrap()).await;
    let request = &standin.requests()[0];
    let authorization = request.headers["authorization"].to_str().unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/us-east-1/bedrock/aws4_request"), "{authorization}");
    assert_eq!(
        (request.model.as_str(), request.path.as_str()),
        ("test.model-v1:0", "/model/test.model-v1%3A0/converse-stream")
    );
}

#[tokio::test]
async fn the_same_tools_are_the_same_bytes_for_the_prompt_cache() {
    let standin = Standin::start().await;
    let properties: serde_json::Map<_, _> =
        (0..20).map(|n| (format!("p{n}"), json!({ "type": "string" }))).collect();
    let schema = json!({ "type": "object", "properties": properties });
    let tools = vec![Tool { name: "look_up".into(), description: None, schema }];
    for _ in 0..3 {
        all(adapter(&standin, IDLE).ask(Ask { tools: tools.clone(), ..ask("why?") }).await.unwrap()).await;
    }
    let requests = standin.requests();
    assert!(requests.iter().all(|request| request.raw == requests[0].raw));
    assert_eq!(requests[0].body["toolConfig"]["tools"][0]["toolSpec"]["name"], "look_up");
}
