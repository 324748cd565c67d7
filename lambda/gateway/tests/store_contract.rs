//! What the store promises, one function a promise, run against every engine there is.
//!
//! `promises!` names the engines, `engines` makes them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a broken promise ends its test")]

#[path = "store_contract/answers.rs"]
mod answers;
#[path = "store_contract/chats.rs"]
mod chats;
#[path = "store_contract/disk.rs"]
mod disk;
#[path = "store_contract/engines.rs"]
mod engines;
#[path = "store_contract/flights.rs"]
mod flights;
#[path = "store_contract/jobs.rs"]
mod jobs;
#[path = "store_contract/replies.rs"]
mod replies;
#[path = "store_contract/slots.rs"]
mod slots;

use gateway::chat::{
    Block, CacheOutcome, Caller, Delta, Message, Role, Started, StopReason, Terminal, Usage,
};
use gateway::store::{Clock, Finish, Finished, ReplyKey, StoppedClock, Store, SystemClock, Turn};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A store with its stopped clock.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Arc<StoppedClock>,
    /// Calls that the engine can be given at once.
    pub(crate) at_once: usize,
    #[allow(dead_code, reason = "it goes with the world")]
    dir: Option<TempDir>,
}

impl World {
    pub(crate) async fn in_memory() -> World {
        engines::in_memory().await.unwrap().0
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now_ms()
    }

    /// A turn of ann's that starts now.
    pub(crate) fn turn(&self, chat_id: &str, request_id: &str, question: &str) -> Turn {
        Turn {
            chat_id: chat_id.into(),
            caller: ann(),
            request_id: request_id.into(),
            started_at_ms: self.now(),
            at_ms: self.now(),
            after_ms: 0,
            window_from_ms: 0,
            messages: vec![Message::text(Role::User, question)],
            answer: vec![Block::Text { text: format!("answer to {request_id}") }],
            model: "m".into(),
            usage: usage(),
        }
    }

    /// Ends a reply of one delta with this turn.
    pub(crate) async fn keep(&self, turn: &Turn) -> Finished {
        let key = ReplyKey::new(&turn.caller, &turn.request_id);
        let (started, end) = (started(&turn.request_id), completed());
        let finish = Finish { turn: Some(turn), ..finish(&key, &started, &end) };
        self.store.finish(finish).await.unwrap()
    }
}

/// Expiry is in whole seconds: from one, it comes when it was said.
fn this_second() -> u64 {
    SystemClock.now_ms() / 1000 * 1000
}

pub(crate) fn ann() -> Caller {
    Caller("ann".into())
}

pub(crate) fn bob() -> Caller {
    Caller("bob".into())
}

pub(crate) fn usage() -> Usage {
    Usage { input_tokens: 5, output_tokens: 7, ..Usage::default() }
}

pub(crate) fn completed() -> Terminal {
    Terminal::Completed { stop_reason: StopReason::EndTurn, usage: usage() }
}

pub(crate) fn started(request_id: &str) -> Started {
    Started {
        request_id: request_id.into(),
        chat_id: "c".into(),
        model: "m".into(),
        cache: CacheOutcome::Miss,
        sources: Vec::new(),
        retrieval_unavailable: false,
        ignored: vec!["top_k".into()],
        timings: Default::default(),
    }
}

/// The plainest end: nothing unflushed, no conversation, nothing learned.
pub(crate) fn finish<'a>(key: &'a ReplyKey, started: &'a Started, end: &'a Terminal) -> Finish<'a> {
    Finish { key, fingerprint: None, started, first_seq: 1, deltas: &[], end, turn: None, learned: None }
}

pub(crate) fn deltas(text: &str) -> Vec<Delta> {
    text.split_inclusive(' ').map(Delta::text).collect()
}

/// Text that deflate cannot make smaller.
pub(crate) fn noise(bytes: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut text = String::new();
    while text.len() < bytes {
        // Any of the 20,902 CJK ideographs: near 14.4 bits in three bytes. Base64 of noise, 6 in 8.
        text.extend(char::from_u32(0x4e00 + u32::try_from(next() % 20_902).unwrap()));
    }
    text
}

