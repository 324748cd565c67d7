//! A leader whose process is killed: its runtime ends with all that runs in it.

use crate::{World, all, had, long, paid};
use gateway::error::Kind;
use gateway::reply::Reply;
use gateway::store::StoppedClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// Longer than any lease here.
const LEASE: Duration = Duration::from_secs(61);

/// Process 0 leads in a runtime of its own; two others follow.
struct Scene {
    world: World,
    clock: Arc<StoppedClock>,
    process: Runtime,
    followers: Vec<Arc<Reply>>,
}

impl Scene {
    async fn new(question: &'static str) -> Scene {
        let clock = StoppedClock::at(1_800_000_000_000);
        let world = World::at(clock.clone(), 3, &[]).await;
        let process = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let doors = world.gateways[0].clone();
        let asking = async move { doors.gateway.answer(crate::asked("alice", question)).await.unwrap() };
        process.spawn(asking).await.unwrap();
        poll_until(|| world.calls() == 1).await;
        let followers = vec![world.ask(1, question).await, world.ask(2, question).await];
        poll_until(|| followers.iter().all(|reply| reply.started().is_some())).await;
        Scene { world, clock, process, followers }
    }

    fn kill(self) -> (World, Arc<StoppedClock>, Vec<Arc<Reply>>) {
        self.process.shutdown_background();
        (self.world, self.clock, self.followers)
    }
}

async fn poll_until(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), polling).await.unwrap();
}

#[tokio::test]
async fn one_of_those_who_have_heard_nothing_takes_its_place() {
    let (world, clock, followers) = Scene::new("a pensive one").await.kill();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.calls(), 1, "its lease is not over");
    clock.advance(LEASE);
    let had = all(&followers).await;
    assert!(had.iter().all(|had| had.is("at last")), "{had:?}");
    assert_eq!((world.calls(), paid(&had)), (2, 30));
}

#[tokio::test]
async fn who_has_heard_a_part_is_told_that_there_is_no_rest() {
    let scene = Scene::new("a long one").await;
    poll_until(|| scene.followers.iter().all(|reply| reply.log().is_some_and(|log| !log.is_empty()))).await;
    let (world, clock, followers) = scene.kill();
    clock.advance(LEASE);
    for had in all(&followers).await {
        assert_eq!(had.end, Err(Kind::UpstreamError));
        assert!(long().starts_with(&had.text) && !had.text.is_empty() && had.text != long(), "{had:?}");
    }
    assert_eq!(world.calls(), 1);
    assert!(had(&world.ask(1, "a long one").await).await.is(&long()), "who asks again gets it whole");
    assert_eq!(world.calls(), 2);
}
