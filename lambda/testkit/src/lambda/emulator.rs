//! The emulator as a whole: started, steered and looked at by a test.

use super::front::Front;
use super::knobs::Knobs;
use super::options::Options;
use super::records::{Line, Seen};
use super::{control, mapping, queue, rest, wire, ws};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Where it listens.
#[derive(Clone, Debug, Serialize)]
pub struct Urls {
    /// The REST API's stage, `http://127.0.0.1:PORT/prod`.
    pub rest: String,
    /// The function URL, `http://127.0.0.1:PORT`.
    pub function_url: String,
    /// The WebSocket API's stage, `ws://127.0.0.1:PORT/prod`.
    pub ws: String,
    /// The endpoint of `@connections`, `http://127.0.0.1:PORT/prod`.
    pub connections: String,
    /// The control endpoint, `http://127.0.0.1:PORT`.
    pub control: String,
}

/// A running emulator. Dropped, it stops listening and its children are killed.
#[derive(Debug)]
pub struct Emulator {
    front: Arc<Front>,
    urls: Urls,
    servers: Vec<AbortHandle>,
}

impl Emulator {
    /// Starts one. Fails where a binary is missing or a port is taken.
    pub fn start(options: Options) -> io::Result<Emulator> {
        for program in options.rest.iter().chain(&options.ws) {
            if !program.is_file() {
                let why = format!("{} is not there", program.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
        }
        let [rest_port, url_port, ws_port, control_port] = options.ports;
        let (rest_listener, rest) = wire::listen(rest_port)?;
        let (url_listener, url) = wire::listen(url_port)?;
        let (ws_listener, ws) = wire::listen(ws_port)?;
        let (control_listener, control) = wire::listen(control_port)?;
        let source = options.queue.clone();
        let front = Arc::new(Front::new(options, ws, control));
        let mut servers = vec![
            wire::serve(rest_listener, Arc::clone(&front), rest::api),
            wire::serve(url_listener, Arc::clone(&front), rest::url),
            wire::serve(ws_listener, Arc::clone(&front), ws::api),
            wire::serve(control_listener, Arc::clone(&front), control::handle),
        ];
        servers.extend(
            source.map(|source| tokio::spawn(mapping::deliver(Arc::clone(&front), source)).abort_handle()),
        );
        let urls = Urls {
            rest: format!("http://{rest}/prod"),
            function_url: format!("http://{url}"),
            ws: format!("ws://{ws}/prod"),
            connections: format!("http://{ws}/prod"),
            control: format!("http://{control}"),
        };
        Ok(Emulator { front, urls, servers })
    }

    /// Where it listens.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Seen {
        control::seen(&self.front)
    }

    /// Everything that the children have written.
    pub fn lines(&self) -> Vec<Line> {
        self.front.records.lines()
    }

    /// Turns the knobs of `@connections` and SQS, and counts pushes and sends afresh.
    pub fn set(&self, knobs: Knobs) {
        self.front.pushing.set(knobs);
    }

    /// Kills the child with this process id, or all of them. Whether there was one.
    pub fn kill(&self, pid: Option<u32>) -> bool {
        self.front.kill(None, pid)
    }

    /// Sends a message to the queue and gives its id.
    pub fn enqueue(&self, body: &str) -> String {
        queue::send(&self.front, body.to_owned(), Duration::ZERO).id
    }

    /// Kills the children and waits until they are gone.
    pub async fn stop(self) {
        self.front.functions().for_each(|function| function.close());
        let gone = async {
            while self.front.functions().any(|function| !function.pids().is_empty()) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let _late = timeout(Duration::from_secs(5), gone).await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.servers.iter().for_each(AbortHandle::abort);
        self.front.functions().for_each(|function| function.close());
    }
}
