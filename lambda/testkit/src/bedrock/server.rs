//! The stand-in as a server: started, steered and looked at by a test.

use super::calls::handle;
use super::knobs::Knobs;
use super::log::{Dropped, Log, Recorded, lock};
use super::vectors::Vectors;
use super::wire::Stream;
use crate::listen::serve;
use hyper::service::service_fn;
use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// A running stand-in; it stops, connections included, when it is dropped.
pub struct Standin {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
    task: AbortHandle,
}

impl Standin {
    /// Starts one on a free port of 127.0.0.1. Panics where it cannot listen: a test without its
    /// server has to fail.
    #[expect(clippy::panic, reason = "a test without its server has to fail")]
    pub async fn start() -> Standin {
        match Standin::on(0).await {
            Ok(standin) => standin,
            Err(error) => panic!("the Bedrock stand-in cannot listen on 127.0.0.1: {error}"),
        }
    }

    /// Starts one on this port of 127.0.0.1; 0 picks a free one.
    pub async fn on(port: u16) -> io::Result<Standin> {
        Standin::listen(port, None).await
    }

    /// Starts one behind TLS, on a free port.
    pub async fn over_tls(tls: TlsAcceptor) -> io::Result<Standin> {
        Standin::listen(0, Some(tls)).await
    }

    async fn listen(port: u16, tls: Option<TlsAcceptor>) -> io::Result<Standin> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::clone(&state);
        let service = move || {
            shared.log.connections.fetch_add(1, Ordering::SeqCst);
            let state = Arc::clone(&shared);
            service_fn(move |request| {
                let state = Arc::clone(&state);
                async move { Ok::<_, Infallible>(handle(&state, request).await) }
            })
        };
        // Dropping the task closes every connection.
        let task = tokio::spawn(serve(listener, tls, service)).abort_handle();
        Ok(Standin { address, scheme, state, task })
    }

    /// `http://127.0.0.1:PORT`, or `https://`, for `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Turns the knobs for every request from now on and counts tries afresh.
    pub fn set(&self, knobs: Knobs) {
        *lock(&self.state.prepared) = Arc::new(Prepared::of(knobs));
        lock(&self.state.tries).clear();
    }

    /// Knobs for the next requests, one each, before those of [`Standin::set`] hold again.
    pub fn script(&self, knobs: impl IntoIterator<Item = Knobs>) {
        lock(&self.state.script).extend(knobs);
    }

    /// Stops recording requests, so that a long benchmark does not grow the process.
    pub fn forget_requests(&self) {
        self.state.forgetful.store(true, Ordering::SeqCst);
    }

    /// Embeds the texts that these know with them, and all others as before.
    pub fn embed_with(&self, vectors: Vectors) {
        *lock(&self.state.vectors) = Arc::new(vectors);
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.state.log.requests).clone()
    }

    /// How many requests there were, refused ones included.
    pub fn calls(&self) -> usize {
        self.state.log.calls.load(Ordering::SeqCst)
    }

    /// How many connections there were: a client that pools them needs few.
    pub fn connections(&self) -> usize {
        self.state.log.connections.load(Ordering::SeqCst)
    }

    /// How many replies are being sent now.
    pub fn open(&self) -> usize {
        self.state.log.open.load(Ordering::SeqCst)
    }

    /// The replies whose client went away before their end.
    pub fn dropped(&self) -> Vec<Dropped> {
        lock(&self.state.log.dropped).clone()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the connections share.
#[derive(Default)]
pub(super) struct State {
    /// The knobs that hold for every request.
    pub prepared: Mutex<Arc<Prepared>>,
    /// The knobs of the next requests.
    pub script: Mutex<VecDeque<Knobs>>,
    /// Refusals given so far, by what they are counted under.
    pub tries: Mutex<HashMap<String, u32>>,
    /// Requests are not recorded.
    pub forgetful: AtomicBool,
    /// The texts that are embedded with vectors of a real model.
    pub vectors: Mutex<Arc<Vectors>>,
    /// What was seen.
    pub log: Arc<Log>,
}

/// Knobs, and their stream where it is the same for every question: a benchmark measures the
/// gateway in front of the stand-in, so that the stand-in must cost little.
#[derive(Default)]
pub(super) struct Prepared {
    /// The knobs.
    pub knobs: Knobs,
    /// Their stream.
    pub stream: Option<Stream>,
}

impl Prepared {
    fn of(knobs: Knobs) -> Prepared {
        let same_for_all = knobs.usage.is_some() && (knobs.text.is_some() || knobs.tokens.is_some());
        let stream = same_for_all.then(|| Stream::of(&knobs, ""));
        Prepared { knobs, stream }
    }
}
