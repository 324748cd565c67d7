//! The queue of one machine: it works off the job rows themselves. What it holds in memory are only
//! ids; whatever a restart or a full queue leaves behind is found in the rows again.

use super::Queue;
use super::work::{Worked, work};
use crate::chat::Caller;
use crate::error::Error;
use crate::gateway::Gateway;
use crate::store::Store;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{sleep, timeout};

/// Ids that wait in memory at most; more jobs than that are found by the next look at the rows.
const WAITING: usize = 10_000;

/// How soon the rows are looked at again while there are open jobs in them: the lease of a process
/// that was killed may still run.
const LOOK: Duration = Duration::from_secs(5);

/// How often where there were none. A look reads the whole table, conversations included.
const SELDOM: Duration = Duration::from_secs(300);

type Id = (Caller, String);

/// Queue and worker in one process.
pub struct LocalQueue {
    waiting: mpsc::Sender<Id>,
    /// Rings when a job is open that is not in memory.
    missed: Arc<Notify>,
}

impl LocalQueue {
    /// Starts the worker: at most `JOBS_CONCURRENCY` jobs at once.
    pub fn start(gateway: Arc<Gateway>, store: Arc<Store>) -> Arc<LocalQueue> {
        let (waiting, jobs) = mpsc::channel(WAITING);
        let queue = Arc::new(LocalQueue { waiting, missed: Arc::new(Notify::new()) });
        tokio::spawn(find(store.clone(), queue.waiting.clone(), queue.missed.clone()));
        tokio::spawn(take(gateway, store, jobs, queue.clone()));
        queue
    }
}

impl Queue for LocalQueue {
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        // A full queue refuses nothing: the row is there and is found.
        self.offer((caller.clone(), id.to_owned()));
        Box::pin(async { Ok(()) })
    }
}

impl LocalQueue {
    fn offer(&self, job: Id) {
        if self.waiting.try_send(job).is_err() {
            self.missed.notify_one();
        }
    }
}

/// Finds jobs in the rows: at the start, while there are open ones, and where one was missed.
async fn find(store: Arc<Store>, waiting: mpsc::Sender<Id>, missed: Arc<Notify>) {
    loop {
        let mut next = LOOK;
        match store.open_jobs().await {
            Ok(jobs) => {
                if jobs.is_empty() {
                    next = SELDOM;
                }
                for job in jobs {
                    if waiting.send(job).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "jobs cannot be listed"),
        }
        if timeout(next, missed.notified()).await.is_ok() {
            sleep(LOOK).await;
        }
    }
}

async fn take(
    gateway: Arc<Gateway>,
    store: Arc<Store>,
    mut jobs: mpsc::Receiver<Id>,
    queue: Arc<LocalQueue>,
) {
    let slots = Arc::new(Semaphore::new(gateway.settings.jobs_concurrency));
    while let Some((caller, id)) = jobs.recv().await {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let (gateway, store, queue) = (gateway.clone(), store.clone(), queue.clone());
        tokio::spawn(async move {
            let worked = work(&gateway, &store, &caller, &id).await;
            drop(slot);
            match worked {
                Ok(Worked::Done) => {}
                Ok(Worked::Again(wait)) => {
                    sleep(wait).await;
                    queue.offer((caller, id));
                }
                Err(error) => {
                    tracing::warn!(job = id, %error, "a job was not worked off");
                    queue.missed.notify_one();
                }
            }
        });
    }
}
