//! What is larger than a row, a page, a batch or a transaction of DynamoDB.
//!
//! The engine holds most of AWS's limits by itself; the wire holds all of them over each request.

use crate::scene::{NOW, ann, asked, claim, completed, finish, flush, job, key, learned, noise};
use crate::wire::{Wire, limits};
use gateway::chat::Delta;
use gateway::store::{CuratedRow, Finished, JobOutcome, JobStatus, StoppedClock, Store};
use serde_json::json;
use std::time::Duration;

async fn world() -> (Wire, Store, std::sync::Arc<StoppedClock>) {
    let clock = StoppedClock::at(NOW);
    let wire = Wire::new(clock.clone()).await;
    let store = wire.store(clock.clone());
    (wire, store, clock)
}

/// Everything large that is kept comes back whole, and no request is over a limit.
async fn check(text: &str) {
    let (wire, store, _) = world().await;
    assert_eq!(finish(&store, "r", 0, text, text).await.unwrap(), Finished::Stored);
    let reply = store.load_reply(&key("r")).await.unwrap().unwrap();
    assert!(reply.deltas == [Delta::text(text)] && reply.end == Some(completed()));
    let turns = store.turns(&ann(), "c", usize::MAX).await.unwrap();
    assert!(turns.len() == 1 && turns[0].answer[0].as_text() == Some(text));
    assert!(store.find_answer(&asked("r")).await.unwrap() == Some(learned(text)));

    flush(&store, "f", 1, text).await.unwrap();
    assert!(store.load_reply(&key("f")).await.unwrap().unwrap().deltas[0].as_text() == text);

    store.create_job(&job(&store, "j", text), Some(("k", "h"))).await.unwrap();
    let claimed = claim(&store, "j").await.unwrap().unwrap();
    assert!(claimed.request["prompt"] == text);
    let outcome =
        JobOutcome { status: JobStatus::Completed, completion: Some(text.into()), error: None, usage: None };
    assert!(store.finish_job(&ann(), "j", 1, &outcome).await.unwrap());
    let done = store.job(&ann(), "j").await.unwrap().unwrap();
    assert!(done.request["prompt"] == text && done.completion.as_deref() == Some(text));

    let mut row = CuratedRow { pk: "q".repeat(2048), answer: text.into(), extra: Default::default() };
    row.extra = serde_json::json!({"note": text}).to_string();
    store.put_curated(&[row.clone()]).await.unwrap();
    let found = store.find_answer(&gateway::store::AnswerKeys { prompt: Some(row.pk), ..asked("r") }).await;
    assert!(found.unwrap().unwrap().deltas[0].as_text() == text);
    assert!(store.delete_chat(&ann(), "c").await.unwrap());
    assert_eq!(wire.broken_limits(), Vec::<String>::new(), "{} bytes", text.len());
}

#[tokio::test(start_paused = true)]
async fn text_at_the_borders_of_a_row_comes_back_whole() {
    // The room of a row's one value, that of each of two, and DynamoDB's own limit.
    for border in [150_000, 300_000, 400 * 1024] {
        for bytes in [border - 60, border - 1, border, border + 1] {
            check(&noise(bytes)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_megabyte_of_noise_and_five_come_back_whole() {
    check(&noise(1024 * 1024)).await;
    let (wire, store, _) = world().await;
    let text = noise(5 * 1024 * 1024);
    assert_eq!(finish(&store, "r", 0, &text, "so").await.unwrap(), Finished::Stored);
    assert!(store.load_reply(&key("r")).await.unwrap().unwrap().deltas[0].as_text() == text);
    assert_eq!(wire.broken_limits(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn text_that_deflates_comes_back_whole() {
    check(&"again and again ".repeat(320_000)).await;
    check(&"\u{0}\"\\".repeat(200_000)).await;
}

#[tokio::test(start_paused = true)]
async fn a_conversation_of_many_pages_comes_back_whole() {
    let (wire, store, clock) = world().await;
    let answer = noise(280_000);
    for n in 0..40 {
        finish(&store, &format!("r{n:02}"), 0, "so", &answer).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    wire.take();
    let turns = store.read_chat(&ann(), "c").await.unwrap().unwrap();
    let ids: Vec<_> = turns.iter().map(|turn| turn.request_id.clone()).collect();
    assert_eq!(ids, (0..40).map(|n| format!("r{n:02}")).collect::<Vec<_>>());
    assert!(turns.iter().all(|turn| turn.answer[0].as_text() == Some(&answer)));
    let pages = wire.take();
    assert!(pages.len() > 10, "{} pages of a megabyte", pages.len());
    assert!(pages[1..].iter().all(|page| page.body["ExclusiveStartKey"].is_object()));
    // A prompt that has room for two of them reads one page.
    assert_eq!(store.turns(&ann(), "c", 600_000).await.unwrap().len(), 2);
    assert_eq!(wire.take().len(), 1);
    assert!(store.delete_chat(&ann(), "c").await.unwrap());
    assert_eq!(store.read_chat(&ann(), "c").await.unwrap(), None);
    assert_eq!(wire.broken_limits(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_largest_transaction_is_far_from_its_limits() {
    let (wire, store, _) = world().await;
    // Just small enough to stay in the row, in all three rows that have one.
    let text = noise(299_700);
    finish(&store, "r", 0, &text, &text).await.unwrap();
    let sent = wire.take();
    let [end] = sent.as_slice() else { panic!("{} requests", sent.len()) };
    let sizes: Vec<usize> = limits::actions(&end.body).map(|action| limits::size(&action["Item"])).collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().sum::<usize>() < 1024 * 1024, "{sizes:?}");
    assert!(sizes.iter().filter(|size| **size > 299_000).count() >= 2, "{sizes:?}");
}

#[test]
fn what_is_over_a_limit_is_seen() {
    let put = |bytes: usize| json!({"Item": {"pk": {"S": "x".repeat(bytes - 2)}}});
    assert_eq!(limits::broken("PutItem", &put(400 * 1024), 0), Vec::<String>::new());
    assert_eq!(limits::broken("PutItem", &put(400 * 1024 + 1), 0).len(), 1);
    let action = json!({"Put": put(300_000)});
    let transaction = |count: usize| json!({"TransactItems": vec![action.clone(); count]});
    assert_eq!(limits::broken("TransactWriteItems", &transaction(13), 0), Vec::<String>::new());
    assert_eq!(limits::broken("TransactWriteItems", &transaction(14), 0).len(), 1);
    assert_eq!(
        limits::size(&json!({"n": {"N": "1234"}, "b": {"B": "AAAA"}, "t": {"BOOL": true}})),
        4 + 4 + 2
    );
}
