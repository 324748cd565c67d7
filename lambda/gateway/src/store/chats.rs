//! Conversations: turns that are only ever appended, and a head a conversation for listing.
//!
//! A deletion is kept in two places as long as a turn could live. The head, without its title, refuses
//! every turn whose request had started by then, so a reply in flight cannot bring the conversation
//! back; a row among the turns hides those that stand there, so that one query reads a conversation. A
//! request that starts later begins it afresh under the same id.

use super::item::{self, Item};
use super::overflow::ROOMY;
use super::rows::{Outcome, TRIES};
use super::{Store, away, built, unavailable};
use crate::chat::{Block, Caller, Message, Role, Usage};
use crate::error::Error;
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use serde::{Deserialize, Serialize};

/// Characters of the first question that name a conversation.
const TITLE: usize = 80;
/// Turns read at once, newest first: most conversations fit into one page.
const PAGE: i32 = 32;
/// The conditions of a head that is, and of one that is not, in the list.
const LISTED: &str = "attribute_exists(pk) AND attribute_not_exists(gone) AND expires_at > :now";
const UNLISTED: &str = "attribute_not_exists(pk) OR attribute_exists(gone) OR expires_at <= :now";

/// One question and its complete answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// The conversation.
    pub chat_id: String,
    /// Whose.
    pub caller: Caller,
    /// The reply that gave the answer.
    pub request_id: String,
    /// When the request came in. Milliseconds since 1970; a deletion after it refuses the turn.
    pub started_at_ms: u64,
    /// When the answer was whole; read back, the turn's place in the conversation.
    pub at_ms: u64,
    /// `at_ms` of the newest turn that the model saw: this one is placed behind it, whatever the
    /// clocks of two machines say.
    pub after_ms: u64,
    /// `at_ms` of the oldest stored turn that the model saw; 0 where none was left out, or none stood
    /// before this one.
    #[serde(default)]
    pub window_from_ms: u64,
    /// The caller's new messages.
    pub messages: Vec<Message>,
    /// The answer.
    pub answer: Vec<Block>,
    /// The model that answered.
    pub model: String,
    /// What it cost.
    pub usage: Usage,
}

/// A conversation in the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatSummary {
    /// Its id.
    pub chat_id: String,
    /// The beginning of the first question.
    pub title: String,
    /// When the first turn was stored. Milliseconds since 1970.
    pub created_at_ms: u64,
    /// When the last one was.
    pub updated_at_ms: u64,
    /// How many there have been.
    pub turns: u64,
}

/// How a turn changes its conversation's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadChange {
    /// It is new, or lives: one turn more.
    Append,
    /// It was deleted or expired before the request started: it begins afresh.
    Restart {
        /// The head's `expires_at`, so that one of two rivals restarts it and the other appends.
        seen: u64,
    },
}

impl Store {
    /// The newest turns that fit into `max_bytes` of JSON, the very newest always, oldest first, and none older than what the
    /// model saw at the newest one: what was dropped then would be dropped again.
    pub async fn turns(&self, caller: &Caller, chat_id: &str, max_bytes: usize) -> Result<Vec<Turn>, Error> {
        Ok(self.read_turns(caller, chat_id, Some(max_bytes)).await?.unwrap_or_default())
    }

    /// All turns, oldest first; None where the caller has no such conversation.
    pub async fn read_chat(&self, caller: &Caller, chat_id: &str) -> Result<Option<Vec<Turn>>, Error> {
        self.read_turns(caller, chat_id, None).await
    }

    /// The caller's conversations, the one used last first.
    pub async fn list_chats(&self, caller: &Caller, limit: usize) -> Result<Vec<ChatSummary>, Error> {
        let heads = self.partition(&item::chats_pk(caller)).await?;
        let mut chats: Vec<ChatSummary> = heads.iter().filter_map(summary).collect();
        chats.sort_by(|a, b| b.updated_at_ms.cmp(&a.updated_at_ms).then_with(|| a.chat_id.cmp(&b.chat_id)));
        chats.truncate(limit);
        Ok(chats)
    }

    /// Deletes a conversation, and says whether there was one. It is invisible as soon as that is
    /// marked; then its turns go. Called again it removes what a broken-off call left.
    pub async fn delete_chat(&self, caller: &Caller, chat_id: &str) -> Result<bool, Error> {
        let deleted_at = self.now_ms();
        let was_there = self.mark_deleted(caller, chat_id, deleted_at).await?;
        let rows = self.partition(&item::turns_pk(caller, chat_id)).await?;
        let mut doomed = Vec::new();
        for row in rows.iter().filter(|row| is_turn(row) && !starts_after(row, deleted_at)) {
            doomed.extend(Store::part_keys(row, "body"));
            doomed.extend(item::text(row, "pk").zip(item::text(row, "sk")).map(|(pk, sk)| item::key(pk, sk)));
        }
        self.delete_rows(doomed).await?;
        Ok(was_there)
    }

