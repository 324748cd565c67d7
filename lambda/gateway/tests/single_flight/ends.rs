//! A leader that fails, or is stopped while others follow.

use crate::{World, all, asked, had, long, paid};
use gateway::chat::CacheOutcome;
use gateway::error::Kind;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn what_the_model_refuses_it_refuses_all_who_asked_at_once() {
    let world = World::new(4, &[]).await;
    let had_all = all(&world.ask_each("a refused one").await).await;
    assert!(had_all.iter().all(|had| had.end == Err(Kind::Throttled)), "{had_all:?}");
    assert_eq!(world.calls(), 1, "it asked for more patience than there is");
    // Who asks later is not told of it.
    assert_eq!(had(&world.ask(2, "a refused one").await).await.end, Err(Kind::Throttled));
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_leader_that_has_failed_before_its_first_row() {
    let world = World::new(4, &[]).await;
    let begun = Instant::now();
    let mut replies = Vec::new();
    for process in 0..4 {
        replies.push(world.ask(process, "a wrong one").await);
    }
    assert!(all(&replies).await.iter().all(|had| had.end == Err(Kind::InvalidRequest)));
    assert_eq!(world.calls(), 1);
    assert_eq!(had(&world.ask(1, "a wrong one").await).await.end, Err(Kind::InvalidRequest));
    assert_eq!(had(&world.ask(2, "a wrong one").await).await.end, Err(Kind::InvalidRequest));
    assert_eq!(world.calls(), 3);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_leader_that_is_stopped_before_its_first_row() {
    let world = World::new(3, &[]).await;
    let begun = Instant::now();
    let replies = [world.ask(0, "a pensive one").await, world.ask(1, "a pensive one").await];
    sleep(Duration::from_millis(200)).await;
    replies[0].cancel();
    let had = all(&replies).await;
    assert!(had[0].end == Err(Kind::Cancelled) && had[1].is("at last"), "{had:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!((world.calls(), paid(&had)), (1, 30));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_breaks_for_all_with_the_same_text() {
    let world = World::new(4, &[]).await;
    let had = all(&world.ask_each("a broken one").await).await;
    assert!(had.iter().all(|had| had.end == Err(Kind::UpstreamError)), "{had:?}");
    assert!(had.iter().all(|had| had.text == "word ".repeat(4)), "{had:?}");
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_follows_goes_on_when_the_leader_is_cancelled() {
    let world = World::new(4, &[]).await;
    let replies = world.ask_each("a long one").await;
    replies[0].cancel();
    let had_all = all(&replies).await;
    assert_eq!(had_all[0].end, Err(Kind::Cancelled));
    assert!(had_all[1..].iter().all(|had| had.is(&long())), "{had_all:?}");
    assert_eq!((world.calls(), paid(&had_all)), (1, 30), "one of those who go on pays");
    assert_eq!(had(&world.ask(3, "a long one").await).await.cache, Some(CacheOutcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_leader_was_cancelled_shares_what_goes_on() {
    let world = World::new(3, &[]).await;
    let mut replies = vec![world.ask(0, "a long one").await];
    sleep(Duration::from_millis(700)).await;
    replies.push(world.ask(1, "a long one").await);
    sleep(Duration::from_millis(700)).await;
    replies[0].cancel();
    sleep(Duration::from_millis(700)).await;
    replies.push(world.ask(2, "a long one").await);
    let had_all = all(&replies).await;
    assert!(had_all[1..].iter().all(|had| had.is(&long())), "{had_all:?}");
    assert_eq!((world.calls(), paid(&had_all)), (1, 30));
}

#[tokio::test(start_paused = true)]
async fn who_follows_goes_on_when_the_leaders_time_is_up() {
    let world = World::new(2, &[]).await;
    let mut brief = asked("alice", "a long one");
    brief.time_limit = Duration::from_millis(1500);
    let leader = world.gateways[0].gateway.answer(brief).await.unwrap();
    sleep(Duration::from_millis(700)).await;
    let follower = world.ask(1, "a long one").await;
    let had_all = all(&[leader, follower]).await;
    assert_eq!(had_all[0].end, Err(Kind::DeadlineExceeded));
    assert!(had_all[1].is(&long()) && world.calls() == 1, "{had_all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whom_nobody_follows_stops_the_model() {
    let world = World::new(2, &[]).await;
    let leader = world.ask(0, "a long one").await;
    sleep(Duration::from_secs(1)).await;
    leader.cancel();
    assert_eq!(had(&leader).await.end, Err(Kind::Cancelled));
    assert_eq!(world.open(), 0, "the call was dropped");
    assert!(had(&world.ask(1, "a long one").await).await.is(&long()), "and the next one asks");
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_follows_may_leave_and_nobody_notices() {
    let world = World::new(3, &[]).await;
    let replies = world.ask_each("a long one").await;
    replies[1].cancel();
    let had = all(&replies).await;
    assert_eq!(had[1].end, Err(Kind::Cancelled));
    assert!(had[0].is(&long()) && had[2].is(&long()), "{had:?}");
    assert_eq!((world.calls(), paid(&had)), (1, 30));
}

#[tokio::test(start_paused = true)]
async fn the_model_stops_when_all_who_follow_have_left_too() {
    for order in [[0, 1, 2], [1, 2, 0], [1, 0, 2]] {
        let world = World::new(3, &[]).await;
        let replies = world.ask_each("a pensive one").await;
        for process in order {
            assert_eq!(world.open(), 1, "somebody waits for it");
            replies[process].cancel();
            assert_eq!(had(&replies[process]).await.end, Err(Kind::Cancelled));
        }
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(world.open(), 0, "{order:?}");
        assert!(had(&world.ask(1, "a pensive one").await).await.is("at last"));
        assert_eq!(world.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_must_rest_ends_what_it_carries_on() {
    let world = World::new(3, &[]).await;
    let replies = world.ask_each("a long one").await;
    sleep(Duration::from_millis(700)).await;
    replies[0].cancel();
    had(&replies[0]).await;
    assert_eq!(world.open(), 1, "it is carried on");
    world.gateways[0].gateway.carried.end(Instant::now() + Duration::from_millis(300)).await;
    assert_eq!(world.open(), 0);
    let had = all(&replies[1..]).await;
    assert!(had.iter().all(|had| had.end == Err(Kind::UpstreamError) && !had.text.is_empty()), "{had:?}");
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_may_rest_later_carries_on_to_the_end() {
    let world = World::new(3, &[]).await;
    let replies = world.ask_each("a pensive one").await;
    replies[0].cancel();
    had(&replies[0]).await;
    world.gateways[0].gateway.carried.end(Instant::now() + Duration::from_secs(60)).await;
    assert_eq!(world.open(), 0, "it waited for the model");
    assert!(all(&replies[1..]).await.iter().all(|had| had.is("at last")));
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_those_who_have_heard_nothing_one_asks_when_what_was_carried_on_ends_early() {
    let world = World::new(4, &[]).await;
    let replies = world.ask_each("a pensive one").await;
    replies[0].cancel();
    had(&replies[0]).await;
    world.gateways[0].gateway.carried.end(Instant::now()).await;
    let had = all(&replies[1..]).await;
    assert!(had.iter().all(|had| had.is("at last")), "{had:?}");
    assert_eq!((world.calls(), paid(&had)), (2, 30));
}
