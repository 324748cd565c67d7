//! A run: files are read, what is new in them is embedded, and what changed is written, all at once.

use super::held::{Beside, Standing, all_of};
use super::passage::Passage;
use super::read::read;
use super::report::Report;
use super::target::Target;
use super::walk::{File, Walk};
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use gateway::retrieval::opensearch::bulk::Change;
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

/// Files that are read at once.
const FILES: usize = 4;

/// Passages that wait for the next stage at most.
const WAITING: usize = 512;

/// Requests to the model in flight at once, where one takes one text and where it takes many.
const SINGLE: usize = 16;
const BATCHES: usize = 4;

/// Bulk requests in flight at once, and what goes into one: Amazon OpenSearch Service takes 10 MB on its
/// smaller instances, and the size is estimated.
const WRITES: usize = 4;
const BULK_BYTES: usize = 4 * 1024 * 1024;
const BULK_CHANGES: usize = 1_000;

/// How long a bulk request waits for more.
const GATHER: Duration = Duration::from_millis(500);

/// What is to be done.
pub struct Run {
    /// Where to.
    pub target: Target,
    /// The files.
    pub walk: Walk,
    /// Remove what is gone below the PATHs.
    pub prune: bool,
    /// Write nothing.
    pub dry: bool,
    /// What it has come to.
    pub report: Arc<Report>,
    /// The files of which a new passage was refused: what they replace has to stay.
    pub refused: Mutex<HashSet<String>>,
}

/// What is gone from a file.
struct Gone {
    file: String,
    /// Its documents in the index.
    at: Vec<String>,
}

impl Run {
    /// Does it.
    ///
    /// # Errors
    /// A sentence: what stopped it. What was written stays.
    pub async fn go(&self) -> Result<(), String> {
        let (adds, added) = mpsc::channel(WAITING);
        let (changes, changed) = mpsc::channel(WAITING);
        let embedded = changes.clone();
        let (gone, (), ()) =
            tokio::try_join!(self.files(adds, changes), self.embed(added, embedded), self.write(changed))?;
        let mut gone = self.replaced(gone);
        if self.prune {
            gone.extend(self.vanished().await?);
        }
        self.report.count(|counts| counts.removed = gone.len() as u64);
        if self.dry {
            return Ok(());
        }
        // Last, so that a passage which only moved to another title is found all the while.
        let removes: Vec<Change> = gone.into_iter().map(|at| Change::Remove { at }).collect();
        for batch in removes.chunks(BULK_CHANGES) {
            self.send(batch.to_vec()).await?;
        }
        self.target.store.finish().await
    }

    /// Reads the files; gives what is gone from them.
    async fn files(&self, adds: Sender<Passage>, changes: Sender<Change>) -> Result<Vec<Gone>, String> {
        let ways = &(adds, changes);
        let files = stream::iter(&self.walk.files).map(|file| async {
            let at = self.file(file, ways).await?;
            Ok(Gone { file: file.name.clone(), at })
        });
        files.buffer_unordered(FILES).try_collect().await
    }

