//! The engines that the promises are held against.
//!
//! `in_memory` and `on_disk` are the engine in the process. `moto` is an independent server. `endpoint` is
//! whatever `DYNAMODB_TEST_ENDPOINT` names, with the credentials and the Region of the environment: a
//! DynamoDB in a container, or AWS itself. There each test has two tables that go when its promise is kept.

#[path = "../support/moto.rs"]
mod moto;

use crate::{TempDir, World, this_second};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use gateway::aws::http_client;
use gateway::store::{Retention, StoppedClock, Store, Tables};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Calls at once to an engine that keeps them apart by itself.
const MANY: usize = 50;
/// And to one whose turn each has to wait for, within the time limit of a call.
const FEW: usize = 5;
/// That limit, where the machine is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has to go when a test has passed.
pub(crate) struct Leftover(Option<(Client, Tables)>);

impl Leftover {
    pub(crate) async fn remove(self) {
        let Some((client, tables)) = self.0 else { return };
        for table in [tables.answers, tables.state] {
            client.delete_table().table_name(table).send().await.unwrap();
        }
    }
}

pub(crate) async fn in_memory() -> Option<(World, Leftover)> {
    let clock = StoppedClock::at(this_second());
    let store = Store::embedded(None, Retention::default(), clock.clone()).await.unwrap();
    Some((World { store, clock, at_once: MANY, dir: None }, Leftover(None)))
}

pub(crate) async fn on_disk() -> Option<(World, Leftover)> {
    let (dir, clock) = (TempDir::fresh(), StoppedClock::at(this_second()));
    let store = Store::embedded(Some(&dir.0), Retention::default(), clock.clone()).await.unwrap();
    Some((World { store, clock, at_once: MANY, dir: Some(dir) }, Leftover(None)))
}

pub(crate) async fn moto() -> Option<(World, Leftover)> {
    // Starting it blocks.
    let url = tokio::task::spawn_blocking(moto::url).await.unwrap();
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "test",
        )))
        .endpoint_url(url)
        .http_client(one_at_a_time(http_client(None).unwrap()));
    // It knows no token: a transaction that is sent again because it took long is refused by itself.
    let patient = TimeoutConfig::builder().operation_timeout(PATIENCE).build();
    let client = Store::client(&config.build()).config().to_builder().timeout_config(patient);
    Some(remote(Client::from_conf(client.build()), FEW).await)
}

/// None where no endpoint is named: it is asked for, not missed.
pub(crate) async fn endpoint() -> Option<(World, Leftover)> {
    let url = std::env::var("DYNAMODB_TEST_ENDPOINT").ok()?;
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12());
    let config = config.http_client(http_client(None).unwrap()).endpoint_url(url).load().await;
    Some(remote(Store::client(&config), MANY).await)
}

async fn remote(client: Client, at_once: usize) -> (World, Leftover) {
    let (clock, id) = (StoppedClock::at(this_second()), gateway::chat::new_id());
    let tables =
        Tables { answers: format!("gateway-test-{id}-answers"), state: format!("gateway-test-{id}-state") };
    let store = Store::new(client.clone(), tables.clone(), Retention::default(), clock.clone());
    store.create_tables().await.unwrap();
    (World { store, clock, at_once, dir: None }, Leftover(Some((client, tables))))
}

/// moto serves requests in threads without keeping them apart: a transaction that is refused puts the
/// whole table back to what it was. So each request waits for the one before it, here.
fn one_at_a_time(inner: SharedHttpClient) -> SharedHttpClient {
    #[derive(Clone, Debug)]
    struct OneAtATime(SharedHttpConnector, Arc<Semaphore>);

    impl HttpConnector for OneAtATime {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let OneAtATime(inner, turn) = self.clone();
            // A task of its own: who gives up waiting does not end what the server is doing.
            let answer = tokio::spawn(async move {
                let _turn = turn.acquire_owned().await;
                inner.call(request).await
            });
            HttpConnectorFuture::new(async move { answer.await.unwrap() })
        }
    }

    let turn = Arc::new(Semaphore::new(1));
    use aws_smithy_runtime_api::client::http::HttpClient;
    http_client_fn(move |settings, components| {
        SharedHttpConnector::new(OneAtATime(inner.http_connector(settings, components), turn.clone()))
    })
}
