//! A small HTTP client that does as little as it can: one kept-alive connection, one request at a time.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::bench::Failure;
use tokio::net::TcpStream;

/// A request to send.
pub struct Ask {
    /// Its path.
    pub path: String,
    /// Its JSON body.
    pub body: String,
}

/// How long a reply took from the first byte of its request.
#[derive(Clone, Copy)]
pub struct Timing {
    /// To the first byte of the reply's body.
    pub first: Duration,
    /// To the end of the reply.
    pub whole: Duration,
}

/// A kept-alive connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

impl Connection {
    /// Opens one, with TCP_NODELAY.
    pub async fn open(address: SocketAddr) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, address })
    }

    /// Sends a request and reads its reply to the end. Anything but a 200 is an error.
    pub async fn send(&mut self, ask: Ask) -> Result<Timing, Failure> {
        let (mut reply, begun, first) = self.begin(ask).await?;
        while let Some(frame) = reply.frame().await {
            frame?;
        }
        Ok(Timing { first, whole: begun.elapsed() })
    }

    /// Sends a request and reads its reply up to the first piece of the body. The rest flows as
    /// long as the one who asked keeps it and the connection.
    pub async fn begin(&mut self, ask: Ask) -> Result<(hyper::body::Incoming, Instant, Duration), Failure> {
        let request = Request::post(ask.path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(ask.body)))?;
        self.sender.ready().await?;
        let begun = Instant::now();
        let reply = self.sender.send_request(request).await?;
        let status = reply.status();
        let mut body = reply.into_body();
        if status != 200 {
            let said = body.collect().await?.to_bytes();
            return Err(format!("status {status}: {}", String::from_utf8_lossy(&said)).into());
        }
        let Some(piece) = body.frame().await else { return Err("a reply without a body".into()) };
        piece?;
        Ok((body, begun, begun.elapsed()))
    }
}