    /// The turn itself, as a write of the transaction that ends its reply. Whether it is appended
    /// twice is that reply's `end` to say: a request id has one.
    pub(super) async fn turn_action(&self, turn: &Turn) -> Result<TransactWriteItem, Error> {
        let placed = Turn { at_ms: turn.at_ms.max(turn.after_ms.saturating_add(1)), ..turn.clone() };
        let json = serde_json::to_string(&placed).map_err(Error::internal)?;
        let expires_at = self.expiry(self.retention.chats);
        let sk = item::turn_sk(placed.at_ms, &turn.request_id);
        let mut row = item::key(&item::turns_pk(&turn.caller, &turn.chat_id), &sk);
        row.insert("started_at".to_owned(), item::n(turn.started_at_ms));
        row.insert("size".to_owned(), item::n(json.len() as u64));
        row.insert("expires_at".to_owned(), item::n(expires_at));
        row.extend(self.pack_text("body", json, ROOMY, Some(expires_at)).await?);
        let put = Put::builder().table_name(&self.tables.state).set_item(Some(row));
        Ok(TransactWriteItem::builder().put(built(put.build())?).build())
    }

    /// The head's part of that transaction; refused, it gives the head.
    pub(super) fn head_action(&self, turn: &Turn, change: HeadChange) -> Result<TransactWriteItem, Error> {
        let mut update = Update::builder()
            .table_name(&self.tables.state)
            .set_key(Some(item::key(&item::chats_pk(&turn.caller), &item::chat_sk(&turn.chat_id))))
            .expression_attribute_values(":chat", item::s(&turn.chat_id))
            .expression_attribute_values(":title", item::s(title(turn)))
            .expression_attribute_values(":now_ms", item::n(self.now_ms()))
            .expression_attribute_values(":expiry", item::n(self.expiry(self.retention.chats)))
            .expression_attribute_values(":one", item::n(1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = match change {
            HeadChange::Restart { seen } => update
                .update_expression(
                    "SET chat_id = :chat, title = :title, created_at = :now_ms, updated_at = :now_ms, \
                     expires_at = :expiry, turns = :one REMOVE gone",
                )
                .condition_expression(
                    "expires_at = :seen AND (attribute_not_exists(deleted_at) OR deleted_at < :started)",
                )
                .expression_attribute_values(":seen", item::n(seen))
                .expression_attribute_values(":started", item::n(turn.started_at_ms)),
            HeadChange::Append => update
                .update_expression(
                    "SET chat_id = :chat, title = if_not_exists(title, :title), \
                     created_at = if_not_exists(created_at, :now_ms), updated_at = :now_ms, \
                     expires_at = :expiry ADD turns :one",
                )
                .condition_expression(
                    "attribute_not_exists(pk) OR (attribute_not_exists(gone) AND expires_at > :now \
                     AND (attribute_not_exists(deleted_at) OR deleted_at < :started))",
                )
                .expression_attribute_values(":now", self.now())
                .expression_attribute_values(":started", item::n(turn.started_at_ms)),
        };
        Ok(TransactWriteItem::builder().update(built(update.build())?).build())
    }

    /// What to do about this head, which refused the turn. None where it was deleted after the request
    /// started: then the turn is not stored.
    pub(super) fn head_change(&self, turn: &Turn, head: &Item) -> Option<HeadChange> {
        if item::number(head, "deleted_at").is_some_and(|at| at >= turn.started_at_ms) {
            return None;
        }
        let over = head.contains_key("gone") || !item::is_live(head, self.now_s());
        let seen = item::number(head, "expires_at").unwrap_or_default();
        Some(if over { HeadChange::Restart { seen } } else { HeadChange::Append })
    }

    /// With `max_bytes` the turns for a prompt, without it all there are; None where there is none.
    async fn read_turns(
        &self,
        caller: &Caller,
        chat_id: &str,
        max_bytes: Option<usize>,
    ) -> Result<Option<Vec<Turn>>, Error> {
        let mut deleted_at = None;
        let mut turns: Vec<Turn> = Vec::new();
        let (mut left, mut from) = (max_bytes.unwrap_or(usize::MAX), None);
        loop {
            let (rows, next) = self.newest_turns(caller, chat_id, from).await?;
            deleted_at = deleted_at.max(rows.iter().filter_map(|row| item::number(row, "deleted_at")).max());
            let visible = |row: &&Item| is_turn(row) && deleted_at.is_none_or(|at| starts_after(row, at));
            for row in rows.iter().filter(visible) {
                let size = item::number(row, "size").and_then(|size| usize::try_from(size).ok());
                // The newest turn always comes: without it the conversation would seem to have none.
                let rest = left.checked_sub(size.unwrap_or(usize::MAX)).or(turns.is_empty().then_some(0));
                let newest = turns.first().filter(|_| max_bytes.is_some());
                let dropped = newest.is_some_and(|newest| stands_before(row, newest.window_from_ms));
                let Some(rest) = rest.filter(|_| !dropped) else {
                    return Ok(oldest_first(turns));
                };
                left = rest;
                turns.extend(self.unpack::<Turn>(row, "body").await?);
            }
            if next.is_none() {
                return Ok(oldest_first(turns));
            }
            from = next;
        }
    }

    /// One page of live rows, newest first, and where the next begins.
    async fn newest_turns(
        &self,
        caller: &Caller,
        chat_id: &str,
        from: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Error> {
        let query = self.client.query().table_name(&self.tables.state).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk").scan_index_forward(false).limit(PAGE);
        let query = query.expression_attribute_values(":pk", item::s(item::turns_pk(caller, chat_id)));
        let reply =
            query.set_exclusive_start_key(from).send().await.map_err(|error| away("query", &error))?;
        let mut rows = reply.items.unwrap_or_default();
        rows.retain(|row| item::is_live(row, self.now_s()));
        Ok((rows, reply.last_evaluated_key))
    }

    /// Marks the conversation deleted, there or not: its first reply may be in flight. Says whether it
    /// was there.
    async fn mark_deleted(&self, caller: &Caller, chat_id: &str, deleted_at: u64) -> Result<bool, Error> {
        let mut row = item::key(&item::turns_pk(caller, chat_id), item::DELETED);
        row.insert("deleted_at".to_owned(), item::n(deleted_at));
        row.insert("expires_at".to_owned(), item::n(self.expiry(self.retention.chats)));
        let hide = Put::builder().table_name(&self.tables.state).set_item(Some(row));
        let hide = TransactWriteItem::builder().put(built(hide.build())?).build();
        for _ in 0..TRIES {
            // A transaction does not say what was there before it; its condition does.
            for (listed, was_there) in [(LISTED, true), (UNLISTED, false)] {
                let bury = self.bury_action(caller, chat_id, deleted_at, listed)?;
                if let Outcome::Done = self.transact(&[bury, hide.clone()]).await? {
                    return Ok(was_there);
                }
            }
        }
        Err(unavailable("the conversation kept changing under its deletion"))
    }

    /// The head's part of a deletion.
    fn bury_action(
        &self,
        caller: &Caller,
        chat_id: &str,
        deleted_at: u64,
        condition: &str,
    ) -> Result<TransactWriteItem, Error> {
        let bury = Update::builder()
            .table_name(&self.tables.state)
            .set_key(Some(item::key(&item::chats_pk(caller), &item::chat_sk(chat_id))))
            .update_expression(
                "SET chat_id = :chat, gone = :yes, deleted_at = :deleted, expires_at = :expiry REMOVE title",
            )
            .condition_expression(condition)
            .expression_attribute_values(":now", self.now())
            .expression_attribute_values(":chat", item::s(chat_id))
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":deleted", item::n(deleted_at))
            .expression_attribute_values(":expiry", item::n(self.expiry(self.retention.chats)));
        Ok(TransactWriteItem::builder().update(built(bury.build())?).build())
    }
}

/// None for the head of a deleted conversation.
fn summary(head: &Item) -> Option<ChatSummary> {
    if head.contains_key("gone") {
        return None;
    }
    Some(ChatSummary {
        chat_id: item::text(head, "chat_id")?.to_owned(),
        title: item::text(head, "title")?.to_owned(),
        created_at_ms: item::number(head, "created_at")?,
        updated_at_ms: item::number(head, "updated_at")?,
        turns: item::number(head, "turns")?,
    })
}

fn is_turn(row: &Item) -> bool {
    item::text(row, "sk") != Some(item::DELETED)
}

fn starts_after(turn: &Item, deleted_at: u64) -> bool {
    item::number(turn, "started_at").is_some_and(|started| started > deleted_at)
}

fn stands_before(turn: &Item, at_ms: u64) -> bool {
    item::text(turn, "sk").is_some_and(|sk| sk < item::turns_from(at_ms).as_str())
}

fn oldest_first(mut turns: Vec<Turn>) -> Option<Vec<Turn>> {
    turns.reverse();
    (!turns.is_empty()).then_some(turns)
}

fn title(turn: &Turn) -> String {
    let questions = turn.messages.iter().filter(|message| message.role == Role::User);
    let text = questions.flat_map(|message| &message.content).find_map(Block::as_text);
    text.unwrap_or_default().trim().chars().take(TITLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_turn_kept_without_a_window_was_given_everything() {
        let kept = json!({
            "chat_id": "c", "caller": Caller::local(), "request_id": "r", "started_at_ms": 1, "at_ms": 2,
            "after_ms": 0, "messages": [], "answer": [], "model": "m", "usage": Usage::default(),
        });
        assert_eq!(serde_json::from_value::<Turn>(kept).unwrap().window_from_ms, 0);
    }
}
