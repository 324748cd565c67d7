//! Promises about jobs and connections.

use crate::{LEASE, World, ann, bob, noise, usage};
use futures_util::stream::{self, StreamExt};
use gateway::error::{Error, Kind};
use gateway::store::{Claim, Created, Job, JobOutcome, JobStatus};
use serde_json::json;
use std::time::Duration;

fn job(world: &World, id: &str) -> Job {
    Job::queued(ann(), id, json!({"prompt": "why?"}), world.now())
}

fn outcome(completion: &str) -> JobOutcome {
    JobOutcome {
        status: JobStatus::Completed,
        completion: Some(completion.into()),
        error: None,
        usage: Some(usage()),
    }
}

async fn create(world: &World, id: &str) -> Job {
    let job = job(world, id);
    assert_eq!(world.store.create_job(&job, None).await.unwrap(), Created::New);
    job
}

async fn claimed(world: &World, id: &str) -> Option<Job> {
    match world.store.claim_job(&ann(), id, LEASE).await.unwrap() {
        Claim::Mine(job) => Some(*job),
        _ => None,
    }
}

async fn read(world: &World, id: &str) -> Job {
    world.store.job(&ann(), id).await.unwrap().unwrap()
}

pub async fn a_job_is_its_callers_own(world: World) {
    let job = create(&world, "j").await;
    let store = &world.store;
    assert_eq!(read(&world, "j").await, job);
    assert_eq!(store.job(&bob(), "j").await.unwrap(), None);
    assert_eq!(store.cancel_job(&bob(), "j").await.unwrap(), None);
    assert_eq!(store.claim_job(&bob(), "j", LEASE).await.unwrap(), Claim::Missing);
    assert!(!store.give_up_job(&bob(), "j", false, &outcome("x")).await.unwrap());
    assert!(!store.finish_job(&bob(), "j", 0, &outcome("x")).await.unwrap());
    assert_eq!(read(&world, "j").await, job);
}

