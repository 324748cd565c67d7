//! SQS. A message is `{"caller", "id"}`; the job's row has the rest.

use super::Queue;
use crate::chat::Caller;
use crate::error::{Error, Kind, causes, refusal};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use aws_types::SdkConfig;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// One try of a call, and the call with its retries, may take so long. A try that got no answer may
/// have sent its message: the next one sends it twice, which is harmless.
const TRY_LIMIT: Duration = Duration::from_secs(2);
const CALL_LIMIT: Duration = Duration::from_secs(6);
const TRIES: u32 = 3;

/// How long a call waits for messages: SQS's longest.
const POLL: Duration = Duration::from_secs(20);

/// SQS's longest delay of a message.
const LONGEST_DELAY: i32 = 900;

/// Receives before a message becomes a dead letter, where the queue cannot be asked.
const RECEIVES: u32 = 5;

/// Receives of a queue without a redrive policy: it gives nothing up.
const FOR_EVER: u32 = u32::MAX;

/// Refusals of a question about a queue that may take and deliver messages all the same.
const LET_THROUGH: [&str; 4] =
    ["AccessDenied", "AccessDeniedException", "RequestThrottled", "ThrottlingException"];

/// A job on its way through the queue.
#[derive(Debug, Deserialize, Serialize)]
pub struct JobMessage {
    /// Whose.
    pub caller: Caller,
    /// Which.
    pub id: String,
}

/// A message as it was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// A [`JobMessage`] in JSON, if it is ours.
    pub body: String,
    /// What it is hidden and deleted by.
    pub receipt: String,
    /// How often it has been received.
    pub received: u32,
}

/// One standard queue. Its clients' calls have time limits and few retries.
#[derive(Debug)]
pub struct Sqs {
    client: Client,
    url: String,
    /// How long a message is hidden after its worker's last sign of life.
    pub hidden: Duration,
    receives: OnceCell<u32>,
}

impl Sqs {
    /// The queue of this URL. `lease` is how long a worker that says nothing counts as alive: its
    /// message stays hidden half as long again, so that it finds the job free.
    pub fn new(config: &SdkConfig, url: &str, lease: Duration) -> Arc<Sqs> {
        let limits = TimeoutConfig::builder().operation_attempt_timeout(TRY_LIMIT);
        let config = Builder::from(config)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(limits.operation_timeout(CALL_LIMIT).build())
            .build();
        let client = Client::from_conf(config);
        Arc::new(Sqs { client, url: url.to_owned(), hidden: lease.mul_f32(1.5), receives: OnceCell::new() })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a job's message, to be delivered after `wait`, at most 15 minutes.
    ///
    /// # Errors
    /// `unavailable`; the message may have been sent all the same.
    pub async fn send(&self, caller: &Caller, id: &str, wait: Duration) -> Result<(), Error> {
        let message = JobMessage { caller: caller.clone(), id: id.to_owned() };
        let body = serde_json::to_string(&message).map_err(Error::internal)?;
        let delay = seconds(wait).min(LONGEST_DELAY);
        let send = self.client.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay);
        send.send().await.map(|_| ()).map_err(|error| away("send", &error))
    }

