//! Jobs: taken in, told, cancelled. A queue only delivers their ids; [`crate::worker`] works them off.
//!
//! A job is taken in when its row stands and the queue has its message. Between the two a process can
//! die or a send can fail, so nobody is told of a job before both: who repeats a request under its
//! Idempotency-Key sends the message again, and a job without a key, of which nobody has learned, is
//! ended. A message that is lost later is sent again when somebody asks for its job.

use crate::chat::{Caller, Request};
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::queue::Queue;
use crate::store::{Created, Job, JobOutcome, JobStatus, ReplyKey, Store};
use std::time::Duration;

/// An open job of which nothing was heard for so long is queued again when it is asked for; then
/// after twice as long each time, so that a queue that is only slow is not filled.
const SILENCE: Duration = Duration::from_secs(120);

impl Gateway {
    /// Takes a job in: it is checked, durable and queued when this returns. `key` is the caller's
    /// idempotency key with the digest of the body that it came with. Gives the job's id.
    ///
    /// # Errors
    /// `invalid_request`, `model_not_found`, `too_large`, `conflict`, `unavailable`.
    pub async fn submit(
        &self,
        queue: &dyn Queue,
        mut request: Request,
        key: Option<(&str, &str)>,
    ) -> Result<String, Error> {
        self.plan(&request)?;
        request.id_given = true;
        let store = self.memory()?;
        let asked = serde_json::to_value(&request).map_err(Error::internal)?;
        let job = Job::queued(request.caller.clone(), &request.id, asked, store.now_ms());
        match store.create_job(&job, key).await? {
            Created::New => match queue.enqueue(&job.caller, &job.id).await {
                Err(error) if key.is_none() => end_unknown(store, &job, error).await?,
                queued => queued?,
            },
            Created::Existing(id) => {
                let known = store.job(&job.caller, &id).await?;
                // The process that made it may have ended before it was queued.
                if known.is_some_and(|known| known.status == JobStatus::Queued && known.attempts == 0) {
                    queue.enqueue(&job.caller, &id).await?;
                }
                return Ok(id);
            }
        }
        Ok(job.id)
    }

    /// The caller's job of this id. One of which nothing was heard for long is queued again.
    ///
    /// # Errors
    /// `not_found`, also for a job of another caller; `unavailable`.
    pub async fn job(&self, queue: Option<&dyn Queue>, caller: &Caller, id: &str) -> Result<Job, Error> {
        let store = self.memory()?;
        let job = store.job(caller, id).await?.ok_or_else(no_job)?;
        if let Some(queue) = queue.filter(|_| may_be_lost(&job, store.now_ms()))
            && let Err(error) = requeue(store, queue, &job).await
        {
            tracing::warn!(job = id, %error, "a job that may be lost was not queued again");
        }
        Ok(job)
    }

    /// Cancels the caller's job, unless it has ended, and gives it as it is then.
    ///
    /// # Errors
    /// `not_found`, also for a job of another caller; `unavailable`.
    pub async fn cancel_job(&self, caller: &Caller, id: &str) -> Result<Job, Error> {
        let store = self.memory()?;
        store.cancel_job(caller, id).await?.ok_or_else(no_job)?;
        let job = self.job(None, caller, id).await?;
        if job.status == JobStatus::Cancelled && job.attempts > 0 {
            self.stop_attempt(store, &job).await?;
        }
        Ok(job)
    }

    /// Stops the reply that a cancelled job's last attempt is, here or in another process, also where
    /// that has yet to begin it.
    async fn stop_attempt(&self, store: &Store, job: &Job) -> Result<(), Error> {
        let id = job.reply_id(job.attempts);
        if let Some(reply) = self.live.find(&job.caller, &id) {
            reply.cancel();
        } else if !self.rooms.single_process {
            store.ask_to_cancel(&ReplyKey::new(&job.caller, &id)).await?;
        }
        Ok(())
    }
}

impl Job {
    /// The id of the reply that an attempt is.
    pub(crate) fn reply_id(&self, attempt: u32) -> String {
        if attempt <= 1 { self.id.clone() } else { format!("{}.{attempt}", self.id) }
    }
}

/// Ends a job that was not queued and that nobody knows of. The send may have worked all the same: a
/// job that a worker has by now is taken in.
async fn end_unknown(store: &Store, job: &Job, error: Error) -> Result<(), Error> {
    let outcome = failed(error.clone());
    match store.give_up_job(&job.caller, &job.id, true, &outcome).await? {
        true => Err(error),
        false => Ok(()),
    }
}

/// A job that failed without an answer.
pub(crate) fn failed(error: Error) -> JobOutcome {
    JobOutcome { status: JobStatus::Failed, completion: None, error: Some(error), usage: None }
}

/// Is the job open, nobody at work on it, and was it queued long ago?
fn may_be_lost(job: &Job, now_ms: u64) -> bool {
    let waits = match job.status {
        JobStatus::Queued => true,
        JobStatus::Running => job.lease_until_ms <= now_ms,
        _ => false,
    };
    let queued_at = job.requeued_at_ms.unwrap_or(job.created_at_ms);
    let silence = u64::try_from(SILENCE.as_millis()).unwrap_or(u64::MAX);
    waits && now_ms.saturating_sub(queued_at) >= silence.max(queued_at.saturating_sub(job.created_at_ms))
}

async fn requeue(store: &Store, queue: &dyn Queue, job: &Job) -> Result<(), Error> {
    let Some(requeued) = store.requeue_job(job).await? else { return Ok(()) };
    let queued = queue.enqueue(&job.caller, &job.id).await;
    match &queued {
        Ok(()) => tracing::info!(job = job.id, "a job of which nothing was heard is queued again"),
        // Who asks next need not wait for another, longer silence.
        Err(_) => store.unqueue_job(job, requeued).await?,
    }
    queued
}

fn no_job() -> Error {
    Error::new(Kind::NotFound, "There is no such job of yours, or it is no longer kept.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: JobStatus, requeued_at_s: Option<u64>, now_s: u64, expected: bool) {
        let job = Job {
            id: "j".into(),
            caller: Caller("ann".into()),
            request: serde_json::Value::Null,
            status,
            attempts: 1,
            refused: 0,
            orphaned: false,
            lease_until_ms: 1_300_000,
            completion: None,
            error: None,
            usage: None,
            created_at_ms: 1_000_000,
            completed_at_ms: None,
            requeued_at_ms: requeued_at_s.map(|s| s * 1000),
        };
        assert_eq!(may_be_lost(&job, now_s * 1000), expected, "{status:?} {requeued_at_s:?} {now_s}");
    }

    #[test]
    fn a_job_is_queued_again_after_two_minutes_and_then_after_twice_as_long() {
        check(JobStatus::Queued, None, 1119, false);
        check(JobStatus::Queued, None, 1120, true);
        check(JobStatus::Queued, Some(1120), 1239, false);
        check(JobStatus::Queued, Some(1120), 1240, true);
        check(JobStatus::Queued, Some(1240), 1479, false);
        check(JobStatus::Queued, Some(1240), 1480, true);
    }

    #[test]
    fn only_an_open_job_that_nobody_works_on_can_be_lost() {
        check(JobStatus::Running, None, 1299, false);
        check(JobStatus::Running, None, 1300, true);
        for status in [JobStatus::Completed, JobStatus::Failed, JobStatus::Cancelled] {
            check(status, None, 9999, false);
        }
    }
}
