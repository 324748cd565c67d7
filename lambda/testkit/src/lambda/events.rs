//! The events: AWS's documented examples (`contract/events`), filled with what a client sent.
//!
//! An example is the template, so an event has every key that the documents show, and no key that
//! they do not.

use super::moment::{now_ms, text};
use super::wire::Asked;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

const REST: &str = include_str!("../../../../contract/events/rest.json");
const FUNCTION_URL: &str = include_str!("../../../../contract/events/function-url.json");
const CONNECT: &str = include_str!("../../../../contract/events/ws-connect.json");
const MESSAGE: &str = include_str!("../../../../contract/events/ws-message.json");
const DISCONNECT: &str = include_str!("../../../../contract/events/ws-disconnect.json");
const SQS: &str = include_str!("../../../../contract/events/sqs.json");

/// The stage that both APIs are deployed to.
pub(super) const STAGE: &str = "prod";
/// The account that everything runs in.
pub(super) const ACCOUNT: &str = "123456789012";

/// A message of SQS.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its id.
    pub id: String,
    /// Its text.
    pub body: String,
    /// MD5 of that, in hexadecimal.
    pub md5: String,
    /// When it was sent, milliseconds since 1970.
    pub sent_ms: u64,
}

/// What API Gateway knows of who is asking.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// Name and text of the API key that was recognised.
    pub key: Option<(String, String)>,
    /// Access key of the request's signature.
    pub access_key: Option<String>,
    /// The authorizer's context, with its principal.
    pub authorizer: Option<Value>,
}

impl Identity {
    /// The ARN that a signed request is taken to come from: an assumed role named like the access key.
    fn arn(&self) -> Option<String> {
        let key = self.access_key.as_ref()?;
        Some(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{key}/session"))
    }

    /// Writes it into a request context of a REST or WebSocket API.
    fn fill(&self, context: &mut Value) {
        let identity = &mut context["identity"];
        if let Some((name, key)) = &self.key {
            identity["apiKeyId"] = json!(name);
            identity["apiKey"] = json!(key);
        }
        if let (Some(key), Some(arn)) = (&self.access_key, self.arn()) {
            identity["accessKey"] = json!(key);
            identity["accountId"] = json!(ACCOUNT);
            identity["userArn"] = json!(arn);
            identity["caller"] = json!(format!("AROA{key}:session"));
            identity["user"] = json!(format!("AROA{key}:session"));
        }
        if let Some(authorizer) = &self.authorizer {
            context["authorizer"] = authorizer.clone();
        }
    }
}

/// A REST API's proxy event (payload 1.0). `None` for a path outside the stage.
pub(super) fn rest(asked: &Asked, identity: &Identity) -> Option<Value> {
    let mut event = template(REST);
    let path = asked.in_stage()?;
    event["path"] = json!(path);
    event["httpMethod"] = json!(asked.method.as_str());
    headers_and_query(&mut event, asked);
    let rest_of_it = path.trim_start_matches('/');
    let decoded = percent_encoding::percent_decode_str(rest_of_it).decode_utf8_lossy();
    event["pathParameters"] = if rest_of_it.is_empty() { Value::Null } else { json!({ "proxy": decoded }) };
    let resource = if rest_of_it.is_empty() { "/" } else { "/{proxy+}" };
    event["resource"] = json!(resource);
    event["body"] =
        if asked.body.is_empty() { Value::Null } else { json!(String::from_utf8_lossy(&asked.body)) };

    let context = &mut event["requestContext"];
    context["resourcePath"] = json!(resource);
    context["httpMethod"] = json!(asked.method.as_str());
    context["path"] = json!(asked.uri.path());
    context["requestId"] = json!(uuid::Uuid::new_v4().to_string());
    times(context);
    context["identity"]["userAgent"] = json!(asked.header("user-agent"));
    context["identity"]["sourceIp"] = json!("127.0.0.1");
    identity.fill(context);
    Some(event)
}

/// A function URL's event (payload 2.0).
pub(super) fn function_url(asked: &Asked, identity: &Identity) -> Value {
    let mut event = template(FUNCTION_URL);
    event["rawPath"] = json!(asked.uri.path());
    event["rawQueryString"] = json!(asked.uri.query().unwrap_or_default());
    event["headers"] = joined(&asked.headers());
    let query = joined(&asked.query());
    remove_if(&mut event, "queryStringParameters", query.as_object().is_none_or(Map::is_empty));
    if event.get("queryStringParameters").is_some() {
        event["queryStringParameters"] = query;
    }
    if let Some(cookies) = asked.header("cookie") {
        event["cookies"] = cookies.split("; ").collect();
    }
    match (asked.body.is_empty(), asked.is_text(), std::str::from_utf8(&asked.body)) {
        (true, ..) => {
            remove_if(&mut event, "body", true);
            event["isBase64Encoded"] = json!(false);
        }
        (_, true, Ok(body)) => {
            event["body"] = json!(body);
            event["isBase64Encoded"] = json!(false);
        }
        _ => event["body"] = json!(STANDARD.encode(&asked.body)),
    }

    let context = &mut event["requestContext"];
    let agent = asked.header("user-agent");
    context["http"] = json!({ "method": asked.method.as_str(), "path": asked.uri.path(),
        "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": agent });
    context["requestId"] = json!(uuid::Uuid::new_v4().to_string());
    context["timeEpoch"] = json!(now_ms());
    context["time"] = json!(text(now_ms()));
    if let (Some(key), Some(arn)) = (&identity.access_key, identity.arn()) {
        context["accountId"] = json!(ACCOUNT);
        context["authorizer"] = json!({ "iam": { "accessKey": key, "accountId": ACCOUNT,
            "callerId": format!("AROA{key}:session"), "cognitoIdentity": null, "principalOrgId": null,
            "userArn": arn, "userId": format!("AROA{key}:session") } });
    }
    event
}

/// What is constant for a WebSocket connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// API Gateway's id: base64 that ends in `=`, as the true ones do.
    pub id: String,
    /// Milliseconds since 1970.
    pub connected_at: u64,
    /// Host and port that the client came to.
    pub domain: String,
    /// Who it is.
    pub identity: Identity,
    /// The client's `User-Agent`.
    pub agent: Option<String>,
}

