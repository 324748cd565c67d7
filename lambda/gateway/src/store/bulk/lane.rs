//! One lane of an upload: gathers batches and sends them, one after the other.

use super::failure::Place;
use super::{Shared, failure};
use crate::error::Error;
use crate::store::item::Item;
use crate::store::rows::puts;
use aws_sdk_dynamodb::types::WriteRequest;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout_at};

/// Items in one call at most, by DynamoDB's limit.
const ITEMS: usize = 25;

/// A batch of this many bytes waits for no more items.
const BYTES: usize = 1_000_000;

/// How long a batch waits to become full: the items of a slow file must not wait for ever.
const GATHER: Duration = Duration::from_millis(20);

/// The pause after the first failure, doubled with each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One item on its way.
pub(super) struct Write {
    /// Its row's number in the window.
    pub number: u64,
    /// Its key.
    pub pk: String,
    /// The whole item.
    pub item: Item,
    /// Its share of the room.
    pub room: OwnedSemaphorePermit,
}

/// Items that go in one call. DynamoDB refuses two of one key: the later one takes the place of the
/// earlier, whose row is written when the batch is.
#[derive(Default)]
struct Batch {
    puts: HashMap<String, Item>,
    rows: Vec<u64>,
    room: Vec<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, write: Write) {
        self.bytes += super::size(&write.item);
        self.puts.insert(write.pk, write.item);
        self.rows.push(write.number);
        self.room.push(write.room);
    }

    fn is_full(&self) -> bool {
        self.puts.len() >= ITEMS || self.bytes >= BYTES
    }
}

/// Writes what comes until there is no more, the upload is stopped, or a batch cannot be written.
pub(super) async fn run(shared: Arc<Shared>, mut writes: mpsc::UnboundedReceiver<Write>) {
    while let Some(batch) = gather(&mut writes, &shared).await {
        if let Err(error) = send(&shared, batch).await {
            // The first failure is the one told; the other lanes need not meet it too.
            let _already = shared.failure.set(error);
            shared.stop.cancel();
        }
    }
}

/// The next batch; None at the end, or when the upload is stopped.
async fn gather(writes: &mut mpsc::UnboundedReceiver<Write>, shared: &Shared) -> Option<Batch> {
    let first = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return None,
        first = writes.recv() => first?,
    };
    let mut batch = Batch::default();
    batch.add(first);
    let until = Instant::now() + GATHER;
    while !batch.is_full() {
        let Ok(Some(next)) = timeout_at(until, writes.recv()).await else { break };
        batch.add(next);
    }
    Some(batch)
}

/// Sends a batch and counts its rows as written, unless the upload is stopped.
async fn send(shared: &Shared, batch: Batch) -> Result<(), Error> {
    let puts = puts(batch.puts.into_values())?;
    if write(shared, &shared.answers, puts).await? {
        let mut window = shared.window();
        batch.rows.into_iter().for_each(|row| window.written(row));
    }
    Ok(())
}

/// Sends writes until the service has taken all of them; false where the upload was stopped before.
///
/// # Errors
/// A sentence: the table refuses them, or has taken nothing for the upload's patience.
pub(super) async fn write(
    shared: &Shared,
    place: &Place,
    mut open: Vec<WriteRequest>,
) -> Result<bool, Error> {
    let table = &place.table;
    let (mut since, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        let call = shared.client.batch_write_item().request_items(table, open.clone());
        let why = match timeout_at(since + shared.patience, call.send()).await {
            Err(_) => failure::silent(&shared.client),
            Ok(Ok(reply)) => {
                let left = reply.unprocessed_items.unwrap_or_default().remove(table);
                let left = left.unwrap_or_default();
                if left.is_empty() {
                    return Ok(true);
                }
                if left.len() < open.len() {
                    (since, pause) = (Instant::now(), FIRST_PAUSE);
                }
                open = left;
                failure::throttled(table, None, shared.patience)
            }
            Ok(Err(error)) => failure::again_or_not(shared, place, &error)?,
        };
        if since.elapsed() + pause > shared.patience {
            return Err(why);
        }
        tokio::select! {
            () = shared.stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between half of it and all of it, by chance, so that lanes part.
fn jittered(pause: Duration) -> Duration {
    let (_, chance) = uuid::Uuid::new_v4().as_u64_pair();
    pause.mul_f64(0.5 + (chance % 1000) as f64 / 2000.0)
}
