//! What was said before: replies by their id, wherever they run or ran, and conversations.

use crate::chat::{Caller, Request, Terminal};
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::keep::GATHER;
use crate::live::conflict;
use crate::log::Log;
use crate::reply::Reply;
use crate::store::{Begin, Begun, ChatSummary, ReplyKey, ReplyRow, Store, Turn};
use crate::telemetry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tracing::Instrument;

/// How often a reply that runs in another process is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A reply's first row is written within this time.
const SOON: Duration = GATHER.saturating_add(Duration::from_millis(250));

/// Conversations in a list.
const CHATS: usize = 200;

/// Where a reply that runs in another process is stored, and the log that it is played into.
type Elsewhere = (Arc<Store>, ReplyKey, Arc<Log>);

impl Gateway {
    /// Claims the request's id: `false` where the reply exists already and has been played into
    /// `reply`, or was asked for by the same delivery and is withdrawn. A store that is down claims
    /// nothing and stops nothing.
    pub(crate) async fn begin(&self, request: &Request, reply: &Arc<Reply>) -> Result<bool, Error> {
        let (Some(store), true) = (&self.rooms.store, request.claims_its_id()) else {
            return Ok(true);
        };
        let key = ReplyKey::new(&request.caller, &request.id);
        let begin = Begin {
            fingerprint: &reply.fingerprint,
            delivery: request.delivery.as_deref(),
            lease: self.rooms.lease,
        };
        let begun = store.begin_reply(&key, begin).await;
        let row = match begun {
            Ok(Begun::New) => return Ok(true),
            Ok(Begun::Repeated) => {
                reply.withdraw();
                return Ok(false);
            }
            Ok(Begun::Exists) => store.load_reply(&key).await,
            Err(error) => Err(error),
        };
        match row {
            Ok(Some(row)) if row.fingerprint.as_deref() != Some(&reply.fingerprint) => Err(conflict()),
            Ok(Some(row)) => {
                self.mirror(store, &key, row, reply).await;
                Ok(false)
            }
            Ok(None) => Ok(true),
            Err(error) => {
                reply.lacks.store(&error);
                Ok(true)
            }
        }
    }

    /// The caller's reply of this id, running here, running elsewhere or ended.
    ///
    /// # Errors
    /// `not_found`, also for a reply of another caller; `unavailable` where the store is down.
    pub async fn attach(self: &Arc<Gateway>, caller: &Caller, id: &str) -> Result<Arc<Reply>, Error> {
        let (reply, elsewhere) = self.known(caller, id).await?;
        if let Some((store, key, log)) = elsewhere {
            let (gateway, mirrored) = (self.clone(), reply.clone());
            let follow = async move {
                tokio::select! {
                    () = gateway.follow_stored(&store, &key, &mirrored, &log) => {}
                    // It goes on where it runs; here nobody wants it any more.
                    () = unread(&mirrored) => mirrored.withdraw(),
                }
            };
            tokio::spawn(follow.in_current_span());
        }
        Ok(reply)
    }

    /// The caller's reply of this id as it stands now; one that runs elsewhere does not go on here.
    ///
    /// # Errors
    /// As [`Gateway::attach`].
    pub async fn look(&self, caller: &Caller, id: &str) -> Result<Arc<Reply>, Error> {
        Ok(self.known(caller, id).await?.0)
    }

    /// The reply, with what is needed to follow it where it runs in another process.
    async fn known(&self, caller: &Caller, id: &str) -> Result<(Arc<Reply>, Option<Elsewhere>), Error> {
        if let Some(reply) = self.live.find(caller, id) {
            return Ok((reply, None));
        }
        let Some(store) = self.rooms.store.clone() else {
            return Err(no_reply());
        };
        let key = ReplyKey::new(caller, id);
        let mut row = self.stored(&store, &key).await?.ok_or_else(no_reply)?;
        if row.end.is_none() {
            // It may have been on its way from there to here while we looked, or have ended: what is
            // not live any more has its terminal stored.
            if let Some(reply) = self.live.find(caller, id) {
                return Ok((reply, None));
            }
            row = store.load_reply(&key).await?.ok_or_else(no_reply)?;
        }
        let reply = Reply::new(id.to_owned(), caller.clone(), row.fingerprint.clone().unwrap_or_default());
        // What is stored is played before anyone looks, so that a reply that has ended is seen ended.
        let log = Log::new();
        let ended = self.play((&store, &key), row, &reply, &log).await;
        Ok((reply, (!ended).then_some((store, key, log))))
    }

    /// What is stored of a reply. One that has just begun in another process may not be there yet.
    async fn stored(&self, store: &Store, key: &ReplyKey) -> Result<Option<ReplyRow>, Error> {
        let row = store.load_reply(key).await?;
        if row.is_some() || self.rooms.single_process {
            return Ok(row);
        }
        sleep(SOON).await;
        store.load_reply(key).await
    }

