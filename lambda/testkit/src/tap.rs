//! Stands before a service of AWS, or a stand-in of one, hands everything on, and writes down which
//! permissions the calls needed: what a role has to allow is what its function was seen to do.

mod call;

use bytes::Bytes;
use call::calls;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::collections::HashSet;
use std::convert::Infallible;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

pub use call::Service;

/// A file of calls, one JSON object a line: `function` (the access key that signed), `action` (of IAM) and
/// `resource` (its name, not its ARN). Each combination is written once.
#[derive(Debug)]
pub struct Record(Mutex<(File, HashSet<String>)>);

impl Record {
    /// Appends to this file, which is made if it is missing.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Record> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Record(Mutex::new((file, HashSet::new()))))
    }

    fn note(&self, service: Service, head: &Parts, body: &[u8]) {
        let function = signer(head);
        for (action, resource) in calls(service, head, body) {
            let line = json!({ "function": function, "action": action, "resource": resource }).to_string();
            let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if record.1.insert(line.clone()) {
                // In one write, because several taps may share the file; a call that is missing there fails
                // the test that reads it.
                let _read_later = record.0.write_all(format!("{line}\n").as_bytes());
            }
        }
    }
}

/// Who signed: the access key, where there is a signature.
fn signer(head: &Parts) -> &str {
    let value = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let credential = value.and_then(|value| value.split_once("Credential="));
    credential.and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
}

/// A running tap; it ends, connections included, when it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    task: AbortHandle,
}

impl Tap {
    /// Listens on a free port of 127.0.0.1 and hands on to the server at `to` (`HOST:PORT`).
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(service: Service, to: String, record: Arc<Record>) -> io::Result<Tap> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let connection = move || {
            let line = Arc::new(Line {
                service,
                to: to.clone(),
                record: Arc::clone(&record),
                ahead: Default::default(),
            });
            service_fn(move |request| {
                let line = Arc::clone(&line);
                async move { Ok::<_, Infallible>(line.pass(request).await.unwrap_or_else(|_| away())) }
            })
        };
        let task = tokio::spawn(crate::listen::serve(listener, None, connection)).abort_handle();
        Ok(Tap { address, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client's connection and the one to the server that belongs to it.
struct Line {
    service: Service,
    to: String,
    record: Arc<Record>,
    ahead: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Line {
    /// A client that goes away in mid-reply takes the server's connection along.
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Box<dyn Error + Send + Sync>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        self.record.note(self.service, &head, &body);

        let mut ahead = self.ahead.lock().await;
        let mut sender = match ahead.take() {
            // A server closes what was idle for long.
            Some(known) if !known.is_closed() => known,
            _ => self.connect().await?,
        };
        sender.ready().await?;
        let reply = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        *ahead = Some(sender);
        Ok(reply.map(BodyExt::boxed_unsync))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
        let socket = TcpStream::connect(&self.to).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// The server is not there, or was cut off.
fn away() -> Response<Body> {
    let mut reply = Response::new(Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync());
    *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signed_is_the_access_key() {
        let value =
            "AWS4-HMAC-SHA256 Credential=worker/20261123/us-east-1/sqs/aws4_request, SignedHeaders=host";
        let (head, ()) = Request::post("/").header("authorization", value).body(()).unwrap().into_parts();
        assert_eq!(signer(&head), "worker");
        let (head, ()) =
            Request::post("/").header("authorization", "Bearer x").body(()).unwrap().into_parts();
        assert_eq!(signer(&head), "");
    }

    #[tokio::test]
    async fn a_call_is_handed_on_and_written_down_once() {
        let standin = crate::bedrock::Standin::start().await;
        let file = std::env::temp_dir().join(format!("tap-{}", std::process::id()));
        let record = Arc::new(Record::open(&file).unwrap());
        let to = standin.url().replace("http://", "");
        let tap = Tap::start(Service::Bedrock, to, record).await.unwrap();

        for _ in 0..2 {
            let socket = TcpStream::connect(tap.address).await.unwrap();
            let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
            tokio::spawn(connection);
            let body = r#"{"messages":[{"role":"user","content":[{"text":"hello"}]}]}"#;
            let request = Request::post("/model/m%3A0/converse-stream").header("host", "x");
            let reply =
                sender.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
            assert_eq!(reply.status(), 200);
            assert!(!reply.into_body().collect().await.unwrap().to_bytes().is_empty());
        }
        let line =
            json!({ "function": "", "action": "bedrock:InvokeModelWithResponseStream", "resource": "m:0" });
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{line}\n"));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(standin.calls(), 2);
    }
}
