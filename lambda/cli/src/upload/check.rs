//! The first reading of a file: every row is looked at, nothing is written.

use super::duplicates::{Duplicates, Replaced};
use crate::progress::Bar;
use crate::rows::{Rows, Source, write_line};
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use tokio_util::sync::CancellationToken;

/// Bad rows that are told one by one; a file of another kind may have millions.
const TOLD: u64 = 1000;

/// Rows between two looks at the bar and at whether to stop.
const STRIDE: u64 = 256;

/// What the first reading found.
pub struct Checked {
    /// Rows of the file.
    pub rows: u64,
    /// Rows that cannot be uploaded.
    pub bad: u64,
    /// Good rows that a later one replaces.
    pub replaced: Replaced,
    /// Hex SHA-256 of the file as it lies on disk.
    pub digest: String,
    /// The bad rows as they stand in the file, one a line.
    pub failed: File,
}

/// Reads the file to its end and tells every bad row. `parts`: there is a table for parts of rows.
/// None where it was told to stop.
///
/// # Errors
/// A sentence: the file as a whole cannot be read.
pub fn check(source: &Source, parts: bool, stop: &CancellationToken) -> Result<Option<Checked>, String> {
    let bar = Bar::checking(source.size);
    let disk = |error: io::Error| {
        format!("A temporary file cannot be written: {error}. TMPDIR names another directory.")
    };
    let mut failed = BufWriter::new(tempfile::tempfile().map_err(disk)?);
    let mut keys = Duplicates::default();
    let mut rows = Rows::of(source, parts)?;
    let (mut count, mut bad) = (0, 0);
    while let Some((place, row)) = rows.next(&mut failed)? {
        count += 1;
        match row {
            Ok(row) => {
                let own = row.keys().into_iter().next().unwrap_or_default();
                keys.add(&own, place.number).map_err(disk)?;
            }
            Err(why) => {
                bad += 1;
                tell(&bar, bad, &format!("{}: {why}", rows.locate(place)));
                if !place.too_long {
                    keep(&mut failed, rows.text()).map_err(disk)?;
                }
            }
        }
        if count % STRIDE == 0 {
            bar.at(rows.meter.bytes());
            if stop.is_cancelled() {
                return Ok(None);
            }
        }
    }
    let mut failed = failed.into_inner().map_err(|error| disk(error.into_error()))?;
    failed.rewind().map_err(disk)?;
    let (replaced, digest) = (keys.finish().map_err(disk)?, rows.meter.digest());
    Ok(Some(Checked { rows: count, bad, replaced, digest, failed }))
}

fn tell(bar: &Bar, bad: u64, sentence: &str) {
    match bad {
        ..=TOLD => bar.say(sentence),
        _ if bad == TOLD + 1 => bar.say("There are more bad rows, which are counted only."),
        _ => {}
    }
}

fn keep(failed: &mut dyn Write, row: &[u8]) -> io::Result<()> {
    write_line(failed, row)?;
    failed.write_all(b"\n")
}
