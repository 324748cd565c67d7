//! A process that dies between any two requests leaves nothing half-visible.
//!
//! One scene is played again and again. Each time the process dies later: after its n-th request, or in
//! it, the service having done what was asked and nobody having heard. A store of another process then
//! looks at what is there.

use crate::scene::{NOW, ann, asked, begin, claim, completed, finish, flush, job, key, learned, noise, turn};
use crate::wire::{Fault, Wire};
use gateway::chat::Delta;
use gateway::error::Error;
use gateway::store::{Created, Finish, JobOutcome, JobStatus, StoppedClock, Store};
use std::sync::Arc;
use std::time::Duration;

/// What the process had promised when it died.
#[derive(Debug, Default, PartialEq)]
struct Promised {
    created: bool,
    first: bool,
    job_done: bool,
    second: bool,
    deleted: bool,
}

/// A job with a large question, its reply with a large answer, a second turn, a conversation deleted.
async fn play(store: &Store, large: &str, promised: &mut Promised) -> Result<(), Error> {
    store.put_connection("conn", &ann()).await?;
    store.create_job(&job(store, "j", large), Some(("k", "h"))).await?;
    promised.created = true;
    claim(store, "j").await?;
    begin(store, "j").await?;
    flush(store, "j", 1, "It is ").await?;
    flush(store, "j", 2, large).await?;
    finish(store, "j", 2, " so.", &format!("It is {large} so.")).await?;
    promised.first = true;
    let completion = Some(format!("It is {large} so."));
    let outcome = JobOutcome { status: JobStatus::Completed, completion, error: None, usage: None };
    store.finish_job(&ann(), "j", 1, &outcome).await?;
    promised.job_done = true;
    finish(store, "r2", 0, "Yes.", "Yes.").await?;
    promised.second = true;
    store.delete_chat(&ann(), "old").await?;
    promised.deleted = true;
    store.delete_connection("conn").await
}

/// What was there before: a conversation of two turns, one of them large.
async fn prepare(store: &Store, large: &str) {
    for (id, answer) in [("o1", "old"), ("o2", large)] {
        let (key, started, end, turn) =
            (key(id), crate::scene::started(id), completed(), turn(store, "old", id, answer));
        let finish = Finish {
            key: &key,
            fingerprint: None,
            started: &started,
            first_seq: 1,
            deltas: &[],
            end: &end,
            turn: Some(&turn),
            learned: None,
        };
        store.finish(finish).await.unwrap();
    }
}

/// Plays the scene with this plan and looks at what is left. Says whether it went through.
async fn check(large: &str, retries: bool, plan: impl FnMut(&str) -> Option<Fault> + Send + 'static) -> bool {
    let clock = StoppedClock::at(NOW);
    let wire = Wire::new(clock.clone()).await;
    prepare(wire.engine(), large).await;
    clock.advance(Duration::from_secs(1));
    wire.plan(plan);
    let process = if retries { wire.store(clock.clone()) } else { wire.store_without_retries(clock.clone()) };
    let mut promised = Promised::default();
    let through = play(&process, large, &mut promised).await.is_ok();
    look(wire.engine(), large, &promised).await;
    if through {
        let all = Promised { created: true, first: true, job_done: true, second: true, deleted: true };
        assert_eq!(promised, all);
    }
    everything_expires(wire.engine(), &clock).await;
    through
}

