//! Writing many curated answers: batches in flight at once, in order, within a budget of memory.
//!
//! A key always takes the same lane, and a lane sends one batch after the other: so of two rows with
//! one key the later one stays, whatever is in flight, and nothing has to remember all the keys.

use super::item::{self, Item};
use super::rows::puts;
use super::{CuratedRow, Store};
use crate::error::Error;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use failure::Place;
use lane::Write;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod failure;
mod lane;
mod table;

/// Kilobytes of items that wait or are in flight; an item counts for at least one.
const ROOM: u32 = 8 * 1024;

/// The longest one attempt may take, where patience allows it: a batch has up to a megabyte, and lines
/// may be slow.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// Part rows in one call: as many bytes as a full batch has.
const PARTS: usize = 2;

/// An upload on its way.
pub struct Bulk {
    shared: Arc<Shared>,
    lanes: Vec<mpsc::UnboundedSender<Write>>,
    tasks: JoinSet<()>,
}

/// How far an upload is.
pub struct Progress(Arc<Shared>);

impl Progress {
    /// The place up to which every row is written for good.
    pub fn done(&self) -> u64 {
        self.0.window().done
    }
}

/// What the lanes share.
struct Shared {
    client: Client,
    answers: Place,
    state: Place,
    patience: Duration,
    stop: CancellationToken,
    room: Arc<Semaphore>,
    window: Mutex<Window>,
    failure: OnceLock<Error>,
}

/// The rows that are not all written yet, in their order.
#[derive(Default)]
struct Window {
    /// The number that `open`'s first row has among all rows put.
    first: u64,
    /// Each row's place, and how many of its items are still to be written.
    open: VecDeque<(u64, usize)>,
    /// The place up to which every row is written.
    done: u64,
}

impl Window {
    /// Takes a row in and gives its number.
    fn begin(&mut self, place: u64, items: usize) -> u64 {
        self.open.push_back((place, items));
        self.first + self.open.len() as u64 - 1
    }

    /// One more item of this row is written.
    fn written(&mut self, number: u64) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some((_, items)) = at.and_then(|at| self.open.get_mut(at)) {
            *items = items.saturating_sub(1);
        }
        while let Some((place, 0)) = self.open.front() {
            self.done = *place;
            self.first += 1;
            self.open.pop_front();
        }
    }
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bulk {
    /// An upload in up to `lanes` batches at once. A batch that the service does not take is tried
    /// again until it has taken nothing for `patience`.
    pub fn new(store: &Store, lanes: usize, patience: Duration) -> Bulk {
        // The service's refusals and the items that it leaves undone are tried again in one place.
        let attempt = ATTEMPT_LIMIT.min(patience * 2 / 5);
        let limits = TimeoutConfig::builder().operation_timeout(attempt).build();
        let config = store.client.config().to_builder();
        let config = config.retry_config(RetryConfig::disabled()).timeout_config(limits).build();
        let shared = Arc::new(Shared {
            client: Client::from_conf(config),
            answers: Place::answers(&store.tables.answers),
            state: Place::state(&store.tables.state),
            patience,
            stop: CancellationToken::new(),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            window: Mutex::default(),
            failure: OnceLock::new(),
        });
        let mut tasks = JoinSet::new();
        let lanes = (0..lanes.max(1)).map(|_| {
            let (sender, writes) = mpsc::unbounded_channel();
            tasks.spawn(lane::run(shared.clone(), writes));
            sender
        });
        let lanes = lanes.collect();
        Bulk { shared, lanes, tasks }
    }

    /// Takes a row in, once there is room for it. `place` is the caller's own number of the row,
    /// larger than the one before.
    ///
    /// # Errors
    /// A sentence, once the upload cannot go on; rows after [`Progress::done`] may be written or not.
    pub async fn put(&mut self, place: u64, row: CuratedRow) -> Result<(), Error> {
        let keys = row.keys();
        let (attributes, parts) = row.packed().await?;
        // Before the row that names them, and with the same patience.
        for few in parts.chunks(PARTS) {
            let few = puts(few.iter().cloned())?;
            if !lane::write(&self.shared, &self.shared.state, few).await? {
                return Err(self.failure());
            }
        }
        let number = self.shared.window().begin(place, keys.len());
        for pk in keys {
            let mut item = attributes.clone();
            item.insert("pk".to_owned(), item::s(&pk));
            let kilobytes = u32::try_from(size(&item) / 1024 + 1).unwrap_or(ROOM).min(ROOM);
            let room = self.shared.room.clone().acquire_many_owned(kilobytes).await;
            let room = room.map_err(Error::internal)?;
            let mut hash = DefaultHasher::new();
            pk.hash(&mut hash);
            let lane = hash.finish() % self.lanes.len() as u64;
            let lane = usize::try_from(lane).ok().and_then(|lane| self.lanes.get(lane));
            let sent = lane.is_some_and(|lane| lane.send(Write { number, pk, item, room }).is_ok());
            if !sent {
                return Err(self.failure());
            }
        }
        Ok(())
    }

    /// How far it is, to be looked at while it goes on.
    pub fn progress(&self) -> Progress {
        Progress(self.shared.clone())
    }

    /// Waits until every row is written.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.lanes.clear();
        while self.tasks.join_next().await.is_some() {}
        match self.shared.window().open.is_empty() {
            true => Ok(()),
            false => Err(self.failure()),
        }
    }

    /// Takes back what is not in flight, and waits for what is, at most as long as one call takes.
    pub async fn stop(&mut self) {
        self.shared.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Why the lanes ended early.
    fn failure(&self) -> Error {
        let failure = self.shared.failure.get().cloned();
        failure.unwrap_or_else(|| Error::internal("the upload was stopped"))
    }
}

/// Bytes of an item, near enough to bound memory.
fn size(item: &Item) -> usize {
    let value = |value: &aws_sdk_dynamodb::types::AttributeValue| match (value.as_s(), value.as_b()) {
        (Ok(text), _) => text.len(),
        (_, Ok(bytes)) => bytes.as_ref().len(),
        _ => 16,
    };
    item.iter().map(|(name, it)| name.len() + value(it)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_count_as_done_in_their_order_only() {
        let mut window = Window::default();
        let numbers: Vec<u64> = [3, 4, 9].iter().map(|place| window.begin(*place, 2)).collect();
        for (number, done) in [(2, 0), (1, 0), (1, 0), (0, 0), (0, 4), (2, 9)] {
            window.written(numbers[number]);
            assert_eq!(window.done, done);
        }
        let last = window.begin(10, 1);
        window.written(last);
        assert_eq!((window.done, window.open.len()), (10, 0));
    }
}
