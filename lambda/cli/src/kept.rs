//! Where everything is kept and where jobs wait: on this machine, or on AWS, shared with others.

use crate::options::ServeOptions;
use gateway::aws;
use gateway::config::Settings;
use gateway::error::Error;
use gateway::gateway::Gateway;
use gateway::queue::Queue;
use gateway::queue::local::LocalQueue;
use gateway::queue::poller::Poller;
use gateway::queue::sqs::Sqs;
use gateway::store::{Retention, Store, SystemClock, Tables};
use std::sync::Arc;
use std::time::Duration;

/// How long a reply or job of a process that was killed counts as running, where this process is the
/// only one.
const ALONE: Duration = Duration::from_secs(5);

/// The store and what belongs to it.
pub struct Kept {
    /// Where anything is kept at all.
    pub store: Option<Arc<Store>>,
    /// No other process uses the store.
    pub alone: bool,
    /// How long what says nothing counts as running.
    pub lease: Duration,
    sqs: Option<Arc<Sqs>>,
}

impl Kept {
    /// Opens what the options and settings name: nothing, this machine's file, or tables and a queue.
    ///
    /// # Errors
    /// A sentence for the person who started it.
    pub async fn open(options: &ServeOptions, settings: &Settings) -> Result<Kept, String> {
        let (tables, queue) = (settings.tables.as_ref(), settings.jobs_queue.as_deref());
        if options.no_store && (tables.is_some() || queue.is_some()) {
            return Err(
                "--no-store keeps nothing: unset ANSWERS_TABLE, STATE_TABLE and JOBS_QUEUE_URL.".into()
            );
        }
        match tables {
            Some((answers, state)) => {
                let tables = Tables { answers: answers.clone(), state: state.clone() };
                Kept::on_aws(tables, queue, settings).await
            }
            // Its messages name rows of tables that all its workers share, and would be lost on us.
            None if queue.is_some() => {
                Err("JOBS_QUEUE_URL goes with ANSWERS_TABLE and STATE_TABLE. Set them too, or unset it."
                    .into())
            }
            None => Kept::here(options, settings).await,
        }
    }

    async fn on_aws(tables: Tables, queue: Option<&str>, settings: &Settings) -> Result<Kept, String> {
        let lease = settings.shared_lease();
        let config = aws::load(settings.ca_bundle.as_deref(), settings.region.as_deref()).await?;
        let sentence = |error: Error| error.message;
        Store::check_settings(&config).await.map_err(sentence)?;
        let store = Store::new(Store::client(&config), tables, Retention::default(), Arc::new(SystemClock));
        // Each request goes on without its store: wrong tables would be noticed by what is forgotten.
        store.check_answers_table().await.map_err(sentence)?;
        store.check_state_table().await.map_err(sentence)?;
        let sqs = queue.map(|url| Sqs::new(&config, url, lease));
        if let Some(sqs) = &sqs {
            sqs.check().await?;
        }
        Ok(Kept { store: Some(Arc::new(store)), alone: false, lease, sqs })
    }

    async fn here(options: &ServeOptions, settings: &Settings) -> Result<Kept, String> {
        let lease = settings.lease.unwrap_or(ALONE);
        let store = match options.no_store {
            true => None,
            false => {
                let opened =
                    Store::embedded(Some(&options.data), Retention::default(), Arc::new(SystemClock)).await;
                Some(Arc::new(opened.map_err(|error| error.message)?))
            }
        };
        Ok(Kept { store, alone: true, lease, sqs: None })
    }

    /// Begins to work jobs off. None where none are taken: without a store, or with tables and no queue.
    pub fn work(&self, gateway: &Arc<Gateway>) -> Option<Arc<dyn Queue>> {
        let (worker, concurrency) = (Arc::new(gateway.clone()), gateway.settings.jobs_concurrency);
        match &self.sqs {
            Some(sqs) => Some(Poller::start(sqs.clone(), worker, concurrency)),
            None if self.alone && self.store.is_some() => Some(LocalQueue::start(worker, concurrency)),
            None => None,
        }
    }
}
