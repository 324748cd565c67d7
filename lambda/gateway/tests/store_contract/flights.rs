//! Promises about who gives an answer that several ask for at once.

use crate::{LEASE, World, ann, bob, completed, finish, started};
use futures_util::future::join_all;
use gateway::store::{Flight, Lead, ReplyKey};

const KEY: &str = "00ff";

fn reply(id: &str) -> ReplyKey {
    ReplyKey::new(&ann(), id)
}

/// Tries to lead by the reply of this id, which is the lead's nonce too.
async fn lead(world: &World, id: &str, over: Option<&Flight>) -> Option<Flight> {
    let lead = Lead { reply: &reply(id), nonce: id, over, lease: LEASE };
    world.store.lead_flight(KEY, lead).await.unwrap()
}

async fn flight(world: &World) -> Flight {
    world.store.flight(KEY).await.unwrap().unwrap()
}

pub async fn of_fifty_who_ask_at_once_one_leads(world: World) {
    let ids: Vec<String> = (0..50).map(|at| format!("r{at}")).collect();
    let mut stands = Vec::new();
    for some in ids.chunks(world.at_once) {
        stands.extend(join_all(some.iter().map(|id| lead(&world, id, None))).await);
    }
    let leads: Vec<_> = stands.iter().zip(&ids).filter(|(stands, _)| stands.is_none()).collect();
    assert_eq!(leads.len(), 1);
    let leader = leads[0].1;
    assert_eq!(flight(&world).await.nonce, *leader);
    assert!(stands.iter().flatten().all(|stands| stands.nonce == *leader));
    assert_eq!(lead(&world, leader, None).await, None, "a put that is sent again meets itself");
    assert_eq!(world.store.flight("another").await.unwrap(), None);
}

pub async fn a_lead_is_taken_over_by_one_who_knows_that_it_is_over(world: World) {
    lead(&world, "r1", None).await;
    let stands = lead(&world, "r2", None).await.unwrap();
    assert_eq!((stands.nonce.as_str(), stands.lease_until_ms), ("r1", world.now() + 30_000));
    let older = Flight { nonce: "r0".into(), ..stands.clone() };
    assert_eq!(lead(&world, "r2", Some(&older)).await.unwrap().nonce, "r1", "another lead was over");
    assert_eq!(lead(&world, "r2", Some(&stands)).await, None);
    assert_eq!(lead(&world, "r3", Some(&stands)).await.unwrap().nonce, "r2", "it was taken over once");
    for nonce in ["r1", "r3"] {
        assert!(!world.store.follow_flight(KEY, nonce).await.unwrap());
    }
    // What nobody ever ended is no row in the end.
    world.clock.advance(gateway::chat::LONGEST_REPLY + LEASE + LEASE);
    assert_eq!(world.store.flight(KEY).await.unwrap(), None);
    assert_eq!(lead(&world, "r4", None).await, None);
}

pub async fn a_flight_says_what_its_reply_says(world: World) {
    lead(&world, "r1", None).await;
    let stands = flight(&world).await;
    assert_eq!(world.store.flown(&stands).await.unwrap(), None, "nothing yet");
    let end = completed();
    world.store.finish(finish(&reply("r1"), &started("r1"), &end)).await.unwrap();
    world.store.finish(finish(&ReplyKey::new(&bob(), "r2"), &started("r2"), &end)).await.unwrap();
    assert_eq!(world.store.flown(&stands).await.unwrap().unwrap().started.unwrap().request_id, "r1");
    let hand = Lead { reply: &ReplyKey::new(&bob(), "r2"), nonce: "r1", over: None, lease: LEASE };
    assert!(world.store.hand_over_flight(KEY, hand).await.unwrap());
    assert_eq!(lead(&world, "r3", Some(&stands)).await.unwrap(), flight(&world).await);
    let stands = flight(&world).await;
    assert!(stands.nonce == "r1" && stands.handed_over, "it has not ended: it goes on elsewhere");
    assert_eq!(world.store.flown(&stands).await.unwrap().unwrap().started.unwrap().request_id, "r2");
    assert!(!world.store.hand_over_flight(KEY, Lead { nonce: "r0", ..hand }).await.unwrap());
    assert!(!world.store.hand_over_flight("another", hand).await.unwrap());
}

pub async fn only_a_flight_that_nobody_follows_is_ended(world: World) {
    lead(&world, "r1", None).await;
    for _ in 0..2 {
        assert!(world.store.follow_flight(KEY, "r1").await.unwrap());
    }
    world.store.unfollow_flight(KEY, "r0").await.unwrap();
    world.store.unfollow_flight(KEY, "r1").await.unwrap();
    assert_eq!(flight(&world).await.followers, 1);
    assert!(!world.store.end_lonely_flight(KEY, "r1").await.unwrap());
    assert!(world.store.end_lonely_flight(KEY, "r0").await.unwrap(), "it is another's lead");
    assert_eq!(flight(&world).await.nonce, "r1");
    let stands = flight(&world).await;
    assert_eq!(lead(&world, "r2", Some(&stands)).await, None, "a new lead has no followers");
    assert!(world.store.end_lonely_flight(KEY, "r2").await.unwrap());
    assert!(world.store.end_lonely_flight(KEY, "r2").await.unwrap(), "a delete that is sent again");
    assert!(!world.store.follow_flight(KEY, "r2").await.unwrap());
    assert_eq!(world.store.flight(KEY).await.unwrap(), None);
    lead(&world, "r3", None).await;
    assert!(world.store.follow_flight(KEY, "r3").await.unwrap());
    for _ in 0..2 {
        world.store.unfollow_flight(KEY, "r3").await.unwrap();
    }
    assert_eq!(flight(&world).await.followers, 0);
    assert!(world.store.end_lonely_flight(KEY, "r3").await.unwrap(), "all have left");
    assert_eq!(world.store.flight(KEY).await.unwrap(), None);
}

pub async fn of_twenty_one_pays(world: World) {
    lead(&world, "r1", None).await;
    let payers: Vec<ReplyKey> = (0..20).map(|at| reply(&format!("p{at}"))).collect();
    let mut paid = Vec::new();
    for some in payers.chunks(world.at_once) {
        paid.extend(join_all(some.iter().map(|payer| world.store.take_bill(KEY, "r1", payer))).await);
    }
    let paid: Vec<bool> = paid.into_iter().map(Result::unwrap).collect();
    assert_eq!(paid.iter().filter(|paid| **paid).count(), 1);
    let payer = &payers[paid.iter().position(|paid| *paid).unwrap()];
    assert!(
        world.store.take_bill(KEY, "r1", payer).await.unwrap(),
        "a write that is sent again meets itself"
    );
    assert!(!world.store.take_bill(KEY, "r0", payer).await.unwrap());
}
