//! The control endpoint, for tests in other processes, and SQS.
//!
//! | request | reply |
//! |---|---|
//! | `GET /seen` | [`Seen`](super::Seen) |
//! | `GET /logs` | a list of [`Line`](super::Line)s |
//! | `GET /knobs` | [`Knobs`](super::Knobs) |
//! | `PUT /knobs` with Knobs; what is left out is off | Knobs |
//! | `POST /kill` `{"pid": 1}`, `{"function": "ws"}` or `{}` for all | `{"killed": true}` |
//! | `POST /enqueue` `{"body": "…"}` | `{"messageId": "…"}` |
//! | `POST /` with `x-amz-target: AmazonSQS.…`: `SendMessage`, `ChangeMessageVisibility`, `GetQueueAttributes` | as SQS |

use super::front::Front;
use super::knobs::{Fate, Knobs};
use super::options::PAYLOAD;
use super::queue;
use super::records::Seen;
use super::wire::{Asked, Reply, json, refused};
use hyper::Request;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Answers one request.
pub(super) async fn handle(front: Arc<Front>, request: Request<Incoming>) -> Reply {
    let Ok(asked) = Asked::read(request, PAYLOAD).await else { return refused(413, "over 6 MB") };
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    match (asked.method.as_str(), asked.uri.path()) {
        ("GET", "/seen") => shown(&seen(&front)),
        ("GET", "/logs") => shown(&front.records.lines()),
        ("GET", "/knobs") => shown(&front.pushing.knobs()),
        ("PUT", "/knobs") => match serde_json::from_value::<Knobs>(body) {
            Ok(knobs) => {
                front.pushing.set(knobs.clone());
                shown(&knobs)
            }
            Err(error) => refused(400, &error.to_string()),
        },
        ("POST", "/kill") => json(200, &json!({ "killed": kill(&front, &body) })),
        ("POST", "/enqueue") => match body["body"].as_str() {
            Some(text) => {
                json(200, &json!({ "messageId": queue::send(&front, text.to_owned(), Duration::ZERO).id }))
            }
            None => refused(400, "body: a text is needed"),
        },
        ("POST", "/") => sqs(&front, &asked, &body),
        _ => refused(404, "no such control"),
    }
}

/// Everything seen, with the queue's length.
pub(super) fn seen(front: &Front) -> Seen {
    Seen { queued: front.queue.len(), ..front.records.seen() }
}

fn kill(front: &Front, body: &Value) -> bool {
    let pid = body["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let name = body["function"].as_str();
    front.kill(name, pid)
}

/// SQS's JSON protocol, as far as the functions need it; the queue's URL is not looked at.
fn sqs(front: &Arc<Front>, asked: &Asked, body: &Value) -> Reply {
    let target = asked.header("x-amz-target").unwrap_or_default();
    let seconds = |name: &str| body[name].as_u64().map(Duration::from_secs);
    match (target, body["MessageBody"].as_str(), body["ReceiptHandle"].as_str()) {
        ("AmazonSQS.SendMessage", Some(text), _) => {
            let fate = front.pushing.send_fate();
            if fate == Fate::Unavailable {
                return sqs_error(503, "ServiceUnavailable", "try again");
            }
            let sent = queue::send(front, text.to_owned(), seconds("DelaySeconds").unwrap_or_default());
            match fate {
                Fate::Ambiguous => sqs_error(503, "ServiceUnavailable", "try again"),
                _ => json(200, &json!({ "MessageId": sent.id, "MD5OfMessageBody": sent.md5 })),
            }
        }
        ("AmazonSQS.ChangeMessageVisibility", _, Some(receipt)) => {
            let time = seconds("VisibilityTimeout").unwrap_or_default();
            match front.queue.hide(receipt, time) {
                true => json(200, &json!({})),
                false => sqs_error(400, "ReceiptHandleIsInvalid", "no such receipt"),
            }
        }
        ("AmazonSQS.GetQueueAttributes", ..) => {
            let policy = json!({ "maxReceiveCount": front.options.limits.max_receives }).to_string();
            json(200, &json!({ "Attributes": { "RedrivePolicy": policy } }))
        }
        _ => sqs_error(400, "UnsupportedOperation", &format!("not offered: {target}")),
    }
}

fn sqs_error(status: u16, kind: &str, message: &str) -> Reply {
    json(status, &json!({ "__type": format!("com.amazonaws.sqs#{kind}"), "message": message }))
}

fn shown(what: &impl Serialize) -> Reply {
    json(200, &serde_json::to_value(what).unwrap_or_default())
}
