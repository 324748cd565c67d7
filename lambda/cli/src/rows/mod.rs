//! Curated answers in a file, read row by row: one reader for `serve --answers` and for `upload`.

mod source;
mod split;

pub use source::{Meter, Source};
pub use split::{Broken, LONGEST, Place, Splitter, write_line};

use gateway::store::{CuratedRow, parse_curated_row};

use std::io::{BufRead, Write};
use std::path::Path;

/// The rows of a file, good and bad.
pub struct Rows<'a> {
    source: &'a Source,
    splitter: Splitter<Box<dyn BufRead + Send>>,
    /// There is a table for what one item cannot hold.
    parts: bool,
    /// Bytes read so far, and their digest.
    pub meter: Meter,
}

/// A row as it was read: itself, or why it is none.
pub type Read = (Place, Result<CuratedRow, String>);

impl<'a> Rows<'a> {
    /// The rows from the file's beginning. Without `parts` a row that needs a second table is bad.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn of(source: &'a Source, parts: bool) -> Result<Rows<'a>, String> {
        let meter = Meter::default();
        let splitter = Splitter::new(source.bytes(meter.clone())?, LONGEST);
        Ok(Rows { source, splitter, parts, meter })
    }

    /// The next row; the bytes of one that is too long to be held go into `over`.
    ///
    /// # Errors
    /// A sentence: the file as a whole is damaged, and what is behind this place is not known.
    pub fn next(&mut self, over: &mut dyn Write) -> Result<Option<Read>, String> {
        let place = self.splitter.next(over).map_err(|broken| match broken {
            Broken::Read(error) => self.source.broken(&error),
            Broken::List(why) => format!("{} is no whole JSON list: {why}.", self.source.name),
        })?;
        Ok(place.map(|place| (place, self.parse(place))))
    }

    /// The bytes of the row that [`Rows::next`] gave, as they stand in the file.
    pub fn text(&self) -> &[u8] {
        self.splitter.text()
    }

    /// Where a row stands, for a message.
    pub fn locate(&self, place: Place) -> String {
        let (name, number, line) = (&self.source.name, place.number, place.line);
        match place.listed {
            true => format!("{name}, row {number} (line {line})"),
            false => format!("{name}, line {line}"),
        }
    }

    fn parse(&self, place: Place) -> Result<CuratedRow, String> {
        if place.too_long {
            let megabytes = LONGEST / 1024 / 1024;
            return Err(format!("The row is longer than {megabytes} MB. Shorten its answer."));
        }
        let text = std::str::from_utf8(self.text());
        let text = text.map_err(|error| {
            let at = error.valid_up_to() + 1;
            format!(
                "The row is no UTF-8 text: its byte {at} is part of no character. Save the file as UTF-8."
            )
        })?;
        let row = parse_curated_row(text).map_err(|error| match (place.listed, text) {
            (false, "{" | "[") => {
                "The row is no whole JSON object. Each row stands on one line, or all of them in one JSON list \
                 that begins with `[`."
                    .to_owned()
            }
            _ => error.message,
        })?;
        // Compressing takes a while: only who has no other place for it has to know.
        match if self.parts { None } else { row.needs_parts() } {
            Some(field) => Err(format!(
                "`{field}` is larger than one item of the table can hold, even compressed. Shorten it, or name \
                 the deployment's state table with --state-table (STATE_TABLE), where its parts can go."
            )),
            None => Ok(row),
        }
    }
}

/// All rows of a file that has no bad one.
///
/// # Errors
/// A sentence that names the file, and the first bad row.
pub fn all(path: &Path) -> Result<Vec<CuratedRow>, String> {
    let source = Source::open(path)?;
    let mut rows = Rows::of(&source, true)?;
    let mut good = Vec::new();
    while let Some((place, row)) = rows.next(&mut std::io::sink())? {
        good.push(row.map_err(|why| format!("{}: {why}", rows.locate(place)))?);
    }
    Ok(good)
}

#[cfg(test)]
mod tests;
