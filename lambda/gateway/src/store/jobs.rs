//! Jobs, as their callers see them: questions that wait for a worker, and their answers.

use super::item::{self, Fault, Item};
use super::overflow::SHARED;
use super::rows::{ABSENT, CONFLICT, Outcome, pause};
use super::{Store, away, built};
use crate::chat::{Caller, Usage, new_id};
use crate::error::{Error, Kind};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const SK: &str = "job";

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Running,
    /// It has its answer.
    Completed,
    /// It has an error.
    Failed,
    /// The caller stopped it.
    Cancelled,
}

impl JobStatus {
    const ALL: [JobStatus; 5] = [
        JobStatus::Queued,
        JobStatus::Running,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];

    /// The word on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            JobStatus::Queued => "queued",
            JobStatus::Running => "running",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Whose.
    pub caller: Caller,
    /// The question, as the door keeps it.
    pub request: Value,
    /// Where it is.
    pub status: JobStatus,
    /// How often it was claimed; the number of the attempt that has it.
    pub attempts: u32,
    /// Attempts among them that never began.
    pub refused: u32,
    /// It was last claimed from a worker whose lease had run out.
    pub orphaned: bool,
    /// Until then its worker is believed alive. Milliseconds since 1970.
    pub lease_until_ms: u64,
    /// The answer, or as much as there is of it.
    pub completion: Option<String>,
    /// Why it failed.
    pub error: Option<Error>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it completed, failed or was cancelled.
    pub completed_at_ms: Option<u64>,
    /// When it was last queued again because nothing was to be heard of it.
    pub requeued_at_ms: Option<u64>,
}

impl Job {
    /// A job that has just been made, at `now_ms`.
    pub fn queued(caller: Caller, id: &str, request: Value, now_ms: u64) -> Job {
        Job {
            id: id.to_owned(),
            caller,
            request,
            status: JobStatus::Queued,
            attempts: 0,
            refused: 0,
            orphaned: false,
            lease_until_ms: 0,
            completion: None,
            error: None,
            usage: None,
            created_at_ms: now_ms,
            completed_at_ms: None,
            requeued_at_ms: None,
        }
    }
}

/// How a job came out.
#[derive(Clone, Debug, PartialEq)]
pub struct JobOutcome {
    /// `Completed`, `Failed` or `Cancelled`.
    pub status: JobStatus,
    /// The answer, or as much as there is of it.
    pub completion: Option<String>,
    /// Why it failed.
    pub error: Option<Error>,
    /// What it cost.
    pub usage: Option<Usage>,
}

/// Whether a job was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was.
    New,
    /// The same idempotency key and body have made this job before.
    Existing(String),
}

/// A note that a job is queued again.
#[derive(Debug)]
pub struct Requeued(String);

/// How a job came out, as its row keeps it.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Outcomes {
    pub completion: Option<String>,
    pub error: Option<Fault>,
    pub usage: Option<Usage>,
}

impl Store {
    /// Keeps a new job. `idempotency` is the caller's key and a hash of the body.
    ///
    /// # Errors
    /// `Conflict` where the key, or the job's id, has been used for something else.
    pub async fn create_job(&self, job: &Job, idempotency: Option<(&str, &str)>) -> Result<Created, Error> {
        let expires_at = self.expiry(self.retention.jobs);
        let mut rows = vec![self.job_row(job, expires_at).await?];
        if let Some((key, body_hash)) = idempotency {
            let mut row = item::key(&item::job_key_pk(&job.caller, key), "key");
            row.insert("job_id".to_owned(), item::s(&job.id));
            row.insert("body_hash".to_owned(), item::s(body_hash));
            row.insert("expires_at".to_owned(), item::n(expires_at));
            rows.push(row);
        }
        let mut actions = Vec::new();
        for row in rows {
            let put = Put::builder().table_name(&self.tables.state).set_item(Some(row));
            let put = put.condition_expression(ABSENT).expression_attribute_values(":now", self.now());
            actions.push(TransactWriteItem::builder().put(built(put.build())?).build());
        }
        match self.transact(&actions).await? {
            Outcome::Done => Ok(Created::New),
            Outcome::Refused(_) => self.existing_job(job, idempotency).await,
        }
    }

    /// The caller's job of this id.
    pub async fn job(&self, caller: &Caller, id: &str) -> Result<Option<Job>, Error> {
        match self.row(&item::job_pk(caller, id), SK).await? {
            Some(row) => self.read_job(&row).await,
            None => Ok(None),
        }
    }

