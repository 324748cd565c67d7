//! The worker function with batches of several messages, over a real queue.

use crate::{ann, elasticmq};
use aws_sdk_sqs::Client;
use gateway::chat::Request;
use gateway::config::Settings;
use gateway::edge::lambda::jobs_event::handle;
use gateway::edge::lambda::open::Lambda;
use gateway::edge::lambda::runtime::Answer;
use gateway::gateway::{Gateway, Rooms};
use gateway::model::embedding::HashedEmbedding;
use gateway::model::scripted::Scripted;
use gateway::queue::sqs::{Message as Received, Sqs};
use gateway::store::{Job, JobStatus, Retention, Store, SystemClock};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const SCRIPT: &str = r#"[{"match": "endless", "stall": true, "deltas": [{"text": "begun"}]},
                         {"deltas": [{"text": "said so", "after_ms": 300}]}]"#;
const LEASE: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(30);

/// A function that works this many jobs at once, and a client of its queue.
async fn function(concurrency: &str) -> (Lambda, Arc<Sqs>, Client) {
    let (client, url, _) = elasticmq::queue(1).await;
    let config = elasticmq::config().await;
    let sqs = Sqs::new(&config, &url, LEASE);
    let store = Store::embedded(None, Retention::default(), Arc::new(SystemClock)).await.unwrap();
    let rooms = Rooms {
        model: Arc::new(Scripted::parse(SCRIPT).unwrap()),
        embedder: Arc::new(HashedEmbedding),
        stands_in: Some("local.scripted"),
        retrieval: None,
        store: Some(Arc::new(store)),
        single_process: false,
        lease: LEASE,
    };
    let settings = Settings::from_vars([("JOBS_CONCURRENCY".to_owned(), concurrency.to_owned())]).unwrap();
    let connections = aws_sdk_apigatewaymanagement::Client::new(&config);
    let gateway = Gateway::open(settings, rooms).unwrap();
    (Lambda { gateway, connections, origins: Default::default(), jobs: Some(sqs.clone()) }, sqs, client)
}

async fn submit(function: &Lambda, sqs: &Sqs, text: &str) -> String {
    let request = Request::new(ann(), "jobs", text);
    function.gateway.submit(sqs, request, None).await.unwrap()
}

async fn job(function: &Lambda, id: &str) -> Job {
    function.gateway.job(None, &ann(), id).await.unwrap()
}

/// So many messages, however many calls they take.
async fn receive(sqs: &Sqs, count: usize) -> Vec<Received> {
    let (mut messages, begun) = (Vec::new(), Instant::now());
    while messages.len() < count {
        assert!(begun.elapsed() < LONG, "only {} messages came", messages.len());
        messages.extend(timeout(LONG, sqs.receive(10)).await.unwrap().unwrap());
    }
    messages
}

/// Invokes the function with these messages; the ids of those that SQS is to deliver again.
async fn invoke(function: &Lambda, messages: &[Received], time: Duration) -> Vec<String> {
    let records = messages.iter().map(|message| {
        json!({
            "messageId": message.id, "receiptHandle": message.receipt, "body": message.body,
            "attributes": {"ApproximateReceiveCount": message.received.to_string()},
            "messageAttributes": {}, "eventSource": "aws:sqs", "awsRegion": "us-east-1",
        })
    });
    let event = json!({"Records": records.collect::<Vec<_>>()}).to_string();
    let Answer::Whole(answer) = handle(function, event.as_bytes(), Instant::now() + time).await else {
        panic!("no whole answer");
    };
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    failures.map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_is_worked_off_at_once_and_only_what_failed_is_named() {
    let (function, sqs, client) = function("10").await;
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(submit(&function, &sqs, &format!("question {number}")).await);
    }
    let url = sqs.url().to_owned();
    client.send_message().queue_url(url).message_body("no job").send().await.unwrap();
    let messages = receive(&sqs, 5).await;
    let nonsense = messages.iter().find(|message| message.body == "no job").unwrap();
    assert_eq!(invoke(&function, &messages, LONG).await, std::slice::from_ref(&nonsense.id));
    for id in ids {
        let job = job(&function, &id).await;
        assert_eq!((job.status, job.completion.as_deref()), (JobStatus::Completed, Some("said so")));
    }
}

#[tokio::test]
async fn what_is_past_the_concurrency_is_given_back_for_another_invocation() {
    let (function, sqs, _) = function("2").await;
    for number in 0..3 {
        submit(&function, &sqs, &format!("question {number}")).await;
    }
    let messages = receive(&sqs, 3).await;
    assert!(invoke(&function, &messages, LONG).await.is_empty());
    for message in &messages {
        sqs.delete(&message.receipt).await.unwrap();
    }
    let [given_back] = &receive(&sqs, 1).await[..] else { panic!() };
    assert_eq!((given_back.body.as_str(), given_back.received), (messages[2].body.as_str(), 1));
    assert!(invoke(&function, std::slice::from_ref(given_back), LONG).await.is_empty());
}

#[tokio::test]
async fn a_message_that_comes_again_is_worked_on_alone() {
    let (function, sqs, _) = function("10").await;
    for number in 0..3 {
        submit(&function, &sqs, &format!("question {number}")).await;
    }
    let mut messages = receive(&sqs, 3).await;
    messages[1].received = 2;
    assert!(invoke(&function, &messages, LONG).await.is_empty());
    for message in &messages {
        sqs.delete(&message.receipt).await.unwrap();
    }
    let given_back = receive(&sqs, 2).await;
    let mut bodies: Vec<&str> = given_back.iter().map(|message| message.body.as_str()).collect();
    bodies.sort();
    let mut expected = [messages[0].body.as_str(), messages[2].body.as_str()];
    expected.sort();
    assert_eq!(bodies, expected);
    assert!(given_back.iter().all(|message| message.received == 1));
}

#[tokio::test]
async fn a_job_that_outlasts_its_invocation_ends_with_the_text_so_far() {
    let (function, sqs, _) = function("10").await;
    let id = submit(&function, &sqs, "endless").await;
    let messages = receive(&sqs, 1).await;
    let begun = timeout(LONG, invoke(&function, &messages, Duration::from_secs(1)));
    assert!(begun.await.unwrap().is_empty());
    let job = job(&function, &id).await;
    assert_eq!((job.status, job.completion.as_deref()), (JobStatus::Failed, Some("begun")));
    assert_eq!(job.error.unwrap().kind.code(), "deadline_exceeded");
}

#[tokio::test]
async fn an_event_of_another_kind_is_a_failed_invocation() {
    let (function, _, _) = function("10").await;
    for event in ["", "[]", "{\"Records\": 1}", "{\"httpMethod\": \"GET\"}"] {
        let answer = handle(&function, event.as_bytes(), Instant::now()).await;
        assert!(matches!(answer, Answer::Failed(sentence) if sentence.contains("SQS")), "{event}");
    }
}
