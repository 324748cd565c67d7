//! What goes to the service: which reads are strongly consistent, and how many requests there are.

use crate::scene::{LEASE, NOW, ann, asked, begin, claim, finish, flush, hex, job, key, noise};
use crate::wire::Wire;
use gateway::store::{AnswerKeys, StoppedClock, Store};
use std::sync::Arc;

/// Each request as `operation` or `operation consistent`.
fn said(wire: &Wire) -> Vec<String> {
    let sent = wire.take().into_iter().map(|sent| {
        let asks = sent.body["RequestItems"].as_object().into_iter().flatten();
        let consistent = asks.map(|(_, ask)| &ask["ConsistentRead"]).chain([&sent.body["ConsistentRead"]]);
        let consistent = consistent.into_iter().any(|flag| flag.as_bool() == Some(true));
        if consistent { format!("{} consistent", sent.operation) } else { sent.operation }
    });
    sent.collect()
}

async fn world() -> (Wire, Store, Arc<StoppedClock>) {
    let clock = StoppedClock::at(NOW);
    let wire = Wire::new(clock.clone()).await;
    let store = wire.store(clock.clone());
    (wire, store, clock)
}

#[tokio::test]
async fn what_the_caller_has_just_done_is_read_consistently_and_answers_are_not() {
    let (wire, store, _) = world().await;
    let (large, caller) = (noise(900_000), ann());
    finish(&store, "r0", 0, &large, "answer").await.unwrap();
    store.create_job(&job(&store, "j", "why?"), Some(("k", "h"))).await.unwrap();
    store.put_connection("c", &caller).await.unwrap();
    wire.take();

    // The next turn of a conversation, on another machine.
    store.turns(&caller, "c", 1_000_000).await.unwrap();
    assert_eq!(said(&wire), ["Query consistent"]);
    store.read_chat(&caller, "c").await.unwrap();
    assert_eq!(said(&wire), ["Query consistent"]);
    store.list_chats(&caller, 10).await.unwrap();
    assert_eq!(said(&wire), ["Query consistent"]);
    // A reply, and the parts of one that is large.
    store.load_reply(&key("r0")).await.unwrap();
    assert_eq!(said(&wire), ["Query consistent", "Query consistent"]);
    store.is_cancel_asked(&key("r0")).await.unwrap();
    assert_eq!(said(&wire), ["GetItem consistent"]);
    // A job, its idempotency, its listing.
    store.job(&caller, "j").await.unwrap();
    assert_eq!(said(&wire), ["GetItem consistent"]);
    store.create_job(&job(&store, "j2", "why?"), Some(("k", "h"))).await.unwrap();
    assert_eq!(said(&wire), ["TransactWriteItems", "GetItem consistent"]);
    store.open_jobs().await.unwrap();
    assert_eq!(said(&wire), ["Scan consistent"]);
    // A connection that has just been opened.
    store.connection("c").await.unwrap();
    assert_eq!(said(&wire), ["GetItem consistent"]);
    // An answer that is found a moment later costs one model call more and half the read.
    let keys =
        AnswerKeys { prompt: Some("why?".into()), node_id: Some("n".into()), learned: Some(hex("r0")) };
    assert!(store.find_answer(&keys).await.unwrap().is_some());
    assert_eq!(said(&wire), ["BatchGetItem"]);
    assert_eq!(wire.broken_limits(), Vec::<String>::new());
}

#[tokio::test]
async fn each_step_is_one_request() {
    let (wire, store, clock) = world().await;
    begin(&store, "r").await.unwrap();
    assert_eq!(said(&wire), ["PutItem"]);
    flush(&store, "r", 1, "so ").await.unwrap();
    assert_eq!(said(&wire), ["PutItem"]);
    finish(&store, "r", 1, "it is", "so it is").await.unwrap();
    assert_eq!(said(&wire), ["TransactWriteItems"]);
    store.find_answer(&asked("r")).await.unwrap();
    assert_eq!(said(&wire), ["BatchGetItem"]);
    store.create_job(&job(&store, "j", "why?"), None).await.unwrap();
    claim(&store, "j").await.unwrap();
    assert_eq!(said(&wire), ["TransactWriteItems", "UpdateItem"]);
    clock.advance(LEASE);
    assert!(store.delete_chat(&ann(), "c").await.unwrap());
    assert_eq!(said(&wire), ["TransactWriteItems", "Query consistent", "BatchWriteItem"]);
    assert!(!store.delete_chat(&ann(), "c").await.unwrap());
    assert_eq!(said(&wire), ["TransactWriteItems", "TransactWriteItems", "Query consistent"]);
}
