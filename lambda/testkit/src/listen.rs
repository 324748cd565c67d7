//! Serves HTTP/1.1 connections, plain or over TLS.

use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::error::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Serves until it is dropped, and closes every connection then. `service` is asked for once a
/// connection, after TLS has been agreed on.
pub async fn serve<S, B>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: impl Fn() -> S + Send + Sync + Clone + 'static,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let _ = socket.set_nodelay(true);
        let service = service.clone();
        match tls.clone() {
            None => connections.spawn(connection(socket, service())),
            Some(tls) => connections.spawn(async move {
                // A client that does not trust the certificate is gone by now.
                if let Ok(socket) = tls.accept(socket).await {
                    connection(socket, service()).await;
                }
            }),
        };
    }
}

async fn connection<S, B>(socket: impl AsyncRead + AsyncWrite + Unpin, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let server = hyper::server::conn::http1::Builder::new();
    // It ends with its client, or as the service has it.
    let _ended = server.serve_connection(TokioIo::new(socket), service).await;
}
