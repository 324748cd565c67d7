//! The one transaction that ends a reply: its terminal, its turn in the conversation, what is learned
//! from it. After it has returned, all three survive whatever happens to the process.

use super::answers::StoredAnswer;
use super::chats::{HeadChange, Turn};
use super::item::{End, Piece};
use super::replies::{ReplyKey, first};
use super::rows::Outcome;
use super::{Store, unavailable};
use crate::chat::{Delta, Event, Started};
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
    pub end: &'a Event,
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
    AlreadyEnded(Event),
}

// The places of the actions in the transaction, for reading why it was refused.
const END: usize = 0;
const HEAD: usize = 1;

impl Store {
    /// Ends a reply.
    ///
    /// # Errors
    /// `Unavailable` where the service failed; nothing was written then.
    pub async fn finish(&self, finish: Finish<'_>) -> Result<Finished, Error> {
        let fixed = self.fixed_actions(&finish).await?;
        let put = match finish.turn {
            Some(turn) => Some(self.turn_action(turn).await?),
            None => None,
        };
        let mut change = finish.turn.map(|_| HeadChange::Append);
        for _ in 0..super::rows::TRIES {
            let mut actions = fixed.clone();
            if let (Some(turn), Some(put), Some(change)) = (finish.turn, &put, change) {
                actions.splice(HEAD..HEAD, [self.head_action(turn, change)?, put.clone()]);
            }
            match self.transact(&actions).await? {
                Outcome::Done => return Ok(Finished::Stored),
                Outcome::Refused(failed) if failed.get(END) == Some(&true) => {
                    return self.already_ended(finish.key).await;
                }
                Outcome::Refused(_) => {
                    let Some(turn) = finish.turn else { break };
                    change = self.head_change(turn).await?;
                }
            }
        }
        Err(unavailable("the conversation kept changing under the transaction"))
    }

    /// What is written whatever the conversation's state: the terminal, the learned answer.
    async fn fixed_actions(&self, finish: &Finish<'_>) -> Result<Vec<TransactWriteItem>, Error> {
        let piece = Piece {
            started: first(finish.first_seq, finish.started),
            deltas: finish.deltas.to_vec(),
            end: End::of(finish.end),
        };
        let mut actions =
            vec![self.end_action(finish.key, finish.fingerprint, finish.first_seq, &piece).await?];
        if let Some((hex, answer)) = finish.learned {
            actions.push(self.learn_action(hex, answer).await?);
        }
        Ok(actions)
    }

    async fn already_ended(&self, key: &ReplyKey) -> Result<Finished, Error> {
        let end = self.load_reply(key).await?.and_then(|row| row.end);
        end.map(Finished::AlreadyEnded).ok_or_else(|| unavailable("the terminal expired while it was read"))
    }
}
