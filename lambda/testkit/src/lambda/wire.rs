//! HTTP as every server of the emulator needs it: listening, reading a request, answering.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// A reply's body: an error in it cuts the connection.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// A reply.
pub(super) type Reply = Response<Body>;

/// Binds this port of 127.0.0.1; 0 picks one. Needs a tokio runtime.
pub(super) fn listen(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}

/// Serves every connection until the handle is aborted, which closes all of them.
pub(super) fn serve<S, F>(
    listener: TcpListener,
    state: Arc<S>,
    handle: fn(Arc<S>, Request<Incoming>) -> F,
) -> AbortHandle
where
    S: Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let accept = async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            let _best_effort = socket.set_nodelay(true);
            let state = Arc::clone(&state);
            let service = service_fn(move |request| {
                let reply = handle(Arc::clone(&state), request);
                async move { Ok::<_, Infallible>(reply.await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            connections.spawn(http.serve_connection(TokioIo::new(socket), service).with_upgrades());
        }
    };
    tokio::spawn(accept).abort_handle()
}

/// A client's request, read to its end.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The method.
    pub method: Method,
    /// Path and query, as sent.
    pub uri: Uri,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Asked {
    /// Reads the body. An error where it breaks off or is longer than `limit` bytes.
    pub async fn read(request: Request<Incoming>, limit: usize) -> Result<Asked, ()> {
        let (head, body) = request.into_parts();
        let body = http_body_util::Limited::new(body, limit).collect().await.map_err(drop)?.to_bytes();
        Ok(Asked { method: head.method, uri: head.uri, headers: head.headers, body })
    }

    /// A request of which the body is not wanted.
    pub fn head(request: &Request<Incoming>) -> Asked {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Asked { method, uri, headers: request.headers().clone(), body: Bytes::new() }
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The path below the stage, `None` for one outside of it.
    pub fn in_stage(&self) -> Option<&str> {
        let path = self.uri.path().strip_prefix('/')?.strip_prefix(super::events::STAGE)?;
        match path {
            "" => Some("/"),
            _ => path.starts_with('/').then_some(path),
        }
    }

    /// The headers as pairs, in order.
    pub fn headers(&self) -> Vec<(String, String)> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
    }

    /// The headers as an API passes them on: what it adds, and `Host` in its own spelling.
    pub fn forwarded(&self) -> Vec<(String, String)> {
        let mut all = self.headers();
        for (name, _) in &mut all {
            if name == "host" {
                "Host".clone_into(name);
            }
        }
        let trace = format!("Root=1-{:08x}-{}", super::moment::now_ms() / 1000, "0123456789abcdef01234567");
        for (name, value) in [
            ("X-Amzn-Trace-Id", trace.as_str()),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Port", "443"),
            ("X-Forwarded-Proto", "https"),
        ] {
            all.push((name.to_owned(), value.to_owned()));
        }
        all
    }

    /// The query's pairs, decoded, in order.
    pub fn query(&self) -> Vec<(String, String)> {
        let decode = |text: &str| {
            let spaces = text.replace('+', " ");
            percent_encoding::percent_decode_str(&spaces).decode_utf8_lossy().into_owned()
        };
        let pairs = self.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(n, v)| (decode(n), decode(v)))
            .collect()
    }

    /// Whether a function URL takes this content type for text.
    pub fn is_text(&self) -> bool {
        let kind =
            self.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let known = ["application/json", "application/javascript", "application/xml"];
        kind.starts_with("text/")
            || known.contains(&kind)
            || kind.ends_with("+json")
            || kind.ends_with("+xml")
    }
}

/// A whole JSON reply.
pub(super) fn json(status: u16, body: &Value) -> Reply {
    let mut reply = whole(status, Bytes::from(body.to_string()));
    reply.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    reply
}

/// A whole reply.
pub(super) fn whole(status: u16, body: Bytes) -> Reply {
    let body = Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    reply
}

/// `{"message": …}`, as API Gateway answers what it refuses itself.
pub(super) fn refused(status: u16, message: &str) -> Reply {
    json(status, &serde_json::json!({ "message": message }))
}
