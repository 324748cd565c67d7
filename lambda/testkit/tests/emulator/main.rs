//! The emulator, driven by real clients in front and a scripted function behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's helpers may fail")]

mod http;
mod lifecycle;
mod process;
mod socket;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::lambda::{Emulator, Invocation, Limits, Options};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// An emulator with the scripted function everywhere.
fn started(options: Options) -> Emulator {
    let program = env!("CARGO_BIN_EXE_scripted-lambda");
    Emulator::start(Options { rest: Some(program.into()), ws: Some(program.into()), ..options }).unwrap()
}

/// AWS's numbers but these.
fn with(change: impl FnOnce(&mut Limits)) -> Options {
    let mut options = Options::default();
    change(&mut options.limits);
    options
}

/// One environment a function, and patience for it.
fn single() -> Options {
    Options { concurrency: 1, ..with(|limits| limits.patience = Duration::from_secs(10)) }
}

fn script(steps: Value) -> String {
    json!({ "do": steps }).to_string()
}

/// Sends one request on a connection of its own.
async fn ask(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Incoming> {
    let uri: hyper::Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap().as_str();
    let socket = TcpStream::connect(authority).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let path = uri.path_and_query().unwrap().as_str();
    let mut request = Request::builder().method(method).uri(path).header("host", authority);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap()
}

async fn text(reply: Response<Incoming>) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn body_json(reply: Response<Incoming>) -> Value {
    serde_json::from_str(&text(reply).await).unwrap()
}

/// Polls until there is something; fails after 10 s.
async fn until<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it did not come true within 10 s");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The first finished invocation of this kind.
async fn finished(emulator: &Emulator, kind: &str) -> Invocation {
    until(|| {
        let all = emulator.seen().invocations;
        all.into_iter().find(|one| one.kind == kind && one.outcome.is_some())
    })
    .await
}
