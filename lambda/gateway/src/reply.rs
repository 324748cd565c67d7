//! A running or finished reply, and how one attaches to it.
//!
//! A reply is a log that only grows: `Started`, deltas with their numbers, one terminal. Whoever
//! wants it (the connection that asked, a resume, `GET /answers/{id}`, an identical question) holds
//! a [`Reader`], which is a position in that log. A slow reader therefore buffers nothing: what it
//! has not taken yet is gathered into its next step.

use crate::chat::{Caller, Delta, Event, Started, Terminal};
use crate::error::{Error, Kind};
use crate::lacks::Lacks;
use crate::log::Log;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Locks even where another thread has panicked: the data behind our locks is valid at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One reply of one caller.
pub struct Reply {
    /// Its id, unique to the caller.
    pub id: String,
    /// Whose it is.
    pub caller: Caller,
    /// Digest of the request's body, to tell a repeated request from another one of the same id.
    pub fingerprint: String,
    /// When it was asked for.
    pub born: Instant,
    /// What it had to do without.
    pub lacks: Lacks,
    bell: Arc<Notify>,
    stop: CancellationToken,
    done: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    started: Option<Arc<Started>>,
    log: Option<Arc<Log>>,
    /// The log may go on for others; this reply has no delta past this number any more.
    last: Option<u64>,
    end: Option<Terminal>,
    withdrawn: bool,
    readers: usize,
    why: Option<Error>,
}

/// The error of a reply that its caller stopped.
pub(crate) fn cancelled() -> Error {
    Error::new(Kind::Cancelled, "The caller stopped this reply.")
}

impl Reply {
    /// A reply that has not begun.
    pub fn new(id: String, caller: Caller, fingerprint: String) -> Arc<Reply> {
        Arc::new(Reply {
            id,
            caller,
            fingerprint,
            born: Instant::now(),
            lacks: Lacks::default(),
            bell: Arc::new(Notify::new()),
            stop: CancellationToken::new(),
            done: CancellationToken::new(),
            state: Mutex::new(State::default()),
        })
    }

    /// The answer begins: its deltas will be those of `log`.
    pub fn start(&self, started: Started, log: Arc<Log>) {
        log.ring(&self.bell);
        let mut state = lock(&self.state);
        state.started = Some(Arc::new(started));
        state.log = Some(log);
        drop(state);
        self.bell.notify_waiters();
    }

    /// From now on the reply has the deltas that it has by now, and no more. Gives all of them.
    pub fn freeze(&self) -> Vec<Delta> {
        let mut state = lock(&self.state);
        let deltas = state.log.as_ref().map(|log| log.after(0)).unwrap_or_default();
        state.last = Some(deltas.len() as u64);
        deltas
    }

    /// The one terminal. A second one changes nothing.
    pub fn end(&self, event: Terminal) {
        lock(&self.state).end.get_or_insert(event);
        self.done.cancel();
        self.bell.notify_waiters();
    }

    /// There is to be no such reply, because the delivery that asked for it was a repeated one:
    /// whoever waits for it hears nothing, not even a terminal.
    pub fn withdraw(&self) {
        lock(&self.state).withdrawn = true;
        self.done.cancel();
        self.bell.notify_waiters();
    }

    fn is_withdrawn(&self) -> bool {
        lock(&self.state).withdrawn
    }

    /// Does anybody read it?
    pub fn is_read(&self) -> bool {
        lock(&self.state).readers > 0
    }

    /// Asks the reply to stop; it ends with `cancelled` unless it has ended already.
    pub fn cancel(&self) {
        self.stop(cancelled());
    }

    /// Asks the reply to stop and to end with this error.
    pub fn stop(&self, why: Error) {
        lock(&self.state).why.get_or_insert(why);
        self.stop.cancel();
    }

    /// Ready when somebody asked the reply to stop, with the error to end it with.
    pub async fn stopped(&self) -> Error {
        self.stop.cancelled().await;
        lock(&self.state).why.clone().unwrap_or_else(cancelled)
    }

    /// Ready when the terminal stands.
    pub async fn ended(&self) {
        self.done.cancelled().await;
    }

    /// What was known when it started.
    pub fn started(&self) -> Option<Arc<Started>> {
        lock(&self.state).started.clone()
    }

    /// What it says, once it has begun.
    pub fn log(&self) -> Option<Arc<Log>> {
        lock(&self.state).log.clone()
    }

    /// A reader that begins after delta number `after`; 0 is the beginning.
    pub fn read(self: &Arc<Reply>, after: u64) -> Reader {
        lock(&self.state).readers += 1;
        Reader { reply: self.clone(), seq: after, told: false, done: false, stop_on_drop: false }
    }

    /// Milliseconds by stage: what came before the model, the model's first token, all until now.
    pub fn timings(&self) -> Vec<(&'static str, f64)> {
        let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
        let state = lock(&self.state);
        let mut timings: Vec<_> = state.started.iter().flat_map(|started| started.timings.clone()).collect();
        if let Some(first) = state.log.as_ref().and_then(|log| log.first()) {
            let before: f64 = timings.iter().map(|(_, ms)| ms).sum();
            timings.push(("model", (ms(self.born, first) - before).max(0.0)));
        }
        timings.push(("total", ms(self.born, Instant::now())));
        timings
    }

    /// Everything there is by now, without waiting.
    pub fn so_far(&self) -> Vec<Event> {
        let (mut told, mut seq) = (false, 0);
        let mut steps = Vec::new();
        while let Some(step) = self.look(told, seq) {
            match &step {
                Event::Started(_) => told = true,
                Event::Deltas { last, .. } => seq = *last,
                Event::End(_) => {
                    steps.push(step);
                    break;
                }
            }
            steps.push(step);
        }
        steps
    }

