//! Jobs: taken in, worked off, told, cancelled. A queue only delivers their ids.
//!
//! Each attempt is a reply under an id of its own, and a later attempt first looks at those before:
//! a job whose answer is stored is never asked again.

use crate::chat::{Caller, Delta, Request, Terminal, Usage};
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::queue::{Queue, Worked, Worker};
use crate::reply::collect;
use crate::store::{Created, Job, JobOutcome, JobStatus, ReplyKey, ReplyRow, Store};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Tries of a job before it is given up: its row is then the dead letter, with the reason.
pub const TRIES: u32 = 3;

/// A job that could not begin, because the gateway is busy or closing, waits this long. That is no try.
const BUSY: Duration = Duration::from_secs(2);

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
        let job = Job {
            id: request.id.clone(),
            caller: request.caller.clone(),
            request: serde_json::to_value(&request).map_err(Error::internal)?,
            status: JobStatus::Queued,
            attempts: 0,
            refused: 0,
            lease_until_ms: 0,
            completion: None,
            error: None,
            usage: None,
            created_at_ms: store.now_ms(),
            completed_at_ms: None,
        };
        match store.create_job(&job, key).await? {
            Created::New => {
                queue.enqueue(&job.caller, &job.id).await?;
                Ok(job.id)
            }
            Created::Existing(id) => Ok(id),
        }
    }

    /// The caller's job of this id.
    ///
    /// # Errors
    /// `not_found`, also for a job of another caller; `unavailable`.
    pub async fn job(&self, caller: &Caller, id: &str) -> Result<Job, Error> {
        self.memory()?.job(caller, id).await?.ok_or_else(no_job)
    }

    /// Cancels the caller's job, unless it has ended, and gives it as it is then.
    ///
    /// # Errors
    /// `not_found`, also for a job of another caller; `unavailable`.
    pub async fn cancel_job(&self, caller: &Caller, id: &str) -> Result<Job, Error> {
        self.memory()?.cancel_job(caller, id).await?.ok_or_else(no_job)?;
        let job = self.job(caller, id).await?;
        // It may be running here; where it is not, its worker finds that the job is not its own any more.
        let _not_running = self.cancel(caller, &reply_id(&job, job.attempts)).await;
        Ok(job)
    }
}

impl Worker for Arc<Gateway> {
    fn work<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<Worked, Error>> {
        Box::pin(work(self, caller, id))
    }

    fn open(&self) -> BoxFuture<'_, Result<Vec<(Caller, String)>, Error>> {
        Box::pin(async { self.memory()?.open_jobs().await })
    }
}

/// What a try came to.
enum Try {
    Ended(JobOutcome),
    /// It never began.
    Refused,
}

async fn work(gateway: &Arc<Gateway>, caller: &Caller, id: &str) -> Result<Worked, Error> {
    let store = gateway.memory()?;
    if gateway.live.is_full(caller, gateway.settings.max_running_per_caller) {
        return Ok(Worked::Again(BUSY));
    }
    let Some(job) = store.claim_job(caller, id, gateway.rooms.lease).await? else {
        return Ok(Worked::Done);
    };
    let tried = tokio::select! {
        tried = attempt(gateway, store, &job) => tried?,
        error = renew(gateway, store, &job) => return Err(error),
    };
    let outcome = match tried {
        Try::Ended(outcome) => outcome,
        Try::Refused => {
            store.release_job(caller, id, job.attempts, false).await?;
            return Ok(Worked::Again(BUSY));
        }
    };
    let retry = outcome.error.as_ref().is_some_and(|error| is_worth_retrying(error.kind));
    let tries = tries(&job);
    if retry && gateway.live.is_closed() {
        store.release_job(caller, id, job.attempts, false).await?;
        return Ok(Worked::Done);
    }
    if retry && tries < TRIES {
        store.release_job(caller, id, job.attempts, true).await?;
        return Ok(Worked::Again(Duration::from_secs(1 << tries)));
    }
    store.finish_job(caller, id, job.attempts, &outcome).await?;
    Ok(Worked::Done)
}

