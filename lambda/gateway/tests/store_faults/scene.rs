//! What is kept in these tests.

use gateway::chat::{
    Block, CacheOutcome, Caller, Delta, Message, Role, Started, StopReason, Terminal, Usage,
};
use gateway::error::Error;
use gateway::store::{
    AnswerKeys, Begin, Begun, Claim, Finish, Finished, Flush, Job, ReplyKey, Store, StoredAnswer, Turn,
};
use serde_json::json;
use std::time::Duration;

pub const LEASE: Duration = Duration::from_secs(30);
pub const NOW: u64 = 1_800_000_000_000;

pub fn ann() -> Caller {
    Caller("ann".into())
}

pub fn key(id: &str) -> ReplyKey {
    ReplyKey::new(&ann(), id)
}

pub fn started(id: &str) -> Started {
    Started {
        request_id: id.into(),
        chat_id: "c".into(),
        model: "m".into(),
        cache: CacheOutcome::Miss,
        sources: Vec::new(),
        retrieval_unavailable: false,
        ignored: Vec::new(),
        timings: Default::default(),
    }
}

pub fn completed() -> Terminal {
    Terminal::Completed { stop_reason: StopReason::EndTurn, usage: Usage::default() }
}

pub fn turn(store: &Store, chat_id: &str, id: &str, answer: &str) -> Turn {
    Turn {
        chat_id: chat_id.into(),
        caller: ann(),
        request_id: id.into(),
        started_at_ms: store.now_ms(),
        at_ms: store.now_ms(),
        after_ms: 0,
        window_from_ms: 0,
        messages: vec![Message::text(Role::User, format!("question of {id}"))],
        answer: vec![Block::Text { text: answer.into() }],
        model: "m".into(),
        usage: Usage::default(),
    }
}

/// A learned answer's key.
pub fn hex(id: &str) -> String {
    format!("{id:0>64}")
}

pub fn learned(text: &str) -> StoredAnswer {
    StoredAnswer {
        deltas: vec![Delta::text(text)],
        stop_reason: StopReason::EndTurn,
        model: Some("m".into()),
        sources: Vec::new(),
        curated: false,
    }
}

pub fn asked(id: &str) -> AnswerKeys {
    AnswerKeys { prompt: None, node_id: None, learned: Some(hex(id)) }
}

pub async fn flush(store: &Store, id: &str, first_seq: u64, text: &str) -> Result<(), Error> {
    let (key, started, deltas) = (key(id), started(id), [Delta::text(text)]);
    let flush = Flush {
        key: &key,
        fingerprint: Some("f"),
        started: &started,
        first_seq,
        deltas: &deltas,
        lease: LEASE,
    };
    store.flush_reply(flush).await
}

pub async fn begin(store: &Store, id: &str) -> Result<Begun, Error> {
    store.begin_reply(&key(id), Begin { fingerprint: "f", delivery: None, lease: LEASE }).await
}

/// The job, where the claim was the one that got it.
pub async fn claim(store: &Store, id: &str) -> Result<Option<Job>, Error> {
    Ok(match store.claim_job(&ann(), id, LEASE).await? {
        Claim::Mine(job) => Some(*job),
        Claim::Held(_) | Claim::Over | Claim::Missing => None,
    })
}

/// Ends a reply of which `flushed` deltas are kept: with its last words, its turn, what is learned.
pub async fn finish(
    store: &Store,
    id: &str,
    flushed: u64,
    last: &str,
    answer: &str,
) -> Result<Finished, Error> {
    let (key, started, end, deltas) = (key(id), started(id), completed(), [Delta::text(last)]);
    let (turn, learned, hex) = (turn(store, "c", id, answer), learned(answer), hex(id));
    let finish = Finish {
        key: &key,
        fingerprint: Some("f"),
        started: &started,
        first_seq: flushed + 1,
        deltas: &deltas,
        end: &end,
        turn: Some(&turn),
        learned: Some((&hex, &learned)),
    };
    store.finish(finish).await
}

pub fn job(store: &Store, id: &str, prompt: &str) -> Job {
    Job::queued(ann(), id, json!({"prompt": prompt}), store.now_ms())
}

/// So many bytes of text that deflate makes a fifth smaller at most.
pub fn noise(bytes: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Any of the printable characters from `#` to `[`, and from `]` on.
        match u8::try_from(state % 92).unwrap() + b'#' {
            b'\\' => '!',
            other => char::from(other),
        }
    };
    (0..bytes).map(|_| next()).collect()
}