    /// Plays what is stored of a reply into one here, until its terminal.
    async fn mirror(&self, store: &Store, key: &ReplyKey, row: ReplyRow, reply: &Reply) {
        let log = Log::new();
        if !self.play((store, key), row, reply, &log).await {
            self.follow_stored(store, key, reply, &log).await;
        }
    }

    /// Looks at a reply that runs in another process again and again, until its terminal.
    async fn follow_stored(&self, store: &Store, key: &ReplyKey, reply: &Reply, log: &Arc<Log>) {
        loop {
            sleep(LOOK).await;
            let row = match store.load_reply(key).await {
                Ok(Some(row)) => row,
                Ok(None) => return reply.end(Terminal::from(no_reply())),
                Err(error) => return reply.end(Terminal::from(error)),
            };
            if self.play((store, key), row, reply, log).await {
                return;
            }
        }
    }

    /// Plays what is new in a stored reply; `true` where it has ended. One whose process is gone is
    /// ended now.
    async fn play(
        &self,
        (store, key): (&Store, &ReplyKey),
        mut row: ReplyRow,
        reply: &Reply,
        log: &Arc<Log>,
    ) -> bool {
        if let (None, Some(started)) = (reply.started(), row.started.take()) {
            reply.start(started, log.clone());
        }
        let known = usize::try_from(log.len()).unwrap_or(usize::MAX);
        row.deltas.drain(..).skip(known).for_each(|delta| log.push(delta));
        let end = match row.end {
            Some(end) => end,
            None if self.rooms.single_process || row.lease_until_ms <= store.now_ms() => {
                self.abandon(store, key).await
            }
            None => return false,
        };
        reply.end(end);
        true
    }

    async fn abandon(&self, store: &Store, key: &ReplyKey) -> Terminal {
        let message =
            "The gateway was stopped while it gave this answer. What it had said by then is kept; ask again.";
        let end = Terminal::from(Error::new(Kind::Internal, message).because("its process is gone"));
        if let Err(error) = store.end_reply_if_abandoned(key, &end).await {
            telemetry::store_failed(&key.id, &error);
        }
        end
    }

    /// Stops the caller's running reply of this id, here or in another process; it ends with
    /// `cancelled`.
    ///
    /// # Errors
    /// `not_found` where none runs; `unavailable` where the store is down.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        if let Some(reply) = self.live.find(caller, id) {
            reply.cancel();
            return Ok(());
        }
        let store = self.rooms.store.as_ref().filter(|_| !self.rooms.single_process).ok_or_else(no_reply)?;
        let key = ReplyKey::new(caller, id);
        match self.stored(store, &key).await? {
            Some(row) if row.end.is_none() => store.ask_to_cancel(&key).await,
            _ => Err(no_reply()),
        }
    }

    /// The caller's conversations, newest first.
    ///
    /// # Errors
    /// `forbidden` where nobody knows who the caller is; `unavailable`.
    pub async fn list_chats(&self, caller: &Caller) -> Result<Vec<ChatSummary>, Error> {
        if !caller.is_known() {
            let message = "Without authentication there are no callers to tell apart, and nothing can be \
                           listed. A conversation's own chat_id opens it.";
            return Err(Error::new(Kind::Forbidden, message));
        }
        self.memory()?.list_chats(caller, CHATS).await
    }

    /// The turns of the caller's conversation, oldest first.
    ///
    /// # Errors
    /// `not_found`, also for a conversation of another caller; `unavailable`.
    pub async fn read_chat(&self, caller: &Caller, chat_id: &str) -> Result<Vec<Turn>, Error> {
        let turns = self.memory()?.read_chat(caller, chat_id).await?;
        turns.ok_or_else(no_chat)
    }

    /// Forgets the caller's conversation; `false` where there is none.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn delete_chat(&self, caller: &Caller, chat_id: &str) -> Result<bool, Error> {
        self.memory()?.delete_chat(caller, chat_id).await
    }

    /// The store.
    ///
    /// # Errors
    /// `unavailable` where there is none.
    pub(crate) fn memory(&self) -> Result<&Store, Error> {
        let message = "This gateway keeps nothing: it runs without a store.";
        self.rooms.store.as_deref().ok_or_else(|| Error::new(Kind::Unavailable, message))
    }
}

/// Ready when a reply has had no reader for a while.
async fn unread(reply: &Reply) {
    loop {
        sleep(LOOK).await;
        if !reply.is_read() {
            return;
        }
    }
}

/// The error of a conversation that is not there, or not the caller's.
pub fn no_chat() -> Error {
    Error::new(Kind::NotFound, "There is no such conversation of yours. `chats` lists those there are.")
}

fn no_reply() -> Error {
    Error::new(Kind::NotFound, "There is no such reply of yours, or it is no longer kept.")
}
