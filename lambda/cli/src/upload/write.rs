//! The second reading of a file: its good rows are written.

use super::state::{State, StateFile};
use crate::progress::Bar;
use crate::rows::{Rows, Source};
use crate::threads::apart;
use gateway::store::{Bulk, CuratedRow, Progress};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How often the place is kept. What was written since is written again by a resumed upload.
const KEEP: Duration = Duration::from_millis(500);

/// Rows, and bytes of them, that go from the reader to the writer at once.
const CHUNK_ROWS: usize = 100;
const CHUNK_BYTES: usize = 512 * 1024;

/// What is to be written, and how far that is.
pub struct Writing {
    /// The file.
    pub source: Arc<Source>,
    /// There is a table for parts of rows.
    pub parts: bool,
    /// Rows of the file.
    pub rows: u64,
    /// File, target, and the rows that need not be written again.
    pub state: State,
}

/// How it ended.
pub enum Ended {
    /// Every good row is written: so many by this process, from a file of this digest.
    Whole(u64, String),
    /// It was told to stop; the place is kept.
    Stopped,
}

type Chunk = Vec<(u64, CuratedRow)>;

/// Writes the good rows behind the state's place, and keeps the place.
///
/// # Errors
/// A sentence; the place is kept.
pub async fn write(
    writing: &mut Writing,
    bulk: &mut Bulk,
    kept: &StateFile,
    stop: &CancellationToken,
) -> Result<Ended, String> {
    let bar = Bar::writing(writing.rows);
    bar.from(writing.state.rows);
    let begin = writing.state.rows;
    let (chunks, mut read) = mpsc::channel(2);
    let (source, parts) = (writing.source.clone(), writing.parts);
    let reader = apart(move || reread(&source, parts, begin, &chunks));
    let progress = bulk.progress();
    let mut ended = {
        let mut all = pin!(all(bulk, &mut read, reader));
        let mut tick = tokio::time::interval(KEEP);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(Ended::Stopped),
                count = &mut all => break count,
                _ = tick.tick() => {
                    keep(writing, &progress, kept)?;
                    bar.at(writing.state.rows);
                }
            }
        }
    };
    let changed = |digest: &String| *digest != writing.state.file;
    if matches!(&ended, Ok(Ended::Whole(_, digest)) if changed(digest)) {
        ended = Err(format!("{} changed while it was being uploaded. Upload it again.", writing.source.name));
    }
    if !matches!(ended, Ok(Ended::Whole(..))) {
        bulk.stop().await;
        keep(writing, &progress, kept)?;
    }
    ended
}

/// Writes all that is read, and waits until it is written.
async fn all(
    bulk: &mut Bulk,
    read: &mut mpsc::Receiver<Chunk>,
    reader: oneshot::Receiver<Result<String, String>>,
) -> Result<Ended, String> {
    let mut count = 0;
    while let Some(chunk) = read.recv().await {
        for (number, row) in chunk {
            bulk.put(number, row).await.map_err(|error| error.message)?;
            count += 1;
        }
    }
    bulk.finish().await.map_err(|error| error.message)?;
    let digest = reader.await.unwrap_or_else(|_| Err("The file could not be read again.".to_owned()))?;
    Ok(Ended::Whole(count, digest))
}

fn keep(writing: &mut Writing, progress: &Progress, kept: &StateFile) -> Result<(), String> {
    writing.state.rows = writing.state.rows.max(progress.done());
    kept.save(&writing.state)
}

/// Reads the good rows behind `begin`, and gives the digest of the file. It ends where nobody wants
/// them any more.
fn reread(source: &Source, parts: bool, begin: u64, chunks: &mpsc::Sender<Chunk>) -> Result<String, String> {
    let mut rows = Rows::of(source, parts)?;
    let (mut chunk, mut bytes) = (Chunk::new(), 0);
    while let Some((place, row)) = rows.next(&mut std::io::sink())? {
        let Ok(row) = row else { continue };
        if place.number <= begin {
            continue;
        }
        bytes += row.size();
        chunk.push((place.number, row));
        if chunk.len() >= CHUNK_ROWS || bytes >= CHUNK_BYTES {
            bytes = 0;
            if chunks.blocking_send(std::mem::take(&mut chunk)).is_err() {
                return Ok(String::new());
            }
        }
    }
    let _unwanted = chunks.blocking_send(chunk);
    Ok(rows.meter.digest())
}
