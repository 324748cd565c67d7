//! An open WebSocket connection, with API Gateway's limits.

use super::events::{self, Connection};
use super::front::Front;
use super::moment::now;
use super::options::{FRAME, MESSAGE};
use super::records::Client;
use super::registry::Order;
use super::ws;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};

type Socket = WebSocketStream<TokioIo<Upgraded>>;
/// Code and reason of a close.
type Why = (u16, String);

/// How long a client has for its side of a close.
const FAREWELL: Duration = Duration::from_secs(1);
/// A client that has sent nothing for this long has no more on its way.
const QUIET: Duration = Duration::from_millis(100);

/// Serves the connection to its end, then tells the function with `$disconnect`.
pub(super) async fn run(front: Arc<Front>, connection: Connection, query: String, upgrade: OnUpgrade) {
    let connection = Arc::new(connection);
    let mut why = (1006, "the handshake was not finished".to_owned());
    if let Ok(upgraded) = upgrade.await {
        let mut config = WebSocketConfig::default();
        config.max_frame_size = Some(FRAME);
        config.max_message_size = Some(MESSAGE);
        config.write_buffer_size = 0;
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        let orders = front.registry.open(&connection.id, connection.connected_at);
        let id = connection.id.clone();
        let client = Client { id: id.clone(), query, opened: now(), closed: None, code: None };
        front.records.note(|seen| seen.connections.push(client));
        why = serve(&front, &connection, socket, orders).await;
        front.registry.close(&id);
        front.records.note(|seen| {
            for client in seen.connections.iter_mut().filter(|client| client.id == id) {
                (client.closed, client.code) = (Some(now()), Some(why.0));
            }
        });
    }
    let event = events::disconnect(&connection, why.0, &why.1);
    let _best_effort = ws::integrate(&front, "$disconnect", &event).await;
}

async fn serve(
    front: &Arc<Front>,
    connection: &Arc<Connection>,
    mut socket: Socket,
    mut orders: mpsc::Receiver<Order>,
) -> Why {
    let limits = &front.options.limits;
    let end = Instant::now() + limits.connection;
    let mut idle = Instant::now() + limits.idle;
    loop {
        let why = tokio::select! {
            message = socket.next() => match read(message) {
                Read::Text(text) => {
                    // Beside each other and in no order, as API Gateway does it.
                    tokio::spawn(ws::message(Arc::clone(front), Arc::clone(connection), text));
                    None
                }
                Read::Nothing => continue,
                Read::Over(why) => {
                    // The answer to the client's close frame is waiting to be sent.
                    let _gone_already = timeout(FAREWELL, socket.flush()).await;
                    return why;
                }
                Read::Refused(why) => Some(why),
            },
            order = orders.recv() => match order {
                Some(Order::Text(text)) => {
                    let sent = socket.send(Message::Text(Utf8Bytes::from(text))).await;
                    if sent.is_err() {
                        return (1006, "the connection broke".to_owned());
                    }
                    None
                }
                Some(Order::Close) | None => Some((1000, "Connection closed by the server".to_owned())),
            },
            () = sleep_until(idle) => Some((1001, "Going away".to_owned())),
            () = sleep_until(end) => Some((1001, "Going away".to_owned())),
        };
        if let Some(why) = why {
            front.registry.close(&connection.id);
            close(socket, &why).await;
            return why;
        }
        front.registry.active(&connection.id);
        idle = Instant::now() + limits.idle;
    }
}

enum Read {
    Text(String),
    Nothing,
    /// The client has ended it.
    Over(Why),
    /// It has to be closed.
    Refused(Why),
}

fn read(message: Option<Result<Message, SocketError>>) -> Read {
    let refused = |code: u16, why: &str| Read::Refused((code, why.to_owned()));
    match message {
        Some(Ok(Message::Text(text))) => Read::Text(text.as_str().to_owned()),
        Some(Ok(Message::Binary(_))) => refused(1003, "Binary is not supported"),
        Some(Ok(Message::Close(frame))) => Read::Over(match frame {
            Some(frame) => (frame.code.into(), frame.reason.as_str().to_owned()),
            None => (1005, "Client-side close frame status not set".to_owned()),
        }),
        Some(Ok(_)) => Read::Nothing,
        Some(Err(SocketError::Capacity(_))) => refused(1009, "Message too long"),
        Some(Err(SocketError::Utf8(_))) => refused(1007, "Not UTF-8"),
        Some(Err(_)) | None => Read::Over((1006, "Connection closed abnormally".to_owned())),
    }
}

/// Sends a close frame and reads what is still on its way: unread bytes would reset the connection,
/// and the client would lose the frame.
async fn close(mut socket: Socket, (code, reason): &Why) {
    let frame = CloseFrame { code: (*code).into(), reason: Utf8Bytes::from(reason.as_str()) };
    let sent = timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await;
    if !matches!(sent, Ok(Ok(()))) {
        return;
    }
    let raw = socket.get_mut();
    let drain = async {
        let mut bytes = vec![0; 16 * 1024];
        while matches!(timeout(QUIET, raw.read(&mut bytes)).await, Ok(Ok(count)) if count > 0) {}
    };
    let _late = timeout(FAREWELL, drain).await;
}
