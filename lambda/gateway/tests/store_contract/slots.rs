//! Promises about places of which there are only so many.

use crate::{World, ann, bob};
use gateway::store::{Holder, Slot};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(900);

async fn take(world: &World, holder: Holder<'_>, name: &str) -> Option<Slot> {
    world.store.take_slot(holder, name, 2, TIME).await.unwrap()
}

pub async fn only_so_many_places_are_taken_and_one_given_back_is_free(world: World) {
    let holder = Holder::Connection("c");
    let first = take(&world, holder, "m1").await.unwrap();
    assert!(take(&world, holder, "m2").await.is_some());
    assert!(take(&world, holder, "m3").await.is_none());
    assert!(take(&world, Holder::Connection("d"), "m3").await.is_some());
    world.store.free_slot(first.clone()).await.unwrap();
    world.store.free_slot(first).await.unwrap();
    assert!(take(&world, holder, "m3").await.is_some());
    assert!(take(&world, holder, "m4").await.is_none());
}

pub async fn a_short_reply_does_not_take_longer_ones_along(world: World) {
    let holder = Holder::Connection("c");
    take(&world, holder, "long").await.unwrap();
    world.store.take_slot(holder, "short", 2, Duration::from_secs(1)).await.unwrap().unwrap();
    world.clock.advance(Duration::from_secs(3));
    world.store.sweep().await.unwrap();
    assert!(take(&world, holder, "next").await.is_some(), "the short one is over");
    assert!(take(&world, holder, "another").await.is_none(), "the long one is not");
}

pub async fn a_repeated_request_needs_no_second_place_and_gives_none_back(world: World) {
    let holder = Holder::Connection("c");
    take(&world, holder, "m1").await.unwrap();
    take(&world, holder, "m2").await.unwrap();
    world.clock.advance(Duration::from_millis(1));
    let again = take(&world, holder, "m1").await.unwrap();
    world.store.free_slot(again).await.unwrap();
    assert!(take(&world, holder, "m3").await.is_none());
    world.clock.advance(TIME);
    assert!(take(&world, holder, "m1").await.is_some());
}

pub async fn a_place_of_a_killed_process_is_free_after_its_time(world: World) {
    let (anns, bobs) = (ann(), bob());
    let holder = Holder::Caller(&anns);
    take(&world, holder, "r1").await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    take(&world, holder, "r2").await.unwrap();
    assert!(take(&world, Holder::Caller(&bobs), "r1").await.is_some());
    world.clock.advance(TIME - Duration::from_secs(1));
    assert!(take(&world, holder, "r3").await.is_some(), "r1 is over");
    assert!(take(&world, holder, "r4").await.is_none(), "r2 and r3 are not");
}

pub async fn twenty_at_once_get_two_places(world: World) {
    let names: Vec<String> = (0..20).map(|at| format!("m{at}")).collect();
    let taken =
        futures_util::future::join_all(names.iter().map(|name| take(&world, Holder::Connection("c"), name)));
    assert_eq!(taken.await.iter().flatten().count(), 2);
}
