//! What the emulator has seen, for tests to look at. Times are seconds since 1970.

use super::moment::now;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One invocation of a function.
#[derive(Clone, Debug, Serialize)]
pub struct Invocation {
    /// The request id that the runtime was told.
    pub id: String,
    /// `rest`, `ws`, `authorizer` or `worker`.
    pub function: String,
    /// What it was for: `rest`, `url`, `authorizer`, `sqs`, or a WebSocket route key.
    pub kind: String,
    /// The process that had it.
    pub pid: u32,
    /// When the runtime was given the event.
    pub delivered: f64,
    /// When the response began to be posted.
    pub posted: Option<f64>,
    /// When a streamed response was complete.
    pub streamed: Option<f64>,
    /// When the runtime asked for the next one, or its process ended.
    pub freed: Option<f64>,
    /// `ok`, `error`, `stream_error`, `timeout`, `exited`, or `no_response`; absent while it runs.
    pub outcome: Option<String>,
}

/// A step in the life of an execution environment.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The function.
    pub function: String,
    /// Its process.
    pub pid: u32,
    /// `started`, `ready`, `frozen`, `continued`, `init_error`, `killed` or `exited`.
    pub what: String,
    /// When.
    pub at: f64,
}

/// A frame that a function has pushed, or tried to.
#[derive(Clone, Debug, Serialize)]
pub struct Push {
    /// The connection's id.
    pub connection: String,
    /// Length of the frame.
    pub bytes: usize,
    /// The status that was answered.
    pub status: u16,
    /// Whether the client was sent it.
    pub delivered: bool,
    /// When.
    pub at: f64,
}

/// A WebSocket connection whose handshake succeeded.
#[derive(Clone, Debug, Serialize)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// The handshake's query.
    pub query: String,
    /// When it was open.
    pub opened: f64,
    /// When it was over.
    pub closed: Option<f64>,
    /// Its close code.
    pub code: Option<u16>,
}

/// A line that a child has written.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The function.
    pub function: String,
    /// Its process.
    pub pid: u32,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// The text, without its end of line.
    pub text: String,
}

/// Everything seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Invocations, in the order of their delivery.
    pub invocations: Vec<Invocation>,
    /// Lives of the environments.
    pub environments: Vec<Step>,
    /// Pushes, the refused ones included.
    pub pushes: Vec<Push>,
    /// WebSocket connections.
    pub connections: Vec<Client>,
    /// Bodies of SQS messages that were given up.
    pub dead_letters: Vec<String>,
    /// SQS messages that are waiting or being worked on.
    pub queued: usize,
}

/// The lists behind an emulator.
#[derive(Debug, Default)]
pub(super) struct Records {
    seen: Mutex<Seen>,
    lines: Mutex<Vec<Line>>,
}

impl Records {
    /// Everything so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Everything the children have written.
    pub fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// Notes whatever it is.
    pub fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut lock(&self.seen));
    }

    /// Notes a step of an environment.
    pub fn step(&self, function: &str, pid: u32, what: &str) {
        let step = Step { function: function.to_owned(), pid, what: what.to_owned(), at: now() };
        self.note(|seen| seen.environments.push(step));
    }

    /// Changes the record of an invocation.
    pub fn invocation(&self, id: &str, change: impl FnOnce(&mut Invocation)) {
        self.note(|seen| {
            if let Some(found) = seen.invocations.iter_mut().rev().find(|one| one.id == id) {
                change(found);
            }
        });
    }

    /// Notes a line of a child.
    pub fn line(&self, line: Line) {
        lock(&self.lines).push(line);
    }
}

/// Locks, whatever a panicking test has left behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
