//! Works jobs off.
//!
//! Each attempt is a reply under an id of its own, and a later attempt first looks at those before:
//! a job whose answer is stored is never asked again.

use crate::chat::{Caller, Delta, Request, Terminal, Usage};
use crate::error::{Error, Kind, json_place};
use crate::gateway::Gateway;
use crate::jobs::failed;
use crate::queue::{Terms, Worked, Worker, passed};
use crate::store::{Claim, Job, JobOutcome, JobStatus, ReplyKey, ReplyRow, Store};
use crate::whole::collect;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Tries of a job before it is given up: its row is then the dead letter, with the reason.
pub const TRIES: u32 = 3;

/// After the end of its terms a job's attempt has so long to keep how it ended. What is left until
/// its delivery is over is for one more write.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// A job that could not begin, because the gateway is busy or closing, waits this long. That is no try.
const BUSY: Duration = Duration::from_secs(2);

/// Each time it could not begin it waits twice as long, but no more than so many times.
const DOUBLINGS: u32 = 5;

impl Worker for Arc<Gateway> {
    fn work<'a>(
        &'a self,
        caller: &'a Caller,
        id: &'a str,
        terms: Terms,
    ) -> BoxFuture<'a, Result<Worked, Error>> {
        Box::pin(async move {
            let worked = work(self, caller, id, terms).await;
            if let (Err(error), true) = (&worked, terms.last) {
                give_up(self.memory()?, caller, id, error).await?;
            }
            worked
        })
    }

    fn open(&self) -> BoxFuture<'_, Result<Vec<(Caller, String)>, Error>> {
        Box::pin(async { self.memory()?.open_jobs().await })
    }
}

/// What a try came to.
enum Try {
    /// So it ends, whatever it is.
    Final(JobOutcome),
    /// A reply, of which another one may be better.
    Reply(JobOutcome),
    /// It never began.
    Refused,
    /// The job was cancelled, or another worker has it.
    TakenAway,
}

async fn work(gateway: &Arc<Gateway>, caller: &Caller, id: &str, terms: Terms) -> Result<Worked, Error> {
    let store = gateway.memory()?;
    if gateway.live.is_full(caller, gateway.settings.max_running_per_caller) {
        return Ok(Worked::Again(BUSY));
    }
    let job = match store.claim_job(caller, id, gateway.rooms.lease).await? {
        Claim::Mine(job) => job,
        // Its worker may be dead. Not to come back would be to rely on its life.
        Claim::Held(left) => return Ok(Worked::Again(left)),
        Claim::Over => return Ok(Worked::Done),
        // Its row has expired, or the queue is another gateway's: not ours to make it vanish.
        Claim::Missing => return Err(Error::new(Kind::NotFound, "The queue named a job that is not there.")),
    };
    let worked = tokio::select! {
        worked = work_on(gateway, store, &job, terms) => worked,
        () = passed(terms.until.map(|until| until + LAST_WORDS)) => {
            Err(Error::new(Kind::DeadlineExceeded, "The worker's time was over."))
        }
    };
    match &worked {
        Ok(_) => {}
        // In one write: there may be no time for two.
        Err(error) if terms.last => {
            store.finish_job(caller, id, job.attempts, &given_up(error)).await?;
        }
        // Free for the next delivery, if the store can be reached again; else when the lease is over.
        Err(_) => {
            store.release_job(caller, id, job.attempts, true).await?;
        }
    }
    worked
}

async fn work_on(gateway: &Arc<Gateway>, store: &Store, job: &Job, terms: Terms) -> Result<Worked, Error> {
    let release = |counted| store.release_job(&job.caller, &job.id, job.attempts, counted);
    let tried = tokio::select! {
        tried = attempt(gateway, store, job, terms) => tried?,
        () = renew(gateway, store, job) => Try::TakenAway,
    };
    let (outcome, retry) = match tried {
        Try::Final(outcome) => (outcome, false),
        Try::Reply(outcome) => {
            let retry = outcome.error.as_ref().is_some_and(|error| is_worth_retrying(error.kind));
            (outcome, retry)
        }
        Try::Refused => {
            release(false).await?;
            return Ok(Worked::Again(BUSY * (1 << job.refused.min(DOUBLINGS))));
        }
        Try::TakenAway => {
            stop(gateway, job);
            // Claimed once more, it is over, or held by another worker.
            return Ok(Worked::Again(BUSY));
        }
    };
    let tries = tries(job);
    if retry && gateway.live.is_closed() {
        release(false).await?;
        return Ok(Worked::Again(Duration::ZERO));
    }
    if retry && tries < TRIES {
        release(true).await?;
        return Ok(Worked::Again(Duration::from_secs(1 << tries)));
    }
    store.finish_job(&job.caller, &job.id, job.attempts, &outcome).await?;
    Ok(Worked::Done)
}

