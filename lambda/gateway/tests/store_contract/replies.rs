//! Promises about replies.

use crate::{LEASE, World, ann, bob, completed, deltas, finish, noise, started, usage};
use gateway::chat::{Delta, Terminal};
use gateway::error::{Error, Kind};
use gateway::store::{Begin, Begun, Finish, Finished, Flush, ReplyKey, ReplyRow, Store};
use std::time::Duration;

fn key() -> ReplyKey {
    ReplyKey::new(&ann(), "r")
}

fn failed() -> Terminal {
    let error = Error::new(Kind::Internal, "The process that answered is gone.");
    Terminal::Failed { error, usage: usage() }
}

fn begin(fingerprint: &str) -> Begin<'_> {
    Begin { fingerprint, delivery: None, lease: LEASE }
}

async fn flush(store: &Store, key: &ReplyKey, first_seq: u64, deltas: &[Delta]) {
    let started = started("r");
    let flush = Flush { key, fingerprint: Some("f"), started: &started, first_seq, deltas, lease: LEASE };
    store.flush_reply(flush).await.unwrap();
}

async fn load(store: &Store) -> ReplyRow {
    store.load_reply(&key()).await.unwrap().unwrap()
}

fn text(row: &ReplyRow) -> String {
    row.deltas.iter().map(Delta::as_text).collect()
}

pub async fn an_id_is_taken_once(world: World) {
    assert_eq!(world.store.load_reply(&key()).await.unwrap(), None);
    assert_eq!(world.store.begin_reply(&key(), begin("f")).await.unwrap(), Begun::New);
    assert_eq!(world.store.begin_reply(&key(), begin("g")).await.unwrap(), Begun::Exists);
    let row = load(&world.store).await;
    assert_eq!((row.fingerprint.as_deref(), row.started, row.end), (Some("f"), None, None));
    assert_eq!(row.lease_until_ms, world.now() + 30_000);
}

pub async fn a_repeated_delivery_is_told_from_a_repeated_request(world: World) {
    let delivered = |delivery| Begin { delivery: Some(delivery), ..begin("f") };
    assert_eq!(world.store.begin_reply(&key(), delivered("m1")).await.unwrap(), Begun::New);
    assert_eq!(world.store.begin_reply(&key(), delivered("m1")).await.unwrap(), Begun::Repeated);
    assert_eq!(world.store.begin_reply(&key(), delivered("m2")).await.unwrap(), Begun::Exists);
    assert_eq!(world.store.begin_reply(&key(), begin("f")).await.unwrap(), Begun::Exists);
}

pub async fn what_was_flushed_is_loaded_in_order(world: World) {
    flush(&world.store, &key(), 1, &deltas("one two ")).await;
    flush(&world.store, &key(), 2, &deltas("two three ")).await;
    flush(&world.store, &key(), 3, &[]).await;
    flush(&world.store, &key(), 3, &deltas("three ")).await;
    world.clock.advance(Duration::from_secs(10));
    flush(&world.store, &key(), 4, &[]).await;
    let row = load(&world.store).await;
    assert_eq!(text(&row), "one two three ");
    assert_eq!(row.lease_until_ms, world.now() + 30_000);
    assert_eq!((row.fingerprint.as_deref(), row.started, row.end), (Some("f"), Some(started("r")), None));
    let (key, started, end, rest) = (key(), started("r"), completed(), deltas("four five"));
    let last = Finish { first_seq: 4, deltas: &rest, ..finish(&key, &started, &end) };
    assert_eq!(world.store.finish(last).await.unwrap(), Finished::Stored);
    let row = load(&world.store).await;
    assert_eq!((text(&row).as_str(), row.end), ("one two three four five", Some(completed())));
}

pub async fn a_reply_of_another_caller_is_not_there(world: World) {
    world.store.begin_reply(&key(), begin("f")).await.unwrap();
    let bobs = ReplyKey::new(&bob(), "r");
    assert_eq!(world.store.load_reply(&bobs).await.unwrap(), None);
    assert_eq!(world.store.begin_reply(&bobs, begin("g")).await.unwrap(), Begun::New);
    world.clock.advance(LEASE);
    world.store.end_reply_if_abandoned(&bobs, &failed()).await.unwrap();
    assert_eq!(load(&world.store).await.end, None);
}