fn tries(job: &Job) -> u32 {
    job.attempts.saturating_sub(job.refused)
}

/// Failures that another try can mend. A deadline is none of them: the answer is too long for it.
fn is_worth_retrying(kind: Kind) -> bool {
    matches!(kind, Kind::Throttled | Kind::UpstreamError | Kind::Unavailable | Kind::Internal)
}

/// The id of the reply that an attempt at a job is.
fn reply_id(job: &Job, attempt: u32) -> String {
    if attempt <= 1 { job.id.clone() } else { format!("{}.{attempt}", job.id) }
}

async fn attempt(gateway: &Arc<Gateway>, store: &Store, job: &Job) -> Result<Try, Error> {
    for before in (1..job.attempts).rev() {
        let row = store.load_reply(&ReplyKey::new(&job.caller, &reply_id(job, before))).await?;
        if let Some(ReplyRow { end: Some(Terminal::Completed { usage, .. }), deltas, .. }) = row {
            return Ok(Try::Ended(completed(deltas.iter().map(Delta::as_text).collect(), usage)));
        }
    }
    if tries(job) > TRIES {
        // It was claimed and never finished that often: whatever ends its workers must not go on.
        let error = Error::new(Kind::Internal, "The gateway was stopped each time it worked on this job.");
        return Ok(Try::Ended(failed(error, None, None)));
    }
    ask(gateway, job).await
}

fn completed(text: String, usage: Usage) -> JobOutcome {
    JobOutcome { status: JobStatus::Completed, completion: Some(text), error: None, usage: Some(usage) }
}

async fn ask(gateway: &Arc<Gateway>, job: &Job) -> Result<Try, Error> {
    let mut request: Request = match serde_json::from_value(job.request.clone()) {
        Ok(request) => request,
        Err(error) => {
            let error = Error::internal(format!("a job's request cannot be read: {error}"));
            return Ok(Try::Ended(failed(error, None, None)));
        }
    };
    request.id = reply_id(job, job.attempts);
    let reply = match gateway.answer(request).await {
        Ok(reply) => reply,
        Err(error) if matches!(error.kind, Kind::Throttled | Kind::Unavailable) => return Ok(Try::Refused),
        Err(error) => return Ok(Try::Ended(failed(error, None, None))),
    };
    let whole = collect(reply.read(0)).await;
    Ok(Try::Ended(match whole.end {
        Terminal::Completed { usage, .. } => completed(whole.text, usage),
        Terminal::Failed { error, usage } => {
            let text = Some(whole.text).filter(|text| !text.is_empty());
            failed(error, text, Some(usage))
        }
    }))
}

fn failed(error: Error, completion: Option<String>, usage: Option<Usage>) -> JobOutcome {
    let status = if error.kind == Kind::Cancelled { JobStatus::Cancelled } else { JobStatus::Failed };
    JobOutcome { status, completion, error: Some(error), usage }
}

/// Keeps the job ours while it runs; ends only when it is not ours any more.
async fn renew(gateway: &Gateway, store: &Store, job: &Job) -> Error {
    loop {
        sleep(gateway.rooms.lease / 3).await;
        match store.renew_job(&job.caller, &job.id, job.attempts, gateway.rooms.lease).await {
            Ok(true) => {}
            Ok(false) => {
                // It was cancelled, here or elsewhere, or its lease had run out.
                let _not_running = gateway.cancel(&job.caller, &reply_id(job, job.attempts)).await;
                return Error::new(Kind::Cancelled, "The job was taken away from this worker.");
            }
            Err(error) => tracing::warn!(job = job.id, %error, "a job's lease was not renewed"),
        }
    }
}

fn no_job() -> Error {
    Error::new(Kind::NotFound, "There is no such job of yours, or it is no longer kept.")
}
