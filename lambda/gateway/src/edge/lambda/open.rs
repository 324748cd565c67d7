//! A gateway on AWS, put together from the function's environment; and its two functions.

use super::http_event::{self, HttpEvent};
use super::runtime::{Answer, Function, report_init_error, serve};
use super::{authorizer, jobs_event, socket_event};
use crate::aws;
use crate::config::{Role, Settings};
use crate::edge::Doors;
use crate::edge::body::failed;
use crate::edge::cors::{self, Origins};
use crate::gateway::{Gateway, Rooms};
use crate::model::Embedder;
use crate::model::bedrock::{Bedrock, IDLE};
use crate::model::catalog::Api;
use crate::queue::Queue;
use crate::queue::sqs::Sqs;
use crate::retrieval::Retrieval;
use crate::retrieval::opensearch::OpenSearch;
use crate::search_model::SearchModel;
use crate::store::{Retention, Store, SystemClock, Tables};
use crate::telemetry;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_types::SdkConfig;
use aws_types::region::Region;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::time::Instant;

/// What both functions have.
pub struct Lambda {
    /// The engine.
    pub gateway: Arc<Gateway>,
    /// For pushes; its endpoint is the WebSocket API's.
    pub connections: aws_sdk_apigatewaymanagement::Client,
    /// Of the web pages that may call.
    pub origins: Origins,
    /// The job queue, where there is one and a store to keep jobs in.
    pub jobs: Option<Arc<Sqs>>,
}

impl Lambda {
    /// Puts the gateway together. Clients are built once, here, and share their connections.
    ///
    /// # Errors
    /// A sentence a wrong setting.
    pub async fn open(vars: Vec<(String, String)>) -> Result<Lambda, String> {
        let settings = Settings::from_vars(vars).map_err(|wrong| wrong.join("\n"))?;
        let connector = aws::connector(settings.ca_bundle.as_deref())?;
        let config = aws::settings(aws::client_over(connector.clone())).load().await;
        let bedrock = Arc::new(bedrock(&config, settings.region.as_deref()));
        let rooms = Rooms {
            model: bedrock.clone(),
            embedder: bedrock.clone(),
            stands_in: None,
            retrieval: retrieval(connector, &config, &settings, &bedrock)?,
            store: settings.tables.clone().map(|(answers, state)| Arc::new(store(&config, answers, state))),
            single_process: false,
            lease: settings.shared_lease(),
        };
        let queue = settings.jobs_queue.as_deref().filter(|_| rooms.store.is_some());
        let jobs = queue.map(|url| Sqs::new(&config, url, rooms.lease));
        if jobs.is_none() && settings.role == Role::Worker {
            return Err(
                "ROLE=worker needs JOBS_QUEUE_URL, ANSWERS_TABLE and STATE_TABLE. Set them.".to_owned()
            );
        }
        let connections = connections(&config, settings.callback_url.as_deref());
        let origins = Origins::new(&settings.allowed_origins).map_err(|origin| {
            format!("ALLOWED_ORIGINS: {origin} is no origin. Write it as https://example.com.")
        })?;
        Ok(Lambda { gateway: Gateway::open(settings, rooms)?, connections, origins, jobs })
    }

    /// The doors for one invocation.
    pub fn doors(&self, until: Option<Instant>) -> Doors {
        let queue = self.jobs.clone().map(|jobs| jobs as Arc<dyn Queue>);
        Doors { gateway: self.gateway.clone(), queue, until }
    }
}

/// Bedrock may be in another Region than the function and all that is kept.
fn bedrock(config: &SdkConfig, region: Option<&str>) -> Bedrock {
    match region {
        Some(region) => {
            let there = config.to_builder().region(Region::new(region.to_owned()));
            Bedrock::new(&there.build(), IDLE)
        }
        None => Bedrock::new(config, IDLE),
    }
}

