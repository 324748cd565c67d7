//! WebSocket connections of the local port, with API Gateway's limits: 32 KB a frame, 128 KB a
//! message, 10 minutes idle.

use crate::guard::offers_subprotocol;
use crate::server::Server;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use gateway::chat::Caller;
use gateway::edge::Doors;
use gateway::edge::body::{Body, failed};
use gateway::edge::key::SUBPROTOCOL;
use gateway::edge::socket::{Gone, MESSAGE_LIMIT, Outlet, Session};
use gateway::edge::voice::FRAME_LIMIT;
use gateway::error::{Error, Kind};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as SocketError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// A connection on which nothing is said for this long is closed, as API Gateway does.
const IDLE: Duration = Duration::from_secs(600);

/// A client that closes has this long to take our answer.
const CLOSING: Duration = Duration::from_secs(1);

/// Frames on their way to the client. Few: what does not fit gathers in the replies themselves.
const WAITING: usize = 2;

/// Answers an upgrade request; the connection goes on in a task of its own.
pub fn upgrade(server: &Server, mut request: Request<Incoming>, caller: Caller) -> Response<Body> {
    let Some(accept) = accept_key(&request) else {
        let message = "This is no WebSocket handshake of version 13. Connect with a WebSocket client.";
        return failed(&Error::new(Kind::InvalidRequest, message), None);
    };
    let Ok(slot) = server.slots.clone().try_acquire_owned() else {
        let message = "There are too many connections. Try again in a moment.";
        return failed(&Error::new(Kind::Unavailable, message), None);
    };
    let with_protocol = offers_subprotocol(request.headers());
    let (doors, closing) = (server.doors.clone(), server.closing.clone());
    let upgraded = hyper::upgrade::on(&mut request);
    server.tasks.spawn(async move {
        match upgraded.await {
            Ok(upgraded) => serve(upgraded, doors, caller, closing).await,
            Err(error) => tracing::debug!(%error, "a WebSocket handshake ended early"),
        }
        drop(slot);
    });
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if with_protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

fn accept_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if text(header::SEC_WEBSOCKET_VERSION) != Some("13") || request.method() != http::Method::GET {
        return None;
    }
    let key = text(header::SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

async fn serve(upgraded: Upgraded, doors: Arc<Doors>, caller: Caller, closing: CancellationToken) {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MESSAGE_LIMIT);
    config.max_frame_size = Some(FRAME_LIMIT);
    config.read_buffer_size = 8 * 1024;
    config.write_buffer_size = 0;
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, mut stream) = socket.split();
    let (frames, next) = mpsc::channel(WAITING);
    let (urgent, first) = mpsc::channel(WAITING);
    let outlet = Arc::new(Frames { frames, urgent });
    let session = Session::new(doors, caller, outlet);
    let hang_up = CancellationToken::new();
    let writing = tokio::spawn(write(sink, next, first, hang_up.clone()));
    let why = read(&mut stream, &session, closing, &hang_up).await;
    drop(session);
    // The writer ends when the last sender is gone, or at once when the client is.
    if why.is_none() {
        hang_up.cancel();
    }
    let sink = writing.await;
    if let (Some(()), Ok(sink)) = (why, sink)
        && let Ok(mut socket) = stream.reunite(sink)
    {
        let _late = timeout(CLOSING, drain(socket.get_mut())).await;
    }
}

/// Reads what the client still sends and throws it away: a socket that is closed over unread bytes
/// is reset, and the client would never read why.
async fn drain(connection: &mut TokioIo<Upgraded>) {
    let mut bytes = [0; 4096];
    while matches!(connection.read(&mut bytes).await, Ok(read) if read > 0) {}
}

/// Reads texts until the client goes; replies run beside it and end with it.
async fn read(
    stream: &mut SplitStream<Socket>,
    session: &Session,
    closing: CancellationToken,
    hang_up: &CancellationToken,
) -> Option<()> {
    let mut replies = JoinSet::new();
    loop {
        let message = tokio::select! {
            message = timeout(IDLE, stream.next()) => message,
            () = closing.cancelled() => {
                // Replies have ended by now; their last frames may still be on their way.
                while replies.join_next().await.is_some() {}
                return close(session, CloseCode::Away, "the gateway is shutting down").await;
            }
            () = hang_up.cancelled() => return None,
            Some(_) = replies.join_next() => continue,
        };
        match message {
            Ok(Some(Ok(Message::Text(text)))) => {
                if let Some(going) = session.text(text.as_str()).await {
                    replies.spawn(going);
                }
            }
            Ok(Some(Ok(Message::Binary(_)))) => {
                return close(session, CloseCode::Unsupported, "send text").await;
            }
            Ok(Some(Ok(Message::Close(_)))) => {
                // Reading on is what sends the answer to the client's closing handshake.
                let _answered =
                    timeout(CLOSING, async { while let Some(Ok(_)) = stream.next().await {} }).await;
                return None;
            }
            Ok(None) => return None,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(SocketError::Capacity(_)))) => {
                return close(session, CloseCode::Size, "frames hold 32 KB, messages 128 KB").await;
            }
            Ok(Some(Err(SocketError::Utf8(_)))) => {
                return close(session, CloseCode::Invalid, "send UTF-8").await;
            }
            Ok(Some(Err(_))) => return None,
            Err(_) if !replies.is_empty() => {}
            Err(_) => return close(session, CloseCode::Away, "idle for 10 minutes").await,
        }
    }
}

async fn close(session: &Session, code: CloseCode, reason: &'static str) -> Option<()> {
    let _gone = session.close(u16::from(code), reason).await;
    Some(())
}

/// A frame, or the end.
enum Out {
    Text(String),
    Close(u16, &'static str),
}

struct Frames {
    frames: mpsc::Sender<Out>,
    urgent: mpsc::Sender<Out>,
}

impl Outlet for Frames {
    fn send(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async { self.frames.send(Out::Text(frame)).await.map_err(|_| Gone) })
    }

    fn urgent(&self, frame: String) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async { self.urgent.send(Out::Text(frame)).await.map_err(|_| Gone) })
    }

    fn close(&self, code: u16, reason: &'static str) -> BoxFuture<'_, Result<(), Gone>> {
        Box::pin(async move { self.frames.send(Out::Close(code, reason)).await.map_err(|_| Gone) })
    }
}

/// Writes frames until there can be no more, or the client is gone or stuck.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut next: mpsc::Receiver<Out>,
    mut first: mpsc::Receiver<Out>,
    hang_up: CancellationToken,
) -> SplitSink<Socket, Message> {
    loop {
        let out = tokio::select! {
            biased;
            () = hang_up.cancelled() => break,
            Some(out) = first.recv() => out,
            Some(out) = next.recv() => out,
            else => break,
        };
        let message = match out {
            Out::Text(text) => Message::Text(Utf8Bytes::from(text)),
            Out::Close(code, reason) => {
                let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) };
                let _gone = sink.send(Message::Close(Some(frame))).await;
                break;
            }
        };
        if sink.send(message).await.is_err() {
            break;
        }
    }
    // Whatever waits for room in the channels must learn that nobody writes any more.
    hang_up.cancel();
    sink
}
