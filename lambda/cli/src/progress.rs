//! What a terminal shows while much is done; nothing where standard error is no terminal.

use crate::say;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::time::Duration;

/// Bytes while a file is checked or documents are read, rows while they are written.
const CHECKING: &str = "checking  {wide_bar} {percent:>3}%  {bytes_per_sec}, {eta} left";
const WRITING: &str = "uploading {wide_bar} {human_pos}/{human_len} rows, {rate} rows/s, {eta} left";
const INDEXING: &str = "indexing  {wide_bar} {percent:>3}%  {msg}";

/// A bar that grows.
pub struct Bar(ProgressBar);

impl Bar {
    /// Over the bytes of a file.
    pub fn checking(bytes: u64) -> Bar {
        Bar::over(bytes, CHECKING)
    }

    /// Over the rows of a file.
    pub fn writing(rows: u64) -> Bar {
        Bar::over(rows, WRITING)
    }

    /// Over the bytes of documents, with words beside it.
    pub fn indexing(bytes: u64) -> Bar {
        Bar::over(bytes, INDEXING)
    }

    fn over(length: u64, template: &str) -> Bar {
        let bar = ProgressBar::new(length);
        // The templates are ours; a broken one shows the plain bar.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let rate = |state: &ProgressState, to: &mut dyn Write| {
            let _shown = write!(to, "{:.0}", state.per_sec());
        };
        bar.set_style(style.with_key("rate", rate).progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    /// Where it stands.
    pub fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// It stands further by so much, and says so.
    pub fn on(&self, by: u64, words: String) {
        self.0.inc(by);
        self.0.set_message(words);
    }

    /// It goes on from here: what was done before tells nothing of the rate.
    pub fn from(&self, position: u64) {
        self.0.set_position(position);
        self.0.reset_eta();
    }

    /// It goes away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }

    /// A line above the bar.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| say(line));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