/// A directory that goes with its value.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn fresh() -> TempDir {
        TempDir(std::env::temp_dir().join(format!("gateway-store-{}", gateway::chat::new_id())))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

macro_rules! promises {
    ($($room:ident :: $promise:ident),* $(,)?) => {
        promises!(@engine in_memory, $($room::$promise),*);
        promises!(@engine on_disk, $($room::$promise),*);
        promises!(@engine moto, $($room::$promise),*);
        promises!(@engine endpoint, $($room::$promise),*);
    };
    (@engine $engine:ident, $($room:ident :: $promise:ident),*) => {
        mod $engine {
            $(#[tokio::test] async fn $promise() {
                if let Some((world, leftover)) = super::engines::$engine().await {
                    super::$room::$promise(world).await;
                    leftover.remove().await;
                }
            })*
        }
    };
}

promises! {
    answers::a_curated_answer_is_found_exactly_and_folded,
    answers::a_curated_answer_wins_over_a_learned_one,
    answers::an_answer_without_a_scope_serves_every_scope,
    answers::a_question_in_the_form_of_a_learned_key_finds_nothing,
    answers::a_learned_answer_expires_and_a_curated_one_does_not,
    answers::of_two_uploaded_rows_with_one_key_the_last_stays,
    answers::large_answers_are_found_whole,
    replies::an_id_is_taken_once,
    replies::a_repeated_delivery_is_told_from_a_repeated_request,
    slots::only_so_many_places_are_taken_and_one_given_back_is_free,
    slots::a_short_reply_does_not_take_longer_ones_along,
    slots::a_repeated_request_needs_no_second_place_and_gives_none_back,
    slots::a_place_of_a_killed_process_is_free_after_its_time,
    slots::twenty_at_once_get_two_places,
    flights::of_fifty_who_ask_at_once_one_leads,
    flights::a_lead_is_taken_over_by_one_who_knows_that_it_is_over,
    flights::a_flight_says_what_its_reply_says,
    flights::only_a_flight_that_nobody_follows_is_ended,
    flights::of_twenty_one_pays,
    replies::what_was_flushed_is_loaded_in_order,
    replies::a_reply_of_another_caller_is_not_there,
    replies::a_second_terminal_changes_nothing,
    replies::expired_replies_vanish_at_once_and_free_their_id,
    replies::an_abandoned_reply_is_ended_and_a_running_one_is_not,
    replies::what_a_late_writer_adds_is_not_read,
    replies::a_long_reply_is_loaded_whole,
    chats::fifty_appends_at_once_keep_every_turn_in_order,
    chats::the_newest_turns_that_fit_are_given_oldest_first,
    chats::turns_begin_where_the_newest_prompt_began,
    chats::a_conversation_is_its_callers_own,
    chats::a_deleted_conversation_is_not_brought_back_by_a_reply_in_flight,
    chats::a_deleted_conversation_can_begin_afresh,
    chats::a_deletion_during_the_first_reply_holds,
    chats::an_expired_conversation_begins_afresh,
    chats::a_turn_stands_behind_the_one_it_follows,
    chats::a_large_question_comes_back_whole,
    jobs::a_job_is_its_callers_own,
    jobs::an_idempotency_key_leads_to_the_same_job,
    jobs::of_two_claims_one_wins,
    jobs::of_fifty_claims_one_wins,
    jobs::a_worker_that_was_given_up_on_changes_nothing,
    jobs::a_job_keeps_how_it_came_out,
    jobs::a_cancelled_job_stays_cancelled,
    jobs::only_a_job_that_nobody_works_on_is_given_up,
    jobs::of_two_who_queue_a_job_again_one_does,
    jobs::open_jobs_are_listed_oldest_first,
    jobs::expired_jobs_and_connections_vanish_at_once,
    jobs::a_connection_knows_its_caller,
}