pub async fn an_idempotency_key_leads_to_the_same_job(world: World) {
    let store = &world.store;
    let create = async |job: &Job, key, hash| store.create_job(job, Some((key, hash))).await;
    assert_eq!(create(&job(&world, "j1"), "k", "h").await.unwrap(), Created::New);
    let again = job(&world, "j2");
    assert_eq!(create(&again, "k", "h").await.unwrap(), Created::Existing("j1".into()));
    assert_eq!(store.job(&ann(), "j2").await.unwrap(), None, "both rows or none");
    assert_eq!(create(&again, "k", "other").await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(create(&job(&world, "j1"), "k2", "h").await.unwrap_err().kind, Kind::Conflict);
    let bobs = Job { caller: bob(), ..again };
    assert_eq!(create(&bobs, "k", "other").await.unwrap(), Created::New);
    world.clock.advance(Duration::from_secs(7 * 86_400 + 1));
    assert_eq!(create(&job(&world, "j3"), "k", "other").await.unwrap(), Created::New);
}

pub async fn of_two_claims_one_wins(world: World) {
    create(&world, "j").await;
    let caller = ann();
    let claim = || world.store.claim_job(&caller, "j", LEASE);
    let claims = tokio::join!(claim(), claim());
    let ((Ok(Claim::Mine(won)), Ok(lost)) | (Ok(lost), Ok(Claim::Mine(won)))) = claims else {
        panic!("{claims:?}");
    };
    assert_eq!(lost, Claim::Held(LEASE));
    assert_eq!((won.status, won.attempts), (JobStatus::Running, 1));
    assert_eq!(won.lease_until_ms, world.now() + 30_000);
    world.clock.advance(LEASE);
    assert_eq!(claimed(&world, "j").await.unwrap().attempts, 2);
    assert_eq!(world.store.claim_job(&caller, "no such job", LEASE).await.unwrap(), Claim::Missing);
    assert_eq!(world.store.job(&caller, "no such job").await.unwrap(), None);
}

pub async fn of_fifty_claims_one_wins(world: World) {
    create(&world, "j").await;
    let caller = ann();
    let claims = stream::iter((0..50).map(|_| world.store.claim_job(&caller, "j", LEASE)));
    let won: Vec<_> = claims.buffer_unordered(world.at_once).collect().await;
    let mine = won.into_iter().filter(|claim| matches!(claim, Ok(Claim::Mine(_))));
    assert_eq!(mine.count(), 1);
    assert_eq!(read(&world, "j").await.attempts, 1);
}

pub async fn a_worker_that_was_given_up_on_changes_nothing(world: World) {
    create(&world, "j").await;
    let store = &world.store;
    store.claim_job(&ann(), "j", LEASE).await.unwrap();
    assert!(store.renew_job(&ann(), "j", 1, LEASE * 2).await.unwrap());
    world.clock.advance(LEASE);
    world.clock.advance(Duration::from_secs(5));
    let left = LEASE - Duration::from_secs(5);
    assert_eq!(store.claim_job(&ann(), "j", LEASE).await.unwrap(), Claim::Held(left));
    world.clock.advance(left);
    assert!(claimed(&world, "j").await.unwrap().orphaned);
    assert!(!store.renew_job(&ann(), "j", 1, LEASE).await.unwrap());
    assert!(!store.release_job(&ann(), "j", 1, true).await.unwrap());
    assert!(!store.finish_job(&ann(), "j", 1, &outcome("late")).await.unwrap());
    assert!(store.release_job(&ann(), "j", 2, true).await.unwrap());
    assert_eq!(read(&world, "j").await.status, JobStatus::Queued);
    let third = claimed(&world, "j").await.unwrap();
    assert_eq!((third.attempts, third.orphaned), (3, false));
    assert!(store.finish_job(&ann(), "j", 3, &outcome("so")).await.unwrap());
    assert_eq!(store.claim_job(&ann(), "j", LEASE).await.unwrap(), Claim::Over);
}

pub async fn only_a_job_that_nobody_works_on_is_given_up(world: World) {
    let store = &world.store;
    let error = Error::new(Kind::Internal, "It was delivered too often.");
    let given_up =
        JobOutcome { status: JobStatus::Failed, completion: None, error: Some(error.clone()), usage: None };
    let give_up = async |id, unclaimed| store.give_up_job(&ann(), id, unclaimed, &given_up).await.unwrap();
    for id in ["fresh", "tried", "held", "done"] {
        create(&world, id).await;
    }
    for id in ["tried", "held", "done"] {
        claimed(&world, id).await.unwrap();
    }
    store.release_job(&ann(), "tried", 1, true).await.unwrap();
    store.finish_job(&ann(), "done", 1, &outcome("so")).await.unwrap();
    for id in ["tried", "held", "done", "none"] {
        assert!(!give_up(id, true).await, "{id} has been claimed");
    }
    assert!(!give_up("held", false).await && !give_up("done", false).await);
    assert!(give_up("fresh", true).await && give_up("tried", false).await);
    world.clock.advance(LEASE);
    assert!(give_up("held", false).await, "its worker is gone");
    for id in ["fresh", "tried", "held"] {
        let job = read(&world, id).await;
        assert_eq!((job.status, job.error), (JobStatus::Failed, Some(error.clone())));
        assert_eq!(store.claim_job(&ann(), id, LEASE).await.unwrap(), Claim::Over);
    }
    assert_eq!(read(&world, "done").await.completion.as_deref(), Some("so"));
}

pub async fn of_two_who_queue_a_job_again_one_does(world: World) {
    let store = &world.store;
    let job = create(&world, "j").await;
    let note = store.requeue_job(&job).await.unwrap().unwrap();
    assert!(store.requeue_job(&job).await.unwrap().is_none(), "it has been queued since it was read");
    store.unqueue_job(&job, note).await.unwrap();
    assert_eq!(read(&world, "j").await, job);
    let first = store.requeue_job(&job).await.unwrap().unwrap();
    let job = read(&world, "j").await;
    assert_eq!(job.requeued_at_ms, Some(world.now()));
    world.clock.advance(Duration::from_secs(1));
    let second = store.requeue_job(&job).await.unwrap().unwrap();
    store.unqueue_job(&job, first).await.unwrap();
    assert_eq!(
        read(&world, "j").await.requeued_at_ms,
        Some(world.now()),
        "it is not the first one's any more"
    );
    store.unqueue_job(&job, second).await.unwrap();
    assert_eq!(read(&world, "j").await, job);
    store.cancel_job(&ann(), "j").await.unwrap();
    assert!(store.requeue_job(&read(&world, "j").await).await.unwrap().is_none(), "it has ended");
}

pub async fn a_job_keeps_how_it_came_out(world: World) {
    let large = Job { request: json!({"prompt": noise(500_000)}), ..job(&world, "large") };
    world.store.create_job(&large, None).await.unwrap();
    create(&world, "broken").await;
    world.store.claim_job(&ann(), "large", LEASE).await.unwrap();
    world.store.claim_job(&ann(), "broken", LEASE).await.unwrap();
    let completion = noise(700_000);
    assert!(world.store.finish_job(&ann(), "large", 1, &outcome(&completion)).await.unwrap());
    let done = read(&world, "large").await;
    assert!(done.request == large.request && done.completion == Some(completion));
    assert_eq!((done.usage, done.completed_at_ms), (Some(usage()), Some(world.now())));
    let error = Error::new(Kind::UpstreamError, "The model failed.");
    let failed = JobOutcome {
        status: JobStatus::Failed,
        completion: Some("so f".into()),
        error: Some(error.clone().because("not for callers")),
        usage: None,
    };
    assert!(world.store.finish_job(&ann(), "broken", 1, &failed).await.unwrap());
    let broken = read(&world, "broken").await;
    assert_eq!((broken.status, broken.error), (JobStatus::Failed, Some(error)));
    assert_eq!(broken.completion.as_deref(), Some("so f"));
}

pub async fn a_cancelled_job_stays_cancelled(world: World) {
    let store = &world.store;
    for id in ["queued", "running", "done"] {
        create(&world, id).await;
    }
    for id in ["running", "done"] {
        store.claim_job(&ann(), id, LEASE).await.unwrap();
    }
    store.finish_job(&ann(), "done", 1, &outcome("so")).await.unwrap();
    assert_eq!(store.cancel_job(&ann(), "queued").await.unwrap(), Some(JobStatus::Cancelled));
    assert_eq!(store.cancel_job(&ann(), "running").await.unwrap(), Some(JobStatus::Cancelled));
    assert_eq!(store.cancel_job(&ann(), "running").await.unwrap(), Some(JobStatus::Cancelled));
    assert_eq!(store.cancel_job(&ann(), "done").await.unwrap(), Some(JobStatus::Completed));
    assert_eq!(store.cancel_job(&ann(), "none").await.unwrap(), None);
    assert_eq!(store.claim_job(&ann(), "queued", LEASE).await.unwrap(), Claim::Over);
    assert!(!store.renew_job(&ann(), "running", 1, LEASE).await.unwrap());
    assert!(!store.finish_job(&ann(), "running", 1, &outcome("late")).await.unwrap());
    assert_eq!(read(&world, "done").await.completion.as_deref(), Some("so"));
}

pub async fn open_jobs_are_listed_oldest_first(world: World) {
    for id in ["z", "y", "done", "x"] {
        create(&world, id).await;
        world.clock.advance(Duration::from_millis(1));
    }
    world.store.claim_job(&ann(), "y", LEASE).await.unwrap();
    world.store.cancel_job(&ann(), "done").await.unwrap();
    let open = world.store.open_jobs().await.unwrap();
    let expected: Vec<_> = ["z", "y", "x"].map(|id| (ann(), id.to_owned())).into();
    assert_eq!(open, expected);
}

pub async fn expired_jobs_and_connections_vanish_at_once(world: World) {
    create(&world, "j").await;
    world.store.put_connection("c1", &ann()).await.unwrap();
    world.clock.advance(Duration::from_secs(130 * 60 + 1));
    assert_eq!(world.store.connection("c1").await.unwrap(), None);
    assert!(world.store.job(&ann(), "j").await.unwrap().is_some());
    world.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(world.store.job(&ann(), "j").await.unwrap(), None);
    assert_eq!(world.store.cancel_job(&ann(), "j").await.unwrap(), None);
    assert_eq!(world.store.claim_job(&ann(), "j", LEASE).await.unwrap(), Claim::Missing);
    assert_eq!(world.store.open_jobs().await.unwrap(), []);
    create(&world, "j").await;
}

pub async fn a_connection_knows_its_caller(world: World) {
    world.store.put_connection("c1", &bob()).await.unwrap();
    assert_eq!(world.store.connection("c1").await.unwrap(), Some(bob()));
    assert_eq!(world.store.connection("c2").await.unwrap(), None);
    world.store.delete_connection("c1").await.unwrap();
    assert_eq!(world.store.connection("c1").await.unwrap(), None);
}
