//! A fault that passes is not seen; one that stays is told within the time limit of a call.

use crate::scene::{LEASE, NOW, ann, asked, begin, claim, completed, finish, flush, job, key, learned};
use crate::wire::{Fault, Wire};
use futures_util::future::BoxFuture;
use gateway::error::{Error, Kind};
use gateway::store::{Begun, Created, CuratedRow, Finished, Holder, StoppedClock, Store};
use std::time::Duration;
use tokio::time::Instant;

/// Everything that a store is asked, by the operation of the service that it comes to.
type Ask = fn(&Store) -> BoxFuture<'_, Result<bool, Error>>;

/// Each says whether what it gave is right.
const ASKS: [(&str, Ask); 11] = [
    ("GetItem", |store| Box::pin(async { Ok(store.connection("c").await? == Some(ann())) })),
    ("BatchGetItem", |store| {
        Box::pin(async { Ok(store.find_answer(&asked("r0")).await? == Some(learned("whole"))) })
    }),
    ("Query", |store| Box::pin(async { Ok(store.turns(&ann(), "c", usize::MAX).await?.len() == 1) })),
    ("Scan", |store| Box::pin(async { Ok(store.open_jobs().await?.len() == 1) })),
    ("PutItem", |store| Box::pin(async { Ok(begin(store, "new").await? == Begun::New) })),
    ("UpdateItem", |store| {
        Box::pin(async { Ok(claim(store, "j").await?.is_some_and(|job| job.attempts == 1)) })
    }),
    ("UpdateItem", |store| {
        Box::pin(async {
            let job = store.job(&ann(), "j").await?.ok_or_else(|| Error::internal("no job"))?;
            Ok(store.requeue_job(&job).await?.is_some())
        })
    }),
    ("UpdateItem", |store| {
        Box::pin(async { Ok(store.take_slot(Holder::Caller(&ann()), "m", 1, LEASE).await?.is_some()) })
    }),
    ("DeleteItem", |store| Box::pin(async { store.delete_connection("gone").await.map(|()| true) })),
    ("BatchWriteItem", |store| {
        let row = CuratedRow { pk: "why?".into(), answer: "so".into(), extra: Default::default() };
        Box::pin(async move { store.put_curated(&[row]).await.map(|()| true) })
    }),
    ("TransactWriteItems", |store| {
        Box::pin(async {
            let created = store.create_job(&job(store, "new", "why?"), Some(("k", "h"))).await?;
            let ended = finish(store, "r1", 0, "so", "so").await?;
            Ok(created == Created::New && ended == Finished::Stored)
        })
    }),
];

const PASSING: [Fault; 9] = [
    Fault::Refused(400, "ProvisionedThroughputExceededException"),
    Fault::Refused(400, "ThrottlingException"),
    Fault::Refused(400, "RequestLimitExceeded"),
    Fault::Refused(500, "InternalServerError"),
    Fault::Refused(503, "ServiceUnavailable"),
    Fault::Reset,
    Fault::LostReply,
    Fault::Silence,
    Fault::Late(Duration::from_millis(1500)),
];

