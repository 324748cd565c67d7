//! Replies: what a reply has said so far, kept so that it can be resumed.
//!
//! A reply's rows are one partition, read by one query: `begin` where its id was the caller's choice,
//! gathered deltas, `end`.

use super::item::{self, End, Item, Piece};
use super::overflow::ROOMY;
use super::rows::ABSENT;
use super::{Store, away, built};
use crate::chat::{Caller, Delta, LONGEST_REPLY, Started, Terminal, new_id};
use crate::error::Error;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use std::time::Duration;

/// Which reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyKey {
    /// Whose.
    pub caller: Caller,
    /// The request's id.
    pub id: String,
}

impl ReplyKey {
    /// The caller's reply of this id.
    pub fn new(caller: &Caller, id: &str) -> ReplyKey {
        ReplyKey { caller: caller.clone(), id: id.to_owned() }
    }

    pub(super) fn pk(&self) -> String {
        item::reply_pk(&self.caller, &self.id)
    }
}

/// A reply about to begin.
#[derive(Clone, Copy, Debug)]
pub struct Begin<'a> {
    /// Of the request's body.
    pub fingerprint: &'a str,
    /// What brought the request, where it may be brought twice.
    pub delivery: Option<&'a str>,
    /// How long until the first flush is missed.
    pub lease: Duration,
}

/// Whether an id was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It was: the reply is this process's to give.
    New,
    /// It was not: load it.
    Exists,
    /// It was not, and the same delivery had taken it.
    Repeated,
}

/// A reply as far as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplyRow {
    /// Of the request's body.
    pub fingerprint: Option<String>,
    /// None where nothing has been flushed yet.
    pub started: Option<Started>,
    /// In order and without a gap: the n-th has `seq` n, counted from 1.
    pub deltas: Vec<Delta>,
    /// The terminal, once there is one.
    pub end: Option<Terminal>,
    /// Until then somebody is at work on it. Milliseconds since 1970.
    pub lease_until_ms: u64,
}

/// Deltas to keep, gathered since the last flush.
#[derive(Clone, Copy, Debug)]
pub struct Flush<'a> {
    /// Which reply.
    pub key: &'a ReplyKey,
    /// Of the request's body.
    pub fingerprint: Option<&'a str>,
    /// The same in every flush.
    pub started: &'a Started,
    /// The `seq` of the first of `deltas`, or of the one that will come next.
    pub first_seq: u64,
    /// May be empty: then only the lease is renewed.
    pub deltas: &'a [Delta],
    /// How long until the next flush is missed.
    pub lease: Duration,
}

