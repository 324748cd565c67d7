//! Promises about conversations.

use crate::{World, ann, bob, noise};
use futures_util::stream::{self, StreamExt};
use gateway::chat::Block;
use gateway::store::{Finished, Turn};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

async fn ids_within(world: &World, bytes: usize) -> Vec<String> {
    let turns = world.store.turns(&ann(), "c", bytes).await.unwrap();
    turns.into_iter().map(|turn| turn.request_id).collect()
}

async fn ids(world: &World, chat_id: &str) -> Vec<String> {
    let turns = world.store.turns(&ann(), chat_id, usize::MAX).await.unwrap();
    turns.into_iter().map(|turn| turn.request_id).collect()
}

pub async fn fifty_appends_at_once_keep_every_turn_in_order(world: World) {
    let turns: Vec<Turn> = (0..50)
        .map(|n| Turn { at_ms: world.now() + n, ..world.turn("c", &format!("r{n:02}"), &format!("q{n}")) })
        .collect();
    let keeping = stream::iter(turns.iter().rev().map(|turn| world.keep(turn)));
    let kept: Vec<Finished> = keeping.buffer_unordered(world.at_once).collect().await;
    assert!(kept.len() == 50 && kept.iter().all(|kept| *kept == Finished::Stored));
    assert_eq!(world.store.read_chat(&ann(), "c").await.unwrap().unwrap(), turns);
    let list = world.store.list_chats(&ann(), 10).await.unwrap();
    assert_eq!((list.len(), list[0].turns), (1, 50));
}

pub async fn the_newest_turns_that_fit_are_given_oldest_first(world: World) {
    for n in 0..40 {
        world.keep(&world.turn("c", &format!("r{n:02}"), &"x".repeat(1000))).await;
        world.clock.advance(SECOND);
    }
    let size = serde_json::to_string(&world.turn("c", "r00", &"x".repeat(1000))).unwrap().len();
    for (fits, bytes) in [(1, 0), (3, size * 3 + 30), (35, size * 35 + 30), (40, size * 40 + 30)] {
        let turns = world.store.turns(&ann(), "c", bytes).await.unwrap();
        let found: Vec<_> = turns.into_iter().map(|turn| turn.request_id).collect();
        let expected: Vec<_> = (40 - fits..40).map(|n| format!("r{n:02}")).collect();
        assert_eq!(found, expected);
    }
}

pub async fn turns_begin_where_the_newest_prompt_began(world: World) {
    let mut third = 0;
    for n in 1..=5 {
        if n == 3 {
            third = world.now();
        }
        let turn = world.turn("c", &format!("r{n}"), "q");
        world.keep(&Turn { window_from_ms: if n == 5 { third } else { 0 }, ..turn }).await;
        world.clock.advance(SECOND);
    }
    assert_eq!(ids(&world, "c").await, ["r3", "r4", "r5"]);
    let newest =
        serde_json::to_string(&world.store.turns(&ann(), "c", usize::MAX).await.unwrap()[2]).unwrap();
    let fits = world.store.turns(&ann(), "c", newest.len()).await.unwrap();
    assert_eq!(fits.iter().map(|turn| turn.request_id.as_str()).collect::<Vec<_>>(), ["r5"]);
    assert_eq!(world.store.read_chat(&ann(), "c").await.unwrap().unwrap().len(), 5);
}

pub async fn a_conversation_is_its_callers_own(world: World) {
    let title = "ü".repeat(100);
    world.keep(&world.turn("c", "r1", &title)).await;
    world.clock.advance(SECOND);
    world.keep(&world.turn("d", "r2", "second")).await;
    let store = &world.store;
    assert_eq!(store.read_chat(&bob(), "c").await.unwrap(), None);
    assert_eq!(store.turns(&bob(), "c", usize::MAX).await.unwrap(), []);
    assert_eq!(store.list_chats(&bob(), 10).await.unwrap(), []);
    assert!(!store.delete_chat(&bob(), "c").await.unwrap());
    world.keep(&Turn { caller: bob(), ..world.turn("c", "r3", "bob's") }).await;
    assert_eq!(ids(&world, "c").await, ["r1"]);
    let list = store.list_chats(&ann(), 10).await.unwrap();
    assert_eq!(list.iter().map(|chat| chat.chat_id.as_str()).collect::<Vec<_>>(), ["d", "c"]);
    assert_eq!((list[1].title.as_str(), list[1].turns), ("ü".repeat(80).as_str(), 1));
    assert_eq!(store.list_chats(&ann(), 1).await.unwrap().len(), 1);
}

