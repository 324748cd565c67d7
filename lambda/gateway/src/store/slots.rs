//! Places of which there are only so many: the replies that run at once for one holder, counted over
//! all processes. A row's string set has one entry a place taken, `until#name`; a process that was
//! killed gives nothing back, and its entry counts until then.

use super::item::{self, Item};
use super::rows::pause;
use super::{Store, away};
use crate::chat::{Caller, LONGEST_REPLY};
use crate::error::Error;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use std::time::Duration;

/// Who has places.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// A WebSocket connection, by its id.
    Connection(&'a str),
    /// A caller.
    Caller(&'a Caller),
}

/// A place that was taken.
#[derive(Clone, Debug)]
pub struct Slot {
    key: Item,
    entry: String,
    borrowed: bool,
}

const RUNNING: &str = "running";

impl Store {
    /// Takes one of the holder's `most` places under this name, for `time` at most. `None` where all
    /// are taken, and none of them under the same name.
    pub async fn take_slot(
        &self,
        holder: Holder<'_>,
        name: &str,
        most: usize,
        time: Duration,
    ) -> Result<Option<Slot>, Error> {
        let key = match holder {
            Holder::Connection(id) => item::key(&item::connection_pk(id), RUNNING),
            Holder::Caller(caller) => item::key(&item::running_pk(caller), RUNNING),
        };
        let slot = Slot { key, entry: format!("{}#{name}", self.lease_end(time)), borrowed: false };
        let mut attempt = 0;
        loop {
            let Err(taken) = self.add(&slot, most, time).await? else { return Ok(Some(slot)) };
            // A write whose answer was lost is sent again by the SDK and then meets itself.
            if taken.contains(&slot.entry) {
                return Ok(Some(slot));
            }
            let same = |entry: &String| entry.split_once('#').is_some_and(|(_, known)| known == name);
            if taken.iter().any(|entry| same(entry) && !self.is_over(entry)) {
                // The same request again: it has its place, which is not this one's to give back.
                return Ok(Some(Slot { borrowed: true, ..slot }));
            }
            let dead: Vec<String> = taken.into_iter().filter(|entry| self.is_over(entry)).collect();
            if dead.is_empty() {
                return Ok(None);
            }
            self.remove(&slot.key, dead).await?;
            attempt = pause(attempt, "places were taken as soon as they were free").await?;
        }
    }

    /// Gives a place back.
    pub async fn free_slot(&self, slot: Slot) -> Result<(), Error> {
        if slot.borrowed {
            return Ok(());
        }
        self.remove(&slot.key, vec![slot.entry]).await
    }

    /// Adds the entry, or gives those that are there.
    async fn add(&self, slot: &Slot, most: usize, time: Duration) -> Result<Result<(), Vec<String>>, Error> {
        let update = self.client.update_item().table_name(&self.tables.state);
        // The row outlives every place in it, not this one alone.
        let update = update
            .set_key(Some(slot.key.clone()))
            .update_expression("ADD running :entry SET expires_at = :expiry")
            .condition_expression("attribute_not_exists(running) OR size(running) < :most")
            .expression_attribute_values(":entry", AttributeValue::Ss(vec![slot.entry.clone()]))
            .expression_attribute_values(":expiry", item::n(self.expiry(time.max(LONGEST_REPLY))))
            .expression_attribute_values(":most", item::n(most as u64))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = update.send().await else { return Ok(Ok(())) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                let entries = refused.item().and_then(|row| row.get(RUNNING)?.as_ss().ok());
                Ok(Err(entries.cloned().unwrap_or_default()))
            }
            _ => Err(away("slot", &error)),
        }
    }

    async fn remove(&self, key: &Item, entries: Vec<String>) -> Result<(), Error> {
        let update = self.client.update_item().table_name(&self.tables.state).set_key(Some(key.clone()));
        let update = update
            .update_expression("DELETE running :entries")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":entries", AttributeValue::Ss(entries));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // The row is gone, and with it every place taken.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(away("slot", &error)),
            },
        }
    }

    fn is_over(&self, entry: &str) -> bool {
        let until = entry.split_once('#').and_then(|(until, _)| until.parse::<u64>().ok());
        until.is_none_or(|until| until <= self.now_ms())
    }
}
