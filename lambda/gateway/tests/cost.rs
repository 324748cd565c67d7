//! What answers ask of the tables, and what that costs; the README's table is held equal to it.
//!
//! Requests are counted where they go out, units as the engine charges them, which a test checks against
//! the requests' own bytes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test's helpers may fail")]

#[path = "support/engine.rs"]
mod engine;
#[path = "cost/table.rs"]
mod table;
#[path = "support/wire.rs"]
mod wire;

use engine::{doors, http};
use futures_util::future::BoxFuture;
use gateway::chat::{Caller, Request};
use gateway::edge::Doors;
use gateway::edge::socket::{Gone, Outlet, Session};
use gateway::queue::{Terms, Worker};
use gateway::store::StoppedClock;
use http::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use wire::{Sent, Wire, limits};

/// Answers of 200 tokens in 2 seconds and of 2,000 in 30, five bytes a token, after some time to the first
/// one; and one at once.
const SCRIPT: &str = r#"[{"match": "short", "after_ms": 40, "deltas": [{"text": "word ", "after_ms": 10}], "repeat": 200},
                         {"match": "long", "after_ms": 40, "deltas": [{"text": "word ", "after_ms": 15}], "repeat": 2000},
                         {"deltas": [{"text": "said "}, {"text": "so"}]}]"#;

/// A gateway of one process among several, and what it asks.
struct Desk {
    wire: Wire,
    doors: Arc<Doors>,
    /// Another process, whose requests are not counted.
    other: Arc<Doors>,
}

impl Desk {
    async fn new() -> Desk {
        let clock = StoppedClock::at(1_800_000_000_000);
        let wire = Wire::new(clock.clone()).await;
        let other = doors(wire.engine().clone(), SCRIPT);
        let doors = doors(wire.store(clock), SCRIPT);
        Desk { wire, doors, other }
    }

