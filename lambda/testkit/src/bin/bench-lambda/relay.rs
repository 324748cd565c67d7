//! Takes TLS off in front of a server that speaks none, and counts how long that server takes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testkit::bench::Failure;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A relay; it stops when it is dropped.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    /// Nanoseconds between a request's last bytes and the first of its reply, all requests added up.
    waited: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Relay {
    /// Passes connections on to `server`, a host and port.
    pub async fn to(server: String, tls: TlsAcceptor) -> Result<Relay, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let waited = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(accept(listener, tls, server, waited.clone())).abort_handle();
        Ok(Relay { address, waited, task })
    }

    /// The server's own time since this was last asked.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, server: String, waited: Arc<AtomicU64>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let (tls, server, waited) = (tls.clone(), server.clone(), waited.clone());
        tokio::spawn(async move {
            let (near, far) = (tls.accept(socket).await?, TcpStream::connect(server).await?);
            far.set_nodelay(true)?;
            let ((near_in, near_out), (far_in, far_out)) = (split(near), far.into_split());
            let asked = Mutex::new(None);
            let sent = || *asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            let came = || {
                let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).take();
                let nanos = asked.map_or(0, |asked: Instant| asked.elapsed().as_nanos() as u64);
                waited.fetch_add(nanos, Ordering::Relaxed);
            };
            tokio::try_join!(pass(near_in, far_out, sent), pass(far_in, near_out, came))
        });
    }
}

/// Copies until the end, and says so of each piece once it has come.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    came: impl Fn(),
) -> std::io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let size = from.read(&mut piece).await?;
        if size == 0 {
            return to.shutdown().await;
        }
        came();
        to.write_all(piece.get(..size).unwrap_or_default()).await?;
        to.flush().await?;
    }
}
