//! The SQS queue and its event source mapping: batches of one, `ReportBatchItemFailures`, as many at
//! once as the function may have environments.

use super::events;
use super::front::Front;
use super::function::{self, Failure};
use super::moment::now_ms;
use super::records::lock;
use md5::{Digest, Md5};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// After a throttled invocation the mapping tries again; that is no receive of the message.
const THROTTLED: Duration = Duration::from_millis(200);

/// Messages that are waiting or being worked on.
#[derive(Debug)]
pub(super) struct Queue {
    messages: AtomicUsize,
    /// By the receipt of a received message: until when it is hidden.
    hidden: Mutex<HashMap<String, watch::Sender<Instant>>>,
    slots: Arc<Semaphore>,
}

impl Queue {
    /// An empty one, whose mapping makes so many invocations at once.
    pub fn new(concurrency: usize) -> Queue {
        let slots = Arc::new(Semaphore::new(concurrency));
        Queue { messages: AtomicUsize::new(0), hidden: Mutex::default(), slots }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.load(Ordering::SeqCst)
    }

    /// Hides a received message for this long from now on. False where the receipt is of none.
    pub fn hide(&self, receipt: &str, time: Duration) -> bool {
        let hidden = lock(&self.hidden);
        let until = hidden.get(receipt);
        until.is_some_and(|until| until.send(Instant::now() + time).is_ok())
    }

    /// A message is received: its receipt, and until when it is hidden.
    fn receive(&self, visibility: Duration) -> (String, watch::Receiver<Instant>) {
        let receipt = uuid::Uuid::new_v4().to_string();
        let (sender, until) = watch::channel(Instant::now() + visibility);
        lock(&self.hidden).insert(receipt.clone(), sender);
        (receipt, until)
    }
}

/// What SQS answers to a sent message.
pub(super) struct Sent {
    /// The message's id.
    pub id: String,
    /// MD5 of its body, in hexadecimal.
    pub md5: String,
}

/// Takes a message and sees to it that the worker gets it, after this delay.
pub(super) fn send(front: &Arc<Front>, body: String, delay: Duration) -> Sent {
    let id = uuid::Uuid::new_v4().to_string();
    let md5: String = Md5::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    front.queue.messages.fetch_add(1, Ordering::SeqCst);
    let message = events::Message { id: id.clone(), body, md5: md5.clone(), sent_ms: now_ms() };
    let front = Arc::clone(front);
    tokio::spawn(async move {
        sleep(delay).await;
        if !worked_off(&front, &message).await {
            front.records.note(|seen| seen.dead_letters.push(message.body));
        }
        front.queue.messages.fetch_sub(1, Ordering::SeqCst);
    });
    Sent { id, md5 }
}

/// Delivers a message each time that it is to be seen, also while an earlier delivery is still worked
/// on. False once it has been received too often.
async fn worked_off(front: &Arc<Front>, message: &events::Message) -> bool {
    let (deleted, mut gone) = watch::channel(false);
    let deleted = Arc::new(deleted);
    for received in 1..=front.options.limits.max_receives {
        let Ok(slot) = front.queue.slots.clone().acquire_owned().await else { return false };
        if *gone.borrow() {
            return true;
        }
        let (receipt, mut hidden) = front.queue.receive(front.options.limits.visibility);
        let event = events::sqs(message, &receipt, received);
        let (front_, deleted) = (Arc::clone(front), Arc::clone(&deleted));
        tokio::spawn(async move {
            if received_well(&front_, &event).await {
                deleted.send_replace(true);
            }
            drop(slot);
        });
        let done = tokio::select! {
            _ = gone.wait_for(|gone| *gone) => true,
            () = seen_again(&mut hidden) => false,
        };
        lock(&front.queue.hidden).remove(&receipt);
        if done {
            return true;
        }
    }
    false
}

/// Ready when a message is not hidden any more, however often that was put off.
async fn seen_again(hidden: &mut watch::Receiver<Instant>) {
    loop {
        let until = *hidden.borrow_and_update();
        tokio::select! {
            () = sleep_until(until) => return,
            Ok(()) = hidden.changed() => {}
        }
    }
}

/// Invokes the worker; true where it says that the message is done.
pub(super) async fn received_well(front: &Front, event: &Value) -> bool {
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