    /// Cancels a job that has not ended. The status that it has then; None where the caller has no
    /// such job.
    pub async fn cancel_job(&self, caller: &Caller, id: &str) -> Result<Option<JobStatus>, Error> {
        let cancel = self
            .update_job(caller, id)
            .update_expression("SET phase = :cancelled, completed_at = :now_ms")
            .condition_expression("expires_at > :now AND phase IN (:queued, :running)")
            .expression_attribute_values(":now", self.now())
            .expression_attribute_values(":now_ms", item::n(self.now_ms()))
            .expression_attribute_values(":queued", item::s(JobStatus::Queued.as_str()))
            .expression_attribute_values(":running", item::s(JobStatus::Running.as_str()))
            .expression_attribute_values(":cancelled", item::s(JobStatus::Cancelled.as_str()));
        Ok(match applied(cancel).await? {
            Applied::Yes(_) => Some(JobStatus::Cancelled),
            Applied::No(row) => row.filter(|row| item::is_live(row, self.now_s())).as_ref().and_then(status),
        })
    }

    /// Notes that a job that has not ended is queued again. Of several who saw the same row one is given
    /// a note.
    pub async fn requeue_job(&self, job: &Job) -> Result<Option<Requeued>, Error> {
        let before = job.requeued_at_ms.unwrap_or_default();
        let requeued = Requeued(new_id());
        let note = self
            .update_job(&job.caller, &job.id)
            .update_expression("SET requeued_at = :now_ms, requeuer = :requeuer")
            .expression_attribute_values(":requeuer", item::s(&requeued.0))
            .condition_expression(
                "phase IN (:queued, :running) AND (attribute_not_exists(requeued_at) OR requeued_at = :before)",
            )
            .expression_attribute_values(":before", item::n(before))
            .expression_attribute_values(":now_ms", item::n(self.now_ms()))
            .expression_attribute_values(":queued", item::s(JobStatus::Queued.as_str()))
            .expression_attribute_values(":running", item::s(JobStatus::Running.as_str()));
        Ok(match applied(note).await? {
            Applied::Yes(_) => Some(requeued),
            // A note whose answer was lost is sent again by the SDK and then meets itself.
            Applied::No(Some(row)) if item::text(&row, "requeuer") == Some(&requeued.0) => Some(requeued),
            Applied::No(_) => None,
        })
    }

    /// Takes a note back: the job, as it was read, could not be queued.
    pub async fn unqueue_job(&self, job: &Job, requeued: Requeued) -> Result<(), Error> {
        let back = self.update_job(&job.caller, &job.id).condition_expression("requeuer = :requeuer");
        let back = back.expression_attribute_values(":requeuer", item::s(&requeued.0));
        let back = match job.requeued_at_ms {
            None => back.update_expression("REMOVE requeued_at, requeuer"),
            Some(before) => back
                .update_expression("SET requeued_at = :before REMOVE requeuer")
                .expression_attribute_values(":before", item::n(before)),
        };
        applied(back).await.map(|_| ())
    }

