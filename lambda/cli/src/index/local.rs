//! This machine's index: a file of passages that `serve` reads.
//!
//! What is new goes to a second file beside it, a journal, from which an interrupted run goes on. At the end
//! both become a new file that takes the place of the first.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway::retrieval::opensearch::bulk::Change;
use gateway::retrieval::opensearch::load::{Held, PAGE};
use gateway::retrieval::opensearch::mapping::Vectors;
use gateway::retrieval::passages::{FILE, FORMAT, Header, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where a line is.
#[derive(Clone, Copy, Debug)]
struct Line {
    in_journal: bool,
    at: u64,
    length: usize,
}

/// A passage: the digest of its document, and its line.
#[derive(Clone, Debug)]
struct Entry {
    document: String,
    line: Line,
}

/// The index.
pub struct Local {
    dir: PathBuf,
    header: Header,
    kept: Option<File>,
    /// Held by one process at a time. None where nothing is to be written.
    journal: Option<File>,
    end: u64,
    /// By the file's name, and the passage's id.
    entries: BTreeMap<String, BTreeMap<String, Entry>>,
    changed: bool,
}

/// A line, as much as is needed to know it by.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Known {
    metadata: Names,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names {
    passage_id: String,
    document: String,
    loaded_from: String,
}

/// A whole line.
#[derive(Serialize, Deserialize)]
struct Whole {
    text: String,
    metadata: Map<String, Value>,
    vector: String,
}

impl Local {
    /// The index in a data directory, for these vectors; only looked at where nothing is to be written.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn open(dir: &Path, vectors: &Vectors, write: bool) -> Result<Local, String> {
        let cannot = |error: std::io::Error| format!("{} cannot be used: {error}.", dir.display());
        let path = dir.join(FILE);
        let header = Header {
            format: FORMAT.to_owned(),
            embeddings_model: vectors.model.clone(),
            dimensions: vectors.dimensions,
        };
        // Before anything is read, so that nobody changes it meanwhile.
        let journal = if write {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(cannot)?;
            Some(journal(dir)?)
        } else {
            None
        };
        let kept = if path.exists() { Some(File::open(&path).map_err(cannot)?) } else { None };
        if kept.is_some() {
            fits(&path, &header)?;
        }
        let (dir, entries) = (dir.to_owned(), BTreeMap::new());
        let mut local = Local { dir, header, kept, journal, end: 0, entries, changed: false };
        if let Some(theirs) = local.journal_of_others().map_err(cannot)? {
            return Err(format!(
                "{} holds what an interrupted run has embedded with {theirs}. Finish it with --embeddings-model \
                 {theirs} (EMBEDDINGS_MODEL), or remove that file.",
                local.dir.join(JOURNAL).display(),
            ));
        }
        local.read_kept().map_err(cannot)?;
        local.read_journal().map_err(cannot)?;
        Ok(local)
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn read_kept(&mut self) -> std::io::Result<()> {
        let Some(file) = &self.kept else { return Ok(()) };
        let mut lines = BufReader::new(file.try_clone()?);
        let (mut line, mut at) = (Vec::new(), 0);
        while lines.read_until(b'\n', &mut line)? > 0 {
            if at > 0 {
                let place = Line { in_journal: false, at, length: line.len() };
                self.learn(&line, place);
            }
            at += line.len() as u64;
            line.clear();
        }
        Ok(())
    }

    /// The model of what an interrupted run has left, if it was another one. It may have been paid for.
    fn journal_of_others(&self) -> std::io::Result<Option<String>> {
        let Some(file) = &self.journal else { return Ok(None) };
        let (mut line, mut more) = (Vec::new(), Vec::new());
        let mut lines = BufReader::new(file.try_clone()?);
        lines.read_until(b'\n', &mut line)?;
        let whole = lines.read_until(b'\n', &mut more)? > 0;
        let header = serde_json::from_slice::<Header>(&line).ok();
        let other = header.filter(|header| whole && *header != self.header);
        Ok(other.map(|header| header.embeddings_model))
    }

    /// Takes over what an interrupted run has left, and cuts off a last line that was not written to its end.
    fn read_journal(&mut self) -> std::io::Result<()> {
        let Some(file) = &self.journal else { return Ok(()) };
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut lines = BufReader::new(file.try_clone()?);
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line)?;
        let own = serde_json::from_slice::<Header>(&line).is_ok_and(|header| header == self.header);
        if !own {
            file.set_len(0)?;
            line = serde_json::to_vec(&self.header)?;
            line.push(b'\n');
            file.write_all_at(&line, 0)?;
            self.end = line.len() as u64;
            return Ok(());
        }
        self.end = line.len() as u64;
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
                break;
            }
            let place = Line { in_journal: true, at: self.end, length: line.len() };
            self.learn(&line, place);
            self.end += line.len() as u64;
            self.changed = true;
        }
        file.set_len(self.end)
    }

    fn learn(&mut self, bytes: &[u8], line: Line) {
        let Names { mut passage_id, document, loaded_from } =
            serde_json::from_slice::<Known>(bytes).unwrap_or_default().metadata;
        if passage_id.is_empty() {
            // Somebody else wrote it: it is kept under a name that no passage has.
            passage_id = format!("line at {}", line.at);
        }
        self.entries.entry(loaded_from).or_default().insert(passage_id, Entry { document, line });
    }

    /// What is held of a file behind an id, a page of it.
    pub fn of_file(&self, file: &str, after: Option<&str>) -> Vec<Held> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries =
            self.entries.get(file).into_iter().flat_map(|of| of.range::<str, _>((begin, Bound::Unbounded)));
        entries.take(PAGE).map(|(id, entry)| held(file, id, entry)).collect()
    }

    /// Those of a file's passages that are held.
    pub fn of_ids(&self, file: &str, ids: &[String]) -> Vec<Held> {
        let Some(of) = self.entries.get(file) else { return Vec::new() };
        ids.iter().filter_map(|id| of.get(id).map(|entry| held(file, id, entry))).collect()
    }

    /// The files whose names begin so, behind one of them, a page of them.
    pub fn files(&self, prefix: &str, after: Option<&str>) -> Vec<String> {
        let begin = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let names = self.entries.range::<str, _>((begin, Bound::Unbounded)).map(|(name, _)| name);
        let names = names.take_while(|name| name.starts_with(prefix)).filter(|name| !name.is_empty());
        names.take(PAGE).cloned().collect()
    }

    /// Writes changes.
    ///
    /// # Errors
    /// A sentence.
    pub fn write(&mut self, changes: &[Change]) -> Result<Vec<Option<String>>, String> {
        let cannot = |error: std::io::Error| format!("{} cannot be written: {error}.", self.dir.display());
        let (mut bytes, mut learned) = (Vec::new(), Vec::new());
        for change in changes {
            let line = match change {
                Change::Add { text, vector, metadata, .. } => {
                    let vector: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                    let vector = STANDARD.encode(vector);
                    Whole { text: text.clone(), metadata: metadata.clone(), vector }
                }
                Change::Update { at, metadata } => {
                    Whole { metadata: metadata.clone(), ..self.whole(at).map_err(cannot)? }
                }
                Change::Remove { at } => {
                    self.changed |= remove(&mut self.entries, at);
                    continue;
                }
            };
            let mut line = serde_json::to_vec(&line).map_err(|error| cannot(error.into()))?;
            line.push(b'\n');
            learned.push((bytes.len(), line.len()));
            bytes.extend(line);
        }
        let Some(journal) = &self.journal else { return Ok(vec![None; changes.len()]) };
        journal.write_all_at(&bytes, self.end).map_err(cannot)?;
        for (at, length) in learned {
            let line = Line { in_journal: true, at: self.end + at as u64, length };
            self.learn(bytes.get(at..at + length).unwrap_or_default(), line);
            self.changed = true;
        }
        self.end += bytes.len() as u64;
        Ok(vec![None; changes.len()])
    }

    fn whole(&self, at: &str) -> std::io::Result<Whole> {
        let (id, file) = at.split_once('\n').unwrap_or((at, ""));
        let entry = self.entries.get(file).and_then(|of| of.get(id));
        let entry = entry.ok_or_else(|| std::io::Error::other("a passage is gone"))?;
        Ok(serde_json::from_slice(&self.line(entry.line)?)?)
    }

    fn line(&self, line: Line) -> std::io::Result<Vec<u8>> {
        let file = if line.in_journal { &self.journal } else { &self.kept };
        let file = file.as_ref().ok_or_else(|| std::io::Error::other("a file is gone"))?;
        let mut bytes = vec![0; line.length];
        file.read_exact_at(&mut bytes, line.at)?;
        Ok(bytes)
    }

    /// Puts the new file in the place of the old one, if anything changed.
    ///
    /// # Errors
    /// A sentence; everything is as it was.
    pub fn finish(&mut self) -> Result<(), String> {
        let cannot = |error: std::io::Error| format!("{} cannot be written: {error}.", self.dir.display());
        if self.changed || self.kept.is_none() {
            let path = self.dir.join(format!("{FILE}.new"));
            let mut file = BufWriter::new(File::create(&path).map_err(cannot)?);
            self.put(&mut file).map_err(cannot)?;
            let file = file.into_inner().map_err(|error| cannot(error.into_error()))?;
            file.sync_all().map_err(cannot)?;
            fs::rename(&path, self.dir.join(FILE)).map_err(cannot)?;
            File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(cannot)?;
        }
        // One that stays is taken over by the next run, and changes nothing.
        let _gone = fs::remove_file(self.dir.join(JOURNAL));
        Ok(())
    }

    fn put(&self, to: &mut impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut *to, &self.header)?;
        to.write_all(b"\n")?;
        for entry in self.entries.values().flat_map(BTreeMap::values) {
            to.write_all(self.line(entry.line)?.trim_ascii_end())?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// The journal's name.
const JOURNAL: &str = "passages.jsonl.journal";

fn journal(dir: &Path) -> Result<File, String> {
    let path = dir.join(JOURNAL);
    let cannot = |error| format!("{} cannot be written: {error}.", path.display());
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    loop {
        let file = options.open(&path).map_err(cannot)?;
        match file.try_lock() {
            // Whoever held it has removed it between the two: it is nobody's journal any more.
            Ok(()) if file.metadata().map_err(cannot)?.nlink() == 0 => {}
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "Another `llm-gateway index` is writing the index in {}. Wait for it.",
                    dir.display()
                ));
            }
        }
    }
}

fn fits(path: &Path, wanted: &Header) -> Result<(), String> {
    let there = header(path)?;
    if there == *wanted {
        return Ok(());
    }
    Err(format!(
        "{} holds vectors of {theirs}, and those of {} do not compare with them. Use --embeddings-model {theirs} \
         (EMBEDDINGS_MODEL), or another directory with --data.",
        path.display(),
        wanted.embeddings_model,
        theirs = there.embeddings_model,
    ))
}

fn held(file: &str, id: &str, entry: &Entry) -> Held {
    Held { at: format!("{id}\n{file}"), id: id.to_owned(), document: entry.document.clone() }
}

fn remove(entries: &mut BTreeMap<String, BTreeMap<String, Entry>>, at: &str) -> bool {
    let (id, file) = at.split_once('\n').unwrap_or((at, ""));
    let Some(of) = entries.get_mut(file) else { return false };
    let removed = of.remove(id).is_some();
    if of.is_empty() {
        entries.remove(file);
    }
    removed
}
