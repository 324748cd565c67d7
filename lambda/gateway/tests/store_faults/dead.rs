//! A store that is down never fails an answer.

use crate::engine::{doors, http};
use crate::scene::{NOW, ann};
use crate::wire::{Fault, Wire};
use gateway::chat::Request;
use gateway::edge::Doors;
use gateway::store::StoppedClock;
use gateway::whole::collect;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const SCRIPT: &str = r#"[{"match": "slow", "deltas": [{"text": "word ", "after_ms": 100}], "repeat": 40},
                         {"deltas": [{"text": "said "}, {"text": "so"}]}]"#;

const DEAD: [Fault; 7] = [
    Fault::Refused(400, "ResourceNotFoundException"),
    Fault::Refused(400, "AccessDeniedException"),
    Fault::Refused(400, "ThrottlingException"),
    Fault::Refused(500, "InternalServerError"),
    Fault::Reset,
    Fault::LostReply,
    Fault::Silence,
];

async fn world() -> (Wire, Arc<Doors>) {
    let clock = StoppedClock::at(NOW);
    let wire = Wire::new(clock.clone()).await;
    let doors = doors(wire.store(clock), SCRIPT);
    (wire, doors)
}

async fn ask(doors: &Doors, body: Value) -> (String, Value) {
    let (head, text) = http(doors, Method::POST, "/local.scripted", &body).await;
    assert_eq!(head.status(), 200, "{text}");
    let cache = head.headers().get("x-cache").unwrap().to_str().unwrap().to_owned();
    (cache, serde_json::from_str(&text).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_whole_from_a_gateway_whose_tables_are_dead() {
    let asked = [
        json!({"prompt": "quick"}),
        json!({"prompt": "quick", "chat_id": "c"}),
        json!({"prompt": "quick", "request_id": "r"}),
        json!({"prompt": "slow", "chat_id": "c"}),
    ];
    for fault in DEAD {
        for body in &asked {
            let (wire, doors) = world().await;
            wire.fault(fault, None, usize::MAX);
            let begun = Instant::now();
            let (cache, answer) = ask(&doors, body.clone()).await;
            assert_eq!(cache, "off", "{fault:?} {body}");
            let expected = if body["prompt"] == "slow" { "word ".repeat(40) } else { "said so".to_owned() };
            assert_eq!(answer["completion"], expected.as_str(), "{fault:?} {body}");
            assert_eq!(answer["stop_reason"], "end_turn");
            // Each of at most three calls has its limit; the model takes up to four seconds.
            assert!(begun.elapsed() < Duration::from_secs(20), "{fault:?} {body}: {:?}", begun.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_how_often_it_went_without_the_store() {
    for fault in DEAD {
        let (wire, doors) = world().await;
        wire.fault(fault, None, usize::MAX);
        let reply = doors.gateway.answer(Request::new(ann(), "test", "quick")).await.unwrap();
        collect(reply.read(0)).await;
        let (failures, first) = reply.lacks.store_failures();
        assert_eq!(failures, 2, "before the model and after it: {fault:?}");
        assert!(first.is_some_and(|first| first.contains("find answer")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_dies_under_an_answer_changes_nothing_of_it() {
    for fault in DEAD {
        let (wire, doors) = world().await;
        let mut events = 0;
        wire.plan(move |operation| {
            events += usize::from(operation == "PutItem");
            (events > 1).then_some(fault)
        });
        let (cache, answer) = ask(&doors, json!({"prompt": "slow"})).await;
        assert_eq!(
            (cache.as_str(), answer["completion"].as_str()),
            ("miss", Some("word ".repeat(40).as_str()))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_nothing_without_a_store_says_so() {
    for fault in DEAD {
        let (wire, doors) = world().await;
        wire.fault(fault, None, usize::MAX);
        let requests = [
            (Method::POST, "/invokeModel", json!({"prompt": "why?"})),
            (Method::GET, "/jobs/j", Value::Null),
            (Method::DELETE, "/jobs/j", Value::Null),
            (Method::GET, "/chats", Value::Null),
            (Method::GET, "/chats/c", Value::Null),
            (Method::DELETE, "/chats/c", Value::Null),
            (Method::GET, "/answers/r", Value::Null),
            (Method::DELETE, "/answers/r", Value::Null),
        ];
        for (method, path, body) in requests {
            let (head, text) = http(&doors, method.clone(), path, &body).await;
            assert_eq!(head.status(), 503, "{fault:?} {method} {path}: {text}");
            let leaks = ["DynamoDB", "Exception", "state", "table"].iter().any(|word| text.contains(word));
            assert!(!leaks && text.contains("Try again"), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_is_used_again() {
    let (wire, doors) = world().await;
    wire.fault(Fault::Reset, None, usize::MAX);
    let chat = json!({"prompt": "quick", "chat_id": "c"});
    assert_eq!(ask(&doors, chat.clone()).await.0, "off");
    wire.plan(|_| None);
    assert_eq!(ask(&doors, chat.clone()).await.0, "miss");
    assert_eq!(ask(&doors, chat).await.0, "bypass", "the conversation has a turn");
    assert_eq!(ask(&doors, json!({"prompt": "quick"})).await.0, "hit");
}
