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
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{interval, sleep};

/// Ids that wait in memory at most; more jobs than that are found by the next look at the rows.
const WAITING: usize = 10_000;

/// How often the rows are looked at for jobs that nobody works on.
const LOOK: Duration = Duration::from_secs(5);

type Id = (Caller, String);

/// Queue and worker in one process.
pub struct LocalQueue {
    waiting: mpsc::Sender<Id>,
}

impl LocalQueue {
    /// Starts the worker: at most `JOBS_CONCURRENCY` jobs at once.
    pub fn start(gateway: Arc<Gateway>, store: Arc<Store>) -> Arc<LocalQueue> {
        let (waiting, jobs) = mpsc::channel(WAITING);
        tokio::spawn(find(store.clone(), waiting.clone()));
        tokio::spawn(take(gateway, store, jobs, waiting.clone()));
        Arc::new(LocalQueue { waiting })
    }
}

impl Queue for LocalQueue {
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        // A full queue refuses nothing: the row is there and is found.
        let _full = self.waiting.try_send((caller.clone(), id.to_owned()));
        Box::pin(async { Ok(()) })
    }
}

/// Finds jobs in the rows, at the start and from time to time.
async fn find(store: Arc<Store>, waiting: mpsc::Sender<Id>) {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        match store.open_jobs().await {
            Ok(jobs) => {
                for job in jobs {
                    if waiting.send(job).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "jobs cannot be listed"),
        }
    }
}

async fn take(
    gateway: Arc<Gateway>,
    store: Arc<Store>,
    mut jobs: mpsc::Receiver<Id>,
    waiting: mpsc::Sender<Id>,
) {
    let slots = Arc::new(Semaphore::new(gateway.settings.jobs_concurrency));
    while let Some((caller, id)) = jobs.recv().await {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let (gateway, store, waiting) = (gateway.clone(), store.clone(), waiting.clone());
        tokio::spawn(async move {
            let worked = work(&gateway, &store, &caller, &id).await;
            drop(slot);
            match worked {
                Ok(Worked::Done) => {}
                Ok(Worked::Again(wait)) => {
                    sleep(wait).await;
                    let _full = waiting.try_send((caller, id));
                }
                Err(error) => tracing::warn!(job = id, %error, "a job was not worked off"),
            }
        });
    }
}
