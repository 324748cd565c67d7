//! The `rest` function as the worker of the job queue: SQS events, one batch at a time.

use super::open::Lambda;
use super::runtime::Answer;
use crate::error::json_place;
use crate::queue::delivery::{deliver, give_back};
use crate::queue::sqs::{Message, Sqs};
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

/// Works off a batch, all of it at once, so that each job has the whole time until `until`. Messages
/// past `JOBS_CONCURRENCY` are given back for another invocation. Those that are not done with are
/// named, and SQS delivers them again.
///
/// A message that comes again may have ended its worker, and would end it with the rest of its batch
/// as often as it may: the first such one is worked on alone, the others are given back.
pub async fn handle(lambda: &Lambda, event: &[u8], until: Instant) -> Answer {
    let batch: SqsEvent = match serde_json::from_slice(event) {
        Ok(batch) => batch,
        Err(error) => return Answer::Failed(format!("This is no SQS event: {}", json_place(&error))),
    };
    let Some(sqs) = lambda.jobs.as_deref() else {
        return Answer::Failed("This function has no job queue; its ROLE is not worker.".to_owned());
    };
    let messages: Vec<Message> = batch.records.into_iter().map(message).collect();
    let ours = match messages.iter().position(|message| message.received > 1) {
        Some(again) => again..again + 1,
        None => 0..lambda.gateway.settings.jobs_concurrency,
    };
    let messages = messages.into_iter().enumerate();
    let done = messages.map(|(place, message)| {
        let until = ours.contains(&place).then_some(until);
        take(lambda, sqs, message, until)
    });
    let done = join_all(done).await;
    let failures: Vec<_> = done.into_iter().flatten().map(|id| json!({"itemIdentifier": id})).collect();
    Answer::Whole(json!({"batchItemFailures": failures}))
}

/// Works on a message, or gives it back where it has no time. Gives the id of one that is to be
/// delivered again.
async fn take(lambda: &Lambda, sqs: &Sqs, message: Message, until: Option<Instant>) -> Option<String> {
    let done = match until {
        Some(_) => deliver(sqs, &lambda.gateway, &message, until).await,
        None => give_back(sqs, &message).await,
    };
    (!done).then_some(message.id)
}

fn message(record: SqsMessage) -> Message {
    let received = record.attributes.get("ApproximateReceiveCount");
    Message {
        received: received.and_then(|count| count.parse().ok()).unwrap_or(1),
        id: record.message_id.unwrap_or_default(),
        body: record.body.unwrap_or_default(),
        receipt: record.receipt_handle.unwrap_or_default(),
    }
}
