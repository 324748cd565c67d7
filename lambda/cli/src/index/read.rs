//! Files become passages.

use super::passage::{Document, Maker, Passage};
use super::report::Report;
use super::walk::{File, Kind};
use super::{pdf, row};
use crate::rows::{Broken, LONGEST, Meter, Source, Splitter};
use crate::threads::apart;
use gateway::chat;
use gateway::digest::Lengths;
use gateway::retrieval::split::{Format, split};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Bytes of a file at most: a larger one is a dump and not a document.
const LARGEST_TEXT: u64 = 16 * 1024 * 1024;
const LARGEST_PDF: u64 = 128 * 1024 * 1024;

/// Passages that go on at once.
const PART: usize = 500;

/// Passages of one file at most: their ids are held until its end.
const MOST: usize = 5_000_000;

/// Passages of a file, and the bytes of it that they took.
#[derive(Debug, Default)]
pub struct Part {
    /// In the file's order.
    pub passages: Vec<Passage>,
    /// Documents that they belong to.
    pub documents: u64,
    /// Of the file, as it lies on disk.
    pub bytes: u64,
}

/// Reads a file. `window` is what the embeddings model takes at once. Says whether nothing was left out.
///
/// # Errors
/// A sentence: why the file, or the rest of it, was left out.
pub async fn read(file: File, window: u64, report: Arc<Report>, to: Sender<Part>) -> Result<bool, String> {
    let says = |why: String| format!("{} {why}.", file.name);
    let largest = if file.kind == Kind::Pdf { LARGEST_PDF } else { LARGEST_TEXT };
    if file.kind != Kind::Rows && file.size > largest {
        return Err(says(too_large(largest)));
    }
    let gone = |_| format!("{} could not be read.", file.name);
    let part = match file.kind {
        Kind::Rows => {
            let file = file.clone();
            return apart(move || rows(&file, window, &report, &to)).await.map_err(gone)?;
        }
        Kind::Text(format) => {
            let file = file.clone();
            apart(move || text(&file, format, window)).await.map_err(gone)?
        }
        Kind::Pdf => {
            let pages = pdf::pages(&file.path).await.map_err(says)?;
            let file = file.clone();
            apart(move || book(&file, &pages, window)).await.map_err(gone)?
        }
    };
    // Nobody wants it any more where the run has ended.
    let _unwanted = to.send(part.map_err(says)?).await;
    Ok(true)
}

/// The bytes of a file that is as large as this at most: it may have grown since it was looked at.
fn bytes(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(largest + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > largest { Err(too_large(largest)) } else { Ok(bytes) }
}

fn too_large(largest: u64) -> String {
    format!("is larger than {} MB", largest / 1024 / 1024)
}

fn text(file: &File, format: Format, window: u64) -> Result<Part, String> {
    let bytes = bytes(&file.path, LARGEST_TEXT)?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is UTF-16 text. Save it as UTF-8".to_owned());
    }
    if bytes.contains(&0) {
        return Err("is no text: there are zero bytes in it".to_owned());
    }
    let digest = digest(&bytes);
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        format!("is no UTF-8 text: its byte {at} is part of no character. Save it as UTF-8")
    })?;
    // A byte order mark is no part of the text, and would hide a heading in the first line.
    let pieces = split(&file.name, text.strip_prefix('\u{feff}').unwrap_or(&text), format);
    let document = Document { digest, ..Document::default() };
    let passages = Maker::new(&file.name, window).passages(&document, titled(pieces));
    Ok(Part { passages, documents: 1, bytes: file.size })
}

fn book(file: &File, pages: &[String], window: u64) -> Result<Part, String> {
    let mut maker = Maker::new(&file.name, window);
    let digest = digest(pages.join("\u{c}").as_bytes());
    let mut passages = Vec::new();
    for (number, page) in (1..).zip(pages) {
        // Some fonts map characters to none.
        let text = page.replace('\0', "");
        let document = Document { digest: digest.clone(), page: Some(number), ..Document::default() };
        passages.extend(maker.passages(&document, titled(split(&file.name, &text, Format::Text))));
    }
    match passages.is_empty() {
        true => {
            Err("holds no text: its pages may be pictures, which have to go through text recognition first"
                .into())
        }
        false => Ok(Part { passages, documents: 1, bytes: file.size }),
    }
}

/// Titles without the path, which is the location: the headings, or else the file's own name.
fn titled(mut pieces: Vec<chat::Passage>) -> Vec<chat::Passage> {
    for source in pieces.iter_mut().map(|piece| &mut piece.source) {
        let headings = source.title.strip_prefix(&source.location).and_then(|rest| rest.strip_prefix(" › "));
        source.title = headings.unwrap_or(row::last_segment(&source.location)).to_owned();
    }
    pieces
}

/// The digest of a document. Another way of cutting has another number.
fn digest(bytes: &[u8]) -> String {
    Lengths::new("document 1").part(bytes).hex()
}

fn rows(file: &File, window: u64, report: &Report, to: &Sender<Part>) -> Result<bool, String> {
    let source = Source::open(&file.path)?;
    let meter = Meter::default();
    let mut splitter = Splitter::new(source.bytes(meter.clone())?, LONGEST);
    let mut maker = Maker::new(&file.name, window);
    let (mut part, mut whole, mut told) = (Part::default(), true, 0);
    loop {
        let place = splitter.next(&mut std::io::sink()).map_err(|broken| match broken {
            Broken::Read(error) => source.broken(&error),
            Broken::List(why) => format!("{} is no whole JSON list: {why}.", file.name),
        })?;
        let Some(place) = place else { break };
        let row = match place.too_long {
            true => Err(format!("It is longer than {} MB.", LONGEST / 1024 / 1024)),
            false => row::read(splitter.text(), &file.name, place.line),
        };
        match row {
            Ok(row) => {
                part.passages.extend(one(&mut maker, row));
                part.documents += 1;
            }
            Err(why) => {
                whole = false;
                report.leave_out(&format!("{}, line {}: {why}", file.name, place.line));
            }
        }
        if maker.count() > MOST {
            return Err(format!(
                "{} has more than {MOST} passages. Split it; the rest was left out.",
                file.name
            ));
        }
        if part.passages.len() >= PART {
            part.bytes = meter.bytes() - told;
            told = meter.bytes();
            if to.blocking_send(std::mem::take(&mut part)).is_err() {
                return Ok(false);
            }
        }
    }
    part.bytes = meter.bytes() - told;
    let _unwanted = to.blocking_send(part);
    Ok(whole)
}

fn one(maker: &mut Maker<'_>, row: row::Row) -> Vec<Passage> {
    let row::Row { document, pieces } = row;
    maker.passages(&document, pieces.into_iter().collect::<Vec<chat::Passage>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_grown_is_read_no_further_than_it_may() {
        let mebi = 1024 * 1024;
        assert_eq!(bytes(Path::new("/dev/zero"), mebi), Err("is larger than 1 MB".to_owned()));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "text").unwrap();
        assert_eq!(bytes(file.path(), 4), Ok(b"text".to_vec()));
        assert!(bytes(file.path(), 3).is_err());
    }
}
