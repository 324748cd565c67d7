//! The room of the queue: jobs wait here until a worker takes them.

pub mod local;
pub mod work;

use crate::chat::Caller;
use crate::error::Error;
use futures_util::future::BoxFuture;

/// Hands jobs to workers. The job's row is stored before it is queued, so a queue may deliver it
/// more than once, and a job that it lost is found by its row.
pub trait Queue: Send + Sync {
    /// Queues a job.
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}
