//! Flights: which reply, of all processes, gives an answer that several ask for at once.
//!
//! A flight is one row under the key of the answer that it will teach. Its deltas are those of the reply
//! that leads it, read from that reply's own rows, so that a question that nobody else asks costs this
//! one row and nothing more. Nor is the row renewed: while it runs, the reply's own lease stands for it.

use super::item::{self, Item};
use super::jobs::applied;
use super::replies::{ReplyKey, ReplyRow};
use super::{Store, away, unavailable};
use crate::chat::LONGEST_REPLY;
use crate::error::Error;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use std::time::Duration;

/// A reply that wants to lead.
#[derive(Clone, Copy, Debug)]
pub struct Lead<'a> {
    /// Which reply.
    pub reply: &'a ReplyKey,
    /// Names this lead, and no other one.
    pub nonce: &'a str,
    /// The lead that is over, where it follows one.
    pub over: Option<&'a Flight>,
    /// How long until the reply's first row is missed.
    pub lease: Duration,
}

/// A flight that somebody leads, or led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Names this lead, and no other one.
    pub nonce: String,
    /// The partition of the reply whose deltas are the flight's.
    pub reply: String,
    /// Until then that reply's first row may still come. Milliseconds since 1970.
    pub lease_until_ms: u64,
    /// The reply that took the lead has stopped, and this one goes on for those who follow.
    pub handed_over: bool,
    /// Those who follow and have not said that they no longer do.
    pub followers: u64,
}

/// The condition of everything that is done to a flight of this lead.
const SAME: &str = "nonce = :nonce";

/// Nobody follows it, or nobody does any more.
const LONELY: &str = "nonce = :nonce AND (attribute_not_exists(followers) OR followers = :none)";

/// Nobody leads, or the one who is known to be gone. A lead that was handed over is not gone.
const FREE: &str = "attribute_not_exists(pk) OR expires_at <= :now OR (nonce = :nonce AND reply = :reply)";

/// No lead and no partition has this name.
const NONE: &str = "-";

impl Store {
    /// Takes the lead where there is none, or the one that is over; of several who try, one gets it.
    /// Gives the flight that stands instead, and `None` to the one who leads now.
    pub async fn lead_flight(&self, key: &str, lead: Lead<'_>) -> Result<Option<Flight>, Error> {
        let mut row = item::flight_key(key);
        row.insert("nonce".to_owned(), item::s(lead.nonce));
        row.insert("reply".to_owned(), item::s(lead.reply.pk()));
        row.insert("lease_until".to_owned(), item::n(self.lease_end(lead.lease)));
        row.insert("expires_at".to_owned(), item::n(self.flight_expiry(lead.lease)));
        let put = self.client.put_item().table_name(&self.tables.state).set_item(Some(row));
        let put = put
            .condition_expression(FREE)
            .expression_attribute_values(":now", self.now())
            .expression_attribute_values(":nonce", item::s(lead.over.map_or(NONE, |over| &over.nonce)))
            .expression_attribute_values(":reply", item::s(lead.over.map_or(NONE, |over| &over.reply)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(None) };
        let Some(PutItemError::ConditionalCheckFailedException(refused)) = error.as_service_error() else {
            return Err(away("lead", &error));
        };
        let stands =
            refused.item().and_then(flight).ok_or_else(|| unavailable("a flight without a reply"))?;
        // A put whose answer was lost is sent again by the SDK and then meets its own row.
        Ok((stands.nonce != lead.nonce).then_some(stands))
    }

    /// The flight of this key, where somebody leads or led one.
    pub async fn flight(&self, key: &str) -> Result<Option<Flight>, Error> {
        let (pk, sk) = (item::flight_pk(key), item::FLIGHT);
        Ok(self.row(&pk, sk).await?.as_ref().and_then(flight))
    }

    /// What is kept of the reply that leads a flight.
    pub async fn flown(&self, flight: &Flight) -> Result<Option<ReplyRow>, Error> {
        self.load_partition(&flight.reply).await
    }

    /// Says that somebody follows; `false` where this lead is no more.
    pub async fn follow_flight(&self, key: &str, nonce: &str) -> Result<bool, Error> {
        let follow = self.led_flight(key, nonce).update_expression("ADD followers :one");
        Ok(applied(follow.expression_attribute_values(":one", item::n(1))).await?.is_yes())
    }

    /// Says that one of those who follow does so no longer.
    pub async fn unfollow_flight(&self, key: &str, nonce: &str) -> Result<(), Error> {
        let leave = self.led_flight(key, nonce).update_expression("SET followers = followers - :one");
        let leave = leave.condition_expression("nonce = :nonce AND followers > :none");
        let leave = leave.expression_attribute_values(":none", item::n(0));
        applied(leave.expression_attribute_values(":one", item::n(1))).await.map(drop)
    }

    /// Ends a lead that nobody follows, so that nobody will; `false` where somebody does, and it stands.
    pub async fn end_lonely_flight(&self, key: &str, nonce: &str) -> Result<bool, Error> {
        let delete = self.client.delete_item().table_name(&self.tables.state);
        let delete = delete
            .set_key(Some(item::flight_key(key)))
            .condition_expression(LONELY)
            .expression_attribute_values(":none", item::n(0))
            .expression_attribute_values(":nonce", item::s(nonce))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = delete.send().await else { return Ok(true) };
        match error.as_service_error() {
            Some(DeleteItemError::ConditionalCheckFailedException(refused)) => {
                Ok(refused.item().and_then(flight).is_none_or(|flight| flight.nonce != nonce))
            }
            _ => Err(away("leave", &error)),
        }
    }

    /// From now on the deltas are those of another reply; `false` where this lead is no more.
    pub async fn hand_over_flight(&self, key: &str, lead: Lead<'_>) -> Result<bool, Error> {
        let hand = self
            .led_flight(key, lead.nonce)
            .update_expression(
                "SET reply = :reply, lease_until = :lease, expires_at = :expiry, handed = :handed",
            )
            .expression_attribute_values(":reply", item::s(lead.reply.pk()))
            .expression_attribute_values(":lease", item::n(self.lease_end(lead.lease)))
            .expression_attribute_values(":handed", AttributeValue::Bool(true))
            .expression_attribute_values(":expiry", item::n(self.flight_expiry(lead.lease)));
        Ok(applied(hand).await?.is_yes())
    }

    /// Takes it upon oneself to pay for the call; `true` for one of those who try.
    pub async fn take_bill(&self, key: &str, nonce: &str, payer: &ReplyKey) -> Result<bool, Error> {
        let take = self
            .led_flight(key, nonce)
            .update_expression("SET payer = :payer")
            .condition_expression("nonce = :nonce AND (attribute_not_exists(payer) OR payer = :payer)")
            .expression_attribute_values(":payer", item::s(payer.pk()));
        Ok(applied(take).await?.is_yes())
    }

    fn led_flight(&self, key: &str, nonce: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.tables.state);
        let update = update.set_key(Some(item::flight_key(key))).condition_expression(SAME);
        update.expression_attribute_values(":nonce", item::s(nonce))
    }

    /// No reply runs longer; what is left of the row then stands in nobody's way.
    fn flight_expiry(&self, lease: Duration) -> u64 {
        self.expiry(LONGEST_REPLY + lease)
    }
}

fn flight(row: &Item) -> Option<Flight> {
    Some(Flight {
        nonce: item::text(row, "nonce")?.to_owned(),
        reply: item::text(row, "reply")?.to_owned(),
        lease_until_ms: item::number(row, "lease_until")?,
        handed_over: row.contains_key("handed"),
        followers: item::number(row, "followers").unwrap_or_default(),
    })
}
