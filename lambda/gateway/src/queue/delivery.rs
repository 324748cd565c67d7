//! One delivery of a message of SQS: it stays hidden while its job is worked on, and no longer.
//!
//! What is tried again goes as a new message, with its wait as a delay. So the queue's count of
//! receives, which makes dead letters, counts what it should: workers that died, messages that name
//! no job, and a store that is away; never a retry in order.

use super::sqs::{JobMessage, Message, Sqs};
use super::{Terms, Worked, Worker, passed};
use crate::error::{Error, Kind};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// After the end of its terms a job's worker has so long for its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Has a message's job worked off. True where the message is done with and may be deleted; else the
/// queue delivers it again soon, or puts it among its dead letters.
pub async fn deliver(sqs: &Sqs, worker: &dyn Worker, message: &Message, until: Option<Instant>) -> bool {
    let Ok(job) = serde_json::from_str::<JobMessage>(&message.body) else {
        tracing::error!(message_id = message.id, "a message names no job");
        let_go(sqs, message).await;
        return false;
    };
    // Before anything else: Lambda receives messages hidden for longer than a function may run.
    hide(sqs, message, sqs.hidden).await;
    let work = async {
        let terms = Terms { until, last: message.received >= sqs.receives().await };
        worker.work(&job.caller, &job.id, terms).await
    };
    let worked = tokio::select! {
        worked = work => worked,
        never = keep_hidden(sqs, message) => match never {},
        () = passed(until.map(|until| until + LAST_WORDS)) => Err(Error::new(Kind::DeadlineExceeded, "The worker's time was over.")),
    };
    match worked {
        Ok(Worked::Done) => true,
        Ok(Worked::Again(wait)) => again(sqs, &job, wait).await,
        Err(error) => {
            tracing::warn!(job = job.id, received = message.received, %error, "a job was not worked off");
            false
        }
    }
}

/// Gives a message back that nobody has looked at. True where it is done with.
pub async fn give_back(sqs: &Sqs, message: &Message) -> bool {
    match serde_json::from_str::<JobMessage>(&message.body) {
        Ok(job) => again(sqs, &job, Duration::ZERO).await,
        Err(_) => {
            let_go(sqs, message).await;
            false
        }
    }
}

/// Lets a message that names no job become a dead letter soon. A queue without dead letters would deliver
/// it at once for ever: there it stays hidden as long as it is.
async fn let_go(sqs: &Sqs, message: &Message) {
    if sqs.has_dead_letters().await {
        hide(sqs, message, Duration::ZERO).await;
    }
}

/// Sends the job anew. Where that fails the message itself comes again when it is not hidden any more.
async fn again(sqs: &Sqs, job: &JobMessage, wait: Duration) -> bool {
    let sent = sqs.send(&job.caller, &job.id, wait).await;
    sent.inspect_err(|error| tracing::warn!(job = job.id, %error, "a job was not sent again")).is_ok()
}

/// Keeps a message hidden, for a short time each time: if this process dies, it comes again soon.
async fn keep_hidden(sqs: &Sqs, message: &Message) -> Infallible {
    let mut lost = false;
    loop {
        sleep(sqs.hidden / 3).await;
        let hidden = sqs.hide(&message.receipt, sqs.hidden).await;
        if let (Err(error), false) = (&hidden, lost) {
            tracing::warn!(message_id = message.id, %error, "a message is not hidden for longer");
        }
        // Said once, however long the queue is away.
        lost = hidden.is_err();
    }
}

async fn hide(sqs: &Sqs, message: &Message, time: Duration) {
    if let Err(error) = sqs.hide(&message.receipt, time).await {
        tracing::warn!(message_id = message.id, %error, "how long a message is hidden was not changed");
    }
}
