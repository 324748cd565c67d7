//! An event source mapping over a queue on another server of SQS's protocol: it receives messages,
//! invokes the worker with each, and deletes those that it reports as done.

use super::events::{self, Message};
use super::front::Front;
use super::moment::now_ms;
use super::queue::received_well;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// A server that does not answer is asked again after this time.
const AWAY: Duration = Duration::from_millis(200);

/// A queue.
#[derive(Clone, Debug)]
pub struct Source {
    /// Host and port of the server.
    pub server: String,
    /// The queue's URL, as the server knows it.
    pub url: String,
}

/// Delivers the queue's messages, so many at once, for as long as the emulator lives.
pub(super) async fn deliver(front: Arc<Front>, source: Source) {
    let slots = Arc::new(Semaphore::new(front.options.concurrency));
    let seconds = front.options.limits.visibility.as_secs();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let asked = json!({
            "QueueUrl": source.url, "MaxNumberOfMessages": 1, "WaitTimeSeconds": 1,
            "VisibilityTimeout": seconds, "AttributeNames": ["All"], "MessageSystemAttributeNames": ["All"],
        });
        let Ok(reply) = source.call("ReceiveMessage", asked).await else {
            sleep(AWAY).await;
            continue;
        };
        let Some(received) = reply["Messages"].get(0).cloned() else { continue };
        let (front, source) = (Arc::clone(&front), source.clone());
        tokio::spawn(async move {
            if received_well(&front, &event(&received)).await {
                let handle = &received["ReceiptHandle"];
                let delete = json!({"QueueUrl": source.url, "ReceiptHandle": handle});
                let _seen_again = source.call("DeleteMessage", delete).await;
            }
            drop(slot);
        });
    }
}

fn event(received: &Value) -> Value {
    let text = |name: &str| received[name].as_str().unwrap_or_default().to_owned();
    let attribute = |name: &str| received["Attributes"][name].as_str().and_then(|text| text.parse().ok());
    let message = Message {
        id: text("MessageId"),
        body: text("Body"),
        md5: text("MD5OfBody"),
        sent_ms: attribute("SentTimestamp").unwrap_or_else(now_ms),
    };
    let count = attribute("ApproximateReceiveCount").and_then(|count| u32::try_from(count).ok());
    events::sqs(&message, &text("ReceiptHandle"), count.unwrap_or(1))
}

impl Source {
    /// One operation in SQS's JSON protocol.
    async fn call(&self, operation: &str, body: Value) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let socket = TcpStream::connect(&self.server).await?;
        socket.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let driven = tokio::spawn(connection);
        let request = Request::post("/")
            .header("host", &self.server)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .body(Full::new(Bytes::from(body.to_string())))?;
        let reply = sender.send_request(request).await?;
        let bytes = reply.into_body().collect().await?.to_bytes();
        driven.abort();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}
