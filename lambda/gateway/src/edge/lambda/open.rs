//! A gateway on AWS, put together from the function's environment; and its two functions.

use super::runtime::{Answer, Function, serve};
use super::{authorizer, http_event, jobs_event, socket_event};
use crate::aws;
use crate::config::{Role, Settings};
use crate::edge::Doors;
use crate::edge::body::failed;
use crate::gateway::{Gateway, Rooms};
use crate::model::bedrock::{Bedrock, IDLE};
use crate::store::{Retention, Store, SystemClock, Tables};
use crate::telemetry;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_types::SdkConfig;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a reply that stopped writing counts as running: other environments see only its row.
const LEASE: Duration = Duration::from_secs(60);

/// What both functions have.
pub struct Lambda {
    /// The engine.
    pub gateway: Arc<Gateway>,
    /// For pushes; its endpoint is the WebSocket API's.
    pub connections: aws_sdk_apigatewaymanagement::Client,
}

impl Lambda {
    /// Puts the gateway together. Clients are built once, here, and share their connections.
    ///
    /// # Errors
    /// A sentence a wrong setting.
    pub async fn open(vars: Vec<(String, String)>) -> Result<Lambda, String> {
        let settings = Settings::from_vars(vars).map_err(|wrong| wrong.join("\n"))?;
        let config = aws::settings(aws::http_client(settings.ca_bundle.as_deref())?).load().await;
        let bedrock = Arc::new(Bedrock::new(&config, IDLE));
        let rooms = Rooms {
            model: bedrock.clone(),
            embedder: bedrock,
            stands_in: None,
            retrieval: None,
            store: settings.tables.clone().map(|(answers, state)| Arc::new(store(&config, answers, state))),
            single_process: false,
            lease: LEASE,
        };
        let connections = connections(&config, settings.callback_url.as_deref());
        Ok(Lambda { gateway: Gateway::open(settings, rooms)?, connections })
    }

    /// The doors for one invocation.
    pub fn doors(&self, until: Option<Instant>) -> Doors {
        Doors { gateway: self.gateway.clone(), queue: None, until }
    }
}

fn store(config: &SdkConfig, answers: String, state: String) -> Store {
    let client = Store::client(config);
    Store::new(client, Tables { answers, state }, Retention::default(), Arc::new(SystemClock))
}

fn connections(config: &SdkConfig, url: Option<&str>) -> aws_sdk_apigatewaymanagement::Client {
    let mut builder = aws_sdk_apigatewaymanagement::config::Builder::from(config);
    builder = builder.retry_config(RetryConfig::disabled());
    if let Some(url) = url {
        builder = builder.endpoint_url(url);
    }
    aws_sdk_apigatewaymanagement::Client::from_conf(builder.build())
}

/// A function's whole life, from its environment on.
pub async fn run<F: Function>(vars: Vec<(String, String)>, function: fn(Lambda) -> F) -> ExitCode {
    let filter = vars.iter().find(|(name, _)| name == "LLM_GATEWAY_LOG").map(|(_, value)| value.clone());
    telemetry::json_logs(filter.as_deref());
    let done = match Lambda::open(vars).await {
        Ok(lambda) => serve(Arc::new(function(lambda))).await.map_err(|error| error.to_string()),
        Err(sentence) => Err(sentence),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            telemetry::cannot_start(&sentence);
            ExitCode::FAILURE
        }
    }
}

/// The `rest` function: HTTP events, and by `ROLE` the worker or the authorizer.
pub struct Rest(pub Lambda);

impl Function for Rest {
    fn invoke(&self, event: Bytes, until: Instant) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match self.0.gateway.settings.role {
                Role::Api => http(&self.0, &event, until).await,
                Role::Worker => jobs_event::handle(&self.0.gateway, &event).await,
                Role::Authorizer => authorizer::handle(&event),
            }
        })
    }
}

async fn http(lambda: &Lambda, event: &[u8], until: Instant) -> Answer {
    let response = match http_event::read(event, lambda.gateway.settings.caller_session) {
        Ok(event) => lambda.doors(Some(until)).http(event.request, event.caller).await,
        Err(error) => {
            tracing::error!(%error, "an event cannot be read");
            failed(&error, None)
        }
    };
    Answer::Http(Box::new(response))
}

/// The `ws` function.
pub struct Ws(pub Lambda);

impl Function for Ws {
    fn invoke(&self, event: Bytes, until: Instant) -> BoxFuture<'_, Answer> {
        Box::pin(async move { socket_event::handle(&self.0, &event, until).await })
    }
}