impl Connection {
    fn fill(&self, event: &mut Value) {
        let context = &mut event["requestContext"];
        let request = short_id();
        context["connectionId"] = json!(self.id);
        context["connectedAt"] = json!(self.connected_at);
        context["domainName"] = json!(self.domain);
        context["requestId"] = json!(request);
        context["extendedRequestId"] = json!(request);
        context["identity"] = json!({ "sourceIp": "127.0.0.1", "userAgent": self.agent });
        times(context);
        self.identity.fill(context);
    }
}

/// `$connect`, with the handshake's headers and query.
pub(super) fn connect(connection: &Connection, asked: &Asked) -> Value {
    let mut event = template(CONNECT);
    headers_and_query(&mut event, asked);
    for name in ["queryStringParameters", "multiValueQueryStringParameters"] {
        let absent = event[name].is_null();
        remove_if(&mut event, name, absent);
    }
    connection.fill(&mut event);
    event
}

/// A client's message on its route.
pub(super) fn message(connection: &Connection, route: &str, body: &str) -> Value {
    let mut event = template(MESSAGE);
    connection.fill(&mut event);
    event["requestContext"]["routeKey"] = json!(route);
    event["requestContext"]["messageId"] = json!(short_id());
    event["body"] = json!(body);
    event
}

/// `$disconnect`, with the close code and reason.
pub(super) fn disconnect(connection: &Connection, code: u16, reason: &str) -> Value {
    let mut event = template(DISCONNECT);
    connection.fill(&mut event);
    event["requestContext"]["disconnectStatusCode"] = json!(code);
    event["requestContext"]["disconnectReason"] = json!(reason);
    event
}

/// A batch of one SQS message: its receipt, and how often it was received by now.
pub(super) fn sqs(message: &Message, receipt: &str, received: u32) -> Value {
    let mut event = template(SQS);
    let record = &mut event["Records"][0];
    record["messageId"] = json!(message.id);
    record["receiptHandle"] = json!(receipt);
    record["body"] = json!(message.body);
    record["md5OfBody"] = json!(message.md5);
    record["attributes"]["ApproximateReceiveCount"] = json!(received.to_string());
    record["attributes"]["SentTimestamp"] = json!(message.sent_ms.to_string());
    record["attributes"]["ApproximateFirstReceiveTimestamp"] = json!(now_ms().to_string());
    event
}

/// The REQUEST authorizer's event for an event that is about to be sent: the same request, without
/// body, under the ARN of its method.
pub(super) fn authorizer(event: &Value) -> Value {
    let mut asked = event.clone();
    let context = &event["requestContext"];
    let api = context["apiId"].as_str().unwrap_or_default();
    let method = event["httpMethod"].as_str();
    let path = event["path"].as_str().unwrap_or_default();
    let rest_of_arn = method.map_or("$connect".to_owned(), |method| format!("{method}{path}"));
    remove_if(&mut asked, "body", true);
    remove_if(&mut asked, "isBase64Encoded", true);
    asked["type"] = json!("REQUEST");
    asked["methodArn"] =
        json!(format!("arn:aws:execute-api:us-east-1:{ACCOUNT}:{api}/{STAGE}/{rest_of_arn}"));
    asked
}

/// An id as API Gateway makes them: 16 characters of base64, the last one `=`.
pub(super) fn short_id() -> String {
    base64::engine::general_purpose::URL_SAFE.encode(&uuid::Uuid::new_v4().as_bytes()[..11])
}

fn template(text: &str) -> Value {
    // A unit test parses each of them; an event of `null` would fail every other test, too.
    serde_json::from_str(text).unwrap_or_default()
}

fn times(context: &mut Value) {
    context["requestTimeEpoch"] = json!(now_ms());
    context["requestTime"] = json!(text(now_ms()));
}

fn remove_if(event: &mut Value, name: &str, condition: bool) {
    if let (true, Some(event)) = (condition, event.as_object_mut()) {
        event.remove(name);
    }
}

/// Payload 1.0: the last value of each name, and all of them; `null` where there is no query.
fn headers_and_query(event: &mut Value, asked: &Asked) {
    let (single, multi) = last_and_all(&asked.forwarded());
    event["headers"] = single;
    event["multiValueHeaders"] = multi;
    let query = asked.query();
    let (single, multi) = if query.is_empty() { (Value::Null, Value::Null) } else { last_and_all(&query) };
    event["queryStringParameters"] = single;
    event["multiValueQueryStringParameters"] = multi;
}

fn last_and_all(pairs: &[(String, String)]) -> (Value, Value) {
    let (mut single, mut multi) = (Map::new(), Map::new());
    for (name, value) in pairs {
        single.insert(name.clone(), json!(value));
        let all = multi.entry(name.clone()).or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(json!(value));
        }
    }
    (Value::Object(single), Value::Object(multi))
}

/// Payload 2.0: the values of one name joined by commas.
fn joined(pairs: &[(String, String)]) -> Value {
    let mut all = Map::new();
    for (name, value) in pairs {
        let together = match all.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value.clone(),
        };
        all.insert(name.clone(), json!(together));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests;
