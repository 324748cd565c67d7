//! Serves invocations through the Lambda Runtime API, and posts the responses itself.
//!
//! `lambda_runtime` asks for events; our layer takes its inner service's place, for two reasons. Its
//! client does not set TCP_NODELAY, which holds a stream's first chunk back by 40 ms. And Lambda keeps
//! an environment until the runtime asks for `next`, not until the response is posted: the layer's
//! future goes on after the response, so a WebSocket event is answered at once and streamed after.

use crate::edge::body::Body;
use crate::edge::socket::Going;
use crate::telemetry::emf::TARGET as METRICS;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper_util::client::legacy::connect::HttpConnector;
use lambda_runtime::{Context, LambdaInvocation, Runtime, service_fn};
use lambda_runtime_api_client::body::Body as ApiBody;
use lambda_runtime_api_client::{BoxError, PooledClient};
use serde_json::{Map, Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

/// What a function does with an event.
pub enum Answer {
    /// A buffered response.
    Whole(Value),
    /// An HTTP reply in the streaming framing: JSON prelude, eight NUL bytes, body. Boxed for its size.
    Http(Box<Response<Body>>),
    /// A buffered response now, and work that goes on in the same invocation.
    Then(Value, Going),
    /// The message that API Gateway understands as a refusal.
    Refused(&'static str),
    /// The invocation failed with this message, which goes into the log.
    Failed(String),
}

/// A Lambda function.
pub trait Function: Send + Sync + 'static {
    /// Takes one event. What it starts must have ended by `until`, which leaves room before the
    /// function's own timeout for the last words.
    fn invoke(&self, event: Bytes, until: Instant) -> BoxFuture<'_, Answer>;

    /// Ready when nothing goes on any more for other processes: the environment may be frozen then.
    fn rest(&self, until: Instant) -> BoxFuture<'_, ()>;
}

/// What is left of an invocation for its last words and for storing them.
const MARGIN: Duration = Duration::from_secs(3);

/// Of that, how long last words may be tried to be said.
pub const LAST_WORDS: Duration = Duration::from_millis(2500);

/// Serves invocations until the process is ended.
///
/// # Errors
/// The Runtime API's, which end the process; Lambda starts another one.
pub async fn serve(function: Arc<dyn Function>) -> Result<(), BoxError> {
    let never =
        service_fn(|_: lambda_runtime::LambdaEvent<Value>| async { Ok::<Value, Infallible>(Value::Null) });
    Runtime::new(never).layer(Own { function, client: Arc::new(client()) }).run().await
}

fn client() -> PooledClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    PooledClient::builder().with_connector(connector).build()
}

/// Tells Lambda that the function cannot start, so that its caller and its metrics learn it too.
pub async fn report_init_error(sentence: &str) {
    let error = json!({"errorType": INIT_ERROR, "errorMessage": sentence, "stackTrace": []});
    let mut request = Request::new(ApiBody::from(error.to_string()));
    let kind = HeaderName::from_static("lambda-runtime-function-error-type");
    request.headers_mut().insert(kind, HeaderValue::from_static(INIT_ERROR));
    send(&client(), "init/error", request).await;
}

/// The class of an error before the first event.
const INIT_ERROR: &str = "Runtime.InvalidSettings";

struct Own {
    function: Arc<dyn Function>,
    client: Arc<PooledClient>,
}

impl<S> Layer<S> for Own {
    type Service = Serving;

    fn layer(&self, _replaced: S) -> Serving {
        Serving { function: self.function.clone(), client: self.client.clone() }
    }
}

/// The service that stands in for the runtime's own.
pub struct Serving {
    function: Arc<dyn Function>,
    client: Arc<PooledClient>,
}

impl Service<LambdaInvocation> for Serving {
    type Response = ();
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Poller<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let (function, client) = (self.function.clone(), self.client.clone());
        let LambdaInvocation { body, context, .. } = invocation;
        // What is logged in it carries these, so that lines can be joined with Lambda's own; under the
        // target that no filter turns off.
        let span = tracing::info_span!(
            target: METRICS,
            "invocation",
            aws_request_id = context.request_id,
            connection_id = tracing::field::Empty
        );
        let serving = async move {
            let until = until(&context);
            match function.invoke(body, until).await {
                Answer::Whole(value) => post(&client, &context, "response", value).await,
                Answer::Http(response) => stream_response(&client, &context, *response).await,
                Answer::Refused(message) => fail(&client, &context, message).await,
                Answer::Failed(message) => {
                    tracing::error!(message, "the invocation failed");
                    fail(&client, &context, &message).await;
                }
                Answer::Then(value, going) => {
                    post(&client, &context, "response", value).await;
                    going.await;
                }
            }
            function.rest(until).await;
            Ok(())
        };
        Box::pin(serving.instrument(span))
    }
}

async fn fail(client: &PooledClient, context: &Context, message: &str) {
    let error = json!({"errorType": "Error", "errorMessage": message});
    post(client, context, "error", error).await;
}

fn until(context: &Context) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_millis(context.deadline).saturating_sub(now);
    Instant::now() + left.saturating_sub(MARGIN)
}

/// Posts a buffered response or an error.
async fn post(client: &PooledClient, context: &Context, what: &str, value: Value) {
    let body = ApiBody::from(value.to_string());
    send(client, &of(context, what), Request::new(body)).await;
}

/// Posts a reply chunk by chunk.
async fn stream_response(client: &PooledClient, context: &Context, response: Response<Body>) {
    let (head, body) = response.into_parts();
    let prelude = prelude(head.status.as_u16(), &head.headers);
    let first = stream::iter([Bytes::from(prelude), Bytes::from_static(&[0; 8])]);
    // The body cannot fail: an error after the first byte is an event in the door's own format.
    let rest = body.into_data_stream().filter_map(|chunk| async { chunk.ok() });
    let frames = first.chain(rest).map(|bytes| Ok::<_, Infallible>(http_body::Frame::data(bytes)));
    let mut request = Request::new(ApiBody::new(StreamBody::new(frames)));
    let headers = request.headers_mut();
    let mode = HeaderName::from_static("lambda-runtime-function-response-mode");
    headers.insert(mode, HeaderValue::from_static("streaming"));
    let framed = HeaderValue::from_static("application/vnd.awslambda.http-integration-response");
    headers.insert(CONTENT_TYPE, framed);
    send(client, &of(context, "response"), request).await;
}

/// `{"statusCode", "headers", "cookies"}`; of several values of one header the last stands.
fn prelude(status: u16, headers: &HeaderMap) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let pairs = headers.iter().map(|(name, value)| (name.to_string(), Value::from(text(value))));
    json!({"statusCode": status, "headers": pairs.collect::<Map<_, _>>(), "cookies": []}).to_string()
}

fn of(context: &Context, what: &str) -> String {
    format!("invocation/{}/{what}", context.request_id)
}

async fn send(client: &PooledClient, what: &str, mut request: Request<ApiBody>) {
    *request.method_mut() = Method::POST;
    let sent = match format!("/2018-06-01/runtime/{what}").parse() {
        Ok(uri) => {
            *request.uri_mut() = uri;
            client.call(request).await
        }
        Err(error) => Err(Box::new(error) as BoxError),
    };
    match sent {
        Ok(answer) if answer.status().is_success() => {}
        Ok(answer) => {
            tracing::warn!(status = answer.status().as_u16(), what, "the Runtime API refused a response")
        }
        Err(error) => tracing::warn!(%error, what, "a response was not posted"),
    }
}
