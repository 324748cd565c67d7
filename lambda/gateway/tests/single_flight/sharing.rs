//! Who shares a call, and who does not.

use crate::wire::Fault;
use crate::{World, all, asked, had, long, paid};
use gateway::chat::{CacheOutcome, CachePolicy};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn two_hundred_identical_questions_of_eight_processes_make_one_model_call() {
    let world = World::new(8, &[]).await;
    let mut replies = Vec::new();
    for n in 0..200 {
        replies.push(world.ask(n % 8, "a long one").await);
    }
    let had = all(&replies).await;
    assert!(had.iter().all(|had| had.is(&long())), "{had:?}");
    assert_eq!(world.calls(), 1);
    assert_eq!(paid(&had), 30, "and it is paid for once");
    let cache = |wanted| had.iter().filter(|had| had.cache == Some(wanted)).count();
    assert_eq!((cache(CacheOutcome::Miss), cache(CacheOutcome::Shared)), (1, 199));
    assert_eq!(replies.iter().map(|reply| &reply.id).collect::<HashSet<_>>().len(), 200);
    assert_eq!(crate::had(&world.ask(3, "a long one").await).await.cache, Some(CacheOutcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn who_follows_hears_the_answer_as_it_comes() {
    let world = World::new(2, &[]).await;
    let replies = world.ask_each("a long one").await;
    sleep(Duration::from_millis(1500)).await;
    let heard = replies[1].so_far().len();
    assert!(heard > 1 && world.open() == 1, "it has begun, and the model has not ended");
    assert!(all(&replies).await.iter().all(|had| had.is(&long())));
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_a_flight_of_ones_own_unless_the_scope_is_shared() {
    for (scope, calls) in [("caller", 2), ("shared", 1)] {
        let world = World::new(4, &[("CACHE_SCOPE", scope)]).await;
        let mut replies = Vec::new();
        for (process, doors) in world.gateways.iter().enumerate() {
            let caller = ["alice", "bob"][process % 2];
            replies.push(doors.gateway.answer(asked(caller, "a long one")).await.unwrap());
        }
        let had = all(&replies).await;
        assert!(had.iter().all(|had| had.is(&long())), "{had:?}");
        assert_eq!((world.calls(), paid(&had)), (calls, 30 * calls as u64), "{scope}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_fresh_answer_or_switches_it_off_asks() {
    let world = World::new(3, &[]).await;
    let first = world.ask(0, "a long one").await;
    sleep(Duration::from_secs(1)).await;
    let fresh = asked("alice", "a long one");
    let fresh = gateway::chat::Request { cache: CachePolicy { invalidate: true, ..fresh.cache }, ..fresh };
    let second = world.gateways[1].gateway.answer(fresh).await.unwrap();
    assert!(all(&[first, second]).await.iter().all(|had| had.is(&long())));
    assert_eq!(world.calls(), 2);

    let world = World::new(3, &[("SINGLE_FLIGHT", "off")]).await;
    let replies = world.ask_each("a long one").await;
    assert!(all(&replies).await.iter().all(|had| had.is(&long())));
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_ended_is_taken_where_it_is_whole_and_asked_again_where_it_is_not() {
    let world = World::new(4, &[]).await;
    let replies = world.ask_each("a clipped one").await;
    assert!(all(&replies).await.iter().all(|had| had.is("so and")));
    assert_eq!(world.calls(), 1, "those who asked at once share it");
    assert!(had(&world.ask(2, "a clipped one").await).await.is("so and"));
    assert_eq!(world.calls(), 2, "who asks later does not: it was never learned");

    // The cache may not have a whole answer yet, as its read is not a consistent one.
    assert!(had(&world.ask(0, "a short one").await).await.is("so"));
    let answers = world.wire.engine().service();
    for row in answers.scan().table_name("answers").send().await.unwrap().items.unwrap() {
        let delete = answers.delete_item().table_name("answers").key("pk", row["pk"].clone());
        delete.send().await.unwrap();
    }
    let again = had(&world.ask(1, "a short one").await).await;
    assert!(again.is("so") && again.cache == Some(CacheOutcome::Shared) && paid(&[again]) == 0);
    assert_eq!(world.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_stops_nobody() {
    let dead = [
        Fault::Refused(400, "AccessDeniedException"),
        Fault::Refused(500, "InternalServerError"),
        Fault::Reset,
        Fault::LostReply,
        Fault::Silence,
    ];
    // All of it, or from the lead on; the leader's rows may be what cannot be read.
    for operation in [None, Some("PutItem"), Some("Query"), Some("UpdateItem")] {
        for fault in dead {
            let world = World::new(3, &[]).await;
            world.wire.fault(fault, operation, usize::MAX);
            let replies = world.ask_each("a long one").await;
            let had = all(&replies).await;
            assert!(had.iter().all(|had| had.is(&long())), "{fault:?} {operation:?} {had:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_moment_is_not_noticed() {
    let world = World::new(2, &[]).await;
    let leader = world.ask(0, "a long one").await;
    sleep(Duration::from_millis(900)).await;
    let follower = world.ask(1, "a long one").await;
    sleep(Duration::from_millis(900)).await;
    assert!(follower.log().is_some_and(|log| !log.is_empty()), "it has heard something");
    world.wire.fault(Fault::Refused(400, "AccessDeniedException"), Some("Query"), 2);
    assert!(all(&[leader, follower]).await.iter().all(|had| had.is(&long())));
    assert_eq!(world.calls(), 1);
}
