//! A WebSocket connection's outlet on AWS: `PostToConnection`.

use crate::edge::socket::{Gone, Outlet, Sent};
use crate::error::causes;
use crate::reply::lock;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apigatewaymanagement::operation::post_to_connection::PostToConnectionError;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures_util::future::BoxFuture;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// One connection. The SDK's own retries are off: what a failed push means is decided here.
pub struct Connection {
    client: Client,
    id: String,
    until: Instant,
    trouble: Mutex<Trouble>,
}

/// What went wrong with the frames of one invocation, told once.
#[derive(Default)]
struct Trouble {
    frames: u64,
    failed_tries: u64,
    /// The last failure.
    error: Option<String>,
    /// How it ended, where it ended before the last frame.
    outcome: Option<&'static str>,
}

/// A frame is tried for this long: where nothing gets through, an invocation must not wait for its end.
const PATIENCE: Duration = Duration::from_secs(30);

/// One call may take this long.
const CALL: Duration = Duration::from_secs(5);

/// Waits between tries: doubled from the first up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What became of one call.
enum Push {
    Done,
    /// The client has left.
    Gone,
    /// It would be refused again.
    Refused,
    /// Refused for now, and not delivered.
    Later,
    /// Delivered or not.
    Ambiguous,
}

impl Connection {
    /// The connection of this id; nothing is tried after `until`.
    pub fn new(client: Client, id: String, until: Instant) -> Connection {
        Connection { client, id, until, trouble: Mutex::default() }
    }

    /// Says once, after the last frame, whether frames were hard to bring or could not be brought.
    pub fn tell(&self) {
        let Trouble { frames, failed_tries, error, outcome } = &*lock(&self.trouble);
        match outcome {
            // A client may leave.
            Some("gone") => tracing::info!(frames, failed_tries, error, outcome = "gone", "pushed"),
            None if *failed_tries == 0 => {}
            _ => {
                let outcome = outcome.unwrap_or("delivered");
                tracing::warn!(frames, failed_tries, error, outcome, "pushed");
            }
        }
    }

    /// Pushes a frame until it is delivered. One that may have been delivered is sent again, with
    /// the same `seq` in it, so that the client that has it already drops it; unless it must not be
    /// `repeated`.
    async fn push(&self, frame: String, repeated: bool) -> Result<Sent, Gone> {
        let mut wait = FIRST_WAIT;
        let until = self.until.min(Instant::now() + PATIENCE);
        let data = Blob::new(frame);
        loop {
            match self.call(data.clone()).await {
                Push::Done => {
                    lock(&self.trouble).frames += 1;
                    return Ok(Sent::Surely);
                }
                Push::Gone => return Err(self.lost("gone")),
                Push::Refused => return Err(self.lost("refused")),
                Push::Ambiguous if !repeated => {
                    lock(&self.trouble).outcome = Some("perhaps");
                    return Ok(Sent::Perhaps);
                }
                _ if Instant::now() + wait >= until => return Err(self.lost("given up")),
                Push::Later | Push::Ambiguous => sleep(wait).await,
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    fn lost(&self, outcome: &'static str) -> Gone {
        lock(&self.trouble).outcome = Some(outcome);
        Gone
    }

    async fn call(&self, data: Blob) -> Push {
        let call = self.client.post_to_connection().connection_id(&self.id).data(data).send();
        let (push, error) = match timeout(CALL, call).await {
            Ok(Ok(_)) => return Push::Done,
            Ok(Err(error)) => (outcome(&error), said(&error)),
            Err(_) => (Push::Ambiguous, format!("no answer in {} s", CALL.as_secs())),
        };
        let mut trouble = lock(&self.trouble);
        trouble.failed_tries += 1;
        trouble.error = Some(error);
        push
    }
}

fn outcome(error: &SdkError<PostToConnectionError>) -> Push {
    if matches!(error, SdkError::ConstructionFailure(_)) {
        return Push::Refused;
    }
    match error.raw_response().map(|response| response.status().as_u16()) {
        Some(410) => Push::Gone,
        Some(429) => Push::Later,
        Some(400..=499) => Push::Refused,
        _ => Push::Ambiguous,
    }
}

/// Status and code of a refusal, or what came in the way of an answer. An error's long form would
/// show the call.
fn said(error: &SdkError<PostToConnectionError>) -> String {
    if let SdkError::ServiceError(refused) = error {
        let code = refused.err().code().unwrap_or("no code");
        return format!("{} {code}", refused.raw().status().as_u16());
    }
    causes(error)
}

impl Outlet for Connection {
    fn send(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async { self.push(frame, true).await.map(|_| ()) })
    }

    fn once(&self, frame: String) -> BoxFuture<'_, Result<Sent, Gone>> {
        Box::pin(self.push(frame, false))
    }

    fn urgent(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        // Each event has an invocation of its own: nothing waits before this frame.
        self.send(frame)
    }

    fn close(&self, _code: u16, _reason: &'static str) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async {
            let call = self.client.delete_connection().connection_id(&self.id).send();
            timeout(CALL, call).await.map_err(|_| Gone)?.map(|_| ()).map_err(|_| Gone)
        })
    }
}
