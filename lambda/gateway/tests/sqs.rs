//! The queue's room against a real server of SQS's protocol.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken promise ends its test")]

#[cfg(feature = "lambda")]
#[path = "sqs/batch.rs"]
mod batch;
#[path = "sqs/elasticmq.rs"]
mod elasticmq;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::Message as Raw;
use futures_util::future::BoxFuture;
use gateway::chat::Caller;
use gateway::error::{Error, Kind};
use gateway::queue::delivery::{deliver, give_back};
use gateway::queue::poller::Poller;
use gateway::queue::sqs::{Message, Sqs};
use gateway::queue::{Queue, Terms, Worked, Worker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A worker that takes so long, notes what it was told, and says what it is told to say.
struct Scripted {
    takes: Duration,
    says: fn(usize) -> Result<Worked, Error>,
    told: Mutex<Vec<(String, bool)>>,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Scripted {
    fn new(takes: Duration, says: fn(usize) -> Result<Worked, Error>) -> Arc<Scripted> {
        let (told, at_once, most) = (Mutex::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Scripted { takes, says, told, at_once, most })
    }

    fn told(&self) -> Vec<(String, bool)> {
        self.told.lock().unwrap().clone()
    }
}

impl Worker for Scripted {
    fn work<'a>(
        &'a self,
        caller: &'a Caller,
        id: &'a str,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Worked, Error>> {
        Box::pin(async move {
            assert_eq!(caller, &ann());
            let number = self.told.lock().unwrap().len();
            self.told.lock().unwrap().push((id.to_owned(), terms.last));
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            sleep(self.takes).await;
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            (self.says)(number)
        })
    }

    fn open(&self) -> BoxFuture<'_, Result<Vec<(Caller, String)>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn ann() -> Caller {
    Caller("ann".into())
}

fn failing(_: usize) -> Result<Worked, Error> {
    Err(Error::new(Kind::Unavailable, "no"))
}

async fn room(url: &str, lease: Duration) -> Arc<Sqs> {
    Sqs::new(&elasticmq::config().await, url, lease)
}

/// What can be received now.
async fn peek(client: &Client, url: &str) -> Vec<Raw> {
    let reply = client.receive_message().queue_url(url).max_number_of_messages(10).send().await.unwrap();
    reply.messages.unwrap_or_default()
}

async fn one(sqs: &Sqs) -> Message {
    let mut messages = timeout(Duration::from_secs(30), sqs.receive(10)).await.unwrap().unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

#[tokio::test]
async fn a_sent_job_is_received_once_hidden_and_deleted() {
    let (client, url, _) = elasticmq::queue(3).await;
    let sqs = room(&url, SECOND).await;
    sqs.enqueue(&ann(), "j1").await.unwrap();
    let message = one(&sqs).await;
    assert_eq!((message.body.as_str(), message.received), (r#"{"caller":"ann","id":"j1"}"#, 1));
    assert_eq!(peek(&client, &url).await, []);
    sqs.hide(&message.receipt, Duration::ZERO).await.unwrap();
    let again = one(&sqs).await;
    assert_eq!((again.id.as_str(), again.received), (message.id.as_str(), 2));
    sqs.delete(&again.receipt).await.unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(peek(&client, &url).await, []);
}

#[tokio::test]
async fn a_job_that_is_sent_with_a_wait_comes_after_it() {
    let (client, url, _) = elasticmq::queue(3).await;
    let sqs = room(&url, SECOND).await;
    let begun = Instant::now();
    sqs.send(&ann(), "later", Duration::from_millis(1500)).await.unwrap();
    assert_eq!(peek(&client, &url).await, []);
    one(&sqs).await;
    assert!(begun.elapsed() >= 2 * SECOND, "whole seconds, rounded up");
    sqs.send(&ann(), "much later", Duration::from_secs(5_000)).await.unwrap();
}

#[tokio::test]
async fn a_message_stays_hidden_while_its_job_is_worked_on_and_comes_soon_after_a_death() {
    let (client, url, _) = elasticmq::queue(3).await;
    let sqs = room(&url, SECOND).await;
    sqs.enqueue(&ann(), "long").await.unwrap();
    let message = one(&sqs).await;
    // As Lambda receives it: hidden for long.
    sqs.hide(&message.receipt, Duration::from_secs(600)).await.unwrap();
    let working = tokio::spawn({
        let (sqs, message) = (sqs.clone(), message.clone());
        async move {
            let worker = Scripted::new(600 * SECOND, |_| Ok(Worked::Done));
            deliver(&sqs, worker.as_ref(), &message, None).await
        }
    });
    for _ in 0..5 {
        sleep(SECOND).await;
        assert_eq!(peek(&client, &url).await, []);
    }
    working.abort();
    let again = one(&sqs).await;
    assert_eq!((again.id, again.received), (message.id, 2));
}

#[tokio::test]
async fn a_retry_is_a_new_message_and_no_receive() {
    let (client, url, _) = elasticmq::queue(1).await;
    let sqs = room(&url, SECOND).await;
    sqs.enqueue(&ann(), "j").await.unwrap();
    let worker = Scripted::new(Duration::ZERO, |number| match number {
        3 => Ok(Worked::Done),
        _ => Ok(Worked::Again(Duration::from_millis(10))),
    });
    for _ in 0..4 {
        let message = one(&sqs).await;
        assert_eq!(message.received, 1);
        assert!(deliver(&sqs, worker.as_ref(), &message, None).await);
        sqs.delete(&message.receipt).await.unwrap();
    }
    assert_eq!(peek(&client, &url).await, []);
}

#[tokio::test]
async fn the_worker_learns_that_a_delivery_is_the_last_before_the_dead_letters() {
    let (client, url, dead) = elasticmq::queue(2).await;
    let sqs = room(&url, SECOND).await;
    assert_eq!(sqs.receives().await, 2);
    sqs.enqueue(&ann(), "poison").await.unwrap();
    let worker = Scripted::new(Duration::ZERO, failing);
    for _ in 0..2 {
        let message = one(&sqs).await;
        // As Lambda receives it. A worker that fails at once must not leave it so.
        sqs.hide(&message.receipt, 600 * SECOND).await.unwrap();
        assert!(!deliver(&sqs, worker.as_ref(), &message, None).await);
    }
    assert_eq!(worker.told(), [("poison".to_owned(), false), ("poison".to_owned(), true)]);
    until_dead(&client, &url, &dead).await;
}

#[tokio::test]
async fn a_message_that_names_no_job_is_a_dead_letter_at_once() {
    let (client, url, dead) = elasticmq::queue(2).await;
    let sqs = room(&url, 600 * SECOND).await;
    client.send_message().queue_url(&url).message_body(r#"{"caller":1}"#).send().await.unwrap();
    let worker = Scripted::new(Duration::ZERO, |_| Ok(Worked::Done));
    for _ in 0..2 {
        assert!(!deliver(&sqs, worker.as_ref(), &one(&sqs).await, None).await);
    }
    until_dead(&client, &url, &dead).await;
    assert_eq!(worker.told(), []);
}

#[tokio::test]
async fn where_there_are_no_dead_letters_a_message_that_names_no_job_stays_hidden() {
    let (client, url) = elasticmq::plain_queue().await;
    let sqs = room(&url, 600 * SECOND).await;
    client.send_message().queue_url(&url).message_body("no job").send().await.unwrap();
    let worker = Scripted::new(Duration::ZERO, |_| Ok(Worked::Done));
    let message = one(&sqs).await;
    assert!(!deliver(&sqs, worker.as_ref(), &message, None).await);
    assert!(!give_back(&sqs, &message).await);
    sleep(SECOND).await;
    assert_eq!(peek(&client, &url).await, []);
    assert_eq!(sqs.receives().await, u32::MAX);
}

async fn until_dead(client: &Client, url: &str, dead: &str) {
    let begun = Instant::now();
    loop {
        // A server moves a message when somebody wants to receive it once too often.
        assert_eq!(peek(client, url).await, []);
        if peek(client, dead).await.len() == 1 {
            return;
        }
        assert!(begun.elapsed() < 20 * SECOND, "no dead letter");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_delivery_ends_with_its_invocation_and_one_that_was_not_begun_is_given_back() {
    let (_, url, _) = elasticmq::queue(1).await;
    let sqs = room(&url, SECOND).await;
    sqs.enqueue(&ann(), "j").await.unwrap();
    let message = one(&sqs).await;
    let worker = Scripted::new(600 * SECOND, |_| Ok(Worked::Done));
    let delivering = deliver(&sqs, worker.as_ref(), &message, Some(Instant::now()));
    assert!(!timeout(30 * SECOND, delivering).await.unwrap());
    assert!(give_back(&sqs, &message).await);
    assert_eq!(one(&sqs).await.received, 1);
}

#[tokio::test]
async fn a_poller_works_every_job_off_once_so_many_at_a_time_and_stops() {
    let (client, url, _) = elasticmq::queue(3).await;
    let sqs = room(&url, 2 * SECOND).await;
    let worker = Scripted::new(Duration::from_millis(100), |_| Ok(Worked::Done));
    let poller = Poller::start(sqs, worker.clone(), 3);
    for number in 0..25 {
        poller.enqueue(&ann(), &format!("j{number}")).await.unwrap();
    }
    let begun = Instant::now();
    while worker.told().len() < 25 {
        assert!(begun.elapsed() < 60 * SECOND, "{:?}", worker.told());
        sleep(Duration::from_millis(50)).await;
    }
    poller.close();
    timeout(20 * SECOND, poller.closed()).await.unwrap();
    let mut ids: Vec<_> = worker.told().into_iter().map(|(id, _)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), worker.told().len()), (25, 25));
    assert_eq!(worker.most.load(Ordering::SeqCst), 3);
    sleep(4 * SECOND).await;
    assert_eq!(peek(&client, &url).await, [], "deleted, not only hidden");
}

#[tokio::test]
async fn a_queue_that_is_away_is_unavailable_and_its_messages_count_as_few() {
    let nobody = elasticmq::config_of("http://127.0.0.1:9");
    let sqs = Sqs::new(&nobody, "http://127.0.0.1:9/000000000000/jobs", SECOND);
    let error = sqs.send(&ann(), "j", Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(!error.message.contains("127.0.0.1") && error.detail.is_some());
    assert_eq!(sqs.receives().await, 5);
    let message = Message { id: "m".into(), body: "{}".into(), receipt: "r".into(), received: 1 };
    assert!(!give_back(&sqs, &message).await);
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_named_in_the_log_only() {
    let (_, url, _) = elasticmq::queue(3).await;
    let sqs = room(&format!("{url}-not"), SECOND).await;
    let error = sqs.send(&ann(), "j", Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.detail.unwrap().contains("QueueDoesNotExist"));
}
