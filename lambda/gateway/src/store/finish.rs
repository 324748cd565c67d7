//! The one transaction that ends a reply: its terminal, its turn in the conversation, what is learned
//! from it. After it has returned, all three survive whatever happens to the process.

use super::answers::StoredAnswer;
use super::chats::{HeadChange, Turn};
use super::item::{End, Item, Piece};
use super::replies::{ReplyKey, first};
use super::rows::{Outcome, TRIES};
use super::{Store, unavailable};
use crate::chat::{Delta, Started, Terminal};
use crate::error::Error;
use aws_sdk_dynamodb::types::TransactWriteItem;

/// Everything that is kept when a reply ends.
#[derive(Clone, Copy, Debug)]
pub struct Finish<'a> {
    /// Which reply.
    pub key: &'a ReplyKey,
    /// Of the request's body.
    pub fingerprint: Option<&'a str>,
    /// The same as in every flush.
    pub started: &'a Started,
    /// The `seq` of the first of `deltas`, or of the one that would have come next.
    pub first_seq: u64,
    /// Those that no flush has kept.
    pub deltas: &'a [Delta],
    /// `Completed` or `Failed`.
    pub end: &'a Terminal,
    /// The turn to append, where the reply belongs in a conversation.
    pub turn: Option<&'a Turn>,
    /// The key, hex SHA-256, and the answer to learn.
    pub learned: Option<(&'a str, &'a StoredAnswer)>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// All is kept. A turn of a conversation that was deleted meanwhile is not.
    Stored,
    /// The reply had this terminal already, and nothing was written.
    AlreadyEnded(Terminal),
}

// The places of the actions in the transaction, for reading why it was refused.
const END: usize = 0;
const HEAD: usize = 1;
const TURN: usize = 2;

impl Store {
    /// Ends a reply, in one request. Refused, the service says by which row: a second one follows only
    /// where the conversation was deleted or has expired. Parts of what is larger than a row are
    /// written before.
    ///
    /// # Errors
    /// `Unavailable` where the service failed; nothing was written then.
    pub async fn finish(&self, finish: Finish<'_>) -> Result<Finished, Error> {
        let mut actions = self.actions(&finish).await?;
        for _ in 0..TRIES {
            let Outcome::Refused(rows) = self.transact(&actions).await? else {
                return Ok(Finished::Stored);
            };
            if let Some(Some(end)) = rows.get(END) {
                return self.already_ended(end).await;
            }
            let (Some(turn), Some(Some(head))) = (finish.turn, rows.get(HEAD)) else { break };
            match self.head_change(turn, head) {
                Some(change) => actions[HEAD] = self.head_action(turn, change)?,
                None => drop(actions.drain(HEAD..=TURN)),
            }
        }
        Err(unavailable("the conversation kept changing under the transaction"))
    }

    async fn actions(&self, finish: &Finish<'_>) -> Result<Vec<TransactWriteItem>, Error> {
        let piece = Piece {
            started: first(finish.first_seq, finish.started),
            deltas: finish.deltas.to_vec(),
            end: Some(End::of(finish.end)),
        };
        let mut actions =
            vec![self.end_action(finish.key, finish.fingerprint, finish.first_seq, &piece).await?];
        if let Some(turn) = finish.turn {
            actions.push(self.head_action(turn, HeadChange::Append)?);
            actions.push(self.turn_action(turn).await?);
        }
        if let Some((hex, answer)) = finish.learned {
            actions.push(self.learn_action(hex, answer).await?);
        }
        Ok(actions)
    }

