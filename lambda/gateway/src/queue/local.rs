//! The queue of one machine: it works off the job rows themselves. What it holds in memory are only
//! ids; whatever a restart or a full queue leaves behind is found in the rows again.

use super::{Queue, Worked, Worker};
use crate::chat::Caller;
use crate::error::Error;
use crate::reply::lock;
use futures_util::future::BoxFuture;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Ids that wait in memory at most; more jobs than that are found by the next look at the rows.
const WAITING: usize = 10_000;

/// After a start the rows are looked at often, until the leases of a killed process are over; then
/// seldom, because every job is queued as it comes.
const SOON: Duration = Duration::from_secs(3);
const SELDOM: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(60);

type Id = (Caller, String);

/// Queue and worker in one process.
pub struct LocalQueue {
    worker: Arc<dyn Worker>,
    waiting: mpsc::Sender<Id>,
    /// Ids that wait or are worked on: a look at the rows does not deliver them twice.
    known: Mutex<HashSet<Id>>,
    closing: CancellationToken,
}

impl LocalQueue {
    /// Starts the worker: so many jobs at once.
    pub fn start(worker: Arc<dyn Worker>, concurrency: usize) -> Arc<LocalQueue> {
        let (waiting, jobs) = mpsc::channel(WAITING);
        let (known, closing) = (Mutex::default(), CancellationToken::new());
        let queue = Arc::new(LocalQueue { worker, waiting, known, closing });
        tokio::spawn(queue.clone().find());
        tokio::spawn(queue.clone().take(jobs, concurrency));
        queue
    }

    fn put(&self, job: Id) {
        if lock(&self.known).insert(job.clone()) && self.waiting.try_send(job.clone()).is_err() {
            // A full queue refuses nothing: the row is there and is found.
            lock(&self.known).remove(&job);
        }
    }

    /// Finds jobs in the rows, at the start and from time to time.
    async fn find(self: Arc<LocalQueue>) {
        let start = Instant::now();
        loop {
            match self.worker.open().await {
                Ok(jobs) => jobs.into_iter().for_each(|job| self.put(job)),
                Err(error) => tracing::warn!(%error, "jobs cannot be listed"),
            }
            tokio::select! {
                () = sleep(if start.elapsed() < START { SOON } else { SELDOM }) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    async fn take(self: Arc<LocalQueue>, mut jobs: mpsc::Receiver<Id>, concurrency: usize) {
        let slots = Arc::new(Semaphore::new(concurrency));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let job = tokio::select! {
                Some(job) = jobs.recv() => job,
                () = self.closing.cancelled() => return,
            };
            let queue = self.clone();
            tokio::spawn(async move {
                let worked = queue.worker.work(&job.0, &job.1).await;
                drop(slot);
                queue.worked(job, worked).await;
            });
        }
    }

    async fn worked(&self, job: Id, worked: Result<Worked, Error>) {
        match worked {
            Ok(Worked::Done) => {}
            Ok(Worked::Again(wait)) => {
                sleep(wait).await;
                lock(&self.known).remove(&job);
                return self.put(job);
            }
            Err(error) => tracing::warn!(job = job.1, %error, "a job was not worked off"),
        }
        lock(&self.known).remove(&job);
    }
}

impl Queue for LocalQueue {
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.put((caller.clone(), id.to_owned()));
        Box::pin(async { Ok(()) })
    }

    fn close(&self) {
        self.closing.cancel();
    }
}
