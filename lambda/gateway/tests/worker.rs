//! What becomes of a job and of one delivery of it, over a store that can fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers may fail")]

#[path = "support/wire.rs"]
mod wire;

use futures_util::future::BoxFuture;
use gateway::chat::{Caller, Request};
use gateway::config::Settings;
use gateway::error::{Error, Kind};
use gateway::gateway::{Gateway, Rooms};
use gateway::model::embedding::HashedEmbedding;
use gateway::model::scripted::Scripted;
use gateway::queue::{Queue, Terms, Worked, Worker};
use gateway::store::{Claim, Job, JobStatus, Store, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use wire::{Fault, Wire};

const SCRIPT: &str = r#"[{"match": "endless", "stall": true, "deltas": [{"text": "begun"}]},
                         {"deltas": [{"text": "so"}]}]"#;
const LEASE: Duration = Duration::from_secs(30);

fn ann() -> Caller {
    Caller("ann".into())
}

struct World {
    wire: Wire,
    store: Store,
    gateway: Arc<Gateway>,
}

impl World {
    async fn new() -> World {
        let wire = Wire::new(Arc::new(SystemClock)).await;
        let store = wire.store(Arc::new(SystemClock));
        let rooms = Rooms {
            model: Arc::new(Scripted::parse(SCRIPT).unwrap()),
            embedder: Arc::new(HashedEmbedding),
            stands_in: Some("local.scripted"),
            retrieval: None,
            store: Some(Arc::new(store.clone())),
            single_process: false,
            lease: LEASE,
        };
        let settings = Settings::from_vars([("MAX_RUNNING_PER_CALLER".into(), "1".into())]).unwrap();
        World { wire, store, gateway: Gateway::open(settings, rooms).unwrap() }
    }

    fn row(&self, id: &str, prompt: &str) -> Job {
        let request = Request { id: id.into(), id_given: true, ..Request::new(ann(), "jobs", prompt) };
        Job::queued(ann(), id, serde_json::to_value(&request).unwrap(), self.store.now_ms())
    }

    /// A job that has been claimed and put back so often; counted attempts are tries.
    async fn job(&self, id: &str, prompt: &str, counted: &[bool]) {
        self.store.create_job(&self.row(id, prompt), None).await.unwrap();
        for (counted, attempt) in counted.iter().zip(1..) {
            self.claim(id, LEASE).await;
            assert!(self.store.release_job(&ann(), id, attempt, *counted).await.unwrap());
        }
        self.wire.take();
    }

    async fn claim(&self, id: &str, lease: Duration) {
        let claim = self.store.claim_job(&ann(), id, lease).await.unwrap();
        assert!(matches!(claim, Claim::Mine(_)), "{claim:?}");
    }

    async fn read(&self, id: &str) -> Job {
        self.store.job(&ann(), id).await.unwrap().unwrap()
    }

    async fn work(&self, id: &str, terms: Terms) -> Result<Worked, Error> {
        self.gateway.work(&ann(), id, terms).await
    }
}

/// A queue that takes nothing, or everything, and counts what it was given.
#[derive(Default)]
struct Counting {
    away: bool,
    given: AtomicUsize,
}

impl Queue for Counting {
    fn enqueue<'a>(&'a self, _: &'a Caller, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.given.fetch_add(1, Ordering::SeqCst);
        let away = Error::new(Kind::Unavailable, "away");
        Box::pin(async move { if self.away { Err(away) } else { Ok(()) } })
    }

    fn close(&self) {}

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn a_lost_job_that_could_not_be_queued_again_is_so_when_it_is_next_asked_for() {
    let world = World::new().await;
    let (away, well) = (Counting { away: true, ..Counting::default() }, Counting::default());
    let created_at_ms = world.store.now_ms() - 130_000;
    let job = Job { created_at_ms, ..world.row("lost", "why?") };
    world.store.create_job(&job, None).await.unwrap();
    for queue in [&away, &well, &well] {
        assert_eq!(world.gateway.job(Some(queue), &ann(), "lost").await.unwrap().status, JobStatus::Queued);
    }
    let given = |queue: &Counting| queue.given.load(Ordering::SeqCst);
    assert_eq!((given(&away), given(&well)), (1, 1));
}

/// Reads of partitions: how often a job's earlier attempts were looked for.
fn looks(wire: &Wire) -> usize {
    wire.take().iter().filter(|sent| sent.operation == "Query").count()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_never_began_does_not_look_for_answers_of_its_attempts() {
    let world = World::new().await;
    world.job("refused-often", "why?", &[false; 9]).await;
    assert_eq!(world.work("refused-often", Terms::default()).await.unwrap(), Worked::Done);
    let refused = looks(&world.wire);
    world.job("tried-before", "why?", &[true, false, false]).await;
    assert_eq!(world.work("tried-before", Terms::default()).await.unwrap(), Worked::Done);
    let tried = looks(&world.wire);
    assert_eq!((refused, tried), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn the_last_delivery_fails_a_job_only_where_its_worker_died() {
    let world = World::new().await;
    let last = Terms { until: None, last: true };
    world.job("put-back", "why?", &[true]).await;
    assert_eq!(world.work("put-back", last).await.unwrap(), Worked::Done);
    assert_eq!(world.read("put-back").await.completion.as_deref(), Some("so"));
    world.job("orphaned", "why?", &[]).await;
    world.claim("orphaned", Duration::ZERO).await;
    assert_eq!(world.work("orphaned", last).await.unwrap(), Worked::Done);
    let orphaned = world.read("orphaned").await;
    assert!(orphaned.error.unwrap().message.contains("stopped each time"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_time_is_over_frees_its_job_or_gives_it_up_at_the_last_delivery() {
    for last in [false, true] {
        let world = World::new().await;
        world.job("late", "why?", &[]).await;
        // The end of its reply cannot be kept.
        world.wire.fault(Fault::Silence, Some("TransactWriteItems"), usize::MAX);
        let begun = Instant::now();
        let terms = Terms { until: Some(begun + Duration::from_millis(10)), last };
        let error = world.work("late", terms).await.unwrap_err();
        assert_eq!(error.kind, Kind::DeadlineExceeded);
        assert!(begun.elapsed() < Duration::from_secs(2), "the delivery ends then");
        let job = world.read("late").await;
        match last {
            false => assert_eq!((job.status, job.error), (JobStatus::Queued, None)),
            true => {
                assert_eq!(job.status, JobStatus::Failed);
                assert!(job.error.unwrap().message.contains("given up"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_cannot_begin_waits_longer_each_time() {
    for (refused, seconds) in [(0, 2), (1, 4), (5, 64), (9, 64)] {
        let world = World::new().await;
        world.job("waits", "why?", &vec![false; refused]).await;
        // While it is claimed, its caller's one place is taken.
        world.wire.fault(Fault::Late(Duration::from_secs(1)), Some("UpdateItem"), 1);
        let working = tokio::spawn({
            let gateway = world.gateway.clone();
            async move { gateway.work(&ann(), "waits", Terms::default()).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let endless = world.gateway.answer(Request::new(ann(), "prompt", "endless")).await.unwrap();
        assert_eq!(working.await.unwrap(), Worked::Again(Duration::from_secs(seconds)));
        endless.cancel();
    }
}