    async fn already_ended(&self, row: &Item) -> Result<Finished, Error> {
        let end = self.unpack::<Piece>(row, "body").await?.and_then(|piece| piece.end);
        end.map(|end| Finished::AlreadyEnded(end.into()))
            .ok_or_else(|| unavailable("the row that ends a reply holds no terminal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{CacheOutcome, Caller, StopReason, Usage};
    use crate::store::{Clock, Retention, StoppedClock};
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
    use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
    use aws_sdk_dynamodb::error::BoxError;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// The operations that went to the service.
    #[derive(Clone, Debug, Default)]
    struct Sent(Arc<Mutex<Vec<String>>>);

    impl Intercept for Sent {
        fn name(&self) -> &'static str {
            "Sent"
        }

        fn read_before_transmit(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _: &RuntimeComponents,
            _: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            let target = context.request().headers().get("x-amz-target").unwrap_or_default();
            self.0.lock().unwrap().extend(target.rsplit('.').next().map(str::to_owned));
            Ok(())
        }
    }

    struct World {
        store: Store,
        clock: Arc<StoppedClock>,
        sent: Sent,
    }

    impl World {
        async fn new() -> World {
            let (clock, sent) = (StoppedClock::at(1_800_000_000_000), Sent::default());
            let mut store = Store::embedded(None, Retention::default(), clock.clone()).await.unwrap();
            let config = store.client.config().to_builder().interceptor(sent.clone());
            store.client = Client::from_conf(config.build());
            World { store, clock, sent }
        }

        fn turn(&self, id: &str) -> Turn {
            self.clock.advance(Duration::from_secs(1));
            Turn {
                chat_id: "c".into(),
                caller: Caller::local(),
                request_id: id.into(),
                started_at_ms: self.clock.now_ms(),
                at_ms: self.clock.now_ms(),
                after_ms: 0,
                window_from_ms: 0,
                messages: Vec::new(),
                answer: Vec::new(),
                model: "m".into(),
                usage: Usage::default(),
            }
        }

        /// Ends this turn's reply with all that can be kept, and checks what was sent for it.
        async fn check(&self, turn: &Turn, expected: &[&str]) -> Finished {
            let started = Started {
                request_id: turn.request_id.clone(),
                chat_id: turn.chat_id.clone(),
                model: turn.model.clone(),
                cache: CacheOutcome::Miss,
                sources: Vec::new(),
                retrieval_unavailable: false,
                ignored: Vec::new(),
                timings: Default::default(),
            };
            let answer = StoredAnswer {
                deltas: Vec::new(),
                stop_reason: StopReason::EndTurn,
                model: None,
                sources: Vec::new(),
                curated: false,
            };
            let finish = Finish {
                key: &ReplyKey::new(&turn.caller, &turn.request_id),
                fingerprint: None,
                started: &started,
                first_seq: 1,
                deltas: &[Delta::text("so")],
                end: &Terminal::Completed { stop_reason: StopReason::EndTurn, usage: turn.usage },
                turn: Some(turn),
                learned: Some(("00", &answer)),
            };
            self.sent.0.lock().unwrap().clear();
            let finished = self.store.finish(finish).await.unwrap();
            assert_eq!(*self.sent.0.lock().unwrap(), expected);
            finished
        }
    }

    const ONCE: [&str; 1] = ["TransactWriteItems"];
    const TWICE: [&str; 2] = ["TransactWriteItems", "TransactWriteItems"];

    #[tokio::test]
    async fn a_reply_ends_in_one_request_and_a_second_one_restarts_or_leaves_a_deleted_chat() {
        let world = World::new().await;
        let first = world.turn("r1");
        assert_eq!(world.check(&first, &ONCE).await, Finished::Stored);
        assert_eq!(world.check(&world.turn("r2"), &ONCE).await, Finished::Stored);
        assert!(matches!(
            world.check(&first, &ONCE).await,
            Finished::AlreadyEnded(Terminal::Completed { .. })
        ));
        let in_flight = world.turn("r3");
        assert!(world.store.delete_chat(&in_flight.caller, "c").await.unwrap());
        assert_eq!(world.check(&in_flight, &TWICE).await, Finished::Stored);
        assert_eq!(world.check(&world.turn("r4"), &TWICE).await, Finished::Stored);
        assert_eq!(world.check(&world.turn("r5"), &ONCE).await, Finished::Stored);
        let kept = world.store.read_chat(&in_flight.caller, "c").await.unwrap().unwrap();
        assert_eq!(kept.iter().map(|turn| turn.request_id.as_str()).collect::<Vec<_>>(), ["r4", "r5"]);
    }
}
