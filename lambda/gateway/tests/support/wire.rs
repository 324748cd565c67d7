//! The way to the engine in the process, as a network has it: it can be listened to, and it can fail.
//!
//! The client is production's, with its retries and time limits. Like AWS, the wire answers a repeated
//! transaction by its token, and measures each request against the service's limits.
#![allow(dead_code)]

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_sdk_dynamodb::error::ConnectorError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use gateway::store::{Clock, Retention, Store, Tables};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[path = "limits.rs"]
pub mod limits;

/// What befalls one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service says no, with this status and code.
    Refused(u16, &'static str),
    /// A transaction is cancelled: each action for this reason.
    Cancelled(&'static str),
    /// The connection breaks before the service hears anything.
    Reset,
    /// It breaks after the service has done what it was asked.
    LostReply,
    /// Nothing is ever heard.
    Silence,
    /// The service does what it was asked after this long.
    Late(Duration),
    /// The service does the least it may: one key, one write, pages of one row.
    Partly,
    /// It gives a batch back as it came.
    Undone,
}

/// A request that was sent, and what came of it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub operation: String,
    pub body: Arc<Value>,
    /// The request units that the engine charged.
    pub units: f64,
}

type Plan = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

struct Line {
    /// Keeps the engine.
    engine: Store,
    plan: Mutex<Plan>,
    sent: Mutex<Vec<Sent>>,
    /// Answers to transactions, by their token.
    done: Mutex<HashMap<String, (u16, String)>>,
    /// Keys that transactions are at, where they are let collide.
    held: Mutex<Option<HashSet<String>>>,
    broken_limits: Mutex<Vec<String>>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Wire(Arc<Line>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// A wire to an engine of its own, in memory.
    pub async fn new(clock: Arc<dyn Clock>) -> Wire {
        let engine = Store::embedded(None, Retention::default(), clock).await.unwrap();
        Wire(Arc::new(Line {
            engine,
            plan: Mutex::new(Box::new(|_| None)),
            sent: Mutex::default(),
            done: Mutex::default(),
            held: Mutex::default(),
            broken_limits: Mutex::default(),
        }))
    }

    /// A store of a process of its own, at this end of the wire.
    pub fn store(&self, clock: Arc<dyn Clock>) -> Store {
        let tables = Tables { answers: "answers".into(), state: "state".into() };
        Store::new(self.client(), tables, Retention::default(), clock)
    }

    /// The same, but it tries nothing twice.
    pub fn store_without_retries(&self, clock: Arc<dyn Clock>) -> Store {
        let tables = Tables { answers: "answers".into(), state: "state".into() };
        let config = self.client().config().to_builder().retry_config(RetryConfig::disabled());
        Store::new(Client::from_conf(config.build()), tables, Retention::default(), clock)
    }

    /// A store beside the wire: nothing happens to what it asks.
    pub fn engine(&self) -> &Store {
        &self.0.engine
    }

    /// From now on, what befalls a request, by its operation.
    pub fn plan(&self, plan: impl FnMut(&str) -> Option<Fault> + Send + 'static) {
        *self.0.plan.lock().unwrap() = Box::new(plan);
    }

    /// This befalls the first `times` requests of the operation, every one where it is None.
    pub fn fault(&self, fault: Fault, operation: Option<&'static str>, times: usize) {
        let mut left = times;
        self.plan(move |asked| {
            let meant = operation.is_none_or(|operation| operation == asked) && left > 0;
            left -= usize::from(meant);
            meant.then_some(fault)
        });
    }

    /// From now on a transaction is cancelled where another one is at one of its rows.
    pub fn collide(&self) {
        *self.0.held.lock().unwrap() = Some(HashSet::new());
    }

    /// What was sent since it was last asked for.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.0.sent.lock().unwrap())
    }

    /// Sentences on requests that AWS would refuse for their size.
    pub fn broken_limits(&self) -> Vec<String> {
        self.0.broken_limits.lock().unwrap().clone()
    }

    fn client(&self) -> Client {
        let credentials = Credentials::new("test", "test", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url("http://store.invalid")
            .http_client(self.http_client());
        // The SDK has one purse of retries a process; a test that empties it must not empty another's.
        let purse = RetryPartition::new(gateway::chat::new_id());
        let config = Store::client(&config.build()).config().to_builder().retry_partition(purse);
        Client::from_conf(config.build())
    }

    fn http_client(&self) -> SharedHttpClient {
        let wire = self.clone();
        let inner = self.0.engine.service().config().http_client().unwrap();
        http_client_fn(move |settings, components| {
            let inner = inner.http_connector(settings, components);
            SharedHttpConnector::new(Connection { wire: wire.clone(), inner })
        })
    }

    /// Notes a request and measures it; its place among those sent.
    fn note(&self, operation: &str, body: &Arc<Value>, bytes: usize) -> usize {
        self.0.broken_limits.lock().unwrap().extend(limits::broken(operation, body, bytes));
        let mut sent = self.0.sent.lock().unwrap();
        sent.push(Sent { operation: operation.to_owned(), body: body.clone(), units: 0.0 });
        sent.len() - 1
    }

    fn next_fault(&self, operation: &str) -> Option<Fault> {
        (self.0.plan.lock().unwrap())(operation)
    }
}

/// One connection to the engine.
#[derive(Clone, Debug)]
struct Connection {
    wire: Wire,
    inner: SharedHttpConnector,
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connection = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
            let text = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            let fault = connection.wire.next_fault(&operation);
            connection.answer(request, operation, text, fault).await
        })
    }
}

