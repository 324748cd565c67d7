//! An execution environment: a process, its Runtime API and what it is working on.

use super::function::{Delivery, Failure, Function, Posted, Setup};
use super::moment::now;
use super::process::{self, Signal};
use super::records::{Invocation, lock};
use super::{runtime_api, wire};
use bytes::Bytes;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::process::Child;
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// A running environment.
#[derive(Debug)]
pub(super) struct Environment {
    /// What it is an environment of.
    pub setup: Arc<Setup>,
    function: Weak<Function>,
    pid: u32,
    outbox: mpsc::UnboundedSender<Delivery>,
    inbox: AsyncMutex<mpsc::UnboundedReceiver<Delivery>>,
    working: Mutex<Option<Working>>,
    ready: AtomicBool,
    /// Set while the process can be signalled by its id.
    alive: Mutex<bool>,
    end_it: Notify,
    server: Mutex<Option<AbortHandle>>,
}

/// The invocation that the runtime has.
#[derive(Debug)]
struct Working {
    id: String,
    reply: Option<oneshot::Sender<Result<Posted, Failure>>>,
    outcome: Option<&'static str>,
    deadline: AbortHandle,
}

/// What the runtime is given.
pub(super) struct Next {
    /// The invocation's id.
    pub id: String,
    /// The event.
    pub event: Bytes,
}

