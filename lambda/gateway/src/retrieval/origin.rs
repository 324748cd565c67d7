//! Where the embedded collection comes from, and what changed there since the last look.

use super::collection::Document;
use super::documents::{self, Known, Stamp};
use super::passages;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The documents of a collection.
type Documents = Vec<Arc<Document>>;

/// An origin that may change.
#[derive(Debug)]
pub enum Origin {
    /// Text and Markdown files.
    Directory(Directory),
    /// The file that `llm-gateway index` writes.
    File(PassagesFile),
}

impl Origin {
    /// The documents, if they changed and can be read. What is in the way is logged once.
    pub fn look(&mut self) -> Option<Documents> {
        match self {
            Origin::Directory(directory) => directory.look(),
            Origin::File(file) => file.look(),
        }
    }
}

/// What is remembered between two looks at a directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    stamps: Vec<Stamp>,
    known: Known,
    /// The documents of the last look.
    documents: Documents,
    /// Some files could not be read, and are tried again although nothing changed.
    again: bool,
    /// The skipped files that were logged already, and are not worth a second line.
    logged: HashSet<String>,
    /// The directory could not be read at the last look.
    away: bool,
}

impl Directory {
    /// A directory, and its documents as they are now. Fails if it cannot be read.
    pub fn open(path: PathBuf) -> io::Result<(Directory, Documents)> {
        let stamps = documents::signature(&path)?;
        let mut directory = Directory {
            path,
            stamps: Vec::new(),
            known: Known::default(),
            documents: Vec::new(),
            again: false,
            logged: HashSet::new(),
            away: false,
        };
        let documents = directory.take(stamps);
        Ok((directory, documents))
    }

    fn look(&mut self) -> Option<Documents> {
        match documents::signature(&self.path) {
            Ok(stamps) => {
                self.away = false;
                let changed = stamps != self.stamps;
                if !changed && !self.again {
                    return None;
                }
                let before = self.documents.clone();
                let documents = self.take(stamps);
                (changed || !same(&before, &documents)).then_some(documents)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(%error, "the documents' directory cannot be read; the last index stays");
                }
                None
            }
        }
    }

    fn take(&mut self, stamps: Vec<Stamp>) -> Documents {
        let read = documents::read(&self.path, &stamps, &self.known);
        for (file, reason) in &read.skipped {
            if self.logged.insert(format!("{file}: {reason}")) {
                tracing::warn!(file, reason, "document skipped");
            }
        }
        self.known = self.known.next(&stamps, &read);
        self.stamps = stamps;
        self.again = !read.unread.is_empty();
        self.documents.clone_from(&read.documents);
        read.documents
    }
}

fn same(some: &Documents, others: &Documents) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// What is remembered between two looks at a file of passages.
#[derive(Debug)]
pub struct PassagesFile {
    path: PathBuf,
    /// The embeddings model that must have made it, where it is searched by vectors.
    model: Option<String>,
    /// Size and time of the file that was read last, whether it could be used or not.
    seen: Option<(u64, Option<SystemTime>)>,
}

impl PassagesFile {
    /// The file, which need not be there yet, and its passages as they are now.
    ///
    /// # Errors
    /// A sentence: it is there and cannot be used.
    pub fn open(path: PathBuf, model: Option<String>) -> Result<(PassagesFile, Option<Documents>), String> {
        let mut file = PassagesFile { path, model, seen: None };
        let documents = file.read_anew().transpose()?;
        Ok((file, documents))
    }

    fn look(&mut self) -> Option<Documents> {
        match self.read_anew()? {
            Ok(documents) => Some(documents),
            Err(sentence) => {
                tracing::warn!("{sentence} The last index stays.");
                None
            }
        }
    }

    /// The passages, where the file is there and another one than the last.
    fn read_anew(&mut self) -> Option<Result<Documents, String>> {
        let seen = stamp(&self.path);
        if seen.is_none() || seen == self.seen {
            return None;
        }
        self.seen = seen;
        let read = passages::read(&self.path, self.model.as_deref());
        Some(read.map(|document| vec![Arc::new(document)]))
    }
}

fn stamp(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}