impl Connection {
    async fn answer(
        &self,
        request: HttpRequest,
        operation: String,
        text: String,
        fault: Option<Fault>,
    ) -> Result<HttpResponse, ConnectorError> {
        let body: Arc<Value> = Arc::new(serde_json::from_str(&text).unwrap());
        let at = self.wire.note(&operation, &body, text.len());
        match fault {
            Some(Fault::Refused(status, code)) => return Ok(refusal(status, code, json!({}))),
            Some(Fault::Cancelled(reason)) => return Ok(cancelled(&body, reason)),
            Some(Fault::Reset) => return Err(reset()),
            Some(Fault::Undone) => return Ok(undone(&operation, &body)),
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Late(by)) => tokio::time::sleep(by).await,
            None | Some(Fault::LostReply | Fault::Partly) => {}
        }
        let Some(keys) = self.hold(&operation, &body) else {
            return Ok(cancelled(&body, "TransactionConflict"));
        };
        let (text, left) = match fault {
            Some(Fault::Partly) => least(&operation, &body),
            _ => (text, json!({})),
        };
        let token = body["ClientRequestToken"].as_str();
        let reply = self.forward(request, &operation, text, token).await;
        self.release(&keys).await;
        let (status, text) = reply?;
        let mut reply: Value = serde_json::from_str(&text).unwrap();
        if let Some(sent) = self.wire.0.sent.lock().unwrap().get_mut(at) {
            sent.units = limits::units(&reply);
        }
        if fault == Some(Fault::LostReply) {
            return Err(reset());
        }
        let left = left.as_object().unwrap();
        for (name, value) in left {
            reply[name.as_str()] = value.clone();
        }
        let text = if left.is_empty() { text } else { reply.to_string() };
        Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(text)))
    }

    async fn forward(
        &self,
        mut request: HttpRequest,
        operation: &str,
        mut text: String,
        token: Option<&str>,
    ) -> Result<(u16, String), ConnectorError> {
        if let Some(known) = token.and_then(|token| self.wire.0.done.lock().unwrap().get(token).cloned()) {
            return Ok(known);
        }
        if operation.contains("Item") || ["Query", "Scan"].contains(&operation) {
            text.replace_range(..1, r#"{"ReturnConsumedCapacity":"TOTAL","#);
        }
        *request.body_mut() = SdkBody::from(text);
        let reply = self.inner.call(request).await?;
        let status = reply.status().as_u16();
        let text = String::from_utf8(reply.body().bytes().unwrap().to_vec()).unwrap();
        if let (Some(token), 200) = (token, status) {
            self.wire.0.done.lock().unwrap().insert(token.to_owned(), (status, text.clone()));
        }
        Ok((status, text))
    }

    /// Takes the rows of a transaction; None where another one is at them.
    fn hold(&self, operation: &str, body: &Value) -> Option<Vec<String>> {
        let mut held = self.wire.0.held.lock().unwrap();
        let (Some(held), "TransactWriteItems") = (held.as_mut(), operation) else { return Some(Vec::new()) };
        let keys: Vec<String> = limits::actions(body).map(limits::key).collect();
        if keys.iter().any(|key| held.contains(key)) {
            return None;
        }
        held.extend(keys.iter().cloned());
        Some(keys)
    }

    /// A transaction takes AWS some milliseconds.
    async fn release(&self, keys: &[String]) {
        if keys.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Some(held) = self.wire.0.held.lock().unwrap().as_mut() {
            held.retain(|key| !keys.contains(key));
        }
    }
}

/// The least of a request that the service may do, and what it then says of the rest.
fn least(operation: &str, body: &Value) -> (String, Value) {
    let mut body = body.clone();
    let name = match operation {
        "BatchGetItem" => "UnprocessedKeys",
        "BatchWriteItem" => "UnprocessedItems",
        "Query" | "Scan" => {
            body["Limit"] = 1.into();
            return (body.to_string(), json!({}));
        }
        _ => return (body.to_string(), json!({})),
    };
    let mut rest = body["RequestItems"].clone();
    let table = rest.as_object().unwrap().keys().next().unwrap().clone();
    let list = if operation == "BatchGetItem" { format!("/{table}/Keys") } else { format!("/{table}") };
    let first = body["RequestItems"].pointer_mut(&list).unwrap().as_array_mut().unwrap();
    first.truncate(1);
    let others = rest.pointer_mut(&list).unwrap().as_array_mut().unwrap();
    others.remove(0);
    let done = others.is_empty();
    (body.to_string(), json!({name: if done { json!({}) } else { rest }}))
}

fn undone(operation: &str, body: &Value) -> HttpResponse {
    let name = if operation == "BatchGetItem" { "UnprocessedKeys" } else { "UnprocessedItems" };
    HttpResponse::new(200.try_into().unwrap(), SdkBody::from(json!({name: body["RequestItems"]}).to_string()))
}

fn refusal(status: u16, code: &str, more: Value) -> HttpResponse {
    let mut body =
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "so it is"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()))
}

fn cancelled(body: &Value, reason: &str) -> HttpResponse {
    let reasons: Vec<Value> = limits::actions(body).map(|_| json!({"Code": reason})).collect();
    refusal(400, "TransactionCanceledException", json!({"CancellationReasons": reasons}))
}

fn reset() -> ConnectorError {
    ConnectorError::io(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
}