    /// The next thing past (`told`, `seq`), if it is there.
    fn look(&self, told: bool, seq: u64) -> Option<Event> {
        let state = lock(&self.state);
        if let (false, Some(started)) = (told, &state.started) {
            return Some(Event::Started(started.clone()));
        }
        let mut deltas = state.log.as_ref().map(|log| log.some_after(seq)).unwrap_or_default();
        if let Some(last) = state.last {
            deltas.truncate(usize::try_from(last.saturating_sub(seq)).unwrap_or(usize::MAX));
        }
        if !deltas.is_empty() {
            return Some(Event::Deltas { last: seq + deltas.len() as u64, deltas });
        }
        state.end.clone().map(Event::End)
    }
}

/// A position in a reply.
pub struct Reader {
    reply: Arc<Reply>,
    seq: u64,
    told: bool,
    done: bool,
    stop_on_drop: bool,
}

impl Reader {
    /// The next step; `None` after the terminal, and where the reply was withdrawn. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Event> {
        if self.done {
            return None;
        }
        let reply = self.reply.clone();
        loop {
            let rung = reply.bell.notified();
            tokio::pin!(rung);
            // Listen before looking, or a bell between the two would be missed.
            rung.as_mut().enable();
            if let Some(step) = reply.look(self.told, self.seq) {
                match &step {
                    Event::Started(_) => self.told = true,
                    Event::Deltas { last, .. } => self.seq = *last,
                    Event::End(_) => self.done = true,
                }
                return Some(step);
            }
            if reply.is_withdrawn() {
                self.done = true;
                return None;
            }
            rung.await;
        }
    }

    /// `ON_DISCONNECT=stop`: the last reader that is dropped before the terminal stops the reply.
    pub fn stop_on_drop(mut self, stop: bool) -> Reader {
        self.stop_on_drop = stop;
        self
    }

    /// The number of the last delta read, or where the reader began.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The reply that is read.
    pub fn reply(&self) -> &Arc<Reply> {
        &self.reply
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.reply.state);
        state.readers -= 1;
        let last = state.readers == 0;
        drop(state);
        if self.stop_on_drop && !self.done && last {
            self.reply.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{CacheOutcome, StopReason, Usage};

    fn started() -> Started {
        Started {
            request_id: "r".into(),
            chat_id: "c".into(),
            model: "m".into(),
            cache: CacheOutcome::Miss,
            sources: vec![],
            retrieval_unavailable: false,
            ignored: vec![],
            timings: Default::default(),
        }
    }

    fn completed() -> Terminal {
        Terminal::Completed { stop_reason: StopReason::EndTurn, usage: Usage::default() }
    }

    #[tokio::test]
    async fn a_reader_gets_started_then_deltas_then_one_terminal() {
        let reply = Reply::new("r".into(), Caller::local(), String::new());
        let mut reader = reply.read(0);
        let log = Log::new();
        reply.start(started(), log.clone());
        assert!(matches!(reader.next().await, Some(Event::Started(_))));
        log.push(Delta::text("a"));
        log.push(Delta::text("b"));
        let Some(Event::Deltas { last: 2, deltas }) = reader.next().await else { panic!() };
        assert_eq!(deltas.len(), 2);
        reply.end(completed());
        reply.end(Terminal::Failed { error: Error::internal("late"), usage: Usage::default() });
        assert_eq!(reader.next().await, Some(Event::End(completed())));
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_a_delta_and_by_the_terminal() {
        let reply = Reply::new("r".into(), Caller::local(), String::new());
        let log = Log::new();
        reply.start(started(), log.clone());
        let mut reader = reply.read(0);
        let reading = tokio::spawn(async move {
            let mut steps = 0;
            while reader.next().await.is_some() {
                steps += 1;
            }
            steps
        });
        tokio::task::yield_now().await;
        log.push(Delta::text("a"));
        tokio::task::yield_now().await;
        reply.end(completed());
        assert_eq!(reading.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_frozen_reply_ends_although_its_log_goes_on_for_others() {
        let reply = Reply::new("r".into(), Caller::local(), String::new());
        let log = Log::new();
        reply.start(started(), log.clone());
        log.push(Delta::text("mine"));
        assert_eq!(reply.freeze(), [Delta::text("mine")]);
        log.push(Delta::text("theirs"));
        reply.end(completed());
        let steps = reply.so_far();
        assert_eq!(
            steps[1..],
            [Event::Deltas { last: 1, deltas: vec![Delta::text("mine")] }, Event::End(completed())]
        );
    }

    #[tokio::test]
    async fn a_resume_begins_after_the_number_it_names() {
        let reply = Reply::new("r".into(), Caller::local(), String::new());
        let log = Log::new();
        reply.start(started(), log.clone());
        for text in ["a", "b", "c"] {
            log.push(Delta::text(text));
        }
        let mut reader = reply.read(2);
        reader.next().await;
        let step = reader.next().await;
        assert_eq!(step, Some(Event::Deltas { last: 3, deltas: vec![Delta::text("c")] }));
    }

    #[tokio::test]
    async fn dropping_a_reader_stops_the_reply_only_where_that_is_the_policy() {
        for (policy, stopped) in [(true, true), (false, false)] {
            let reply = Reply::new("r".into(), Caller::local(), String::new());
            let other = reply.read(0);
            drop(reply.read(0).stop_on_drop(policy));
            assert!(!reply.stop.is_cancelled(), "another one still reads");
            drop(other.stop_on_drop(policy));
            assert_eq!(reply.stop.is_cancelled(), stopped);
        }
    }
}
