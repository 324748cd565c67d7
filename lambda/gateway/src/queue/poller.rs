//! SQS where no Lambda delivers its messages: this process receives them itself.

use super::delivery::deliver;
use super::sqs::{Message, Sqs};
use super::{Queue, Worker};
use crate::chat::Caller;
use crate::error::Error;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a queue did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Messages that one call can bring.
const BATCH: usize = 10;

/// Sends to SQS, and works off what it receives.
pub struct Poller {
    sqs: Arc<Sqs>,
    worker: Arc<dyn Worker>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Poller {
    /// Starts the worker: so many jobs at once.
    pub fn start(sqs: Arc<Sqs>, worker: Arc<dyn Worker>, concurrency: usize) -> Arc<Poller> {
        let poller =
            Arc::new(Poller { sqs, worker, closing: CancellationToken::new(), tasks: TaskTracker::new() });
        tokio::spawn(poller.clone().poll(concurrency));
        poller
    }

    async fn poll(self: Arc<Poller>, concurrency: usize) {
        let slots = Arc::new(Semaphore::new(concurrency));
        let mut away = false;
        loop {
            // No message is received that would have to wait here.
            let Ok(first) = slots.clone().acquire_owned().await else { return };
            let mut free = vec![first];
            free.extend((1..BATCH).map_while(|_| slots.clone().try_acquire_owned().ok()));
            let received = tokio::select! {
                received = self.sqs.receive(free.len()) => received,
                () = self.closing.cancelled() => return,
            };
            // Said once, however long the queue is away.
            if let (Err(error), false) = (&received, away) {
                tracing::warn!(%error, "no jobs are received");
            }
            away = received.is_err();
            match received {
                Ok(messages) => {
                    for (message, slot) in messages.into_iter().zip(free) {
                        self.tasks.spawn(self.clone().work(message, slot));
                    }
                }
                Err(_) => tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = self.closing.cancelled() => return,
                },
            }
        }
    }

    async fn work(self: Arc<Poller>, message: Message, slot: OwnedSemaphorePermit) {
        if deliver(&self.sqs, self.worker.as_ref(), &message, None).await
            && let Err(error) = self.sqs.delete(&message.receipt).await
        {
            tracing::warn!(message_id = message.id, %error, "a message was not deleted");
        }
        drop(slot);
    }
}

impl Queue for Poller {
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.sqs.enqueue(caller, id)
    }

    fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.tasks.wait())
    }
}