    /// Every queued or running job, oldest first. It reads the whole table: for the start of one
    /// machine, where there is no queue beside the rows.
    pub async fn open_jobs(&self) -> Result<Vec<(Caller, String)>, Error> {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let scan = self.client.scan().table_name(&self.tables.state).consistent_read(true);
            let scan = scan
                .filter_expression("kind = :job AND phase IN (:queued, :running) AND expires_at > :now")
                .expression_attribute_values(":job", item::s(SK))
                .expression_attribute_values(":queued", item::s(JobStatus::Queued.as_str()))
                .expression_attribute_values(":running", item::s(JobStatus::Running.as_str()))
                .expression_attribute_values(":now", self.now());
            let reply = scan.set_exclusive_start_key(from).send().await;
            let page = reply.map_err(|error| away("scan", &error))?;
            for row in page.items.unwrap_or_default() {
                let owner = item::text(&row, "caller").zip(item::text(&row, "job_id"));
                let owner = owner.map(|(caller, id)| (Caller(caller.to_owned()), id.to_owned()));
                found.extend(owner.map(|owner| (item::number(&row, "created_at"), owner)));
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        found.sort_by(|a, b| (a.0, &a.1.1).cmp(&(b.0, &b.1.1)));
        Ok(found.into_iter().map(|(_, owner)| owner).collect())
    }

    async fn job_row(&self, job: &Job, expires_at: u64) -> Result<Item, Error> {
        let mut row = item::key(&item::job_pk(&job.caller, &job.id), SK);
        row.insert("kind".to_owned(), item::s(SK));
        row.insert("job_id".to_owned(), item::s(&job.id));
        row.insert("caller".to_owned(), item::s(&job.caller.0));
        row.insert("phase".to_owned(), item::s(job.status.as_str()));
        row.insert("attempts".to_owned(), item::n(job.attempts.into()));
        row.insert("lease_until".to_owned(), item::n(job.lease_until_ms));
        row.insert("created_at".to_owned(), item::n(job.created_at_ms));
        row.extend(job.completed_at_ms.map(|at| ("completed_at".to_owned(), item::n(at))));
        row.insert("expires_at".to_owned(), item::n(expires_at));
        row.extend(self.pack("question", &job.request, SHARED, Some(expires_at)).await?);
        Ok(row)
    }

    pub(super) async fn read_job(&self, row: &Item) -> Result<Option<Job>, Error> {
        let outcome: Outcomes = self.unpack(row, "outcome").await?.unwrap_or_default();
        let request = self.unpack(row, "question").await?.unwrap_or_default();
        let (Some(id), Some(caller), Some(status)) =
            (item::text(row, "job_id"), item::text(row, "caller"), status(row))
        else {
            return Ok(None);
        };
        let number = |name| item::number(row, name).unwrap_or_default();
        Ok(Some(Job {
            id: id.to_owned(),
            caller: Caller(caller.to_owned()),
            request,
            status,
            attempts: u32::try_from(number("attempts")).unwrap_or(u32::MAX),
            refused: u32::try_from(number("refused")).unwrap_or(u32::MAX),
            orphaned: item::text(row, "taken_from") == Some(JobStatus::Running.as_str()),
            lease_until_ms: number("lease_until"),
            completion: outcome.completion,
            error: outcome.error.map(Error::from),
            usage: outcome.usage,
            created_at_ms: number("created_at"),
            completed_at_ms: item::number(row, "completed_at"),
            requeued_at_ms: item::number(row, "requeued_at"),
        }))
    }

    /// Why a job could not be created.
    async fn existing_job(&self, job: &Job, idempotency: Option<(&str, &str)>) -> Result<Created, Error> {
        let Some((key, body_hash)) = idempotency else {
            return Err(Error::new(Kind::Conflict, "There is a job of this id already. Choose another id."));
        };
        let row = self.row(&item::job_key_pk(&job.caller, key), "key").await?.unwrap_or_default();
        match item::text(&row, "job_id") {
            Some(id) if item::text(&row, "body_hash") == Some(body_hash) => {
                Ok(Created::Existing(id.to_owned()))
            }
            _ => Err(Error::new(
                Kind::Conflict,
                "This Idempotency-Key was used with another body. Use a new key for a new request.",
            )),
        }
    }

    pub(super) fn update_job(&self, caller: &Caller, id: &str) -> UpdateItemFluentBuilder {
        let update = self.client.update_item().table_name(&self.tables.state);
        update.set_key(Some(item::key(&item::job_pk(caller, id), SK)))
    }
}

/// Whether a conditional update took place.
pub(super) enum Applied {
    /// It did: the row as it is now.
    Yes(Item),
    /// Its condition did not hold: the row as it is, if there is one.
    No(Option<Item>),
}

impl Applied {
    pub(super) fn is_yes(&self) -> bool {
        matches!(self, Applied::Yes(_))
    }
}

pub(super) async fn applied(update: UpdateItemFluentBuilder) -> Result<Applied, Error> {
    let update = update.return_values(ReturnValue::AllNew);
    let update = update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let mut attempt = 0;
    loop {
        let error = match update.clone().send().await {
            Ok(reply) => return Ok(Applied::Yes(reply.attributes.unwrap_or_default())),
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                return Ok(Applied::No(refused.item.clone()));
            }
            Some(other) if other.code() == CONFLICT => {
                attempt = pause(attempt, "a transaction is at the same row").await?;
            }
            _ => return Err(away("update", &error)),
        }
    }
}

pub(super) fn status(row: &Item) -> Option<JobStatus> {
    let word = item::text(row, "phase")?;
    JobStatus::ALL.into_iter().find(|status| status.as_str() == word)
}
