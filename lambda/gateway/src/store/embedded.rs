//! The store on one machine: the SDK's client ends in a DynamoDB engine in this process.

use super::{Clock, Retention, Store, Tables, unavailable};
use crate::error::Error;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Region, StalledStreamProtectionConfig};
use aws_sdk_dynamodb::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use dynoxide::actions::batch_write_item::{BatchWriteItemRequest, BatchWriteItemResponse};
use dynoxide::actions::transact_write_items::{
    TransactDelete, TransactPut, TransactWriteItem, TransactWriteItemsRequest,
};
use dynoxide::errors::DynoxideError;
use dynoxide::{Database, Result as EngineResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

impl Store {
    /// The store of one machine, in `dir/store.sqlite`, or in memory where `dir` is None. A
    /// directory that is not there is created for the user alone. A transaction that has returned
    /// is on disk: the engine syncs its log at each commit.
    ///
    /// # Errors
    /// A sentence for the user where the directory cannot be used or another process has it.
    pub async fn embedded(
        dir: Option<&Path>,
        retention: Retention,
        clock: Arc<dyn Clock>,
    ) -> Result<Store, Error> {
        let engine = Arc::new(Engine::open(dir, clock.clone())?);
        let tables = Tables { answers: "answers".to_owned(), state: "state".to_owned() };
        let mut store = Store::new(client(Connector(engine.clone())), tables, retention, clock);
        store.create_tables().await?;
        store.sweeper = Some(Arc::new(move || Box::pin(sweep(engine.clone()))));
        Ok(store)
    }
}

/// A client whose every request is answered in the process: nothing to sign, nothing to retry.
fn client(connector: Connector) -> Client {
    let connector = SharedHttpConnector::new(connector);
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("local"))
        .endpoint_url("http://store.invalid")
        .allow_no_auth()
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(http_client_fn(move |_, _| connector.clone()));
    Client::from_conf(config.build())
}

async fn sweep(engine: Arc<Engine>) -> Result<u64, Error> {
    let swept =
        tokio::task::spawn_blocking(move || engine.database.sweep_ttl()).await.map_err(unavailable)?;
    swept.map(|count| count as u64).map_err(unavailable)
}

/// The engine's clock is ours, so that it sweeps what the store holds for expired.
struct EngineClock(Arc<dyn Clock>);

impl dynoxide::storage_backend::Clock for EngineClock {
    fn now_unix_secs(&self) -> u64 {
        self.0.now_ms() / 1000
    }

    fn now_unix_secs_f64(&self) -> f64 {
        self.0.now_ms() as f64 / 1000.0
    }
}

struct Engine {
    database: Database,
    /// The engine has one lock. Who waits for it waits here, without a thread.
    turn: Arc<Semaphore>,
    /// Held as long as the engine lives: one process a directory.
    _lock: Option<File>,
}

impl Engine {
    fn open(dir: Option<&Path>, clock: Arc<dyn Clock>) -> Result<Engine, Error> {
        let (database, lock) = match dir {
            None => (Database::memory_with_clock(Arc::new(EngineClock(clock))), None),
            Some(dir) => {
                let lock = lock(dir)?;
                let file = dir.join("store.sqlite");
                let file = file.to_str().ok_or_else(|| unusable(dir, "its name is no text"))?;
                (Database::new(file), Some(lock))
            }
        };
        let database = database.map_err(|error| match dir {
            Some(dir) => unusable(dir, error),
            None => unavailable(error),
        })?;
        Ok(Engine { database, turn: Arc::new(Semaphore::new(1)), _lock: lock })
    }