impl Store {
    /// Takes an id. One of several callers with the same id gets `New`.
    pub async fn begin_reply(&self, key: &ReplyKey, begin: Begin<'_>) -> Result<Begun, Error> {
        let mut row = item::key(&key.pk(), "begin");
        row.insert("fingerprint".to_owned(), item::s(begin.fingerprint));
        row.extend(begin.delivery.map(|delivery| ("delivery".to_owned(), item::s(delivery))));
        // A put whose answer was lost is sent again by the SDK and then meets its own row.
        let owner = new_id();
        row.insert("owner".to_owned(), item::s(&owner));
        row.insert("lease_until".to_owned(), item::n(self.lease_end(begin.lease)));
        row.insert("expires_at".to_owned(), item::n(self.begin_expiry()));
        let put = self.client.put_item().table_name(&self.tables.state).set_item(Some(row));
        let put = put.condition_expression(ABSENT).expression_attribute_values(":now", self.now());
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(Begun::New) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                let known = |name| refused.item().and_then(|row| item::text(row, name));
                Ok(match begin.delivery {
                    _ if known("owner") == Some(&owner) => Begun::New,
                    Some(delivery) if known("delivery") == Some(delivery) => Begun::Repeated,
                    _ => Begun::Exists,
                })
            }
            _ => Err(away("begin", &error)),
        }
    }

    /// Leaves word for whoever gives this reply, in whatever process, that its caller wants it to stop.
    pub async fn ask_to_cancel(&self, key: &ReplyKey) -> Result<(), Error> {
        let mut row = item::key(&key.pk(), "cancel");
        row.insert("expires_at".to_owned(), item::n(self.expiry(self.retention.replies)));
        self.put(row).await
    }

    /// Has the caller asked for it?
    pub async fn is_cancel_asked(&self, key: &ReplyKey) -> Result<bool, Error> {
        Ok(self.row(&key.pk(), "cancel").await?.is_some())
    }

    /// Keeps deltas and renews the lease, in one row. A flush that is repeated from the same
    /// `first_seq`, with as many deltas or more, replaces the first.
    pub async fn flush_reply(&self, flush: Flush<'_>) -> Result<(), Error> {
        let expires_at = self.expiry(self.retention.replies);
        let sk = item::event_sk(flush.first_seq);
        let piece = Piece {
            started: first(flush.first_seq, flush.started),
            deltas: flush.deltas.to_vec(),
            end: None,
        };
        let mut row = self.piece_row(flush.key, &sk, &piece, expires_at).await?;
        row.extend(flush.fingerprint.map(|print| ("fingerprint".to_owned(), item::s(print))));
        row.insert("first_seq".to_owned(), item::n(flush.first_seq));
        row.insert("lease_until".to_owned(), item::n(self.lease_end(flush.lease)));
        self.put(row).await
    }

    /// What is kept of a reply.
    pub async fn load_reply(&self, key: &ReplyKey) -> Result<Option<ReplyRow>, Error> {
        self.load_partition(&key.pk()).await
    }

    /// What is kept of the reply in this partition.
    pub(super) async fn load_partition(&self, pk: &str) -> Result<Option<ReplyRow>, Error> {
        let rows = self.partition(pk).await?;
        let begin = rows.iter().find(|row| item::text(row, "sk") == Some("begin"));
        let fingerprint = rows.iter().find_map(|row| item::text(row, "fingerprint")).map(str::to_owned);
        let lease_until_ms = begin.and_then(|row| item::number(row, "lease_until")).unwrap_or_default();
        let mut reply =
            ReplyRow { fingerprint, started: None, deltas: Vec::new(), end: None, lease_until_ms };
        let mut pieces: Vec<&Item> =
            rows.iter().filter(|row| item::number(row, "first_seq").is_some()).collect();
        pieces.sort_by_key(|row| item::number(row, "first_seq"));
        let mut last_seq = u64::MAX;
        for row in pieces {
            let Some(piece) = self.unpack::<Piece>(row, "body").await? else {
                continue;
            };
            append(&mut reply.deltas, item::number(row, "first_seq").unwrap_or(1), piece.deltas);
            let lease = item::number(row, "lease_until").unwrap_or_default();
            reply.lease_until_ms = reply.lease_until_ms.max(lease);
            reply.started = reply.started.or(piece.started);
            if let Some(end) = piece.end {
                reply.end = Some(end.into());
                last_seq = item::number(row, "last_seq").unwrap_or_default();
            }
        }
        Ok(self.whole(reply, last_seq, begin))
    }

    /// Ends a reply whose lease has run out, and does nothing to any other: whoever was at work on
    /// it is gone. The first terminal stays.
    pub async fn end_reply_if_abandoned(&self, key: &ReplyKey, end: &Terminal) -> Result<(), Error> {
        let Some(row) = self.load_reply(key).await? else {
            return Ok(());
        };
        if row.end.is_some() || row.lease_until_ms > self.now_ms() {
            return Ok(());
        }
        let piece = Piece {
            started: row.started.filter(|_| row.deltas.is_empty()),
            deltas: Vec::new(),
            end: Some(End::of(end)),
        };
        let first_seq = row.deltas.len() as u64 + 1;
        let end = self.end_action(key, row.fingerprint.as_deref(), first_seq, &piece).await?;
        self.transact(&[end]).await.map(|_| ())
    }

    /// Puts `end` where there is none; refused, it gives the one that is there. `first_seq` is that of
    /// the piece's first delta, or of the one that would have come next; whatever a late writer adds
    /// beyond the piece is not read.
    pub(super) async fn end_action(
        &self,
        key: &ReplyKey,
        fingerprint: Option<&str>,
        first_seq: u64,
        piece: &Piece,
    ) -> Result<TransactWriteItem, Error> {
        let expires_at = self.expiry(self.retention.replies);
        let mut row = self.piece_row(key, "end", piece, expires_at).await?;
        row.extend(fingerprint.map(|print| ("fingerprint".to_owned(), item::s(print))));
        row.insert("first_seq".to_owned(), item::n(first_seq));
        row.insert("last_seq".to_owned(), item::n(first_seq + piece.deltas.len() as u64 - 1));
        let put = Put::builder().table_name(&self.tables.state).set_item(Some(row));
        let put = put
            .condition_expression(ABSENT)
            .expression_attribute_values(":now", self.now())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    async fn piece_row(
        &self,
        key: &ReplyKey,
        sk: &str,
        piece: &Piece,
        expires_at: u64,
    ) -> Result<Item, Error> {
        let mut row = item::key(&key.pk(), sk);
        row.extend(self.pack("body", piece, ROOMY, Some(expires_at)).await?);
        row.insert("expires_at".to_owned(), item::n(expires_at));
        Ok(row)
    }

    /// `begin` outlives what it guards, so that an id is not free again while an `end` still stands.
    fn begin_expiry(&self) -> u64 {
        self.expiry(self.retention.replies + LONGEST_REPLY)
    }

    /// None where rows of the reply have begun to expire: a part of an answer is no answer.
    fn whole(&self, mut reply: ReplyRow, last_seq: u64, begin: Option<&Item>) -> Option<ReplyRow> {
        if reply.end.is_some() {
            let there = reply.deltas.len() as u64 >= last_seq;
            reply.deltas.truncate(usize::try_from(last_seq).unwrap_or(usize::MAX));
            return there.then_some(reply);
        }
        let grace = LONGEST_REPLY.as_secs();
        let fresh = begin
            .is_some_and(|row| item::number(row, "expires_at").is_some_and(|at| at > self.now_s() + grace));
        (reply.started.is_some() || fresh).then_some(reply)
    }
}

/// `Started` goes into the first piece only: repeated in each it would double what they cost.
pub(super) fn first(first_seq: u64, started: &Started) -> Option<Started> {
    (first_seq == 1).then(|| started.clone())
}

/// Appends what is new in a piece; a piece behind a gap waits for what is missing.
fn append(deltas: &mut Vec<Delta>, first_seq: u64, piece: Vec<Delta>) {
    let next = deltas.len() as u64 + 1;
    if let Some(known) = next.checked_sub(first_seq) {
        deltas.extend(piece.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[(u64, &str)], expected: &str) {
        let mut deltas = Vec::new();
        for (first_seq, text) in pieces {
            append(&mut deltas, *first_seq, text.chars().map(Delta::text).collect());
        }
        assert_eq!(deltas.iter().map(Delta::as_text).collect::<String>(), expected);
    }

    #[test]
    fn pieces_join_without_gap_or_repetition() {
        check(&[(1, "ab"), (3, "c"), (4, "")], "abc");
        check(&[(1, "ab"), (2, "bcd")], "abcd");
        check(&[(1, "abc"), (2, "b")], "abc");
        check(&[(1, "a"), (3, "c")], "a");
        check(&[(2, "b")], "");
    }
}
