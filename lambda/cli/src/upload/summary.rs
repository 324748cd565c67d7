//! What an upload came to, for people and for programs.

use super::check::Checked;
use indicatif::HumanCount;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// What an upload came to.
pub struct Summary<'a> {
    /// What the first reading found.
    pub checked: &'a Checked,
    /// The rows that this process has written; None where it was to write none.
    pub sent: Option<u64>,
    /// The row that an interrupted upload had come to.
    pub resumed: u64,
    /// Where the bad rows are.
    pub failed: Option<&'a Path>,
    /// How long it took, both readings.
    pub took: Duration,
}

impl Summary<'_> {
    fn good(&self) -> u64 {
        self.checked.rows - self.checked.bad
    }

    fn written(&self) -> u64 {
        self.good() - self.checked.replaced.count
    }

    fn rate(&self) -> f64 {
        let rows = self.sent.unwrap_or(self.checked.rows);
        rows as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// For people.
    pub fn text(&self) -> String {
        let checked = self.checked;
        let verb = if self.sent.is_some() { "written" } else { "good" };
        let mut text = format!(
            "{} rows read: {} {verb}, {} replaced by a later row with the same key, {} failed; {:.1} s, {:.0} rows/s.",
            HumanCount(checked.rows),
            HumanCount(self.written()),
            HumanCount(checked.replaced.count),
            HumanCount(checked.bad),
            self.took.as_secs_f64(),
            self.rate(),
        );
        let examples = checked.replaced.examples.iter();
        let examples: Vec<_> = examples.map(|(row, by)| format!("row {row} by row {by}")).collect();
        if !examples.is_empty() {
            let more = if examples.len() as u64 == checked.replaced.count { "" } else { ", …" };
            text.push_str(&format!("\nReplaced: {}{more}.", examples.join(", ")));
        }
        if self.resumed > 0 {
            text.push_str(&format!(
                "\nThe rows up to {} were written before the interruption.",
                self.resumed
            ));
        }
        if let Some(failed) = self.failed {
            text.push_str(&format!(
                "\nThe rows that failed are in {0}. Mend them there and upload {0}.",
                failed.display()
            ));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "rows": self.checked.rows,
            "written": self.sent.map_or(0, |_| self.written()),
            "replaced": self.checked.replaced.count,
            "failed": self.checked.bad,
            "failed_file": self.failed.map(|failed| failed.display().to_string()),
            "resumed_behind": self.resumed,
            "seconds": (self.took.as_secs_f64() * 1000.0).round() / 1000.0,
            "rows_per_second": self.rate().round(),
            "dry_run": self.sent.is_none(),
        })
    }
}