    async fn ask(&self, body: Value) -> Value {
        let (head, text) = http(&self.doors, Method::POST, "/local.scripted", &body).await;
        assert_eq!(head.status(), 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// What was sent since the last time; requests without a clock's help are these.
    fn sent(&self) -> Vec<Sent> {
        assert_eq!(self.wire.broken_limits(), Vec::<String>::new());
        self.wire.take()
    }

    /// Their operations.
    fn operations(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.operation).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_question_costs_one_read_its_lead_and_one_transaction() {
    let desk = Desk::new().await;
    let answer = desk.ask(json!({"prompt": "why?"})).await;
    // The put is for those who ask the same at the same time, of other processes.
    assert_eq!(desk.operations(), ["BatchGetItem", "PutItem", "TransactWriteItems"]);
    // The next turn of that conversation: no look at the cache, and no head is read.
    desk.ask(json!({"prompt": "and why?", "chat_id": answer["chat_id"]})).await;
    assert_eq!(desk.operations(), ["Query", "TransactWriteItems"]);
    // A conversation of the client's own name that has no turn yet may be answered from the cache.
    desk.ask(json!({"prompt": "since when?", "chat_id": "mine"})).await;
    assert_eq!(desk.operations(), ["Query", "BatchGetItem", "PutItem", "TransactWriteItems"]);
    // An id of the client's own choice is claimed first.
    desk.ask(json!({"prompt": "until when?", "request_id": "r"})).await;
    assert_eq!(desk.operations(), ["PutItem", "BatchGetItem", "PutItem", "TransactWriteItems"]);
    desk.ask(json!({"prompt": "why?", "invalidate_cache": true})).await;
    assert_eq!(desk.operations(), ["TransactWriteItems"]);
}

#[tokio::test(start_paused = true)]
async fn a_cached_answer_costs_one_read_and_the_transaction_that_keeps_its_turn() {
    let desk = Desk::new().await;
    desk.ask(json!({"prompt": "why?"})).await;
    desk.sent();
    let answer = desk.ask(json!({"prompt": "why?"})).await;
    assert_eq!(answer["cached"], "true");
    let sent = desk.sent();
    let operations: Vec<_> = sent.iter().map(|sent| sent.operation.as_str()).collect();
    assert_eq!(operations, ["BatchGetItem", "TransactWriteItems"]);
    // Its reply, for resume; the head and the turn, for the next question. Nothing is learned anew.
    assert_eq!(limits::actions(&sent[1].body).count(), 3);
    let next = desk.ask(json!({"prompt": "and why?", "chat_id": answer["chat_id"]})).await;
    assert_eq!(next["cached"], "false");
    let (_, chat) = http(
        &desk.doors,
        Method::GET,
        &format!("/chats/{}", answer["chat_id"].as_str().unwrap()),
        &Value::Null,
    )
    .await;
    let chat: Value = serde_json::from_str(&chat).unwrap();
    assert_eq!(chat["messages"].as_array().unwrap().len(), 4, "the conversation went on from it");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_answer_writes_one_row_every_half_second_and_its_lead() {
    let desk = Desk::new().await;
    desk.ask(json!({"prompt": "a long one"})).await;
    let operations = desk.operations();
    let count = |name: &str| operations.iter().filter(|operation| *operation == name).count();
    assert!((56..=61).contains(&count("PutItem")), "{}", count("PutItem"));
    // Every 100 ms it looks whether it was cancelled elsewhere.
    assert!((285..=300).contains(&count("GetItem")), "{}", count("GetItem"));
    assert_eq!((count("BatchGetItem"), count("TransactWriteItems")), (1, 1));
    assert_eq!(operations.len(), count("PutItem") + count("GetItem") + 2);
}

// Not in the table: two processes' timers meet, and may do so in either order.
#[tokio::test(start_paused = true)]
async fn a_shared_answer_looks_four_times_a_second_and_costs_less_than_twice_as_much() {
    let dollars = |sent: &[Sent]| table::Row::new(String::new(), sent).dollars();
    let desk = Desk::new().await;
    desk.ask(json!({"prompt": "a long one"})).await;
    let alone = dollars(&desk.sent());
    desk.shared("a long one, again").await;
    let sent = desk.sent();
    let count = |name: &str| sent.iter().filter(|sent| sent.operation == name).count();
    assert!((115..=125).contains(&count("Query")), "{}", count("Query"));
    // It tries to lead, and then follows; nothing else is written but its own rows and its end.
    assert!((57..=62).contains(&count("PutItem")), "{}", count("PutItem"));
    assert_eq!((count("UpdateItem"), count("TransactWriteItems")), (1, 1));
    assert!((1.2..1.8).contains(&(dollars(&sent) / alone)), "{} {alone}", dollars(&sent));
}

#[tokio::test(start_paused = true)]
async fn units_are_those_of_the_price_list() {
    let desk = Desk::new().await;
    desk.ask(json!({"prompt": "a short one"})).await;
    for sent in desk.sent() {
        let of = |item: &Value| limits::size(item).div_ceil(1024) as f64;
        let expected = match sent.operation.as_str() {
            "PutItem" => of(&sent.body["Item"]),
            // Twice; the head, which is updated, is below a kilobyte.
            "TransactWriteItems" => {
                limits::actions(&sent.body).map(|action| 2.0 * action.get("Item").map_or(1.0, of)).sum()
            }
            "GetItem" => 1.0,
            // Three keys: the question, the question folded, the learned answer. What is not there is
            // charged as the least that there could be.
            "BatchGetItem" => 3.0 * 0.5,
            other => panic!("{other}"),
        };
        assert_eq!(sent.units, expected, "{}", sent.operation);
    }
}

/// Forgets what it hears.
struct Deaf;

impl Outlet for Deaf {
    fn send(&self, _: String) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async { Ok(()) })
    }

    fn urgent(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        self.send(frame)
    }

    fn close(&self, _: u16, _: &'static str) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async { Ok(()) })
    }
}

impl Desk {
    /// A connection opened, one question over it, and the connection closed, as the Lambda does it.
    async fn over_websocket(&self, question: &str) {
        let (alice, store) = (Caller("alice".into()), self.doors.gateway.store().unwrap());
        store.put_connection("conn", &alice).await.unwrap();
        let caller = store.connection("conn").await.unwrap().unwrap();
        let session = Session::new(self.doors.clone(), caller, Arc::new(Deaf)).delivered("conn", "message");
        let text = json!({"action": "sendmessage", "prompt": question}).to_string();
        session.text(&text).await.unwrap().await;
        store.delete_connection("conn").await.unwrap();
    }

    /// A job taken in, worked off, and asked for once.
    async fn as_a_job(&self, question: &str) {
        let (_, text) = http(&self.doors, Method::POST, "/invokeModel", &json!({"prompt": question})).await;
        let taken: Value = serde_json::from_str(&text).unwrap();
        let id = taken["SendMessageResponse"]["SendMessageResult"]["MessageId"].as_str().unwrap();
        let gateway = self.doors.gateway.clone();
        gateway.work(&Caller("alice".into()), id, Terms::default()).await.unwrap();
        let (_, job) = http(&self.doors, Method::GET, &format!("/jobs/{id}"), &Value::Null).await;
        assert!(job.contains("\"completed\""), "{job}");
    }

    /// One question that the other process has asked a moment before.
    async fn shared(&self, question: &str) {
        let asked = Request::new(Caller("alice".into()), "prompt", question);
        let leading = self.other.gateway.answer(asked).await.unwrap();
        sleep(Duration::from_millis(20)).await;
        self.ask(json!({"prompt": question})).await;
        leading.ended().await;
    }

    /// A conversation of ten turns; its id.
    async fn conversation(&self, question: &str) -> Value {
        let mut chat_id = Value::Null;
        for n in 0..10 {
            let asked = json!({"prompt": format!("{n} {question}"), "chat_id": chat_id});
            chat_id = self.ask(asked).await["chat_id"].clone();
        }
        chat_id
    }
}

/// A question of 40 tokens that the script answers at this length.
fn question(length: &str) -> String {
    format!("A {length} answer, please: {}", "why is it so and not otherwise? ".repeat(5))
}

#[tokio::test(start_paused = true)]
async fn the_readme_states_what_an_answer_costs() {
    let mut rows = Vec::new();
    for (length, said) in [("short", "200 tokens in 2 s"), ("long", "2,000 tokens in 30 s")] {
        let question = question(length);
        let desk = Desk::new().await;
        desk.ask(json!({"prompt": question})).await;
        rows.push(table::Row::new(format!("{said}, first question"), &desk.sent()));
        desk.ask(json!({"prompt": question})).await;
        rows.push(table::Row::new(format!("{said}, from the cache"), &desk.sent()));
        let chat_id = desk.conversation(&question).await;
        desk.sent();
        desk.ask(json!({"prompt": format!("Then {question}"), "chat_id": chat_id})).await;
        rows.push(table::Row::new(format!("{said}, eleventh turn"), &desk.sent()));
        desk.over_websocket(&format!("Now {question}")).await;
        rows.push(table::Row::new(format!("{said}, WebSocket, a connection each"), &desk.sent()));
        desk.as_a_job(&format!("Later {question}")).await;
        rows.push(table::Row::new(format!("{said}, job"), &desk.sent()));
    }
    table::check_readme(&table::text(&rows));
}