    /// What may go: all but the passages of files whose new ones are not all written.
    fn replaced(&self, gone: Vec<Gone>) -> Vec<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, gone): (Vec<Gone>, _) = gone.into_iter().partition(|gone| refused.contains(&gone.file));
        for Gone { file, .. } in kept.iter().filter(|kept| !kept.at.is_empty()) {
            self.report.say(&format!("{file} keeps its old passages too, because new ones were refused."));
        }
        gone.into_iter().flat_map(|gone| gone.at).collect()
    }

    /// A new passage was refused.
    fn refuse(&self, passage: &Passage, why: &str) {
        let file = passage.file().to_owned();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(file);
        self.report.count(|counts| counts.added -= 1);
        self.report.leave_out(&format!("{}: {why}", passage.place()));
    }

    async fn file(
        &self,
        file: &File,
        (adds, changes): &(Sender<Passage>, Sender<Change>),
    ) -> Result<Vec<String>, String> {
        let (store, mut replaced) = (&self.target.store, Vec::new());
        let mut beside = match store.is_empty() {
            true => None,
            false => Some(Beside::of(store, &file.name).await?),
        };
        let window = u64::from(self.target.model.choice.entry.window);
        let (to, mut parts) = mpsc::channel(2);
        let reading = tokio::spawn(read(file.clone(), window, self.report.clone(), to));
        while let Some(part) = parts.recv().await {
            self.report.count(|counts| {
                counts.documents += part.documents;
                counts.passages += part.passages.len() as u64;
            });
            self.report.read(part.bytes);
            if let Some(beside) = &mut beside {
                beside.ask(&part.passages).await?;
            }
            for passage in part.passages {
                let standing = match beside.as_mut().map(|beside| beside.compare(&passage)) {
                    Some(Standing::Moved(at)) if !store.updates() => {
                        replaced.push(at);
                        Standing::New
                    }
                    Some(standing) => standing,
                    None => Standing::New,
                };
                self.forward(passage, standing, adds, changes).await;
            }
        }
        let read = reading.await.unwrap_or_else(|_| Err(format!("{} could not be read.", file.name)));
        match (read, beside) {
            // What a row that cannot be read has left in the index may still be right.
            (Ok(true), Some(beside)) if file.path.as_os_str() != "-" => replaced.extend(beside.gone().await?),
            (Ok(_), _) => {}
            (Err(sentence), _) => {
                self.report.read(file.size);
                self.report.leave_out(&sentence);
            }
        }
        Ok(replaced)
    }

    async fn forward(
        &self,
        passage: Passage,
        standing: Standing,
        adds: &Sender<Passage>,
        changes: &Sender<Change>,
    ) {
        self.report.count(|counts| match &standing {
            Standing::New => {
                counts.added += 1;
                counts.tokens += passage.tokens;
            }
            Standing::Moved(_) => counts.updated += 1,
            Standing::Same => counts.unchanged += 1,
        });
        if self.dry {
            return;
        }
        // A stage that has ended has said why, and ends this one.
        let _ended = match standing {
            Standing::New => adds.send(passage).await.is_err(),
            Standing::Moved(at) => {
                changes.send(Change::Update { at, metadata: passage.metadata }).await.is_err()
            }
            Standing::Same => false,
        };
    }

    async fn embed(&self, mut added: Receiver<Passage>, changes: Sender<Change>) -> Result<(), String> {
        let spec = self.target.model.choice.entry.embedding;
        let batch = spec.map_or(1, |spec| spec.batch.max(1));
        let at_once = if batch == 1 { SINGLE } else { BATCHES };
        let batches = stream::poll_fn(move |context| added.poll_recv(context)).chunks(batch);
        let changes = &changes;
        let asked = batches.map(|batch| self.vectors(batch, changes));
        asked.buffer_unordered(at_once).try_collect().await
    }

    async fn vectors(&self, batch: Vec<Passage>, changes: &Sender<Change>) -> Result<(), String> {
        let texts = batch.iter().map(Passage::embedded).collect();
        let (vectors, tokens) = self.target.embedding.vectors(texts).await?;
        self.report.count(|counts| counts.embedded += tokens);
        for (passage, vector) in batch.into_iter().zip(vectors) {
            match vector {
                Ok(vector) => {
                    let Passage { id, text, metadata, .. } = passage;
                    let _ended = changes.send(Change::Add { id, text, vector, metadata }).await.is_err();
                }
                Err(why) => self.refuse(&passage, &why),
            }
        }
        Ok(())
    }

    async fn write(&self, changed: Receiver<Change>) -> Result<(), String> {
        let batches = gathered(changed);
        batches.map(|batch| self.send(batch)).buffer_unordered(WRITES).try_collect().await
    }

    async fn send(&self, batch: Vec<Change>) -> Result<(), String> {
        let refused = self.target.store.write(&batch).await?;
        for (change, why) in batch.into_iter().zip(refused) {
            let Some(why) = why else { continue };
            let why = format!("OpenSearch refused it: {why}");
            let place = match change {
                Change::Add { id, text, metadata, .. } => {
                    self.refuse(&Passage { id, text, metadata, tokens: 0 }, &why);
                    continue;
                }
                Change::Update { at, metadata } => {
                    self.report.count(|counts| counts.updated -= 1);
                    Passage { id: at, text: String::new(), metadata, tokens: 0 }.place()
                }
                Change::Remove { at } => {
                    self.report.count(|counts| counts.removed -= 1);
                    format!("The document {at}")
                }
            };
            self.report.leave_out(&format!("{place}: {why}"));
        }
        Ok(())
    }

    /// The documents of files below the PATHs that are not there any more.
    async fn vanished(&self) -> Result<Vec<String>, String> {
        if let Some(wrong) = self.walk.wrong.first() {
            return Ok(self.unpruned(wrong));
        }
        let there: HashSet<&str> = self.walk.files.iter().map(|file| file.name.as_str()).collect();
        let mut gone = Vec::new();
        for root in &self.walk.roots {
            let mut after: Option<String> = None;
            loop {
                let page = self.target.store.files(root, after.as_deref()).await?;
                let Some(last) = page.last().cloned() else { break };
                after = Some(last);
                let missing = page.iter().filter(|file| !there.contains(file.as_str()));
                let lost = match self.walk.lost(missing) {
                    Ok(lost) => lost,
                    Err(why) => return Ok(self.unpruned(&why)),
                };
                for file in lost {
                    gone.extend(all_of(&self.target.store, file).await?);
                }
            }
        }
        gone.sort_unstable();
        gone.dedup();
        Ok(gone)
    }

    fn unpruned(&self, why: &str) -> Vec<String> {
        self.report.say(&format!("Nothing is pruned, because not everything could be looked at: {why}"));
        Vec::new()
    }
}

/// Changes in batches that fit one bulk request; what is there goes on when nothing more comes for a while.
fn gathered(changed: Receiver<Change>) -> Pin<Box<dyn Stream<Item = Vec<Change>> + Send>> {
    let next = |mut changed: Receiver<Change>| async move {
        let first = changed.recv().await?;
        let mut bytes = size(&first);
        let mut batch = vec![first];
        while bytes < BULK_BYTES && batch.len() < BULK_CHANGES {
            let Ok(Some(change)) = timeout(GATHER, changed.recv()).await else { break };
            bytes += size(&change);
            batch.push(change);
        }
        Some((batch, changed))
    };
    stream::unfold(changed, next).boxed()
}

/// About how many bytes a change is on the way.
fn size(change: &Change) -> usize {
    match change {
        Change::Add { text, vector, metadata, .. } => 2 * text.len() + 13 * vector.len() + spoken(metadata),
        Change::Update { metadata, .. } => spoken(metadata),
        Change::Remove { .. } => 100,
    }
}

fn spoken(metadata: &serde_json::Map<String, serde_json::Value>) -> usize {
    serde_json::to_string(metadata).map_or(0, |json| json.len()) + 200
}
