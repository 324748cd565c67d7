//! Jobs, as their workers see them.
//!
//! A worker claims a job for the length of a lease; every later write of that worker is conditional
//! on its attempt, so a worker that was given up on cannot overwrite the one that came after it.

use super::Store;
use super::item::{self, Fault, Item};
use super::jobs::{Applied, Job, JobOutcome, JobStatus, Outcomes, applied, status};
use super::overflow::SHARED;
use crate::chat::{Caller, new_id};
use crate::error::Error;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use std::time::Duration;

/// The condition of every write of a worker.
const MINE: &str = "phase = :running AND attempts = :attempt";

/// A job that nobody is at work on.
const FREE: &str = "expires_at > :now AND (phase = :queued OR (phase = :running AND lease_until <= :now_ms))";

/// What became of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// The job is the claimant's to work off.
    Mine(Box<Job>),
    /// Another worker has it, for so long at least.
    Held(Duration),
    /// It has ended.
    Over,
    /// There is no such job, or not any more.
    Missing,
}

impl Store {
    /// Takes a job that is queued, or whose worker's lease has run out. One of several claimants
    /// gets it, with `attempts` counted up.
    pub async fn claim_job(&self, caller: &Caller, id: &str, lease: Duration) -> Result<Claim, Error> {
        let claimant = new_id();
        let claim = self
            .update_job(caller, id)
            .update_expression(
                "SET taken_from = phase, phase = :running, lease_until = :lease, claimant = :claimant \
                 ADD attempts :one",
            )
            .expression_attribute_values(":claimant", item::s(&claimant))
            .condition_expression(FREE)
            .expression_attribute_values(":now", self.now())
            .expression_attribute_values(":now_ms", item::n(self.now_ms()))
            .expression_attribute_values(":one", item::n(1))
            .expression_attribute_values(":queued", item::s(JobStatus::Queued.as_str()))
            .expression_attribute_values(":running", item::s(JobStatus::Running.as_str()))
            .expression_attribute_values(":lease", item::n(self.lease_end(lease)));
        let row = match applied(claim).await? {
            Applied::Yes(row) => row,
            // A claim whose answer was lost is sent again by the SDK and then meets itself.
            Applied::No(Some(row)) if item::text(&row, "claimant") == Some(&claimant) => row,
            Applied::No(row) => return Ok(self.not_free(row.as_ref())),
        };
        match self.read_job(&row).await {
            Ok(job) => Ok(job.map_or(Claim::Missing, |job| Claim::Mine(Box::new(job)))),
            Err(error) => {
                // Nobody works on what cannot be read: it is free again, with this try counted.
                let attempt = item::number(&row, "attempts").and_then(|attempt| u32::try_from(attempt).ok());
                self.release_job(caller, id, attempt.unwrap_or_default(), true).await?;
                Err(error)
            }
        }
    }

    fn not_free(&self, row: Option<&Item>) -> Claim {
        let Some(row) = row.filter(|row| item::is_live(row, self.now_s())) else {
            return Claim::Missing;
        };
        if status(row) != Some(JobStatus::Running) {
            return Claim::Over;
        }
        let lease_until = item::number(row, "lease_until").unwrap_or_default();
        Claim::Held(Duration::from_millis(lease_until.saturating_sub(self.now_ms())))
    }

    /// Keeps a claim alive. False where it is no longer this attempt's: the worker stops.
    pub async fn renew_job(
        &self,
        caller: &Caller,
        id: &str,
        attempt: u32,
        lease: Duration,
    ) -> Result<bool, Error> {
        let renew = self
            .my_job(caller, id, attempt)
            .update_expression("SET lease_until = :lease")
            .expression_attribute_values(":lease", item::n(self.lease_end(lease)));
        Ok(applied(renew).await?.is_yes())
    }

    /// Keeps how the job came out. False where it is no longer this attempt's.
    pub async fn finish_job(
        &self,
        caller: &Caller,
        id: &str,
        attempt: u32,
        outcome: &JobOutcome,
    ) -> Result<bool, Error> {
        self.end_job(self.my_job(caller, id, attempt), outcome).await
    }

    /// Ends a job that nobody is at work on; `unclaimed`: only one that nobody ever was. False where
    /// it is another one.
    pub async fn give_up_job(
        &self,
        caller: &Caller,
        id: &str,
        unclaimed: bool,
        outcome: &JobOutcome,
    ) -> Result<bool, Error> {
        let most = if unclaimed { 0 } else { u64::from(u32::MAX) };
        let end = self
            .update_job(caller, id)
            .condition_expression(format!("{FREE} AND attempts <= :most"))
            .expression_attribute_values(":most", item::n(most))
            .expression_attribute_values(":now", self.now())
            .expression_attribute_values(":queued", item::s(JobStatus::Queued.as_str()))
            .expression_attribute_values(":running", item::s(JobStatus::Running.as_str()));
        self.end_job(end, outcome).await
    }

    async fn end_job(&self, update: UpdateItemFluentBuilder, outcome: &JobOutcome) -> Result<bool, Error> {
        let outcomes = Outcomes {
            completion: outcome.completion.clone(),
            error: outcome.error.as_ref().map(Fault::from),
            usage: outcome.usage,
        };
        let expires_at = self.expiry(self.retention.jobs);
        let mut sets = "SET phase = :phase, completed_at = :now_ms".to_owned();
        let mut end = update
            .expression_attribute_values(":phase", item::s(outcome.status.as_str()))
            .expression_attribute_values(":now_ms", item::n(self.now_ms()));
        for (name, value) in self.pack("outcome", &outcomes, SHARED, Some(expires_at)).await? {
            sets.push_str(&format!(", {name} = :{name}"));
            end = end.expression_attribute_values(format!(":{name}"), value);
        }
        Ok(applied(end.update_expression(sets)).await?.is_yes())
    }

    /// Puts a claimed job back into the queue. An attempt that never began is not `counted`: it goes
    /// into `refused`. False where the job is no longer this attempt's.
    pub async fn release_job(
        &self,
        caller: &Caller,
        id: &str,
        attempt: u32,
        counted: bool,
    ) -> Result<bool, Error> {
        let release = self
            .my_job(caller, id, attempt)
            .update_expression("SET phase = :queued, lease_until = :zero ADD refused :refused")
            .expression_attribute_values(":refused", item::n(u64::from(!counted)))
            .expression_attribute_values(":queued", item::s(JobStatus::Queued.as_str()))
            .expression_attribute_values(":zero", item::n(0));
        Ok(applied(release).await?.is_yes())
    }

    /// An update that holds only while the job is this attempt's.
    fn my_job(&self, caller: &Caller, id: &str, attempt: u32) -> UpdateItemFluentBuilder {
        let update = self.update_job(caller, id).condition_expression(MINE);
        update
            .expression_attribute_values(":running", item::s(JobStatus::Running.as_str()))
            .expression_attribute_values(":attempt", item::n(attempt.into()))
    }
}