/// A wire with something on the other side, and a store at this one.
async fn world() -> (Wire, Store) {
    let clock = StoppedClock::at(NOW);
    let wire = Wire::new(clock.clone()).await;
    let store = wire.store(clock);
    store.put_connection("c", &ann()).await.unwrap();
    finish(&store, "r0", 0, "whole", "whole").await.unwrap();
    store.create_job(&job(&store, "j", "why?"), None).await.unwrap();
    wire.take();
    (wire, store)
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_passes_is_not_seen() {
    for fault in PASSING {
        for (operation, ask) in ASKS {
            let (wire, store) = world().await;
            wire.fault(fault, Some(operation), 1);
            let begun = Instant::now();
            assert!(ask(&store).await.unwrap(), "{fault:?} {operation}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{fault:?} {operation}");
            let sent = wire.take().into_iter().filter(|sent| sent.operation == operation).count();
            let once = if operation == "TransactWriteItems" { 2 } else { 1 };
            let again = usize::from(!matches!(fault, Fault::Late(_)));
            assert_eq!(sent, once + again, "{fault:?} {operation}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_throttled_attempts_are_within_the_limit() {
    for (operation, ask) in ASKS {
        let (wire, store) = world().await;
        wire.fault(Fault::Refused(400, "ThrottlingException"), Some(operation), 3);
        assert!(ask(&store).await.unwrap(), "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_stays_is_told_within_the_limit_of_a_call() {
    let lasting =
        [Fault::Refused(400, "ResourceNotFoundException"), Fault::Refused(400, "AccessDeniedException")];
    for fault in PASSING.into_iter().filter(|fault| !matches!(fault, Fault::Late(_))).chain(lasting) {
        for (operation, ask) in ASKS {
            let (wire, store) = world().await;
            wire.fault(fault, Some(operation), usize::MAX);
            let begun = Instant::now();
            let error = ask(&store).await.unwrap_err();
            assert_eq!(error.kind, Kind::Unavailable, "{fault:?} {operation}");
            assert!(begun.elapsed() <= Duration::from_millis(5001), "{fault:?} {operation}");
            assert!(!error.message.contains("state") && !error.message.contains("Exception"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_finds_no_room_is_tried_again() {
    for reason in ["TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"] {
        let (wire, store) = world().await;
        wire.fault(Fault::Cancelled(reason), Some("TransactWriteItems"), 5);
        assert_eq!(finish(&store, "r1", 0, "so", "so").await.unwrap(), Finished::Stored);
        let tokens: Vec<_> =
            wire.take().into_iter().map(|sent| sent.body["ClientRequestToken"].clone()).collect();
        assert_eq!(tokens.len(), 6);
        assert!(tokens.windows(2).all(|pair| pair[0] != pair[1]), "a cancelled transaction is a new one");
        wire.fault(Fault::Cancelled(reason), Some("TransactWriteItems"), usize::MAX);
        assert_eq!(finish(&store, "r2", 0, "so", "so").await.unwrap_err().kind, Kind::Unavailable);
    }
    for reason in ["ValidationError", "ItemCollectionSizeLimitExceeded"] {
        let (wire, store) = world().await;
        wire.fault(Fault::Cancelled(reason), Some("TransactWriteItems"), 1);
        assert_eq!(finish(&store, "r1", 0, "so", "so").await.unwrap_err().kind, Kind::Unavailable);
        assert_eq!(wire.take().len(), 1, "what cannot mend itself is not tried again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_meets_a_transaction_is_tried_again() {
    let (wire, store) = world().await;
    wire.fault(Fault::Refused(400, "TransactionConflictException"), Some("UpdateItem"), 3);
    assert!(claim(&store, "j").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_the_least_it_may_is_asked_until_all_is_done() {
    let (wire, store) = world().await;
    wire.fault(Fault::Partly, None, usize::MAX);
    let rows: Vec<CuratedRow> = (0..40)
        .map(|n| CuratedRow { pk: format!("q{n}"), answer: format!("a{n}"), extra: Default::default() })
        .collect();
    store.put_curated(&rows).await.unwrap();
    for n in 0..40 {
        let mut keys = asked("r0");
        keys.prompt = Some(format!("Q{n}"));
        let found = store.find_answer(&keys).await.unwrap().unwrap();
        assert!(found.curated && found.deltas[0].as_text() == format!("a{n}"));
    }
    for seq in 1..=30 {
        flush(&store, "long", seq, &format!("{seq} ")).await.unwrap();
    }
    let row = store.load_reply(&key("long")).await.unwrap().unwrap();
    assert_eq!(row.deltas.len(), 30);
    let large = crate::scene::noise(2_000_000);
    finish(&store, "r2", 0, &large, &large).await.unwrap();
    let row = store.load_reply(&key("r2")).await.unwrap().unwrap();
    assert!(row.deltas[0].as_text() == large && row.end == Some(completed()));
    assert_eq!(store.read_chat(&ann(), "c").await.unwrap().unwrap().len(), 2);
    assert!(store.delete_chat(&ann(), "c").await.unwrap());
    assert_eq!(store.read_chat(&ann(), "c").await.unwrap(), None);
    assert_eq!(wire.broken_limits(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_leaves_everything_undone_is_away() {
    let (wire, store) = world().await;
    wire.fault(Fault::Undone, None, usize::MAX);
    let row = CuratedRow { pk: "why?".into(), answer: "so".into(), extra: Default::default() };
    assert_eq!(store.put_curated(&[row]).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(store.find_answer(&asked("r0")).await.unwrap_err().kind, Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn fifty_appends_that_collide_as_on_aws_keep_every_turn() {
    let (wire, store) = world().await;
    wire.collide();
    let appends = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { finish(&store, &format!("r{n:02}-"), 0, "so", "so").await.unwrap() })
    });
    for append in appends.collect::<Vec<_>>() {
        assert_eq!(append.await.unwrap(), Finished::Stored);
    }
    assert!(wire.take().len() > 50, "they did collide");
    let turns = store.read_chat(&ann(), "c").await.unwrap().unwrap();
    assert_eq!(turns.len(), 51);
    assert!(turns.is_sorted_by_key(|turn| turn.at_ms));
    assert_eq!(store.list_chats(&ann(), 9).await.unwrap()[0].turns, 51);
}
