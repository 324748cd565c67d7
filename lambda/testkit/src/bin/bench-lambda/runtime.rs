//! The Runtime API of one process: hands out the events that it is given and says when their
//! responses came.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::bench::Failure;
use testkit::listen::serve;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// A process may take this long for whatever it is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What stands between the prelude of a streamed response and its body.
const DELIMITER: [u8; 8] = [0; 8];

/// A response.
pub struct Posted {
    /// When the first byte behind the prelude came.
    pub first: Instant,
    /// When it was complete.
    pub end: Instant,
    /// All of it but the prelude.
    pub body: Bytes,
}

/// The Runtime API; it ends with this.
pub struct RuntimeApi {
    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub address: SocketAddr,
    events: mpsc::UnboundedSender<Bytes>,
    asked: mpsc::UnboundedReceiver<Instant>,
    posted: mpsc::UnboundedReceiver<Posted>,
    task: AbortHandle,
}

impl RuntimeApi {
    /// Starts one.
    pub async fn start() -> Result<RuntimeApi, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (events, waiting) = mpsc::unbounded_channel();
        let (asks, asked) = mpsc::unbounded_channel();
        let (posts, posted) = mpsc::unbounded_channel();
        let state = Arc::new(State { waiting: Mutex::new(waiting), asks, posts });
        let service = move || {
            let state = Arc::clone(&state);
            service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(state.handle(request).await) }
            })
        };
        let task = tokio::spawn(serve(listener, None, service)).abort_handle();
        Ok(RuntimeApi { address, events, asked, posted, task })
    }

    /// The next event.
    pub fn give(&self, event: Bytes) {
        // It is received by a task that lives as long as this.
        let _received = self.events.send(event);
    }

    /// When the process asked for an event, the first time that was not told yet.
    pub async fn asked(&mut self) -> Result<Instant, Failure> {
        let asked = timeout(PATIENCE, self.asked.recv()).await;
        asked?.ok_or_else(|| "the Runtime API is closed".into())
    }

    /// Waits for a response.
    pub async fn posted(&mut self) -> Result<Posted, Failure> {
        let posted = timeout(PATIENCE, self.posted.recv()).await;
        posted?.ok_or_else(|| "the Runtime API is closed".into())
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    waiting: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    asks: mpsc::UnboundedSender<Instant>,
    posts: mpsc::UnboundedSender<Posted>,
}

impl State {
    async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() == Method::GET {
            let _received = self.asks.send(Instant::now());
            let event = self.waiting.lock().await.recv().await.unwrap_or_default();
            return next(event);
        }
        if let Some(posted) = read(request.into_body()).await {
            let _received = self.posts.send(posted);
        }
        let mut accepted = Response::new(Full::default());
        *accepted.status_mut() = hyper::StatusCode::ACCEPTED;
        accepted
    }
}

fn next(event: Bytes) -> Response<Full<Bytes>> {
    let deadline = SystemTime::now() + Duration::from_secs(900);
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", uuid::Uuid::new_v4().to_string())
        .header("lambda-runtime-deadline-ms", deadline.to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:bench")
        .header("lambda-runtime-trace-id", "Root=1-5f84c7a1-0123456789abcdef01234567;Sampled=0");
    response.body(Full::new(event)).unwrap_or_default()
}

/// A response as it comes in; nothing where it broke off.
async fn read(mut body: Incoming) -> Option<Posted> {
    let (mut all, mut start, mut first) = (BytesMut::new(), None, None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        all.extend_from_slice(&data);
        // A buffered response is JSON, which has no such bytes, and begins with its first.
        let delimiter = || all.windows(DELIMITER.len()).position(|window| window == DELIMITER);
        start = start.or_else(|| delimiter().map(|at| at + DELIMITER.len()));
        if first.is_none() && start.is_some_and(|start| all.len() > start) {
            first = Some(Instant::now());
        }
    }
    let end = Instant::now();
    let body = all.freeze().slice(start.unwrap_or(0)..);
    Some(Posted { first: first.unwrap_or(end), end, body })
}