impl Environment {
    /// Starts the process and its Runtime API. It counts as busy until it asks for work.
    pub fn start(setup: &Arc<Setup>, function: &Arc<Function>) -> io::Result<Arc<Environment>> {
        let (listener, address) = wire::listen(0)?;
        let child = process::spawn(setup, address)?;
        let pid = child.id().unwrap_or_default();
        let (outbox, inbox) = mpsc::unbounded_channel();
        let environment = Arc::new(Environment {
            setup: Arc::clone(setup),
            function: Arc::downgrade(function),
            pid,
            outbox,
            inbox: AsyncMutex::new(inbox),
            working: Mutex::default(),
            ready: AtomicBool::new(false),
            alive: Mutex::new(true),
            end_it: Notify::new(),
            server: Mutex::default(),
        });
        setup.records.step(setup.name, pid, "started");
        let server = wire::serve(listener, Arc::clone(&environment), runtime_api::handle);
        *lock(&environment.server) = Some(server);
        tokio::spawn(watch_start(Arc::clone(&environment)));
        tokio::spawn(watch_end(Arc::clone(&environment), child));
        Ok(environment)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Hands over an event; only who claimed the environment may.
    pub fn deliver(&self, delivery: Delivery) {
        // With the process gone the reply's sender is dropped here, which tells the one who waits.
        let _gone = self.outbox.send(delivery);
    }

    /// Ends the process at once.
    pub fn kill(&self) {
        self.end_it.notify_one();
    }

    /// The runtime asks for work: what it had is over, and it waits, frozen, for the next.
    pub async fn next(self: &Arc<Self>) -> Option<Next> {
        self.free("no_response", &Failure::Reported("no response was posted".to_owned()));
        if !self.ready.swap(true, Ordering::SeqCst) {
            self.step("ready");
        }
        let mut inbox = self.inbox.lock().await;
        let delivery = match inbox.try_recv() {
            Ok(delivery) => delivery,
            Err(_empty) => {
                self.freeze(true);
                if let Some(function) = self.function.upgrade() {
                    function.is_idle(self);
                }
                let delivery = inbox.recv().await?;
                self.freeze(false);
                delivery
            }
        };
        Some(self.begin(delivery))
    }

    /// Gives the waiting caller its reply, or says that there is no such invocation.
    pub fn post(&self, id: &str, reply: Result<Posted, Failure>) -> bool {
        let mut working = lock(&self.working);
        let Some(current) = working.as_mut().filter(|current| current.id == id) else { return false };
        let Some(waiting) = current.reply.take() else { return false };
        if reply.is_err() {
            current.outcome = Some("error");
        }
        self.setup.records.invocation(id, |one| one.posted = Some(now()));
        let _caller_went_away = waiting.send(reply);
        true
    }

    /// A streamed reply was complete, or its trailers said that it is not.
    pub fn streamed(&self, id: &str, whole: bool) {
        self.setup.records.invocation(id, |one| one.streamed = Some(now()));
        if let Some(current) = lock(&self.working).as_mut().filter(|current| current.id == id && !whole) {
            current.outcome = Some("stream_error");
        }
    }

    /// The runtime could not start.
    pub fn init_error(&self) {
        self.step("init_error");
        self.kill();
    }

    fn begin(self: &Arc<Self>, delivery: Delivery) -> Next {
        let Delivery { id, kind, event, reply } = delivery;
        let record = Invocation {
            id: id.clone(),
            function: self.setup.name.to_owned(),
            kind,
            pid: self.pid,
            delivered: now(),
            posted: None,
            streamed: None,
            freed: None,
            outcome: None,
        };
        self.setup.records.note(|seen| seen.invocations.push(record));
        let deadline = tokio::spawn(watch_deadline(Arc::clone(self), id.clone())).abort_handle();
        *lock(&self.working) = Some(Working { id: id.clone(), reply: Some(reply), outcome: None, deadline });
        Next { id, event }
    }

    /// Ends the current invocation, if there is one; `unposted` is its outcome where nothing was posted.
    fn free(&self, unposted: &'static str, failure: &Failure) {
        let Some(mut current) = lock(&self.working).take() else { return };
        current.deadline.abort();
        let waiting = current.reply.take();
        let outcome = current.outcome.unwrap_or(if waiting.is_some() { unposted } else { "ok" });
        self.setup.records.invocation(&current.id, |one| {
            one.freed = Some(now());
            one.outcome = Some(outcome.to_owned());
        });
        if let Some(waiting) = waiting {
            let _caller_went_away = waiting.send(Err(failure.clone()));
        }
    }

    fn freeze(&self, stop: bool) {
        let alive = lock(&self.alive);
        if self.setup.freeze && *alive {
            process::signal(self.pid, if stop { Signal::STOP } else { Signal::CONT });
            self.step(if stop { "frozen" } else { "continued" });
        }
    }

    fn step(&self, what: &str) {
        self.setup.records.step(self.setup.name, self.pid, what);
    }
}

/// Kills a process that does not come up.
async fn watch_start(environment: Arc<Environment>) {
    sleep(environment.setup.limits.init).await;
    if !environment.ready.load(Ordering::SeqCst) {
        environment.init_error();
    }
}

/// Kills the process when the invocation's time is over.
async fn watch_deadline(environment: Arc<Environment>, id: String) {
    sleep(environment.setup.limits.function).await;
    let late = {
        let mut working = lock(&environment.working);
        let current = working.as_mut().filter(|current| current.id == id);
        current.map(|current| current.outcome = Some("timeout")).is_some()
    };
    if late {
        environment.step("killed");
        environment.kill();
    }
}

/// Waits for the process's end, which it brings about where it was asked to.
async fn watch_end(environment: Arc<Environment>, mut child: Child) {
    tokio::select! {
        _status = child.wait() => {}
        () = environment.end_it.notified() => {
            let _already_over = child.start_kill();
            let _status = child.wait().await;
        }
    }
    *lock(&environment.alive) = false;
    if let Some(server) = lock(&environment.server).take() {
        server.abort();
    }
    if let Some(function) = environment.function.upgrade() {
        function.is_gone(&environment);
    }
    environment.step("exited");
    // A process that ends in an invocation fails it, also where it had answered already.
    if let Some(current) = lock(&environment.working).as_mut()
        && matches!(current.outcome, None | Some("stream_error"))
    {
        current.outcome = Some("exited");
    }
    environment.free("exited", &Failure::Gone);
    let mut inbox = environment.inbox.lock().await;
    inbox.close();
    while let Ok(delivery) = inbox.try_recv() {
        let _caller_went_away = delivery.reply.send(Err(Failure::Gone));
    }
}
