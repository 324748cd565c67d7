//! Reading and writing rows of the state table, whatever they hold.

use super::item::{self, Item};
use super::{Store, away, built, unavailable};
use crate::chat::new_id;
use crate::error::Error;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, DeleteRequest, PutRequest, TransactWriteItem, WriteRequest,
};
use std::collections::HashMap;
use std::time::Duration;

/// The condition under which a row may be put as a new one: an expired row is no row.
pub(super) const ABSENT: &str = "attribute_not_exists(pk) OR expires_at <= :now";

/// How often work that the service left undone, or that met another's transaction, is tried again.
pub(super) const TRIES: u32 = 8;

/// Why an action of a transaction was not done that will be done another time.
const BUSY: [&str; 3] = ["TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError"];

/// The code of a single write that met a transaction.
pub(super) const CONFLICT: Option<&str> = Some("TransactionConflictException");

/// What became of a transaction.
pub(super) enum Outcome {
    /// All of it was written.
    Done,
    /// Nothing was written. For each action whose condition failed, the row that was there, where the
    /// action asks for it and there was one; else an empty one.
    Refused(Vec<Option<Item>>),
}

impl Store {
    /// The row, if it is there and has not expired. Strongly consistent.
    pub(super) async fn row(&self, pk: &str, sk: &str) -> Result<Option<Item>, Error> {
        let get = self.client.get_item().table_name(&self.tables.state).consistent_read(true);
        let reply = get.set_key(Some(item::key(pk, sk))).send().await;
        let row = reply.map_err(|error| away("get", &error))?.item;
        Ok(row.filter(|row| item::is_live(row, self.now_s())))
    }

    /// All live rows of a partition, in order of `sk`. Strongly consistent.
    pub(super) async fn partition(&self, pk: &str) -> Result<Vec<Item>, Error> {
        let (mut rows, mut from) = (Vec::new(), None);
        loop {
            let query = self.client.query().table_name(&self.tables.state).consistent_read(true);
            let query =
                query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", item::s(pk));
            let reply = query.set_exclusive_start_key(from).send().await;
            let page = reply.map_err(|error| away("query", &error))?;
            rows.extend(page.items.into_iter().flatten());
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        rows.retain(|row| item::is_live(row, self.now_s()));
        Ok(rows)
    }

    /// Puts a row, whatever was there.
    pub(super) async fn put(&self, row: Item) -> Result<(), Error> {
        let put = self.client.put_item().table_name(&self.tables.state).set_item(Some(row));
        put.send().await.map(|_| ()).map_err(|error| away("put", &error))
    }

    /// Deletes rows of the state table by their keys.
    pub(super) async fn delete_rows(&self, keys: Vec<Item>) -> Result<(), Error> {
        let mut writes = Vec::new();
        for key in keys {
            let delete = built(DeleteRequest::builder().set_key(Some(key)).build())?;
            writes.push(WriteRequest::builder().delete_request(delete).build());
        }
        self.write_all(&self.tables.state, writes).await
    }

    /// Writes in batches of 25; what the service leaves undone is sent again.
    pub(super) async fn write_all(&self, table: &str, writes: Vec<WriteRequest>) -> Result<(), Error> {
        for batch in writes.chunks(25) {
            let mut open = HashMap::from([(table.to_owned(), batch.to_vec())]);
            let mut attempt = 0;
            loop {
                let before = open.values().map(Vec::len).sum::<usize>();
                let reply = self.client.batch_write_item().set_request_items(Some(open)).send().await;
                open =
                    reply.map_err(|error| away("batch write", &error))?.unprocessed_items.unwrap_or_default();
                let left = open.values().map(Vec::len).sum::<usize>();
                if left == 0 {
                    break;
                }
                // Only a service that does nothing at all is given up on.
                attempt = if left < before { 0 } else { attempt };
                attempt = pause(attempt, "the service left writes undone").await?;
            }
        }
        Ok(())
    }

    /// All of these writes or none. Where another transaction is at the same rows, or a table has no
    /// room for one of them just now, it is tried again.
    pub(super) async fn transact(&self, actions: &[TransactWriteItem]) -> Result<Outcome, Error> {
        let mut attempt = 0;
        let mut token = new_id();
        loop {
            let write = self.client.transact_write_items().client_request_token(&token);
            let Err(error) = write.set_transact_items(Some(actions.to_vec())).send().await else {
                return Ok(Outcome::Done);
            };
            let reasons = cancellation(&error);
            let refused: Vec<Option<Item>> = reasons.iter().map(refusal).collect();
            if refused.iter().any(Option::is_some) {
                return Ok(Outcome::Refused(refused));
            }
            // The SDK takes every cancelled transaction for one that is not worth another try.
            if reasons.iter().any(|reason| reason.code().is_some_and(|code| BUSY.contains(&code))) {
                token = new_id();
            } else if error.code() != Some("TransactionInProgressException") {
                return Err(away("transaction", &error));
            }
            attempt = pause(attempt, "another transaction is at the same rows").await?;
        }
    }
}

/// Requests that put these rows.
pub(super) fn puts(rows: impl IntoIterator<Item = Item>) -> Result<Vec<WriteRequest>, Error> {
    let put = |row| built(PutRequest::builder().set_item(Some(row)).build());
    rows.into_iter().map(|row| Ok(WriteRequest::builder().put_request(put(row)?).build())).collect()
}

/// Waits before the next try, longer each time and by chance, so that rivals part, and counts it.
/// An error once there have been enough.
pub(super) async fn pause(attempt: u32, why: &str) -> Result<u32, Error> {
    if attempt + 1 >= TRIES {
        return Err(unavailable(why));
    }
    let most = 20_u64 << attempt;
    let (_, chance) = uuid::Uuid::new_v4().as_u64_pair();
    tokio::time::sleep(Duration::from_millis(most / 2 + chance % most)).await;
    Ok(attempt + 1)
}

/// Why each action of a cancelled transaction was, in their order.
fn cancellation(error: &SdkError<TransactWriteItemsError>) -> &[CancellationReason] {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => &[],
    }
}

/// The row that refused an action, where its condition is why.
fn refusal(reason: &CancellationReason) -> Option<Item> {
    let failed = reason.code() == Some("ConditionalCheckFailed");
    failed.then(|| reason.item().cloned().unwrap_or_default())
}
