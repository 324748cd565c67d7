//! A function: environments started on demand, each with one invocation at a time.

use super::environment::Environment;
use super::options::Limits;
use super::records::{Records, lock};
use bytes::Bytes;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// What a function is, for every environment of it.
#[derive(Debug)]
pub(super) struct Setup {
    /// `rest`, `ws`, `authorizer` or `worker`.
    pub name: &'static str,
    /// The binary.
    pub program: PathBuf,
    /// Its variables, beside Lambda's own.
    pub env: Vec<(String, String)>,
    /// Environments at most.
    pub concurrency: usize,
    /// Idle processes are stopped.
    pub freeze: bool,
    /// Times.
    pub limits: Limits,
    /// Where it is noted.
    pub records: Arc<Records>,
}

/// A reply, from the moment its posting began.
#[derive(Debug)]
pub(super) enum Posted {
    /// It was posted whole.
    Whole(Bytes),
    /// It is being posted.
    Streamed(mpsc::Receiver<Piece>),
}

/// A piece of a streamed reply. The channel ends without `End` where the reply was cut off.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes as they came.
    Data(Bytes),
    /// It is complete.
    End,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No environment is free and no further one allowed.
    Throttled,
    /// The event is too large.
    TooLarge,
    /// The function reported an error, with this message.
    Reported(String),
    /// The process ended, was killed, or never came up.
    Gone,
}

/// An event on its way to an environment.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The invocation's id.
    pub id: String,
    /// What it is for.
    pub kind: String,
    /// The event's JSON.
    pub event: Bytes,
    /// Where its reply goes.
    pub reply: oneshot::Sender<Result<Posted, Failure>>,
}

/// A function and its environments.
#[derive(Debug)]
pub(super) struct Function {
    setup: Arc<Setup>,
    pool: Mutex<Pool>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Pool {
    /// No process is started or used any more.
    closed: bool,
    all: Vec<Arc<Environment>>,
    idle: Vec<Arc<Environment>>,
}

impl Function {
    /// One without environments yet.
    pub fn new(setup: Setup) -> Arc<Function> {
        Arc::new(Function { setup: Arc::new(setup), pool: Mutex::default(), freed: Notify::new() })
    }

    /// Invokes it and waits until a reply begins to be posted. Dropping the future does not stop an
    /// invocation that was delivered, as on AWS.
    pub async fn invoke(self: &Arc<Self>, kind: &str, event: &Value) -> Result<Posted, Failure> {
        let event = Bytes::from(event.to_string());
        if event.len() > super::options::PAYLOAD {
            return Err(Failure::TooLarge);
        }
        let environment = self.claim().await?;
        let (reply, posted) = oneshot::channel();
        let id = uuid::Uuid::new_v4().to_string();
        environment.deliver(Delivery { id, kind: kind.to_owned(), event, reply });
        posted.await.unwrap_or(Err(Failure::Gone))
    }

    /// `rest`, `ws`, `authorizer` or `worker`.
    pub fn name(&self) -> &'static str {
        self.setup.name
    }

    /// The environments' processes.
    pub fn pids(&self) -> Vec<u32> {
        lock(&self.pool).all.iter().map(|environment| environment.pid()).collect()
    }

    /// Kills the process with this id, or all of them. Whether there was one.
    pub fn kill(&self, pid: Option<u32>) -> bool {
        let all = lock(&self.pool).all.clone();
        let mut hit =
            all.iter().filter(|environment| pid.is_none_or(|pid| environment.pid() == pid)).peekable();
        let any = hit.peek().is_some();
        hit.for_each(|environment| environment.kill());
        any
    }

    /// Kills every process and starts no more.
    pub fn close(&self) {
        lock(&self.pool).closed = true;
        self.kill(None);
    }

    /// An environment asks for work.
    pub fn is_idle(&self, environment: &Arc<Environment>) {
        let mut pool = lock(&self.pool);
        let known = pool.all.iter().any(|one| Arc::ptr_eq(one, environment));
        if known && !pool.idle.iter().any(|one| Arc::ptr_eq(one, environment)) {
            pool.idle.push(Arc::clone(environment));
            self.freed.notify_waiters();
        }
    }

    /// An environment's process is over.
    pub fn is_gone(&self, environment: &Arc<Environment>) {
        let mut pool = lock(&self.pool);
        pool.all.retain(|one| !Arc::ptr_eq(one, environment));
        pool.idle.retain(|one| !Arc::ptr_eq(one, environment));
        self.freed.notify_waiters();
    }

    /// A free environment, else a new one, else the next that comes free within the patience.
    async fn claim(self: &Arc<Self>) -> Result<Arc<Environment>, Failure> {
        let end = Instant::now() + self.setup.limits.patience;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.free_or_new() {
                Ok(Some(environment)) => return Ok(environment),
                Ok(None) => timeout_at(end, freed).await.map_err(|_late| Failure::Throttled)?,
                Err(error) => {
                    let program = self.setup.program.display();
                    let text = format!("{program} does not start: {error}");
                    self.setup.records.line(super::records::Line {
                        function: self.setup.name.to_owned(),
                        pid: 0,
                        stream: "stderr",
                        text,
                    });
                    return Err(Failure::Gone);
                }
            }
        }
    }

    fn free_or_new(self: &Arc<Self>) -> io::Result<Option<Arc<Environment>>> {
        let mut pool = lock(&self.pool);
        if pool.closed {
            return Err(io::Error::other("the emulator is being stopped"));
        }
        if let Some(idle) = pool.idle.pop() {
            return Ok(Some(idle));
        }
        if pool.all.len() >= self.setup.concurrency {
            return Ok(None);
        }
        let environment = Environment::start(&self.setup, self)?;
        pool.all.push(Arc::clone(&environment));
        Ok(Some(environment))
    }
}

/// A reply that has to be JSON, read to its end. `None` for anything else.
pub(super) async fn json(posted: Posted) -> Option<Value> {
    match posted {
        Posted::Whole(body) => serde_json::from_slice(&body).ok(),
        Posted::Streamed(mut pieces) => {
            // It is read, so that the function is not held up, but it is not what was asked for.
            while pieces.recv().await.is_some() {}
            None
        }
    }
}
