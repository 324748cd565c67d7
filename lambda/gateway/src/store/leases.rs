//! Replies whose process is gone: asking again, or ending them.

use super::item::{self, End, Piece};
use super::replies::ReplyKey;
use super::rows::{ABSENT, Outcome};
use super::{Store, built};
use crate::chat::Event;
use crate::error::{Error, Kind};
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem, Update};
use std::time::Duration;

impl Store {
    /// Takes over a reply whose lease has run out and that never ended. One taker wins and gets the
    /// key of the new take, whose deltas begin at 1 again; None for the others, and where the reply
    /// was never begun. The earlier take can no longer end the reply.
    pub async fn retake_reply(&self, key: &ReplyKey, lease: Duration) -> Result<Option<ReplyKey>, Error> {
        let Some(row) = self.load_reply(key).await? else {
            return Ok(None);
        };
        if row.fingerprint.is_none() || row.end.is_some() || row.lease_until_ms > self.now_ms() {
            return Ok(None);
        }
        let next = ReplyKey { take: row.take + 1, ..key.clone() };
        let begin = Update::builder()
            .table_name(&self.tables.state)
            .set_key(Some(item::key(&key.pk(), "begin")))
            .update_expression("SET take = :next, lease_until = :lease, expires_at = :expiry")
            .condition_expression("take = :take AND lease_until <= :now_ms")
            .expression_attribute_values(":take", item::n(row.take.into()))
            .expression_attribute_values(":next", item::n(next.take.into()))
            .expression_attribute_values(":lease", item::n(self.lease_end(lease)))
            .expression_attribute_values(":expiry", item::n(self.begin_expiry()))
            .expression_attribute_values(":now_ms", item::n(self.now_ms()));
        let no_end = ConditionCheck::builder()
            .table_name(&self.tables.state)
            .set_key(Some(item::key(&key.pk(), "end")))
            .condition_expression(ABSENT)
            .expression_attribute_values(":now", self.now());
        let actions = [
            TransactWriteItem::builder().update(built(begin.build())?).build(),
            TransactWriteItem::builder().condition_check(built(no_end.build())?).build(),
        ];
        Ok(match self.transact(&actions).await? {
            Outcome::Done => Some(next),
            Outcome::Refused(_) => None,
        })
    }

    /// Ends a reply whose lease has run out, and does nothing to any other: whoever was at work on
    /// it is gone. The first terminal stays.
    pub async fn end_reply_if_abandoned(&self, key: &ReplyKey, end: &Event) -> Result<(), Error> {
        let Some(row) = self.load_reply(key).await? else {
            return Ok(());
        };
        if row.end.is_some() || row.lease_until_ms > self.now_ms() {
            return Ok(());
        }
        let key = ReplyKey { take: row.take, ..key.clone() };
        let piece = Piece {
            started: row.started.filter(|_| row.deltas.is_empty()),
            deltas: Vec::new(),
            end: End::of(end),
        };
        let actions = [
            self.end_action(&key, row.fingerprint.as_deref(), row.deltas.len() as u64 + 1, &piece).await?,
            self.take_check(&key)?,
        ];
        self.transact(&actions).await.map(|_| ())
    }

    /// Holds where nobody has taken the reply over.
    pub(super) fn take_check(&self, key: &ReplyKey) -> Result<TransactWriteItem, Error> {
        let check = ConditionCheck::builder()
            .table_name(&self.tables.state)
            .set_key(Some(item::key(&key.pk(), "begin")))
            .condition_expression("attribute_not_exists(pk) OR take = :take")
            .expression_attribute_values(":take", item::n(key.take.into()));
        Ok(TransactWriteItem::builder().condition_check(built(check.build())?).build())
    }
}

/// A reply that somebody else took over, or that is unknown, cannot be ended by this process.
pub(super) fn taken_over() -> Error {
    Error::new(Kind::Conflict, "This request was taken over by a later attempt, which answers it.")
}