    /// One operation: its request and its reply in DynamoDB's JSON, with the HTTP status.
    fn operate(&self, operation: &str, body: &[u8]) -> (u16, String) {
        let database = &self.database;
        let reply = match operation {
            "GetItem" => call(body, |request| database.get_item(request)),
            "BatchGetItem" => call(body, |request| database.batch_get_item(request)),
            "Query" => call(body, |request| database.query(request)),
            "Scan" => call(body, |request| database.scan(request)),
            "PutItem" => call(body, |request| database.put_item(request)),
            "UpdateItem" => call(body, |request| database.update_item(request)),
            "DeleteItem" => call(body, |request| database.delete_item(request)),
            "BatchWriteItem" if body.len() > ONE_COMMIT => {
                call(body, |request| database.batch_write_item(request))
            }
            "BatchWriteItem" => call(body, |request| write_at_once(database, request)),
            "TransactWriteItems" => call(body, |request: TransactWriteItemsRequest| {
                // The token serves retries, which are off: without it the engine remembers nothing.
                database
                    .transact_write_items(TransactWriteItemsRequest { client_request_token: None, ..request })
            }),
            "CreateTable" => call(body, |request| database.create_table(request)),
            "DescribeTable" => call(body, |request| database.describe_table(request)),
            "DescribeTimeToLive" => call(body, |request| database.describe_time_to_live(request)),
            "UpdateTimeToLive" => call(body, |request| database.update_time_to_live(request)),
            other => Err(DynoxideError::ValidationException(format!("the store does not use {other}"))),
        };
        match reply {
            Ok(json) => (200, json),
            Err(error) => (error.status_code(), error.to_json()),
        }
    }
}

/// The largest batch, in bytes of its JSON, that is written in one transaction; those have a limit of
/// 4 MB.
const ONE_COMMIT: usize = 3_000_000;

/// A batch in one transaction. The engine syncs its log at each commit, and a batch of its own
/// commits each item: that is 25 times the wait.
fn write_at_once(database: &Database, batch: BatchWriteItemRequest) -> EngineResult<BatchWriteItemResponse> {
    let mut writes = Vec::new();
    for (table_name, requests) in batch.request_items {
        writes.extend(requests.into_iter().map(|write| TransactWriteItem {
            put: write.put_request.map(|put| TransactPut {
                table_name: table_name.clone(),
                item: put.item,
                ..TransactPut::default()
            }),
            delete: write.delete_request.map(|delete| TransactDelete {
                table_name: table_name.clone(),
                key: delete.key,
                ..TransactDelete::default()
            }),
            ..TransactWriteItem::default()
        }));
    }
    let request = TransactWriteItemsRequest { transact_items: writes, ..Default::default() };
    database.transact_write_items(request).map(|_| BatchWriteItemResponse::default())
}

fn call<Q: DeserializeOwned, R: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> EngineResult<R>,
) -> EngineResult<String> {
    let broken = |error: serde_json::Error| DynoxideError::SerializationException(error.to_string());
    let reply = operation(serde_json::from_slice(body).map_err(broken)?)?;
    serde_json::to_string(&reply).map_err(broken)
}

/// Creates the directory and takes its lock.
fn lock(dir: &Path) -> Result<File, Error> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| unusable(dir, error))?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("store.lock"));
    let file = file.map_err(|error| unusable(dir, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(unusable(dir, "another llm-gateway has it open. Stop that one or choose another directory"))
        }
        Err(TryLockError::Error(error)) => Err(unusable(dir, error)),
    }
}

/// The one message that shows a path: whoever opens a store named it on the command line.
fn unusable(dir: &Path, why: impl std::fmt::Display) -> Error {
    let message = format!("The data directory {} cannot be used: {why}.", dir.display());
    Error::new(crate::error::Kind::Unavailable, message)
}

/// Operations that read a few rows by their keys: they take less time than the way to a thread
/// that may block, and back.
const INLINE: [&str; 2] = ["GetItem", "BatchGetItem"];

struct Connector(Arc<Engine>);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let engine = self.0.clone();
        HttpConnectorFuture::new(async move {
            let turn = engine.turn.clone().acquire_owned().await.map_err(broken)?;
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let inline = INLINE.contains(&operation.as_str());
            let work = move || {
                let reply = engine.operate(&operation, request.body().bytes().unwrap_or_default());
                drop(turn);
                reply
            };
            let (status, json) = match inline {
                true => work(),
                false => tokio::task::spawn_blocking(work).await.map_err(broken)?,
            };
            Ok(HttpResponse::new(status.try_into().map_err(broken)?, SdkBody::from(json)))
        })
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> ConnectorError {
    ConnectorError::other(Box::new(error), None)
}