fn tries(job: &Job) -> u32 {
    job.attempts.saturating_sub(job.refused)
}

/// Failures that another try can mend. A deadline is none of them: the answer is too long for it.
fn is_worth_retrying(kind: Kind) -> bool {
    matches!(kind, Kind::Throttled | Kind::UpstreamError | Kind::Unavailable | Kind::Internal)
}

async fn attempt(gateway: &Arc<Gateway>, store: &Store, job: &Job, terms: Terms) -> Result<Try, Error> {
    let tries = tries(job);
    // Attempts that never began have left nothing: where there were no others, there is no look back.
    let earlier = if tries > 1 { job.attempts } else { 1 };
    for before in (1..earlier).rev() {
        let row = store.load_reply(&ReplyKey::new(&job.caller, &job.reply_id(before))).await?;
        if let Some(ReplyRow { end: Some(Terminal::Completed { usage, .. }), deltas, .. }) = row {
            return Ok(Try::Final(completed(deltas.iter().map(Delta::as_text).collect(), usage)));
        }
    }
    if tries > TRIES || (tries > 1 && terms.last && job.orphaned) {
        // It was claimed and never finished that often: whatever ends its workers must not go on.
        let error = Error::new(Kind::Internal, "The gateway was stopped each time it worked on this job.");
        return Ok(Try::Final(failed(error)));
    }
    ask(gateway, job, terms).await
}

fn completed(text: String, usage: Usage) -> JobOutcome {
    JobOutcome { status: JobStatus::Completed, completion: Some(text), error: None, usage: Some(usage) }
}

async fn ask(gateway: &Arc<Gateway>, job: &Job, terms: Terms) -> Result<Try, Error> {
    let mut request: Request = match serde_json::from_value(job.request.clone()) {
        Ok(request) => request,
        Err(error) => {
            let error = Error::internal(format!("a job's request cannot be read: {}", json_place(&error)));
            return Ok(Try::Final(failed(error)));
        }
    };
    request.id = job.reply_id(job.attempts);
    if let Some(until) = terms.until {
        request.time_limit = request.time_limit.min(until.saturating_duration_since(Instant::now()));
    }
    let reply = match gateway.answer(request).await {
        Ok(reply) => reply,
        Err(error) if matches!(error.kind, Kind::Throttled | Kind::Unavailable) => return Ok(Try::Refused),
        Err(error) => return Ok(Try::Final(failed(error))),
    };
    let whole = collect(reply.read(0)).await;
    Ok(Try::Reply(match whole.end {
        Terminal::Completed { usage, .. } => completed(whole.text, usage),
        Terminal::Failed { error, usage } => {
            let status = if error.kind == Kind::Cancelled { JobStatus::Cancelled } else { JobStatus::Failed };
            let completion = Some(whole.text).filter(|text| !text.is_empty());
            JobOutcome { status, completion, error: Some(error), usage: Some(usage) }
        }
    }))
}

/// Keeps the job ours while it runs; ends only when it is not ours any more: it was cancelled, here
/// or elsewhere, or its lease had run out.
async fn renew(gateway: &Gateway, store: &Store, job: &Job) {
    let mut lost = false;
    loop {
        sleep(gateway.rooms.lease / 3).await;
        match store.renew_job(&job.caller, &job.id, job.attempts, gateway.rooms.lease).await {
            Ok(true) => lost = false,
            Ok(false) => return,
            // Said once, however long the store is away.
            Err(_) if lost => {}
            Err(error) => {
                lost = true;
                tracing::warn!(job = job.id, %error, "a job's lease is not renewed");
            }
        }
    }
}

/// Stops the reply of an attempt that is not ours any more.
fn stop(gateway: &Gateway, job: &Job) {
    if let Some(reply) = gateway.live.find(&job.caller, &job.reply_id(job.attempts)) {
        reply.cancel();
    }
}

fn given_up(why: &Error) -> JobOutcome {
    let message = "This job was given up: each time it was delivered, the gateway could not work on it.";
    failed(Error::new(Kind::Internal, message).because(why))
}

/// Ends a job that the queue does not deliver again and that nobody is at work on.
async fn give_up(store: &Store, caller: &Caller, id: &str, why: &Error) -> Result<(), Error> {
    if store.give_up_job(caller, id, false, &given_up(why)).await? {
        tracing::error!(job = id, error = %why, "a job was given up");
    }
    Ok(())
}
