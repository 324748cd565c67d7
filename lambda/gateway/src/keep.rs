//! What is kept of a reply: its deltas while it runs, everything at once when it ends.

use crate::blocks::{assemble, condense};
use crate::chat::{Delta, Request, Started, Terminal};
use crate::log::Log;
use crate::reply::Reply;
use crate::store::{Finish, Finished, Flush, ReplyKey, Store, StoredAnswer, Turn};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How often deltas are written while a reply runs: one item a gathering, so that it costs cents a
/// thousand answers. An answer that is done sooner is written once.
pub const GATHER: Duration = Duration::from_millis(500);

/// The place of one running reply in the store.
pub struct Keeper {
    /// Where.
    pub store: Arc<Store>,
    /// Which reply.
    pub key: ReplyKey,
    /// The reply itself, which tells what it had to do without.
    pub reply: Arc<Reply>,
    /// Of its request, where the caller chose the id.
    pub fingerprint: Option<String>,
    /// What is known of it.
    pub started: Started,
    /// When the request came in, by the store's clock.
    pub started_at_ms: u64,
    /// The newest turn that the model saw, and the oldest.
    pub seen: (u64, u64),
    /// How long a reply that stopped writing counts as running; a silent one renews it in thirds.
    pub lease: Duration,
}

/// Deltas on their way to the store. Stops when it is asked for the number that is safe.
pub struct Recording {
    enough: CancellationToken,
    task: JoinHandle<u64>,
}

impl Recording {
    /// The number of the last delta that was written.
    pub async fn stop(self) -> u64 {
        self.enough.cancel();
        self.task.await.unwrap_or(0)
    }
}

impl Keeper {
    /// The same reply's, under another key.
    pub fn under(&self, key: ReplyKey) -> Keeper {
        Keeper {
            key,
            store: self.store.clone(),
            reply: self.reply.clone(),
            fingerprint: None,
            started: self.started.clone(),
            ..*self
        }
    }

    /// Writes deltas every [`GATHER`] until it is stopped. The model and its readers never wait for it.
    pub fn record(self: &Arc<Keeper>, log: Arc<Log>) -> Recording {
        let enough = CancellationToken::new();
        let task = tokio::spawn(self.clone().write(log, enough.clone()));
        Recording { enough, task }
    }

    async fn write(self: Arc<Keeper>, log: Arc<Log>, enough: CancellationToken) -> u64 {
        let mut seq = 0;
        let mut renewed: Option<Instant> = None;
        loop {
            let deltas = log.after(seq);
            if !deltas.is_empty() || renewed.is_none_or(|at| at.elapsed() >= self.lease / 3) {
                let flush = Flush {
                    key: &self.key,
                    fingerprint: self.fingerprint.as_deref(),
                    started: &self.started,
                    first_seq: seq + 1,
                    deltas: &deltas,
                    lease: self.lease,
                };
                match self.store.flush_reply(flush).await {
                    Ok(()) => seq += deltas.len() as u64,
                    // The same deltas go with the next gathering, at the latest with the terminal.
                    Err(error) => self.reply.lacks.store(&error),
                }
                renewed = Some(Instant::now());
            }
            tokio::select! {
                () = enough.cancelled() => return seq,
                () = sleep(GATHER) => {}
            }
        }
    }

    /// Writes the terminal, the turn and what is learned, all or none. Gives the terminal that
    /// stands: another one where somebody else has ended the reply before.
    ///
    /// # Errors
    /// The store's; nothing was written then.
    pub async fn finish(&self, done: Done<'_>) -> Result<Terminal, crate::error::Error> {
        // What failed before it began, under an id of our own making, nobody can ask for again.
        let unknown = self.fingerprint.is_none() && done.written.is_none();
        if done.all.is_empty() && unknown && matches!(done.end, Terminal::Failed { .. }) {
            return Ok(done.end.clone());
        }
        let turn = self.turn(&done);
        let stored = done.learned.as_ref().map(|(_, stop_reason)| StoredAnswer {
            deltas: condense(done.all),
            stop_reason: stop_reason.clone(),
            model: Some(self.started.model.clone()),
            sources: self.started.sources.clone(),
            curated: false,
        });
        let kept = usize::try_from(done.written.unwrap_or(0)).unwrap_or(usize::MAX).min(done.all.len());
        let finish = Finish {
            key: &self.key,
            fingerprint: self.fingerprint.as_deref(),
            started: &self.started,
            first_seq: kept as u64 + 1,
            deltas: &done.all[kept..],
            end: done.end,
            turn: turn.as_ref(),
            learned: done.learned.as_ref().map(|(key, _)| key.as_str()).zip(stored.as_ref()),
        };
        Ok(match self.store.finish(finish).await? {
            Finished::Stored => done.end.clone(),
            Finished::AlreadyEnded(event) => event,
        })
    }

    /// The turn, where the answer is whole and the request belongs in a conversation.
    fn turn(&self, done: &Done<'_>) -> Option<Turn> {
        let Terminal::Completed { usage, .. } = done.end else {
            return None;
        };
        let request = done.request;
        request.keep_chat.then(|| Turn {
            chat_id: self.started.chat_id.clone(),
            caller: request.caller.clone(),
            request_id: request.id.clone(),
            started_at_ms: self.started_at_ms,
            at_ms: self.store.now_ms(),
            after_ms: self.seen.0,
            window_from_ms: self.seen.1,
            messages: request.messages.clone(),
            answer: assemble(done.all),
            model: self.started.model.clone(),
            usage: *usage,
        })
    }
}

/// A reply at its end.
pub struct Done<'a> {
    /// The request.
    pub request: &'a Request,
    /// All deltas.
    pub all: &'a [Delta],
    /// How many of them are written; `None` where writing never began.
    pub written: Option<u64>,
    /// The terminal.
    pub end: &'a Terminal,
    /// The key to learn the answer under, and its stop reason, where it is fit to be learned.
    pub learned: Option<(String, crate::chat::StopReason)>,
}
