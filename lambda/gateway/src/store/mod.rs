//! The room of what is kept: answers, conversations, replies, jobs, connections.
//!
//! Written once, against DynamoDB's API. In the stack the client talks to the service; on one
//! machine the same client ends in an engine in the process (`embedded`). Order, idempotency and
//! leases are conditional writes, never a read and then a write; whose a row is, is part of its key
//! (`item`), so another caller's id is simply another row.

use crate::error::{Error, Kind, causes, refusal};
use aws_sdk_dynamodb::Client;
#[cfg(feature = "aws")]
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod answers;
mod bulk;
mod chats;
mod connections;
mod curated;
#[cfg(feature = "embedded")]
mod embedded;
mod finish;
mod flights;
mod item;
mod jobs;
mod overflow;
mod replies;
mod rows;
mod slots;
mod tables;
mod work;

pub use answers::{AnswerKeys, StoredAnswer};
pub use bulk::{Bulk, Progress};
pub use chats::{ChatSummary, Turn};
pub use curated::{CuratedRow, parse_curated_row};
pub use finish::{Finish, Finished};
pub use flights::{Flight, Lead};
pub use jobs::{Created, Job, JobOutcome, JobStatus, Requeued};
pub use replies::{Begin, Begun, Flush, ReplyKey, ReplyRow};
pub use slots::{Holder, Slot};
pub use work::Claim;

/// The longest one call of the service may take, its retries included.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// The longest one attempt at a call may take: the service answers in milliseconds, and a connection
/// that says nothing for this long is dead.
#[cfg(feature = "aws")]
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
/// Attempts at a call.
#[cfg(feature = "aws")]
const ATTEMPTS: u32 = 6;
/// The SDK waits up to a second before its first retry; at a table whose calls take milliseconds
/// that is most of the limit.
#[cfg(feature = "aws")]
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// The waits double up to this.
#[cfg(feature = "aws")]
const LONGEST_BACKOFF: Duration = Duration::from_millis(800);

/// The time, as the store sees it.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        millis(since)
    }
}

/// A clock that moves only when it is told to, for tests.
#[derive(Debug)]
pub struct StoppedClock(AtomicU64);

impl StoppedClock {
    /// A clock that stands at `ms` milliseconds since 1970.
    pub fn at(ms: u64) -> Arc<StoppedClock> {
        Arc::new(StoppedClock(AtomicU64::new(ms)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The names of the two tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Curated and learned answers: partition key `pk`.
    pub answers: String,
    /// Everything else: partition key `pk`, sort key `sk`.
    pub state: String,
}

/// How long each kind of row is kept. Curated answers have no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Replies, for resume and `GET /answers/{id}`.
    pub replies: Duration,
    /// Turns of a conversation, each counted from its own writing.
    pub chats: Duration,
    /// Learned answers.
    pub answers: Duration,
    /// Jobs and their idempotency keys.
    pub jobs: Duration,
    /// Connections; API Gateway ends one after two hours.
    pub connections: Duration,
}

impl Default for Retention {
    fn default() -> Retention {
        const DAY: u64 = 24 * 60 * 60;
        Retention {
            replies: Duration::from_secs(DAY),
            chats: Duration::from_secs(30 * DAY),
            answers: Duration::from_secs(7 * DAY),
            jobs: Duration::from_secs(7 * DAY),
            connections: Duration::from_secs(130 * 60),
        }
    }
}

/// Removes expired rows and returns how many.
type Sweeper = Arc<dyn Fn() -> BoxFuture<'static, Result<u64, Error>> + Send + Sync>;

/// What the gateway keeps. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    client: Client,
    tables: Arc<Tables>,
    retention: Arc<Retention>,
    clock: Arc<dyn Clock>,
    sweeper: Option<Sweeper>,
}

impl Store {
    /// A client for DynamoDB itself. What was throttled, failed inside the service or lost its
    /// connection is tried again within one call's time limit; so is an attempt that hears nothing.
    #[cfg(feature = "aws")]
    pub fn client(config: &aws_types::SdkConfig) -> Client {
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_BACKOFF)
            .with_max_backoff(LONGEST_BACKOFF);
        let limits = match config.timeout_config() {
            Some(limits) => limits.to_builder(),
            None => TimeoutConfig::builder(),
        };
        let limits = limits.operation_attempt_timeout(ATTEMPT_LIMIT).build();
        let config = aws_sdk_dynamodb::config::Builder::from(config);
        Client::from_conf(config.retry_config(retries).timeout_config(limits).build())
    }

