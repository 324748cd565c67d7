//! The room of the queue: it delivers the ids of jobs to workers, and knows nothing else of them.

#[cfg(feature = "aws")]
pub mod delivery;
pub mod local;
#[cfg(feature = "aws")]
pub mod poller;
#[cfg(feature = "aws")]
pub mod sqs;

use crate::chat::Caller;
use crate::error::Error;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Hands jobs to workers. A job's row is stored before it is queued, so a queue may deliver it more
/// than once, and a job that it lost is found by its row.
pub trait Queue: Send + Sync {
    /// Queues a job.
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// Delivers nothing any more.
    fn close(&self);

    /// Ready when nothing that was delivered is worked on any more, once it is closed.
    fn closed(&self) -> BoxFuture<'_, ()>;
}

/// What a worker is told with a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The job must have ended by then: the end of an invocation.
    pub until: Option<Instant>,
    /// The queue does not deliver it again: where it cannot be worked off now, it has failed.
    pub last: bool,
}

/// Ready when this moment is over; never where there is none.
pub(crate) async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worked {
    /// The job has ended, now or before.
    Done,
    /// It should be delivered again after this time.
    Again(Duration),
}

/// Who works jobs off.
pub trait Worker: Send + Sync {
    /// Works off one delivery. After an error the job is delivered again when its lease is over.
    fn work<'a>(
        &'a self,
        caller: &'a Caller,
        id: &'a str,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Worked, Error>>;

    /// The jobs that have not ended.
    fn open(&self) -> BoxFuture<'_, Result<Vec<(Caller, String)>, Error>>;
}
