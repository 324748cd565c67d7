//! One job worked off, whoever delivered it. Each attempt is a reply under an id of its own, and a
//! later attempt first looks at the one before: a job whose answer is stored is never asked again.

use crate::chat::{Caller, Delta, Event, Request, Usage};
use crate::edge::stream::collect;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::store::{Job, JobOutcome, JobStatus, ReplyKey, ReplyRow, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Deliveries of a job before it is given up: its row is then the dead letter, with the reason.
pub const ATTEMPTS: u32 = 3;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worked {
    /// The job has ended, now or before; or it is another worker's.
    Done,
    /// It goes back to the queue and should be delivered again after this time.
    Again(Duration),
}

/// Works off one delivery.
///
/// # Errors
/// The store's: the job stays claimed until its lease is over and is delivered again.
pub async fn work(gateway: &Arc<Gateway>, store: &Store, caller: &Caller, id: &str) -> Result<Worked, Error> {
    let Some(job) = store.claim_job(caller, id, gateway.lease * 3).await? else {
        return Ok(Worked::Done);
    };
    let outcome = tokio::select! {
        outcome = attempt(gateway, store, &job) => outcome?,
        error = renew(gateway, store, &job) => return Err(error),
    };
    let retry = outcome.error.as_ref().is_some_and(|error| is_worth_retrying(error.kind));
    if retry && job.attempts < ATTEMPTS {
        store.release_job(caller, id, job.attempts).await?;
        return Ok(Worked::Again(Duration::from_secs(1 << job.attempts)));
    }
    store.finish_job(caller, id, job.attempts, &outcome).await?;
    Ok(Worked::Done)
}

/// Failures that another try can mend. A deadline is none of them: the answer is too long for it.
fn is_worth_retrying(kind: Kind) -> bool {
    matches!(kind, Kind::Throttled | Kind::UpstreamError | Kind::Unavailable | Kind::Internal)
}

/// The id of the reply that a job's latest attempt is.
pub fn reply_id(job: &Job) -> String {
    if job.attempts <= 1 { job.id.clone() } else { format!("{}.{}", job.id, job.attempts) }
}

async fn attempt(gateway: &Arc<Gateway>, store: &Store, job: &Job) -> Result<JobOutcome, Error> {
    if job.attempts > 1 {
        let before = Job { attempts: job.attempts - 1, ..job.clone() };
        let row = store.load_reply(&ReplyKey::new(&job.caller, &reply_id(&before))).await?;
        if let Some(ReplyRow { end: Some(Event::Completed { usage, .. }), deltas, .. }) = row {
            return Ok(completed(deltas.iter().map(Delta::as_text).collect(), usage));
        }
    }
    Ok(ask(gateway, job).await)
}

fn completed(text: String, usage: Usage) -> JobOutcome {
    JobOutcome { status: JobStatus::Completed, completion: Some(text), error: None, usage: Some(usage) }
}

async fn ask(gateway: &Arc<Gateway>, job: &Job) -> JobOutcome {
    let whole = match serde_json::from_value::<Request>(job.request.clone()) {
        Err(error) => Err(Error::internal(format!("a job's request cannot be read: {error}"))),
        Ok(mut request) => {
            request.id = reply_id(job);
            gateway.answer(request).await
        }
    };
    let whole = match whole {
        Ok(reply) => collect(reply.read(0)).await,
        Err(error) => return failed(error, None, None),
    };
    match whole.end {
        Event::Completed { usage, .. } => completed(whole.text, usage),
        Event::Failed { error, usage } => {
            let text = Some(whole.text).filter(|text| !text.is_empty());
            failed(error, text, Some(usage))
        }
        Event::Started(_) | Event::Delta(_) => {
            failed(Error::internal("a reply without a terminal"), None, None)
        }
    }
}

fn failed(error: Error, completion: Option<String>, usage: Option<Usage>) -> JobOutcome {
    let status = if error.kind == Kind::Cancelled { JobStatus::Cancelled } else { JobStatus::Failed };
    JobOutcome { status, completion, error: Some(error), usage }
}

/// Keeps the job ours while it runs; ends only when it is not ours any more.
async fn renew(gateway: &Gateway, store: &Store, job: &Job) -> Error {
    loop {
        sleep(gateway.lease).await;
        match store.renew_job(&job.caller, &job.id, job.attempts, gateway.lease * 3).await {
            Ok(true) => {}
            Ok(false) => {
                // It was cancelled, here or elsewhere, or its lease had run out.
                let _not_running = gateway.cancel(&job.caller, &reply_id(job));
                return Error::new(Kind::Cancelled, "The job was taken away from this worker.");
            }
            Err(error) => tracing::warn!(job = job.id, %error, "a job's lease was not renewed"),
        }
    }
}