/// Nothing is asked of it before the first question: a cold start does not wait for a search.
fn retrieval(
    connector: SharedHttpConnector,
    config: &SdkConfig,
    settings: &Settings,
    bedrock: &Arc<Bedrock>,
) -> Result<Option<Arc<dyn Retrieval>>, String> {
    if settings.retrieval.opensearch.is_none() {
        return Ok(None);
    }
    let model = SearchModel::open(settings, false, |api| match api {
        Api::Embedding => Some(bedrock.clone() as Arc<dyn Embedder>),
        _ => None,
    })?;
    let search = OpenSearch::open(connector, Some(config), &settings.retrieval, model.embedding())?;
    Ok(search.map(|search| Arc::new(search) as Arc<dyn Retrieval>))
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
pub async fn run<F: Function>(
    vars: Vec<(String, String)>,
    function: fn(Lambda) -> Result<F, String>,
) -> ExitCode {
    let filter = vars.iter().find(|(name, _)| name == "LLM_GATEWAY_LOG").map(|(_, value)| value.clone());
    telemetry::json_logs(filter.as_deref());
    if !vars.iter().any(|(name, _)| name == "AWS_LAMBDA_RUNTIME_API") {
        let sentence = "This is a Lambda function and Lambda is not here. On one machine run `llm-gateway`.";
        return failed_to_start(sentence);
    }
    let function = match Lambda::open(vars).await.and_then(function) {
        Ok(function) => function,
        Err(sentence) => {
            // Said before it is reported: Lambda may end the process as soon as it has heard.
            let failed = failed_to_start(&sentence);
            report_init_error(&sentence).await;
            return failed;
        }
    };
    match serve(Arc::new(function)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed_to_start(&error.to_string()),
    }
}

fn failed_to_start(sentence: &str) -> ExitCode {
    telemetry::cannot_start(sentence);
    ExitCode::FAILURE
}

/// The `rest` function: HTTP events, and by `ROLE` the worker or the authorizer.
pub struct Rest(Lambda);

impl Rest {
    /// The function over this gateway.
    ///
    /// # Errors
    /// None: every role has what it needs when the gateway is open.
    pub fn new(lambda: Lambda) -> Result<Rest, String> {
        Ok(Rest(lambda))
    }
}

impl Function for Rest {
    fn invoke(&self, event: Bytes, until: Instant) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            match self.0.gateway.settings.role {
                Role::Api => http(&self.0, &event, until).await,
                Role::Worker => jobs_event::handle(&self.0, &event, until).await,
                Role::Authorizer => authorizer::handle(&event),
            }
        })
    }

    fn rest(&self, until: Instant) -> BoxFuture<'_, ()> {
        Box::pin(self.0.gateway.carried.end(until))
    }
}

async fn http(lambda: &Lambda, event: &[u8], until: Instant) -> Answer {
    let response = match http_event::read(event, lambda.gateway.settings.caller_session) {
        Ok(HttpEvent { request, caller }) => {
            let origin = lambda.origins.allowed(request.headers());
            let preflight = request.method() == Method::OPTIONS;
            let mut response = match preflight {
                true => cors::preflight(),
                false => lambda.doors(Some(until)).http(request, caller).await,
            };
            if let Some(origin) = origin {
                cors::allow(response.headers_mut(), origin, preflight);
            }
            response
        }
        Err(error) => {
            tracing::error!(%error, "an event cannot be read");
            failed(&error, None)
        }
    };
    Answer::Http(Box::new(response))
}

/// The `ws` function.
pub struct Ws(Lambda);

impl Ws {
    /// The function over this gateway.
    ///
    /// # Errors
    /// A sentence where nothing says where frames are pushed to.
    pub fn new(lambda: Lambda) -> Result<Ws, String> {
        match &lambda.gateway.settings.callback_url {
            Some(_) => Ok(Ws(lambda)),
            None => Err("CALLBACK_URL is missing. Set it to the WebSocket API's address for pushes, \
                         https://API.execute-api.REGION.amazonaws.com/STAGE."
                .to_owned()),
        }
    }
}

impl Function for Ws {
    fn invoke(&self, event: Bytes, until: Instant) -> BoxFuture<'_, Answer> {
        Box::pin(async move { socket_event::handle(&self.0, &event, until).await })
    }

    fn rest(&self, until: Instant) -> BoxFuture<'_, ()> {
        Box::pin(self.0.gateway.carried.end(until))
    }
}