pub async fn a_deleted_conversation_is_not_brought_back_by_a_reply_in_flight(world: World) {
    world.keep(&world.turn("c", "r1", "q")).await;
    world.clock.advance(SECOND);
    let in_flight = world.turn("c", "r2", "q2");
    world.clock.advance(SECOND);
    assert!(world.store.delete_chat(&ann(), "c").await.unwrap());
    assert!(!world.store.delete_chat(&ann(), "c").await.unwrap());
    world.clock.advance(SECOND);
    // Its reply is kept all the same; only the turn is not.
    let late = Turn { at_ms: world.now(), after_ms: world.now() + 9, ..in_flight };
    assert_eq!(world.keep(&late).await, Finished::Stored);
    let key = gateway::store::ReplyKey::new(&ann(), "r2");
    assert!(world.store.load_reply(&key).await.unwrap().unwrap().end.is_some());
    assert_eq!(world.store.read_chat(&ann(), "c").await.unwrap(), None);
    assert_eq!(world.store.list_chats(&ann(), 10).await.unwrap(), []);
    assert_eq!(ids(&world, "c").await, Vec::<String>::new());
}

pub async fn a_deleted_conversation_can_begin_afresh(world: World) {
    world.keep(&world.turn("c", "r1", "old")).await;
    world.clock.advance(SECOND);
    let in_flight = world.turn("c", "r2", "before");
    world.clock.advance(SECOND);
    world.store.delete_chat(&ann(), "c").await.unwrap();
    world.clock.advance(SECOND);
    world.keep(&world.turn("c", "r3", "new")).await;
    world.keep(&in_flight).await;
    world.clock.advance(SECOND);
    world.keep(&world.turn("c", "r4", "newer")).await;
    assert_eq!(ids(&world, "c").await, ["r3", "r4"]);
    let list = world.store.list_chats(&ann(), 10).await.unwrap();
    assert_eq!((list[0].title.as_str(), list[0].turns), ("new", 2));
}

pub async fn a_deletion_during_the_first_reply_holds(world: World) {
    let in_flight = world.turn("c", "r1", "q");
    world.clock.advance(SECOND);
    assert!(!world.store.delete_chat(&ann(), "c").await.unwrap());
    world.keep(&in_flight).await;
    assert_eq!(world.store.read_chat(&ann(), "c").await.unwrap(), None);
}

pub async fn an_expired_conversation_begins_afresh(world: World) {
    world.keep(&world.turn("c", "r1", "old")).await;
    world.clock.advance(Duration::from_secs(30 * 86_400 + 1));
    assert_eq!(world.store.read_chat(&ann(), "c").await.unwrap(), None);
    assert!(!world.store.delete_chat(&ann(), "d").await.unwrap());
    world.keep(&world.turn("c", "r2", "new")).await;
    let list = world.store.list_chats(&ann(), 10).await.unwrap();
    assert_eq!((list[0].title.as_str(), list[0].turns, list[0].created_at_ms), ("new", 1, world.now()));
    assert_eq!(ids(&world, "c").await, ["r2"]);
}

pub async fn a_turn_stands_behind_the_one_it_follows(world: World) {
    world.keep(&world.turn("c", "r1", "first")).await;
    let seen = world.store.turns(&ann(), "c", usize::MAX).await.unwrap();
    let after_ms = seen[0].at_ms;
    // Another machine, whose clock is five seconds behind.
    let slow = world.now() - 5000;
    world.keep(&Turn { started_at_ms: slow, at_ms: slow, after_ms, ..world.turn("c", "r0", "second") }).await;
    assert_eq!(ids(&world, "c").await, ["r1", "r0"]);
    assert_eq!(world.store.turns(&ann(), "c", usize::MAX).await.unwrap()[1].at_ms, after_ms + 1);
}

pub async fn a_large_question_comes_back_whole(world: World) {
    let large = Turn {
        answer: vec![Block::Text { text: "answer ".repeat(60_000) }],
        ..world.turn("c", "r1", &noise(3_000_000))
    };
    assert_eq!(world.keep(&large).await, Finished::Stored);
    assert!(world.store.read_chat(&ann(), "c").await.unwrap() == Some(vec![large]));
    // The newest comes even where it is over the limit; one before it that is does not.
    world.clock.advance(SECOND);
    world.keep(&world.turn("c", "r2", "q")).await;
    assert_eq!(ids_within(&world, 1_000_000).await, ["r2"]);
}

#[tokio::test]
async fn large_turns_leave_nothing_behind_when_deleted() {
    let world = World::in_memory().await;
    world.keep(&world.turn("c", "r1", &noise(2_000_000))).await;
    assert!(world.store.delete_chat(&ann(), "c").await.unwrap());
    world.clock.advance(Duration::from_secs(365 * 86_400));
    // The two marks of the deletion and the reply's end, and not one part.
    assert_eq!(world.store.sweep().await.unwrap(), 3);
}
