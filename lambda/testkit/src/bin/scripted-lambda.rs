//! A Lambda function that does what its event says, for the emulator's own tests.
//!
//! The script is a JSON list of steps, `{"do": […]}`, in the body of the request, message or queue
//! item, or in the query parameter `script`. Without one it answers what is right for the event: an
//! HTTP event is echoed, an authorizer allows the bearer's key, anything else is a 200.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::error::Error;
use std::io::Write;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::sleep;

type Failure = Box<dyn Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One step of a script.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Posts this whole.
    Post(Value),
    /// Posts a stream.
    Stream(Stream),
    /// Reports an error with this message.
    Error(String),
    /// Pushes a text to the event's connection and says the status.
    Push(String),
    /// Waits, in milliseconds.
    Sleep(u64),
    /// Writes a line to standard output.
    Say(String),
    /// Ends the process.
    Exit(i32),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stream {
    /// No prelude.
    bare: bool,
    chunks: Vec<String>,
    /// Between the chunks, in milliseconds.
    gap: u64,
    /// It ends with error trailers.
    fails: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API")?;
    let base = format!("http://{api}/2018-06-01/runtime");
    if std::env::var("INIT").is_ok_and(|init| init == "error") {
        send("POST", &format!("{base}/init/error"), &[], whole(r#"{"errorMessage":"no"}"#)).await?;
    }
    loop {
        let next = send("GET", &format!("{base}/invocation/next"), &[], whole("")).await?;
        let id = next.headers()["lambda-runtime-aws-request-id"].to_str()?.to_owned();
        let event: Value = serde_json::from_slice(&next.into_body().collect().await?.to_bytes())?;
        let url = format!("{base}/invocation/{id}");
        for step in script(&event) {
            run(step, &url, &event).await?;
        }
    }
}

async fn run(step: Step, url: &str, event: &Value) -> Result<(), Failure> {
    match step {
        Step::Post(value) => {
            send("POST", &format!("{url}/response"), &[], whole(&value.to_string())).await?;
        }
        Step::Stream(stream) => {
            let mode = [("lambda-runtime-function-response-mode", "streaming"), ("trailer", TRAILER)];
            send("POST", &format!("{url}/response"), &mode, streamed(stream)).await?;
        }
        Step::Error(message) => {
            let report = json!({ "errorMessage": message, "errorType": "Scripted" });
            send("POST", &format!("{url}/error"), &[], whole(&report.to_string())).await?;
        }
        Step::Push(text) => {
            let endpoint = std::env::var("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI")?;
            let id = event["requestContext"]["connectionId"].as_str().unwrap_or_default().replace('=', "%3D");
            let reply = send("POST", &format!("{endpoint}/@connections/{id}"), &[], whole(&text)).await?;
            writeln!(std::io::stdout(), "pushed {}", reply.status().as_u16())?;
        }
        Step::Sleep(millis) => sleep(Duration::from_millis(millis)).await,
        Step::Say(line) => writeln!(std::io::stdout(), "{line}")?,
        Step::Exit(code) => std::process::exit(code),
    }
    Ok(())
}

fn script(event: &Value) -> Vec<Step> {
    let places = [&event["body"], &event["Records"][0]["body"], &event["queryStringParameters"]["script"]];
    let scripts = places.into_iter().filter_map(Value::as_str);
    let mut parsed = scripts.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let found = parsed.find_map(|value| serde_json::from_value(value["do"].clone()).ok());
    found.unwrap_or_else(|| vec![usual(event)])
}

/// What is right for the event.
fn usual(event: &Value) -> Step {
    let http = event["version"] == "2.0" || event["httpMethod"].is_string();
    if event["type"] == "REQUEST" {
        let header = event["headers"]["authorization"].as_str().unwrap_or_default();
        let Some(key) = header.strip_prefix("Bearer ") else { return Step::Error("Unauthorized".into()) };
        let effect = if key == "denied" { "Deny" } else { "Allow" };
        let statement = json!({ "Effect": effect, "Action": "execute-api:Invoke", "Resource": "*" });
        return Step::Post(json!({ "principalId": "someone", "usageIdentifierKey": key,
            "policyDocument": { "Version": "2012-10-17", "Statement": [statement] },
            "context": { "team": "a", "level": 3 } }));
    }
    if http {
        return Step::Stream(Stream { chunks: vec![event.to_string()], ..Stream::default() });
    }
    let offered = event["headers"]["sec-websocket-protocol"].as_str().unwrap_or_default();
    match offered.split(", ").next().filter(|first| !first.is_empty()) {
        Some(first) => {
            Step::Post(json!({ "statusCode": 200, "headers": { "Sec-WebSocket-Protocol": first } }))
        }
        None => Step::Post(json!({ "statusCode": 200 })),
    }
}

const TRAILER: &str = "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body";

fn streamed(stream: Stream) -> Body {
    let (frames, receiver) = mpsc::channel::<Frame<Bytes>>(1);
    tokio::spawn(async move {
        if !stream.bare {
            let prelude = json!({ "statusCode": 200, "headers": { "content-type": "text/plain" } });
            frames.send(Frame::data(Bytes::from(prelude.to_string()))).await?;
            frames.send(Frame::data(Bytes::from_static(&[0; 8]))).await?;
        }
        for chunk in stream.chunks {
            frames.send(Frame::data(Bytes::from(chunk))).await?;
            sleep(Duration::from_millis(stream.gap)).await;
        }
        if stream.fails {
            let mut trailers = HeaderMap::new();
            trailers.insert("lambda-runtime-function-error-type", "Scripted".parse()?);
            frames.send(Frame::trailers(trailers)).await?;
        }
        Ok::<_, Failure>(())
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        Some((Ok(receiver.recv().await?), receiver))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn whole(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed_unsync()
}

/// One request on a connection of its own.
async fn send(
    method: &str,
    url: &str,
    headers: &[(&'static str, &str)],
    body: Body,
) -> Result<Response<Incoming>, Failure> {
    let uri: hyper::Uri = url.parse()?;
    let authority = uri.authority().ok_or("no host")?.as_str();
    let socket = TcpStream::connect(authority).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let mut request = Request::new(body);
    *request.method_mut() = method.parse()?;
    request.headers_mut().insert("host", authority.parse()?);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse()?);
    }
    *request.uri_mut() = uri.path().parse()?;
    Ok(sender.send_request(request).await?)
}
