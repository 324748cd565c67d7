//! The queue of one machine: it works off the job rows themselves. What it holds in memory are only
//! ids; whatever a restart or a full queue leaves behind is found in the rows again.

use super::{Queue, Terms, Worked, Worker};
use crate::chat::Caller;
use crate::error::Error;
use crate::reply::lock;
use futures_util::future::BoxFuture;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Ids that wait in memory at most; more jobs than that are found by the next look at the rows.
const WAITING: usize = 10_000;

/// How soon the rows are looked at again while there are open jobs in them: the lease of a process
/// that was killed may still run.
const SOON: Duration = Duration::from_secs(5);

/// How often where there were none. A look reads the whole table, conversations included.
const SELDOM: Duration = Duration::from_secs(300);

type Id = (Caller, String);

/// Queue and worker in one process.
pub struct LocalQueue {
    worker: Arc<dyn Worker>,
    waiting: mpsc::Sender<Id>,
    /// Ids that wait or are worked on: a look at the rows does not deliver them twice.
    known: Mutex<HashSet<Id>>,
    /// Rings when a job is open that is not in memory.
    missed: Notify,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl LocalQueue {
    /// Starts the worker: so many jobs at once.
    pub fn start(worker: Arc<dyn Worker>, concurrency: usize) -> Arc<LocalQueue> {
        let (waiting, jobs) = mpsc::channel(WAITING);
        let (known, closing) = (Mutex::default(), CancellationToken::new());
        let queue = Arc::new(LocalQueue {
            worker,
            waiting,
            known,
            missed: Notify::new(),
            closing,
            tasks: TaskTracker::new(),
        });
        tokio::spawn(queue.clone().find());
        tokio::spawn(queue.clone().take(jobs, concurrency));
        queue
    }

    /// Lets a job wait, unless it does already; says whether it was new.
    fn put(&self, job: Id) -> bool {
        let new = lock(&self.known).insert(job.clone());
        if new && self.waiting.try_send(job.clone()).is_err() {
            // A full queue refuses nothing: the row is there and is found.
            lock(&self.known).remove(&job);
            self.missed.notify_one();
        }
        new
    }

    /// Finds jobs in the rows: at the start, while some are open, and from time to time.
    async fn find(self: Arc<LocalQueue>) {
        loop {
            let wait = match self.worker.open().await {
                // Jobs that wait or run here need no second look; others may be under the lease of a
                // process that was killed.
                Ok(jobs) => match jobs.into_iter().filter(|job| self.put(job.clone())).count() {
                    0 => SELDOM,
                    _ => SOON,
                },
                Err(error) => {
                    tracing::warn!(%error, "jobs cannot be listed");
                    SOON
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.missed.notified() => sleep(SOON).await,
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
            self.tasks.spawn(async move {
                let worked = queue.worker.work(&job.0, &job.1, Terms::default()).await;
                drop(slot);
                queue.worked(job, worked).await;
            });
        }
    }

    async fn worked(&self, job: Id, worked: Result<Worked, Error>) {
        match worked {
            Ok(Worked::Done) => {}
            Ok(Worked::Again(wait)) => {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.closing.cancelled() => return,
                }
                lock(&self.known).remove(&job);
                self.put(job);
                return;
            }
            Err(error) => {
                tracing::warn!(job = job.1, %error, "a job was not worked off");
                self.missed.notify_one();
            }
        }
        lock(&self.known).remove(&job);
    }
}

impl Queue for LocalQueue {
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let _waits_already = self.put((caller.clone(), id.to_owned()));
        Box::pin(async { Ok(()) })
    }

    fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.tasks.wait())
    }
}
