//! The port: connections in, one HTTP request at a time to the guard and then to the doors.

use crate::guard::{Guard, Pass, is_upgrade};
use crate::websocket;
use bytes::{Bytes, BytesMut};
use gateway::chat::{Caller, new_id};
use gateway::edge::body::{Body, failed};
use gateway::edge::cors;
use gateway::edge::{BODY_LIMIT, Doors};
use gateway::error::{Error, Kind};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; more wait to be accepted.
pub const CONNECTIONS: usize = 10_000;

/// A client that takes no byte for this long is cut off.
const STUCK: Duration = Duration::from_secs(30);

/// A client has this long for a request's head, and for its body.
const SLOW: Duration = Duration::from_secs(30);

/// So much of a body over the limit is read and thrown away, so that its sender gets to read why.
const DRAIN: usize = 64 * 1024 * 1024;

/// What every connection needs.
pub struct Server {
    /// Where requests go.
    pub doors: Arc<Doors>,
    /// Who may pass.
    pub guard: Guard,
    /// Rings when connections should close.
    pub closing: CancellationToken,
    /// One for each connection there may be.
    pub slots: Arc<Semaphore>,
    /// The connections and their tasks.
    pub tasks: TaskTracker,
}

impl Server {
    /// Accepts connections until `closing` of the accept loop rings.
    pub async fn accept(self: Arc<Server>, listener: TcpListener, stop: CancellationToken) {
        loop {
            let next = async {
                let slot = self.slots.clone().acquire_owned().await;
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let server = self.clone();
                    self.tasks.spawn(async move {
                        server.connection(stream).await;
                        drop(slot);
                    });
                }
                // Out of files, or the client is gone already: the next one may fare better.
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Server>, stream: TcpStream) {
        // Small frames must not wait for an acknowledgement: 40 ms a stream.
        let _still_works_without = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STUCK));
        let closing = self.closing.clone();
        let service = service_fn(move |request| {
            let server = self.clone();
            async move { Ok::<_, Infallible>(server.request(request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(SLOW).max_buf_size(64 * 1024);
        let connection = http.serve_connection(TokioIo::new(Box::pin(stream)), service).with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn request(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let pass = match self.guard.check(&head) {
            Ok(pass) => pass,
            Err(error) => return failed(&error, Some(&new_id())),
        };
        let Pass { caller, origin } = pass;
        let preflight = head.method == Method::OPTIONS;
        let mut response = match caller {
            Ok(caller) => self.answer(Request::from_parts(head, body), caller).await,
            Err(error) => failed(&error, Some(&new_id())),
        };
        if let Some(origin) = origin {
            cors::allow(response.headers_mut(), origin, preflight);
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>, caller: Caller) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.method == Method::OPTIONS {
            cors::preflight()
        } else if is_upgrade(&head.headers) {
            websocket::upgrade(self, Request::from_parts(head, body), caller)
        } else if head.method == Method::GET && head.uri.path() == "/" {
            index(&head.headers)
        } else {
            match read(body).await {
                // Boxed: hyper keeps room for this future as long as a connection is open.
                Ok(bytes) => Box::pin(self.doors.http(Request::from_parts(head, bytes), caller)).await,
                Err(error) => failed(&error, Some(&new_id())),
            }
        }
    }
}

/// The whole body, within the limits of size and time.
async fn read(mut body: Incoming) -> Result<Bytes, Error> {
    let too_large = || {
        let message =
            format!("The body is over the limit of {} MB. Send a shorter prompt.", BODY_LIMIT / 1024 / 1024);
        Error::new(Kind::TooLarge, message)
    };
    let broken = |error: hyper::Error| {
        Error::new(Kind::InvalidRequest, "The body ended before it was complete.").because(error)
    };
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > DRAIN {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(expected.min(BODY_LIMIT));
    let mut size = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            size += data.len();
            if size > DRAIN {
                return Err(too_large());
            }
            if size <= BODY_LIMIT {
                bytes.extend_from_slice(&data);
            }
        }
        if size > BODY_LIMIT { Err(too_large()) } else { Ok(()) }
    };
    let slow = |_| Error::new(Kind::InvalidRequest, "The body took too long to arrive.");
    timeout(SLOW, reading).await.map_err(slow)??;
    Ok(bytes.freeze())
}

/// What a browser shows at the address that the command prints.
fn index(headers: &HeaderMap) -> Response<Body> {
    // The guard has let no other Host through than names of this gateway.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let text = "LLM Gateway is running.\n\n\
                Ask:     curl -d '{\"prompt\":\"What is this?\"}' http://HOST:PORT/local.extractive\n\
                Chat:    wscat -c ws://HOST:PORT, then {\"action\":\"sendmessage\",\"prompt\":\"What is this?\"}\n\
                Health:  GET /health\n\n\
                README.md has every door with a line to paste.\n";
    let mut response = Response::new(Body::Whole(Bytes::from(text.replace("HOST:PORT", host))));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