pub async fn a_second_terminal_changes_nothing(world: World) {
    let turn = world.turn("c", "r", "q");
    assert_eq!(world.keep(&turn).await, Finished::Stored);
    let (key, started, end) = (key(), started("r"), failed());
    let second = Finish { turn: Some(&turn), ..finish(&key, &started, &end) };
    assert_eq!(world.store.finish(second).await.unwrap(), Finished::AlreadyEnded(completed()));
    assert_eq!(load(&world.store).await.end, Some(completed()));
    let turns = world.store.read_chat(&ann(), "c").await.unwrap().unwrap();
    assert_eq!(turns.len(), 1);
}

pub async fn expired_replies_vanish_at_once_and_free_their_id(world: World) {
    world.store.begin_reply(&key(), begin("f")).await.unwrap();
    flush(&world.store, &key(), 1, &deltas("one ")).await;
    world.clock.advance(Duration::from_secs(60));
    let (key, started, end) = (key(), started("r"), completed());
    world.store.finish(Finish { first_seq: 2, ..finish(&key, &started, &end) }).await.unwrap();
    world.clock.advance(Duration::from_secs(86_400 - 61));
    assert!(world.store.load_reply(&key).await.unwrap().is_some());
    // The first delta is gone a minute before the end is: what is left is no answer.
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.store.load_reply(&key).await.unwrap(), None);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.store.load_reply(&key).await.unwrap(), None);
    world.clock.advance(Duration::from_secs(900));
    assert_eq!(world.store.begin_reply(&key, begin("g")).await.unwrap(), Begun::New);
    assert_eq!(world.store.finish(finish(&key, &started, &end)).await.unwrap(), Finished::Stored);
}

pub async fn an_abandoned_reply_is_ended_and_a_running_one_is_not(world: World) {
    flush(&world.store, &key(), 1, &deltas("one two")).await;
    world.clock.advance(LEASE - Duration::from_millis(1));
    world.store.end_reply_if_abandoned(&key(), &failed()).await.unwrap();
    assert_eq!(load(&world.store).await.end, None);
    world.clock.advance(Duration::from_millis(1));
    world.store.end_reply_if_abandoned(&key(), &failed()).await.unwrap();
    world.store.end_reply_if_abandoned(&key(), &completed()).await.unwrap();
    let row = load(&world.store).await;
    assert_eq!((text(&row).as_str(), row.end), ("one two", Some(failed())));
    let (key, started, end) = (key(), started("r"), completed());
    let late = world.store.finish(Finish { first_seq: 3, ..finish(&key, &started, &end) }).await.unwrap();
    assert_eq!(late, Finished::AlreadyEnded(failed()));
    world.store.end_reply_if_abandoned(&ReplyKey::new(&ann(), "never"), &end).await.unwrap();
    assert_eq!(world.store.load_reply(&ReplyKey::new(&ann(), "never")).await.unwrap(), None);
}

pub async fn what_a_late_writer_adds_is_not_read(world: World) {
    flush(&world.store, &key(), 1, &deltas("one two ")).await;
    world.clock.advance(LEASE);
    world.store.end_reply_if_abandoned(&key(), &failed()).await.unwrap();
    flush(&world.store, &key(), 3, &deltas("three")).await;
    let row = load(&world.store).await;
    assert_eq!((text(&row).as_str(), row.end), ("one two ", Some(failed())));
}

pub async fn a_long_reply_is_loaded_whole(world: World) {
    let piece = noise(290_000);
    for seq in 1..=8 {
        flush(&world.store, &key(), seq, &[Delta::text(&piece)]).await;
    }
    let (key, started, end, rest) = (key(), started("r"), completed(), [Delta::text(noise(1_000_000))]);
    let last = Finish { first_seq: 9, deltas: &rest, ..finish(&key, &started, &end) };
    assert_eq!(world.store.finish(last).await.unwrap(), Finished::Stored);
    let row = load(&world.store).await;
    assert!(text(&row) == piece.repeat(8) + rest[0].as_text());
    assert_eq!(row.end, Some(end.clone()));
    let again = world.store.finish(finish(&key, &started, &failed())).await.unwrap();
    assert_eq!(again, Finished::AlreadyEnded(end));
}
