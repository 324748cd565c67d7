//! Door 6, asynchronous jobs: `POST /invokeModel` and `/jobs/{id}`.

use super::body::{Body, json, put};
use super::fields::{Fields, check_name};
use super::prompt;
use super::voice::error_object;
use super::{Doors, rfc3339};
use crate::chat::{Caller, new_id};
use crate::error::{Error, Kind};
use crate::queue::Queue;
use crate::queue::work::reply_id;
use crate::store::{Created, Job, JobStatus, Store};
use bytes::Bytes;
use http::{Request, Response};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha2::Sha256;

/// Takes a job in and answers as API Gateway's SQS integration does. The job is durable then.
///
/// # Errors
/// `invalid_request`, `model_not_found`, `too_large`, `conflict`, `unavailable`.
pub async fn submit(
    doors: &Doors,
    request: &Request<Bytes>,
    caller: Caller,
) -> Result<Response<Body>, Error> {
    let (store, queue) = jobs_of(doors)?;
    let body = request.body();
    let mut fields = Fields::parse(body)?;
    fields.take("request_id");
    let mut asked = prompt::read(fields, caller.clone(), "jobs")?;
    doors.gateway.plan(&asked)?;
    asked.id_given = true;
    let key = idempotency_key(request)?;
    let job = Job {
        id: asked.id.clone(),
        caller: caller.clone(),
        request: serde_json::to_value(&asked).map_err(Error::internal)?,
        status: JobStatus::Queued,
        attempts: 0,
        lease_until_ms: 0,
        completion: None,
        error: None,
        usage: None,
        created_at_ms: store.now_ms(),
        completed_at_ms: None,
    };
    let hash = hex(&Sha256::digest(body));
    let created = store.create_job(&job, key.map(|key| (key, hash.as_str()))).await?;
    let id = match created {
        Created::New => {
            queue.enqueue(&caller, &job.id).await?;
            job.id
        }
        Created::Existing(id) => id,
    };
    let mut response = json(&json!({
        "SendMessageResponse": {
            "ResponseMetadata": {"RequestId": new_id()},
            "SendMessageResult": {
                "MD5OfMessageAttributes": null,
                "MD5OfMessageBody": hex(&Md5::digest(body)),
                "MD5OfMessageSystemAttributes": null,
                "MessageId": id,
                "SequenceNumber": null,
            },
        },
    }));
    put(response.headers_mut(), "location", &format!("/jobs/{id}"));
    put(response.headers_mut(), "x-request-id", &id);
    Ok(response)
}

/// `GET /jobs/{id}`.
///
/// # Errors
/// `not_found`, also for a job of another caller.
pub async fn show(doors: &Doors, caller: &Caller, id: &str) -> Result<Response<Body>, Error> {
    let (store, _) = jobs_of(doors)?;
    let job = store.job(caller, id).await?.ok_or_else(no_job)?;
    Ok(json(&described(&job)))
}

/// `DELETE /jobs/{id}`: cancels a job that has not ended.
///
/// # Errors
/// `not_found`, also for a job of another caller.
pub async fn cancel(doors: &Doors, caller: &Caller, id: &str) -> Result<Response<Body>, Error> {
    let (store, _) = jobs_of(doors)?;
    store.cancel_job(caller, id).await?.ok_or_else(no_job)?;
    let job = store.job(caller, id).await?.ok_or_else(no_job)?;
    // It may be running here; where it is not, its worker finds that the job is not its own any more.
    let _not_running = doors.gateway.cancel(caller, &reply_id(&job));
    Ok(json(&described(&job)))
}

fn jobs_of(doors: &Doors) -> Result<(&Store, &dyn Queue), Error> {
    match (&doors.gateway.store, &doors.queue) {
        (Some(store), Some(queue)) => Ok((store, queue.as_ref())),
        _ => Err(Error::new(
            Kind::Unavailable,
            "This gateway takes no jobs: it runs without a store to keep them in.",
        )),
    }
}

fn idempotency_key(request: &Request<Bytes>) -> Result<Option<&str>, Error> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let name = "Idempotency-Key";
    let key = value.to_str().map_err(|_| Error::invalid(name, "`Idempotency-Key` must be ASCII."))?;
    check_name(name, key)?;
    Ok(Some(key))
}

fn described(job: &Job) -> Value {
    json!({
        "id": job.id,
        "status": job.status,
        "completion": job.completion,
        "error": job.error.as_ref().map(|error| error_object(error, Some(&job.id))),
        "usage": job.usage,
        "created_at": rfc3339(job.created_at_ms),
        "completed_at": job.completed_at_ms.map(rfc3339),
    })
}

fn no_job() -> Error {
    Error::new(Kind::NotFound, "There is no such job of yours, or it is no longer kept.")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
