//! The SQS queue and its event source mapping: batches of one, `ReportBatchItemFailures`.

use super::events;
use super::front::Front;
use super::function::{self, Failure};
use super::moment::now_ms;
use md5::{Digest, Md5};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// After a throttled invocation the mapping tries again; that is no receive of the message.
const THROTTLED: Duration = Duration::from_millis(200);

/// How many messages are waiting or being worked on.
#[derive(Debug, Default)]
pub(super) struct Queue(AtomicUsize);

impl Queue {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What SQS answers to a sent message.
pub(super) struct Sent {
    /// The message's id.
    pub id: String,
    /// MD5 of its body, in hexadecimal.
    pub md5: String,
}

/// Takes a message and sees to it that the worker gets it.
pub(super) fn send(front: &Arc<Front>, body: String) -> Sent {
    let id = uuid::Uuid::new_v4().to_string();
    let md5: String = Md5::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    front.queue.0.fetch_add(1, Ordering::SeqCst);
    let sent = Sent { id: id.clone(), md5: md5.clone() };
    tokio::spawn(work(Arc::clone(front), id, body, md5));
    sent
}

async fn work(front: Arc<Front>, id: String, body: String, md5: String) {
    let sent_ms = now_ms();
    for received in 1..=front.options.limits.max_receives {
        let visible_again = Instant::now() + front.options.limits.visibility;
        let event = events::sqs(&id, &body, &md5, received, sent_ms);
        if received_well(&front, &event).await {
            front.queue.0.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        sleep_until(visible_again).await;
    }
    front.queue.0.fetch_sub(1, Ordering::SeqCst);
    front.records.note(|seen| seen.dead_letters.push(body));
}

async fn received_well(front: &Front, event: &Value) -> bool {
    let Some(worker) = &front.worker else { return false };
    loop {
        match worker.invoke("sqs", event).await {
            Err(Failure::Throttled) => sleep(THROTTLED).await,
            Err(_) => return false,
            Ok(posted) => return function::json(posted).await.is_some_and(|answer| succeeded(&answer)),
        }
    }
}

/// Whether a batch response says that its one message is done. Absent or `null` failures are
/// success; any failure is this message's, as one without a known id fails the whole batch.
fn succeeded(answer: &Value) -> bool {
    match &answer["batchItemFailures"] {
        Value::Null => true,
        Value::Array(failures) => failures.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::succeeded;
    use serde_json::json;

    #[test]
    fn a_batch_response_fails_its_message_only_with_a_failure() {
        for done in
            [json!(null), json!({}), json!({ "batchItemFailures": null }), json!({ "batchItemFailures": [] })]
        {
            assert!(succeeded(&done), "{done}");
        }
        for failed in
            [json!({ "batchItemFailures": [{ "itemIdentifier": "1" }] }), json!({ "batchItemFailures": 1 })]
        {
            assert!(!succeeded(&failed), "{failed}");
        }
    }
}
