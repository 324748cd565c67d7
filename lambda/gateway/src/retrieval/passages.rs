//! The file of passages with vectors that `llm-gateway index` writes for this machine: a header line,
//! then one passage a line.

use super::collection::{Document, Stored};
use super::nearest::Nearest;
use crate::error::json_place;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::OnceLock;

/// The file's name, in the data directory.
pub const FILE: &str = "passages.jsonl";

/// What the first line says of the format.
pub const FORMAT: &str = "llm-gateway passages 1";

/// Bytes of the first line at most.
const LONGEST_HEADER: u64 = 64 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The id of the model that made the vectors.
    pub embeddings_model: String,
    /// Numbers in a vector.
    pub dimensions: usize,
}

/// A line behind it.
#[derive(Deserialize)]
struct Line {
    text: String,
    #[serde(default)]
    metadata: Map<String, Value>,
    vector: String,
}

/// Reads the header alone.
///
/// # Errors
/// A sentence that says what to do.
pub fn header(path: &Path) -> Result<Header, String> {
    first(&mut open(path)?, path).map(|(header, _)| header)
}

fn open(path: &Path) -> Result<BufReader<File>, String> {
    File::open(path).map(BufReader::new).map_err(|error| unread(path, &error))
}

/// The header, and its line as it stands there.
fn first(lines: &mut BufReader<File>, path: &Path) -> Result<(Header, Vec<u8>), String> {
    let mut line = Vec::new();
    // Another file's first line may be all of it.
    lines.take(LONGEST_HEADER).read_until(b'\n', &mut line).map_err(|error| unread(path, &error))?;
    let header = serde_json::from_slice(&line).ok();
    let header = header.filter(|header: &Header| header.format == FORMAT && header.dimensions > 0);
    header.map(|header| (header, line)).ok_or_else(|| {
        format!(
            "{} does not begin with the line of {FORMAT:?}. Make it anew with `llm-gateway index`, or remove it.",
            path.display()
        )
    })
}

/// Reads the file. `model` is the embeddings model of the gateway where it searches by vectors: those of
/// another one do not compare.
///
/// # Errors
/// A sentence that says what to do.
pub fn read(path: &Path, model: Option<&str>) -> Result<Document, String> {
    let mut lines = open(path)?;
    let (header, mut line) = first(&mut lines, path)?;
    if let Some(model) = model.filter(|model| *model != header.embeddings_model) {
        let (file, theirs) = (path.display(), &header.embeddings_model);
        return Err(format!(
            "{file} has vectors of {theirs}, and this gateway embeds with {model}: they do not compare. Index \
             the documents again with `llm-gateway index`, set EMBEDDINGS_MODEL={theirs} where that model can \
             be reached, or search words alone with RETRIEVAL_MODE=text."
        ));
    }
    let (mut hash, mut passages) = (Sha256::new_with_prefix(&line), Vec::new());
    let mut vectors = Nearest::new(header.dimensions);
    for number in 2u64.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).map_err(|error| unread(path, &error))? == 0 {
            break;
        }
        hash.update(&line);
        let broken = |why: String| {
            let file = path.display();
            format!(
                "{file}: line {number} is no passage: {why}. Make the file anew with `llm-gateway index`."
            )
        };
        passages.push(take(&line, &mut vectors).map_err(broken)?);
    }
    let vectors = OnceLock::from(vectors);
    Ok(Document { name: FILE.to_owned(), passages, digest: hash.finalize().into(), vectors })
}

/// A line's passage; its vector goes to the others.
fn take(line: &[u8], vectors: &mut Nearest) -> Result<Stored, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| json_place(&error))?;
    let bytes = STANDARD.decode(&line.vector).map_err(|_| "its vector is not in base64".to_owned())?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let vector: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
    if !rest.is_empty() || !vectors.add(&vector) {
        return Err(
            "its vector has not the length that the first line names, or a number that is none".into()
        );
    }
    Ok(Stored { text: line.text, metadata: line.metadata })
}

fn unread(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}.", path.display())
}