/// The invariants, seen by another process.
async fn look(store: &Store, large: &str, promised: &Promised) {
    let whole = format!("It is {large} so.");
    let answers = [("j", whole.as_str(), promised.first), ("r2", "Yes.", promised.second)];
    let turns = store.read_chat(&ann(), "c").await.unwrap().unwrap_or_default();
    let mut ended = 0;
    for (id, answer, sure) in answers {
        let row = store.load_reply(&key(id)).await.unwrap();
        let text = row.iter().flat_map(|row| &row.deltas).map(Delta::as_text).collect::<String>();
        let end = row.and_then(|row| row.end);
        assert!(answer.starts_with(&text), "{id} has only what was said");
        assert!(
            end.is_none() || (end == Some(completed()) && text == answer),
            "{id} is whole or has not ended"
        );
        assert!(end.is_some() || !sure, "{id} was promised");
        let turn = turns.iter().find(|turn| turn.request_id == id);
        assert_eq!(turn.is_some(), end.is_some(), "{id} has its turn exactly if it has its end");
        assert!(turn.is_none_or(|turn| turn.answer[0].as_text() == Some(answer)));
        let found = store.find_answer(&asked(id)).await.unwrap();
        assert!(found == end.as_ref().map(|_| learned(answer)), "{id} is learned exactly if it has its end");
        ended += u64::from(end.is_some());
    }
    let old = store.read_chat(&ann(), "old").await.unwrap();
    assert!(old.is_none() || (!promised.deleted && old.as_ref().unwrap().len() == 2));
    let list = store.list_chats(&ann(), 9).await.unwrap();
    let listed = |id: &str| list.iter().find(|chat| chat.chat_id == id).map(|chat| chat.turns);
    assert_eq!(listed("c"), (ended > 0).then_some(ended), "the list and the turns agree");
    assert_eq!(listed("old"), old.map(|_| 2));
    look_at_the_job(store, large, promised).await;
}

async fn look_at_the_job(store: &Store, large: &str, promised: &Promised) {
    let kept = store.job(&ann(), "j").await.unwrap();
    assert!(kept.is_some() || !promised.created, "an accepted job is found");
    let open = store.open_jobs().await.unwrap();
    if let Some(kept) = &kept {
        assert!(kept.request["prompt"] == large, "with its question");
        let done = kept.status == JobStatus::Completed;
        assert!(done || !promised.job_done);
        assert!(!done || kept.completion.as_deref() == Some(&format!("It is {large} so.")));
        assert_eq!(open.len(), usize::from(!done), "and worked off until it is done");
    }
    // Its idempotency key leads to it, or to nothing.
    let again = store.create_job(&job(store, "again", "why?"), Some(("k", "h"))).await.unwrap();
    assert_eq!(again, if kept.is_some() { Created::Existing("j".into()) } else { Created::New });
}

/// Whatever is left, parts that nothing names included, goes by itself.
async fn everything_expires(store: &Store, clock: &Arc<StoppedClock>) {
    clock.advance(Duration::from_secs(40 * 86_400));
    store.sweep().await.unwrap();
    for table in ["answers", "state"] {
        let left = store.service().scan().table_name(table).send().await.unwrap();
        assert_eq!(
            left.items().len(),
            0,
            "{:?}",
            left.items().iter().map(|row| row.keys()).collect::<Vec<_>>()
        );
    }
}

/// Requests of the scene, and more.
const MANY: usize = 200;

/// The process dies at its n-th request, which is done or not.
fn death(at: usize, done: bool) -> impl FnMut(&str) -> Option<Fault> + Send + 'static {
    let mut count = 0;
    move |_| {
        count += 1;
        match count.cmp(&at) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal if done => Some(Fault::LostReply),
            _ => Some(Fault::Reset),
        }
    }
}

async fn check_deaths(done: bool) {
    let large = noise(400_000);
    for at in 1..MANY {
        if check(&large, false, death(at, done)).await {
            assert!(at > 15, "the scene has more requests than {at}");
            return;
        }
    }
    panic!("the scene never went through");
}

#[tokio::test]
async fn a_death_before_any_request_leaves_nothing_half_visible() {
    check_deaths(false).await;
}

#[tokio::test]
async fn a_death_after_any_request_leaves_nothing_half_visible() {
    check_deaths(true).await;
}

#[tokio::test(start_paused = true)]
async fn one_lost_request_or_reply_at_any_place_is_not_seen() {
    let large = noise(4_000);
    for fault in [Fault::Reset, Fault::LostReply, Fault::Refused(500, "InternalServerError")] {
        for at in 1..=25 {
            let mut count = 0;
            let once = move |_: &str| {
                count += 1;
                (count == at).then_some(fault)
            };
            assert!(check(&large, true, once).await, "{fault:?} at request {at}");
        }
    }
}
