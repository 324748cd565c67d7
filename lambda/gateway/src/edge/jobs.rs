//! Door 6, asynchronous jobs: `POST /invokeModel` and `/jobs/{id}`.

use super::body::{Body, json, put};
use super::fields::{Fields, check_name};
use super::prompt;
use super::voice::error_object;
use super::{Doors, rfc3339};
use crate::chat::{Caller, new_id};
use crate::digest::hex;
use crate::error::{Error, Kind};
use crate::store::Job;
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
    let missing = "This gateway takes no jobs: it was set up without a store and a queue for them.";
    let queue = doors.queue.as_ref().ok_or_else(|| Error::new(Kind::Unavailable, missing))?;
    let body = request.body();
    let mut fields = Fields::parse(body)?;
    fields.take("request_id");
    let asked = prompt::read(fields, caller, "jobs")?;
    let digest = hex(&Sha256::digest(body));
    // A stranger may choose the same key: where nobody knows the caller it means nothing.
    let key =
        idempotency_key(request)?.filter(|_| !asked.caller.is_anyone()).map(|key| (key, digest.as_str()));
    let id = doors.gateway.submit(queue.as_ref(), asked, key).await?;
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
    Ok(json(&described(&doors.gateway.job(doors.queue.as_deref(), caller, id).await?)))
}

/// `DELETE /jobs/{id}`: cancels a job that has not ended.
///
/// # Errors
/// `not_found`, also for a job of another caller.
pub async fn cancel(doors: &Doors, caller: &Caller, id: &str) -> Result<Response<Body>, Error> {
    Ok(json(&described(&doors.gateway.cancel_job(caller, id).await?)))
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