    /// The client, for another store on the same tables.
    pub fn service(&self) -> &Client {
        &self.client
    }

    /// A store on these tables. Retries are the client's own matter; where it has no time limit for a
    /// call, and the SDK has none by default, it is given one of five seconds.
    pub fn new(client: Client, tables: Tables, retention: Retention, clock: Arc<dyn Clock>) -> Store {
        let config = client.config();
        let limits = config.timeout_config();
        let limit = limits.and_then(TimeoutConfig::operation_timeout).unwrap_or(CALL_LIMIT);
        let limits = limits.map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
        let limited = config.to_builder().timeout_config(limits.operation_timeout(limit).build());
        Store {
            client: Client::from_conf(limited.build()),
            tables: Arc::new(tables),
            retention: Arc::new(retention),
            clock,
            sweeper: None,
        }
    }

    /// Removes expired rows from the disk of one machine and returns how many. DynamoDB does that
    /// by itself: there it does nothing and returns 0. Expired rows are invisible either way.
    pub async fn sweep(&self) -> Result<u64, Error> {
        match &self.sweeper {
            Some(sweep) => sweep().await,
            None => Ok(0),
        }
    }

    /// Milliseconds since 1970, by the store's clock.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Now in the unit of `expires_at`.
    fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// `:now` for conditions on `expires_at`.
    fn now(&self) -> AttributeValue {
        item::n(self.now_s())
    }

    /// The `expires_at` of a row written now and kept for `keep`, in whole seconds, rounded up.
    fn expiry(&self, keep: Duration) -> u64 {
        (self.now_ms() + millis(keep)).div_ceil(1000)
    }

    /// The end of a lease taken now, in milliseconds.
    fn lease_end(&self, lease: Duration) -> u64 {
        self.now_ms() + millis(lease)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The service did not do it.
fn away<E>(doing: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    unavailable(refusal(doing, (error.code(), error.message()), error))
}

fn unavailable(detail: impl std::fmt::Display) -> Error {
    Error::new(Kind::Unavailable, "The gateway's store is away. Try again in a moment.").because(detail)
}

/// A request that the SDK could not even build is a mistake of ours.
fn built<T>(result: Result<T, BuildError>) -> Result<T, Error> {
    result.map_err(|error| Error::internal(causes(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::config::retry::RetryConfig;
    use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Region};
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;

    /// A service that says this to everything, or nothing at all.
    #[derive(Clone, Copy, Debug)]
    struct Says(Option<&'static str>);

    impl HttpConnector for Says {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let Some(body) = self.0 else {
                return HttpConnectorFuture::new(std::future::pending());
            };
            let reply = HttpResponse::new(400.try_into().unwrap(), SdkBody::from(body));
            HttpConnectorFuture::new(std::future::ready(Ok(reply)))
        }
    }

    async fn failure(service: Says) -> Error {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("local"))
            .allow_no_auth()
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(service)));
        let client = Client::from_conf(config.build());
        let tables = Tables { answers: "the-answers".into(), state: "the-state".into() };
        let store = Store::new(client, tables, Retention::default(), Arc::new(SystemClock));
        let error = store.connection("c").await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(!error.message.contains("the-state"));
        assert_eq!(store.sweep().await, Ok(0));
        error
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_is_away_after_the_limit() {
        let begun = tokio::time::Instant::now();
        failure(Says(None)).await;
        assert_eq!(begun.elapsed().as_secs(), CALL_LIMIT.as_secs());
    }

    #[tokio::test]
    async fn a_refusal_is_away_for_the_caller_and_named_in_the_log() {
        let body = r#"{"__type":"x#ResourceNotFoundException","message":"no table the-state"}"#;
        let detail = failure(Says(Some(body))).await.detail.unwrap();
        assert_eq!(detail, "get: ResourceNotFoundException: no table the-state");
    }
}
