//! A WebSocket connection's outlet on AWS: `PostToConnection`.

use crate::edge::socket::{Gone, Outlet, Sent};
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::error::SdkError;
use aws_sdk_apigatewaymanagement::operation::post_to_connection::PostToConnectionError;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// One connection. The SDK's own retries are off: what a failed push means is decided here.
pub struct Connection {
    client: Client,
    id: String,
    until: Instant,
}

/// One call may take this long.
const CALL: Duration = Duration::from_secs(5);

/// Waits between tries: doubled from the first up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What became of one call.
enum Push {
    Done,
    Gone,
    /// Refused for now, and not delivered.
    Later,
    /// Delivered or not.
    Ambiguous,
}

impl Connection {
    /// The connection of this id; nothing is tried after `until`.
    pub fn new(client: Client, id: String, until: Instant) -> Connection {
        Connection { client, id, until }
    }

    /// Pushes a frame until it is delivered. One that may have been delivered is sent again, with
    /// the same `seq` in it, so that the client that has it already drops it; unless it must not be
    /// `repeated`.
    async fn push(&self, frame: String, repeated: bool) -> Result<Sent, Gone> {
        let mut wait = FIRST_WAIT;
        let data = Blob::new(frame);
        loop {
            match self.call(data.clone()).await {
                Push::Done => return Ok(Sent::Surely),
                Push::Gone => return Err(Gone),
                Push::Ambiguous if !repeated => return Ok(Sent::Perhaps),
                Push::Later | Push::Ambiguous if Instant::now() + wait >= self.until => return Err(Gone),
                Push::Later | Push::Ambiguous => sleep(wait).await,
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    async fn call(&self, data: Blob) -> Push {
        let call = self.client.post_to_connection().connection_id(&self.id).data(data).send();
        let error = match timeout(CALL, call).await {
            Ok(Ok(_)) => return Push::Done,
            Ok(Err(error)) => error,
            Err(_) => return Push::Ambiguous,
        };
        let push = outcome(&error);
        if !matches!(push, Push::Gone) {
            tracing::warn!(connection_id = self.id, error = %aws_sdk_apigatewaymanagement::error::DisplayErrorContext(&error), "a push failed");
        }
        push
    }
}

fn outcome(error: &SdkError<PostToConnectionError>) -> Push {
    if let SdkError::ServiceError(refused) = error {
        return match refused.err() {
            PostToConnectionError::GoneException(_) | PostToConnectionError::ForbiddenException(_) => {
                Push::Gone
            }
            PostToConnectionError::PayloadTooLargeException(_) => Push::Gone,
            PostToConnectionError::LimitExceededException(_) => Push::Later,
            _ => match refused.raw().status().as_u16() {
                410 | 403 | 413 => Push::Gone,
                429 => Push::Later,
                _ => Push::Ambiguous,
            },
        };
    }
    Push::Ambiguous
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