    /// Hides a received message for this long from now on; zero delivers it at once.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn hide(&self, receipt: &str, time: Duration) -> Result<(), Error> {
        let hide = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        let hidden = hide.visibility_timeout(seconds(time)).send().await;
        hidden.map(|_| ()).map_err(|error| away("hide", &error))
    }

    /// Deletes a received message.
    ///
    /// # Errors
    /// `unavailable`: it will be received again.
    pub async fn delete(&self, receipt: &str) -> Result<(), Error> {
        let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
        delete.send().await.map(|_| ()).map_err(|error| away("delete", &error))
    }

    /// Waits for messages, 10 at most, and hides them.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn receive(&self, most: usize) -> Result<Vec<Message>, Error> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(10).clamp(1, 10))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .visibility_timeout(seconds(self.hidden))
            .wait_time_seconds(seconds(POLL));
        let patient = TimeoutConfig::builder()
            .operation_attempt_timeout(POLL + TRY_LIMIT)
            .operation_timeout(POLL + CALL_LIMIT)
            .build();
        let patient = aws_sdk_sqs::Config::builder().timeout_config(patient);
        let reply = receive.customize().config_override(patient).send().await;
        let messages = reply.map_err(|error| away("receive", &error))?.messages.unwrap_or_default();
        Ok(messages.into_iter().map(message).collect())
    }

    /// Looks whether the queue is there. Whoever may not ask for its attributes is let through.
    ///
    /// # Errors
    /// A sentence for the person who named it.
    pub async fn check(&self) -> Result<(), String> {
        let Err(error) = self.receives.get_or_try_init(|| self.ask_receives()).await else { return Ok(()) };
        let server_side = error.raw_response().is_some_and(|raw| raw.status().as_u16() >= 500);
        let why = match error.code() {
            Some(code) if server_side || LET_THROUGH.contains(&code) => return Ok(()),
            Some(code) => format!("{code}: {}", error.message().unwrap_or_default()),
            None => causes(&error),
        };
        Err(format!(
            "The job queue {} cannot be used: {why}. Check JOBS_QUEUE_URL, the credentials, and the region \
             (REGION_ID or AWS_REGION), which must be the queue's.",
            self.url
        ))
    }

    /// How often the queue delivers a message before it becomes a dead letter; asked once.
    pub async fn receives(&self) -> u32 {
        match self.receives.get_or_try_init(|| self.ask_receives()).await {
            Ok(receives) => *receives,
            Err(error) => {
                let error = away("attributes", &error);
                tracing::warn!(%error, receives = RECEIVES, "the queue did not say when it gives a message up");
                RECEIVES
            }
        }
    }

    /// Whether the queue is known to give messages up.
    pub async fn has_dead_letters(&self) -> bool {
        let known = self.receives.get_or_try_init(|| self.ask_receives()).await;
        known.is_ok_and(|receives| *receives != FOR_EVER)
    }

    async fn ask_receives(&self) -> Result<u32, SdkError<GetQueueAttributesError>> {
        let ask = self.client.get_queue_attributes().queue_url(&self.url);
        let reply = ask.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let attributes = reply?.attributes.unwrap_or_default();
        let policy = attributes.get(&QueueAttributeName::RedrivePolicy);
        Ok(policy.and_then(|policy| max_receives(policy)).unwrap_or(FOR_EVER))
    }
}

impl Queue for Sqs {
    fn enqueue<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.send(caller, id, Duration::ZERO))
    }

    fn close(&self) {}

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn message(message: aws_sdk_sqs::types::Message) -> Message {
    let attributes = message.attributes.unwrap_or_default();
    let received = attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount);
    Message {
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        received: received.and_then(|count| count.parse().ok()).unwrap_or(1),
    }
}

/// `maxReceiveCount` of a redrive policy; consoles and tools write it as a number or as a text.
fn max_receives(policy: &str) -> Option<u32> {
    let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
    let count = &policy["maxReceiveCount"];
    let number = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    u32::try_from(number).ok()
}

/// Whole seconds, rounded up: SQS knows no others.
fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

fn away<E>(doing: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Error::new(Kind::Unavailable, "The gateway's job queue is away. Try again in a moment.").because(refusal(
        doing,
        (error.code(), error.message()),
        error,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redrive_policy_is_read_in_both_spellings() {
        for (policy, expected) in [
            (r#"{"deadLetterTargetArn":"arn:aws:sqs:x:1:dead","maxReceiveCount":5}"#, Some(5)),
            (r#"{"maxReceiveCount":"3"}"#, Some(3)),
            (r#"{"maxReceiveCount":-1}"#, None),
            ("{}", None),
            ("no JSON", None),
        ] {
            assert_eq!(max_receives(policy), expected, "{policy}");
        }
    }

    #[test]
    fn seconds_are_rounded_up() {
        for (millis, expected) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (u64::MAX, i32::MAX)] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
